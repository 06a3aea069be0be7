"""What is reviewed: a Dataset's rows, its queue, and where the answers lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError
from edgekit.core.files import sha256_file
from edgekit.core.label import TASKS
from edgekit.core.run import open_input
from edgekit.dataset import Dataset, Sample, open_dataset
from edgekit.dataset.queue import Entry, around, in_order, read_queue
from edgekit.dataset.sample import SPLITS
from edgekit.dataset.score import state
from edgekit.review.human import NAME, Answers, Correction


class Review:
    """A Dataset opened for review. rows: by id, of all splits; entries: the questions, the most pressing first.

    An answer is about a picture, and says all slots of its task: it counts as long as its row's image is byte
    for byte the one that was looked at, whatever label a Dataset made anew gives the row. An answer about
    another picture, or one that does not tell which, is set aside (``answers.set_aside``): a Dataset made anew
    at the same place may give an old id to another frame. old_answers: those count too, by id alone.

    Raises UserError for what is no Dataset, and for a queue that asks about rows that it does not hold.
    """

    def __init__(self, what: str, old_answers: bool = False):
        given = open_input(what)
        self.what, self.digest = what, given.digest
        self.data: Dataset = open_dataset(given.out)
        self.rows: dict[str, Sample] = {r.id: r for split in SPLITS for r in self.data.rows(split)}
        queue = read_queue(self.data.root)
        self.made_here = queue is None
        self.entries = queue_of(list(self.rows.values())) if queue is None else queue
        lost = sorted({entry.id for entry in self.entries} - set(self.rows))
        if lost:
            raise UserError(
                f"{self.data.root}: its queue asks about rows that it does not hold",
                f"{len(lost)} of {len(self.entries)} entries, {lost[0]} the first",
                "run mine again, or copy the Dataset with its review.jsonl again",
            )
        self._pictures: dict[str, str] = {}
        self.answers = Answers(
            place_of_answers(what, self.data.root), None if old_answers else self.seen_here
        )

    def answer(self, corrections: Iterable[Correction]) -> None:
        """Appends the answers, with the digests of this Dataset and of the pictures that they are about.

        Raises ValueError for slots that no label can say, UserError for an image that cannot be read.
        """
        self.answers.add([c._replace(dataset=self.digest, image=self.picture(c.id)) for c in corrections])

    def picture(self, id: str) -> str:
        """sha256 of the row's image. Raises UserError where it cannot be read."""
        if id not in self._pictures:
            try:
                self._pictures[id] = sha256_file(self.data.image_path(self.rows[id]))
            except OSError as error:
                raise UserError(
                    f"row {id}: its image cannot be read",
                    error.strerror or str(error),
                    "copy the Dataset again",
                ) from None
        return self._pictures[id]

    def seen_here(self, told: Correction) -> bool:
        """Whether the answer is about the picture that its row has now."""
        if told.id not in self.rows:
            return True  # --apply names the rows that are not there
        try:
            return told.image == self.picture(told.id)
        except UserError:
            return False

    def slots(self, entry_id: str, task: str) -> dict[str, str]:
        """What the row says of a task now: the person's answer where there is one, else the label."""
        given = self.answers.newest(entry_id, task)
        label = self.rows[entry_id].label
        return given.slots if given else {slot: getattr(label, slot) for slot in TASKS[task]}

    def progress(self) -> dict[str, Any]:
        """total, done, and per entry whether it is answered."""
        done = [self.answers.newest(entry.id, entry.task) is not None for entry in self.entries]
        return {"total": len(done), "done": sum(done), "answered": done}


def queue_of(rows: Sequence[Sample]) -> list[Entry]:
    """The questions of a Dataset without a queue: every task that is marked ``review``, unsure ones first."""
    drives: dict[str | None, list[Sample]] = {}
    for row in sorted(rows, key=lambda row: (row.t_s, row.id)):
        drives.setdefault(row.drive or row.id, []).append(row)  # a row of no drive has no frames around it
    entries = []
    for own_drive in drives.values():
        times = [row.t_s for row in own_drive]
        for own, row in enumerate(own_drive):
            asked = [task for task in TASKS if row.tasks[task].status == "review"]
            strip = [own_drive[i].id for i in around(times, own)] if asked else []
            for task in asked:
                mark = row.tasks[task]
                entries.append(
                    Entry(id=row.id, task=task, why=why_of(mark.history), strip=strip, history=mark.history,
                          priority=round(1 - min(1.0, max(0.0, mark.confidence)), 6))
                )  # fmt: skip
    return in_order(entries)


def why_of(history: Sequence[dict[str, Any]]) -> str:
    """``vlm red, expert green``: what the steps said where they differ; else that nobody was sure."""
    told = {step["step"]: step["value"] for step in history if "value" in step and "step" in step}
    if len(set(told.values())) > 1:
        return ", ".join(f"{name} {value}" for name, value in told.items())
    return "marked for review"


def place_of_answers(what: str, root: Path) -> Path:
    """Where human.jsonl lies: in the run, outside its ``out`` (whose digest stays as it is); beside a Dataset
    that is no run; below runs/review for one that ships in the package."""
    if what.startswith("package:"):
        return Path("runs/review") / what.removeprefix("package:") / NAME
    root = root.resolve()
    if root.name == "out" and (root.parent / "manifest.json").is_file():
        return root.parent / "review" / NAME
    return root.with_name(f"{root.name}-review") / NAME


def history_of(row: Sample, task: str) -> list[dict[str, Any]]:
    """A task's steps as the page shows them; a row without any tells its label as its only step."""
    mark = row.tasks[task]
    if mark.history:
        return mark.history
    slots = {slot: getattr(row.label, slot) for slot in TASKS[task]}
    only = {"step": mark.source, "value": state(row.label, task), "slots": slots}
    return [only | {"confidence": mark.confidence}]
