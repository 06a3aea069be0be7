"""Asking the teacher about a drive's frames, with one prompt for all or one composed for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from edgekit.core.box import Box
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.drives import Drive
from edgekit.engine.answerer import Answer, Answerer
from edgekit.library import (
    Dynamic,
    Library,
    Prompt,
    Selector,
    counted,
    ego_lane,
    first_prompt,
    fit_pictures,
    known,
    second_prompts,
    with_aids,
)
from edgekit.mine.frames import pictures


class Asked(NamedTuple):
    """A frame's answer that counts and the prompt it was given to.

    first: the answer to the first question, where the frame was asked again; None where it was not.
    """

    answer: Answer
    prompt: Prompt
    first: Answer | None = None


def key_of(drive: Drive, number: int, prompt: Prompt) -> str:
    """Of an answer in a log: it belongs to the prompt it was given to."""
    return f"{drive.id}/{number:06d}?{prompt.sha256[:8]}"


def ask_drive(
    teacher: Answerer,
    drive: Drive,
    numbers: Sequence[int],
    library: Library,
    dynamic: Dynamic | None,
    batch: int,
    log: AnswerLog,
    boxes: Sequence[Sequence[Box]] = (),
) -> tuple[list[Asked], Selector | None]:
    """What was answered, per frame number; and the Selector, which knows what a budget dropped.

    dynamic: the answer to a first question (``dynamic.first``) says what is in the image; where the entries that
    fit it make another prompt, the frame is asked again with that one. boxes: what detectors found in each frame.
    """
    boxes = boxes or [()] * len(numbers)

    def ask(which: Sequence[int], prompts: Sequence[Prompt], shown, what: str) -> list[Answer]:
        keys = [key_of(drive, n, prompt) for n, prompt in zip(which, prompts, strict=True)]
        texts = [prompt.text for prompt in prompts]
        return ask_all(teacher, keys, texts, shown, log, batch, what)

    opening = first_prompt(library, dynamic)
    firsts = ask(
        numbers,
        [opening] * len(numbers),
        lambda first: pictures(drive, numbers[first:]),
        f"mining {drive.id}",
    )
    once = {id(answer): Asked(answer, opening) for answer in firsts}  # answers alike are one object
    asked = [once[id(answer)] for answer in firsts]
    if dynamic is None:
        return asked, None

    most = getattr(teacher, "pictures", 1)
    about = Known(drive, numbers, dynamic.aids, library.language)
    told = (about.of(i, answer, found) for i, (answer, found) in enumerate(zip(firsts, boxes, strict=True)))
    prompts, selector = second_prompts(library, dynamic, told, most)
    again = [i for i, prompt in enumerate(prompts) if prompt != opening]
    which = [numbers[i] for i in again]

    def shown(first: int) -> Iterator:
        for i, image in zip(again[first:], pictures(drive, which[first:]), strict=True):
            yield fit_pictures(with_aids(image, prompts[i].aids, boxes[i], about.lane(i)), most)

    seconds = ask(which, [prompts[i] for i in again], shown, f"mining {drive.id} again")
    for i, answer in zip(again, seconds, strict=True):
        given = opening if answer.label is None else prompts[i]
        asked[i] = Asked(counted(firsts[i], answer), given, first=firsts[i])
    return asked, selector


class Known:
    """What is known of each frame before its second question: what chooses entries, fills holes, allows aids."""

    def __init__(self, drive: Drive, numbers: Sequence[int], aids: bool, language: str):
        self.info, self.aids, self.numbers, self.language = drive.info, aids, numbers, language
        self.speeds, measured, self.places = drive.speeds_mps(), drive.telemetry, drive.map_words()
        none = np.full(len(self.speeds), np.nan)
        self.accels = measured.accel_mps2 if measured else none
        self.yaws = measured.yaw_rate_rps if measured else none

    def of(self, i: int, answer: Answer, boxes: Sequence[Box]):
        n = self.numbers[i]
        return known(
            answer, boxes, tags=self.info.tags, places=self.places[n], speed_mps=self.speeds[n],
            accel_mps2=self.accels[n], yaw_rate_rps=self.yaws[n], lane=self.lane(i) if self.aids else None,
            aids=self.aids, language=self.language,
        )  # fmt: skip

    def lane(self, i: int) -> np.ndarray | None:
        """The edges of our path in the picture, where the camera's place is known."""
        camera, n = self.info.camera, self.numbers[i]
        if camera.K is None or not camera.height_m:
            return None
        yaw, speed = float(np.nan_to_num(self.yaws[n])), self.speeds[n] or 0.0
        return ego_lane(camera.K, camera.height_m, yaw, speed)
