"""Asking the teacher about a drive's frames, with one prompt for all or one composed for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from edgekit.core.errors import UserError
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.drives import Drive
from edgekit.engine.answerer import Answer, Answerer
from edgekit.library import Library, Prompt, compose, context_of


class Asked(NamedTuple):
    """A frame's answer that counts and the prompt it was given to.

    first: the answer to the default prompt, where the frame was asked again; None where it was not.
    """

    answer: Answer
    prompt: Prompt
    first: Answer | None = None


def frame_numbers(length: int, every: int, most: int | None) -> list[int]:
    """The frames of a drive that are mined: each ``every``-th, at most ``most``."""
    return list(range(0, length, every))[:most]


def pictures(drive: Drive, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """The frames ``numbers`` (rising), RGB uint8 (H, W, 3).

    Raises UserError, with the drive and the frame, where one does not decode or the drive ends early.
    """
    source, at = drive.frames(numbers[0] if numbers else 0), numbers[0] if numbers else 0
    for number in numbers:
        try:
            image = next(islice(source, number - at, None), None)
            why = f"the drive was counted to hold {len(drive)} frames, and it ends before"
        except (UserError, ValueError, SyntaxError) as error:  # Pillow raises the latter on broken headers
            image, why = None, f"{error.what}: {error.why}" if isinstance(error, UserError) else str(error)
        if image is None:
            raise UserError(
                f"drive {drive.id}: frame {number} cannot be read", why, "mend that drive, or leave it out"
            )
        at = number + 1
        yield image


def ask_drive(
    teacher: Answerer,
    drive: Drive,
    numbers: Sequence[int],
    library: Library,
    dynamic: bool,
    batch: int,
    log: AnswerLog,
) -> list[Asked]:
    """What was answered, per frame number.

    dynamic: a first answer to the default prompt says what is in the image; where the entries that
    fit it make another prompt, the frame is asked again with that one (driving-mllm section 3.1). A
    second answer that does not parse leaves the first one standing.
    """

    def ask(which: Sequence[int], prompts: Sequence[Prompt], what: str) -> list[Answer]:
        # A log's answer belongs to the prompt it was given to.
        keys = [f"{drive.id}/{n:06d}?{prompt.sha256[:8]}" for n, prompt in zip(which, prompts, strict=True)]
        texts = [prompt.text for prompt in prompts]
        return ask_all(teacher, keys, texts, lambda first: pictures(drive, which[first:]), log, batch, what)

    plain = compose(library)
    firsts = ask(numbers, [plain] * len(numbers), f"mining {drive.id}")
    asked = [Asked(answer, plain) for answer in firsts]
    if not dynamic:
        return asked

    speeds = drive.speeds_mps()
    prompts = [
        compose(library, context_of(drive.info.tags, answer.seen, speeds[n]))
        for n, answer in zip(numbers, firsts, strict=True)
    ]
    again = [i for i, prompt in enumerate(prompts) if prompt != plain]
    seconds = ask([numbers[i] for i in again], [prompts[i] for i in again], f"mining {drive.id} again")
    for i, answer in zip(again, seconds, strict=True):
        kept = Asked(firsts[i], plain) if answer.label is None else Asked(answer, prompts[i])
        asked[i] = kept._replace(first=firsts[i])
    return asked
