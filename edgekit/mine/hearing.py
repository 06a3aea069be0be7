"""The costly part of mining one drive: detectors look at its frames, a teacher is asked; both kept in logs.

A killed run goes on where it was, and a run spread over a cluster passes its results through the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgekit.core.box import merged
from edgekit.core.errors import UserError
from edgekit.core.files import append_jsonl, read_jsonl
from edgekit.core.progress import bar
from edgekit.dataset.answers import AnswerLog
from edgekit.drives import Drive
from edgekit.engine.answerer import Answerer
from edgekit.library import Library, Selector, first_prompt
from edgekit.mine.asking import Asked, ask_drive, key_of
from edgekit.mine.config import MineConfig
from edgekit.mine.doubt import Doubt
from edgekit.mine.experts.config import Corridor, Expert
from edgekit.mine.experts.see import Said, said
from edgekit.mine.frames import pictures
from edgekit.mine.logs import Logs


class Heard(NamedTuple):
    """Of one drive's mined frames: answers, what detectors said, and the Selector of dynamic prompts."""

    asked: list[Asked]
    said: list[list[Said]]
    selector: Selector | None


def heard_before(
    config: MineConfig, drives: Sequence[Drive], wanted: Sequence[Sequence[int]], library: Library, logs: Logs
) -> str | None:
    """What the logs hold already, in words; None where they hold nothing."""
    prompt, answered, again, seen = first_prompt(library, config.follows), 0, 0, 0
    for drive, numbers in zip(drives, wanted, strict=True):
        if (log := logs.answers_of(drive)).is_file():
            keys = {row["id"] for row in read_jsonl(log, torn=True)}
            firsts = {key_of(drive, n, prompt) for n in numbers} & keys
            frames = {key.partition("?")[0] for key in firsts}
            answered += len(firsts)
            if config.prompts == "dynamic":
                again += len({key.partition("?")[0] for key in keys - firsts} & frames)
        if (log := logs.boxes_of(drive)).is_file():
            seen += len({row["frame"] for row in read_jsonl(log, torn=True)} & set(numbers))
    if not answered and not seen:
        return None
    more = f", {again:,} of them a second time" if again else ""
    more += f", and detectors had looked at {seen:,}" if seen else ""
    return f"{answered:,} of {sum(map(len, wanted)):,} frames were answered before{more}: going on"


def hear(
    config: MineConfig, drive: Drive, numbers: Sequence[int], teacher: Answerer, experts: Sequence[Expert],
    library: Library, logs: Logs, doubt: Doubt | None = None, again: bool = False,
) -> Heard:  # fmt: skip
    """Detects, then asks, what the logs do not hold yet. again: it was heard in this run; else what a server refused
    before is asked once more. Raises UserError as ``doubt`` does."""
    told: list[list[Said]] = []
    if experts:
        told = look(experts, drive, numbers, config.fusion.corridor, logs.boxes_of(drive))
    boxes = [merged(box for one in frame for found in one.boxes.values() for box in found) for frame in told]
    log = AnswerLog(logs.answers_of(drive), doubt, refused=again)
    asked, selector = ask_drive(
        teacher, drive, numbers, library, config.follows, config.asked_at_once, log, boxes
    )
    return Heard(asked, told, selector)


def look(
    experts: Sequence[Expert],
    drive: Drive,
    numbers: Sequence[int],
    corridor: Corridor,
    log: Path,
) -> list[list[Said]]:
    """What each detector says of each frame; frames are seen at the drive's full resolution."""
    done: dict[int, list[Said]] = {}
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.is_file():
        done = {
            row["frame"]: [Said.from_json(one) for one in row["said"]] for row in read_jsonl(log, torn=True)
        }
    left = [n for n in numbers if n not in done]
    if not left:
        return [done[n] for n in numbers]
    with bar(f"detecting in {drive.id}", total=len(numbers), unit="frame") as shown:
        shown.update(len(numbers) - len(left))
        for number, image in zip(left, pictures(drive, left), strict=True):
            try:
                done[number] = [
                    said(e.detect([image])[0], image, e.sees, by=e.name, corridor=corridor) for e in experts
                ]
            except UserError as error:
                raise UserError(
                    f"drive {drive.id}, frame {number}: {error.what}", error.why, error.do
                ) from None
            append_jsonl(log, {"frame": number, "said": [one.to_json() for one in done[number]]})
            shown.update(1)
    return [done[n] for n in numbers]


def never_found(
    config: MineConfig, experts: Sequence[Expert], every: Sequence[tuple[Drive, Sequence[int]]], logs: Logs
) -> list[str]:
    """In words, which things a detector says that it sees and found in none of the frames: it may name them by
    another column than the recipe says. Read from the logs."""
    frames, found = 0, [set() for _ in experts]
    for drive, numbers in every if experts else ():
        frames += len(numbers)
        for told in look(experts, drive, numbers, config.fusion.corridor, logs.boxes_of(drive)):
            for names, one in zip(found, told, strict=True):
                names.update(one.found)
    lacks = [", no ".join(sorted(e.sees - names)) for e, names in zip(experts, found, strict=True)]
    return [
        f"detector {e.name}: found no {things} in {frames} frames"
        for e, things in zip(experts, lacks, strict=True)
        if frames and things
    ]
