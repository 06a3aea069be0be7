"""Reading: how drives are read, where a drive leaves it open."""

from __future__ import annotations

from pydantic import Field, field_validator

from edgekit.core.errors import suggestion
from edgekit.core.recipe import Config
from edgekit.library.context import TAGS


class Reading(Config):
    """Options of ``open_drives``; the defaults read whatever says itself what it is."""

    camera: str | None = None  # MCAP: the topic of the images, where there are several
    speed: str | None = None  # MCAP: the topic that the speed is taken from
    tolerance_s: float = Field(0.5, ge=0, le=10)  # a row this near to a frame counts as measured there
    gap_s: float = Field(2.0, ge=0, le=60)  # the longest gap between two rows that is filled in, and marked
    offset_s: float | None = None  # what the telemetry's clock shows at the first frame
    fps: float | None = Field(None, gt=0, le=1000)  # of stills and of videos that carry no times
    plausible: bool = True  # refuse speeds that look like km/h; false: note them and go on
    tags: list[str] = []  # what holds for each drive, beside the tags of its own: night, rain, motorway

    @field_validator("tags")
    @classmethod
    def _of_scenes(cls, tags: list[str]) -> list[str]:
        for tag in tags:
            if tag not in TAGS:
                raise ValueError(f"{tag!r} is no tag of a scene; {suggestion(tag, TAGS)}")
        return tags
