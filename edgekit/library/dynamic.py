"""Prompts that follow the scene: one way for those who mine with a library and for those who measure one.

A first question says what is in each frame of a drive; what it saw, with all else that is known of the frame, chooses
the entries of the second one (driving-mllm section 3.1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from edgekit.core.box import Box
from edgekit.core.errors import UserError
from edgekit.core.recipe import Config
from edgekit.engine.answerer import Answer
from edgekit.library.aids import possible_aids
from edgekit.library.compose import Prompt, compose, probe_prompt
from edgekit.library.context import context_of, values_of
from edgekit.library.entries import Library
from edgekit.library.select import Selector

CROP_TOKENS = 64  # of a further picture: 224 pixels a side at 28 pixels a token (Qwen2.5-VL)

# What is known of a frame before its second question: context, values and aids, as ``Selector.next`` takes them.
Known = tuple[Iterable[str] | None, Mapping[str, str], Collection[str]]


class Dynamic(Config):
    """How prompts follow the scene, with ``prompts: dynamic``; see edgekit/library/select.py."""

    # label: the default prompt, whose answer stands where no entry fits, so that only fitting frames are asked again;
    # probe: the library's short first question, and then every frame is asked
    first: Literal["label", "probe"] = "label"
    budget_tokens: int | None = Field(None, ge=1)  # of a prompt's text
    hold_frames: int = Field(5, ge=1)  # an entry that came in stays for so many frames
    release_frames: int = Field(3, ge=1)  # and goes after so many without its condition
    aids: bool = True  # cut out lights, mark what detectors found, draw the lane


def first_prompt(library: Library, dynamic: Dynamic | None) -> Prompt:
    """The question that every frame is asked; None: the only one."""
    return probe_prompt(library) if dynamic and dynamic.first == "probe" else compose(library)


def selector_of(library: Library, dynamic: Dynamic, pictures: int = 1) -> Selector:
    """One drive's. pictures: how many one question may hold.

    Raises UserError for a budget that the default prompt alone exceeds, and for a probe that the library lacks.
    """
    if dynamic.first == "probe" and not library.probe:
        raise UserError(
            f"prompt library {library.id!r} has no probe",
            "dynamic.first is probe, and its short first question is empty",
            "write one into the library (probe: …), or set dynamic.first=label",
        )
    return Selector(
        library, dynamic.budget_tokens, hold_frames=dynamic.hold_frames, release_frames=dynamic.release_frames,
        picture_tokens=CROP_TOKENS if pictures > 1 else 0,
    )  # fmt: skip


def known(
    answer: Answer,
    boxes: Sequence[Box],
    *,
    tags: Collection[str] = (),
    places: Collection[str] = (),
    speed_mps: float | None = None,
    accel_mps2: float | None = None,
    yaw_rate_rps: float | None = None,
    lane: np.ndarray | None = None,
    aids: bool = True,
    language: str = "en",
) -> Known:
    """Of a frame, by its first answer, the boxes in it, its drive's tags, what a map says of the place, its motion
    and the edges of our path in its picture. The context is None where nothing at all is known."""
    names = [box.name for box in boxes]
    nothing = answer.label is None and speed_mps is None and not (names or tags or places)
    context = None if nothing else context_of(
        tags, answer.label, speed_mps, detections=names, map_words=places, accel_mps2=accel_mps2,
        yaw_rate_rps=yaw_rate_rps,
    )  # fmt: skip
    shown = possible_aids(boxes, lane) if aids else frozenset()
    return context, values_of(speed_mps, answer.label, names, places, language), shown


def second_prompts(
    library: Library, dynamic: Dynamic, drive: Iterable[Known], pictures: int = 1
) -> tuple[list[Prompt], Selector]:
    """What each frame of one drive, in time, is asked after its first question; where that is the first question's
    own prompt, it is not asked again. And the Selector, which knows what a budget dropped.

    Raises UserError as ``selector_of``.
    """
    selector = selector_of(library, dynamic, pictures)
    return [selector.next(*known) for known in drive], selector


def counted(first: Answer, second: Answer) -> Answer:
    """The answer that counts of a frame that was asked twice: one that does not parse leaves the first standing."""
    return first if second.label is None else second
