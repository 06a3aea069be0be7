"""Asking the teacher about a drive's frames, with one prompt for all or one composed for each."""

from __future__ import annotations

from itertools import islice

import numpy as np

from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.drives import Drive
from edgekit.engine.answerer import Answer, Answerer
from edgekit.library import Library, Prompt, compose, context_of


def frame_numbers(drive: Drive, every: int, most: int | None) -> list[int]:
    """The frames that are mined: each ``every``-th, at most ``most``."""
    return list(range(0, len(drive), every))[:most]


def ask_drive(
    teacher: Answerer,
    drive: Drive,
    numbers: list[int],
    library: Library,
    dynamic: bool,
    batch: int,
    log: AnswerLog,
) -> tuple[list[Answer], list[Prompt]]:
    """Answers and the prompts they were given to, one each per frame number.

    dynamic: a first answer to the default prompt says what is in the image; where the entries that
    fit it make another prompt, the frame is asked again with that one (driving-mllm section 3.1).
    """
    every = numbers[1] - numbers[0] if len(numbers) > 1 else 1

    def frames(first: int):
        return islice(drive.frames(numbers[first]), 0, None, every)

    plain = compose(library)
    keys = [f"{drive.id}/{n:06d}" for n in numbers]
    answers = ask_all(teacher, keys, [plain.text] * len(keys), frames, log, batch, f"mining {drive.id}")
    if not dynamic:
        return answers, [plain] * len(keys)

    speeds = drive.speeds_mps()
    prompts = [
        compose(library, context_of(drive.info.tags, answer.seen, speeds[n]))
        for n, answer in zip(numbers, answers, strict=True)
    ]
    again = [i for i, prompt in enumerate(prompts) if prompt != plain]

    def chosen(first: int):
        wanted = again[first:]
        source = frames(wanted[0])
        at = wanted[0]
        for i in wanted:
            image: np.ndarray = next(islice(source, i - at, None))
            at = i + 1
            yield image

    second = ask_all(
        teacher, [f"{keys[i]}?{prompts[i].sha256[:8]}" for i in again], [prompts[i].text for i in again],
        chosen, log, batch, f"mining {drive.id} again",
    )  # fmt: skip
    answers = list(answers)
    for i, answer in zip(again, second, strict=True):
        answers[i] = answer
    return answers, prompts
