"""drive.json: what a drive says of itself (schema edgekit/drive/1)."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit import __version__
from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json

SCHEMA = "edgekit/drive/1"


class CameraInfo(BaseModel):
    """A pinhole camera: ``K`` 3×3 in pixels of the stored frames, its height above the road in metres."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    K: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]] | None = None
    height_m: float | None = None
    width: int | None = None
    height: int | None = None


class DriveInfo(BaseModel):
    """id, frames per second, camera, licence, and where it comes from: a scene (rendered) or a source.

    scene: what must not straddle a split (town and layout); the drive's id where it is not given.
    tags: what holds for the whole drive (``night``, ``rain``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    fps: float = Field(gt=0, le=1000)
    camera: CameraInfo = CameraInfo()
    licence: str = "unknown"
    scene: str | None = None
    seed: int | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()


def read_info(path: Path) -> DriveInfo:
    """drive.json, or UserError in words."""
    try:
        raw = read_json(path)
    except ValueError as error:
        raise UserError(f"{path}: not JSON", str(error), "mend the file") from None
    if not isinstance(raw, dict) or raw.pop("schema", None) != SCHEMA:
        raise UserError(
            f"{path}: not a drive that is read here",
            f"edgekit {__version__} reads schema {SCHEMA}",
            "use the edgekit that wrote it, or leave drive.json out: a plain video works too",
        )
    try:
        return DriveInfo(**raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{path}: {'.'.join(map(str, first['loc']))} is not valid", first["msg"], "mend drive.json"
        ) from None


def write_info(path: Path, info: DriveInfo) -> None:
    write_json(path, {"schema": SCHEMA, **info.model_dump(mode="json")})
