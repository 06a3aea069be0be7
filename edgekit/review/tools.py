"""What all annotation tools share here: which rows go out, and what of what comes back is an answer."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from edgekit.core.errors import UserError
from edgekit.core.files import inside
from edgekit.core.label import SLOTS, TASK_OF, TASKS
from edgekit.dataset import Sample
from edgekit.dataset.queue import Entry
from edgekit.review.human import Correction, check_slots, now
from edgekit.review.queue import Review

MOST_BYTES = 512_000_000  # of a file that is taken in


class Back(NamedTuple):
    """A row as it came back. slots: those that the file tells; seen: a person marked it as looked at;
    exported: the slots as they went out, those that the file still tells."""

    id: str
    slots: dict[str, str]
    seen: bool
    exported: dict[str, str]


class Taken(NamedTuple):
    """stood: (row, task) that was accepted as exported, and that a person has answered otherwise elsewhere."""

    corrections: list[Correction]
    stood: list[tuple[str, str]]


def tool(name: str) -> ModuleType:
    """edgekit.review.<name>: ``export(rows, review, out)`` and ``read(file, review) -> list[Back]``."""
    return importlib.import_module(f"edgekit.review.{name}")


def asked_rows(review: Review, everything: bool) -> list[Sample]:
    """The rows with a question, by image name (CVAT numbers frames so); or all of them."""
    wanted = set(review.rows) if everything else {entry.id for entry in review.entries}
    return sorted((review.rows[i] for i in wanted), key=lambda row: row.images[0])


def questions_of(review: Review) -> dict[str, list[Entry]]:
    """Row id → what the queue asks about it."""
    out: dict[str, list[Entry]] = {}
    for entry in review.entries:
        out.setdefault(entry.id, []).append(entry)
    return out


def slots_now(review: Review, row: Sample) -> dict[str, str]:
    """All slots as they stand: a person's answer where there is one, else the label."""
    return {slot: value for task in TASKS for slot, value in review.slots(row.id, task).items()}


def copy_images(rows: Iterable[Sample], review: Review, folder: Path) -> dict[str, str]:
    """Row id → its image's path below ``folder``; images/a/b.jpg becomes a/b.jpg there."""
    names = {}
    for row in rows:
        name = name_of(row)
        target = inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(review.data.image_path(row), target)
        names[row.id] = name
    return names


def name_of(row: Sample) -> str:
    return row.images[0].removeprefix("images/")


def new_folder(out: Path) -> Path:
    """``out``, made. Raises UserError where it holds something."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        held = (
            f"{sum(1 for _ in out.iterdir())} files and folders stand in it"
            if out.is_dir()
            else "it is a file"
        )
        raise UserError(f"edgekit review: --out {out} holds something already", held, "name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


def read_bounded(path: Path) -> bytes:
    """A file from outside. Raises UserError where there is none, or it is too large."""
    if not path.is_file():
        raise UserError(f"edgekit review: no file {path}", "nothing is there", "name the tool's export")
    if path.stat().st_size > MOST_BYTES:
        size = f"{path.stat().st_size / 1e6:.0f} MB, and at most {MOST_BYTES / 1e6:.0f} are read"
        raise UserError(f"edgekit review: {path} is too large", size, "export fewer frames at a time")
    return path.read_bytes()


def not_ours(path: Path, why: str) -> UserError:
    return UserError(f"edgekit review: {path} cannot be taken in", why, "export it from the tool again")


def corrections_of(review: Review, back: Iterable[Back], by: str) -> Taken:
    """A task is answered where its slots came back other than they went out, or where a person marked the row
    as seen, the queue asks about that task, and nobody has answered it. A slot that the file leaves out stays as
    it went out.

    What came back as it went out says nothing against an answer that a person gave elsewhere: that stands.
    Where the file does not tell what went out, the row's own label is taken for it. A file that is taken in
    twice is taken in once, also where another answer was given between. Raises UserError for words that no
    label can say, with the row.
    """
    asked = {(entry.id, entry.task) for entry in review.entries}
    out, stood, t = [], [], now()
    for row in back:
        if row.id not in review.rows:
            raise UserError(
                f"edgekit review: row {row.id!r} is not in this Dataset",
                "the file is of another",
                "check both",
            )
        for task, names in TASKS.items():
            label = review.rows[row.id].label
            before = {slot: row.exported.get(slot, getattr(label, slot)) for slot in names}
            after = before | {slot: row.slots[slot] for slot in names if slot in row.slots}
            given = review.answers.all_of(row.id, task)
            if after == before:
                if not row.seen or (row.id, task) not in asked:
                    continue
                if given:
                    if given[-1].slots != after:
                        stood.append((row.id, task))
                    continue
            # An answer of before counts again only where the export already showed the one that followed it.
            newer = before != review.slots(row.id, task)
            if given and after in [c.slots for c in (given if newer else given[-1:])]:
                continue
            try:
                out.append(Correction(row.id, task, check_slots(task, after), by, t))
            except ValueError as error:
                raise UserError(
                    f"edgekit review: row {row.id}, {task}: not a label", str(error),
                    "mend it in the tool, export again, and import once more: nothing was taken in",
                ) from None  # fmt: skip
    return Taken(out, stood)


def as_exported(slots: Mapping[str, str]) -> str:
    """The slots as they go out, in one hidden text that the tool carries through unchanged."""
    return json.dumps(slots, separators=(",", ":"))


def exported(text: object) -> dict[str, str]:
    """What ``as_exported`` wrote; nothing where the tool left it out. Raises ValueError where it was edited."""
    try:
        slots = json.loads(str(text)) if text else {}
        if isinstance(slots, dict) and all(value in SLOTS.get(slot, ()) for slot, value in slots.items()):
            return slots
    except (ValueError, RecursionError):
        pass
    raise ValueError(f"what it says of the slots as they were exported was edited: {str(text)[:60]!r}")


def words_of(slots: dict[str, object]) -> dict[str, str]:
    """The slots among a file's fields, as words; what is no slot of ours is another's and left alone."""
    return {slot: str(value) for slot, value in slots.items() if slot in SLOTS and slot in TASK_OF}
