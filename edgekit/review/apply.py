"""A new Dataset in which the person's answers stand: they win over every other source."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgekit.core.alone import alone
from edgekit.core.errors import UserError
from edgekit.core.files import inside, read_json
from edgekit.core.label import TASKS, SceneLabel
from edgekit.dataset import Dataset, DatasetWriter, Sample, TaskMark
from edgekit.dataset.sample import SPLITS, messages
from edgekit.dataset.score import state
from edgekit.review.human import Correction

# What the writer says anew of every Dataset.
_WRITTEN = ("schema", "edgekit", "contract", "contract_sha256", "counts", "vocabulary")
_MARK = ".applying"  # a folder in ``out`` for as long as it is not whole; holds the lock of who writes it


class Applied(NamedTuple):
    """How many tasks were answered, and of these changed a label or are dropped; ids that the Dataset does not
    hold."""

    rows: int
    answered: int
    changed: int
    dropped: int
    unknown: list[str]


def corrected(row: Sample, answers: Mapping[str, Correction]) -> Sample:
    """The row with a person's answers (task → Correction with slots) in place; doing it twice changes nothing.

    An answered task has source ``human``, confidence 1, status ``changed`` or ``kept``, and a step ``human``.
    Where the person could not tell any of its slots either, it is ``dropped``, as mining drops such a task: it
    is neither learned from nor scored.
    """
    label, tasks = row.label, dict(row.tasks)
    for task, answer in answers.items():
        before = {slot: getattr(label, slot) for slot in TASKS[task]}
        mark = row.tasks[task]
        if mark.source == "human" and before == answer.slots:
            continue
        label = SceneLabel(**label.model_dump() | answer.slots)
        step: dict[str, Any] = {
            "step": "human", "value": state(label, task), "slots": dict(answer.slots), "confidence": 1.0,
            "by": answer.by, "t": answer.t,
        }  # fmt: skip
        told = any(value != "unknown" for value in answer.slots.values())
        status = "dropped" if not told else "kept" if before == answer.slots else "changed"
        tasks[task] = TaskMark(source="human", confidence=1.0, status=status, history=[*mark.history, step])
    if tasks == row.tasks:
        return row
    said = messages(row.user_text, label)
    # What stands before the answer stays, word for word; the answer is the last message.
    return row.model_copy(update={"label": label, "tasks": tasks, "messages": [*row.messages[:-1], said[-1]]})


def apply(data: Dataset, corrections: Iterable[Correction], out: Path, **facts: object) -> Applied:
    """Writes ``out``: all rows and images of ``data``, the answered tasks as the person said.

    corrections: in the order they were given; the last one of a question counts. facts: for info.json, beside
    what the old one said (``parents``: the digest of what was corrected). Raises UserError where ``out`` holds
    something else, or where no correction is of this Dataset. The same work once more leaves the same bytes; what
    a kill cut short (``out`` holds ``.applying``, and no info.json) is begun anew.
    """
    given: dict[str, dict[str, Correction]] = {}
    for correction in corrections:
        if correction.slots is not None:
            given.setdefault(correction.id, {})[correction.task] = correction
    if not _free(out, facts):
        raise UserError(
            f"edgekit review: --out {out} holds something already",
            "a Dataset is written as a whole",
            "name a new folder, or move that one aside",
        )
    rows = {split: data.rows(split) for split in SPLITS}
    held = {row.id for own in rows.values() for row in own}
    unknown = sorted(set(given) - held)
    if given and len(unknown) == len(given):
        raise UserError(
            "edgekit review: no answer is of this Dataset",
            f"{len(unknown)} rows were answered, {unknown[0]} the first; it holds {len(held)} others",
            "name the Dataset that was reviewed",
        )
    kept_facts = {key: value for key, value in data.info.items() if key not in _WRITTEN}
    mark = out / _MARK
    mark.mkdir(parents=True, exist_ok=True)
    with alone(mark):
        if not (out / "info.json").is_file():
            _clear(out)
        writer, answered, changed, dropped = DatasetWriter(out, data.contract, **kept_facts | facts), 0, 0, 0
        for split, own in rows.items():
            for row in own:
                for relative in row.images:
                    _copy(data.root, relative, out)
                made = corrected(row, given.get(row.id, {}))
                for task in given.get(row.id, {}):
                    answered += 1
                    changed += any(getattr(made.label, s) != getattr(row.label, s) for s in TASKS[task])
                    dropped += made.tasks[task].status == "dropped"
                writer.add(split, made)
        writer.finish()
        shutil.rmtree(mark)
    return Applied(len(held), answered, changed, dropped, unknown)


def _clear(out: Path) -> None:
    """Takes away what an apply that was killed has left; other things in ``out`` stay."""
    if (out / "images").exists():
        shutil.rmtree(out / "images")
    for name in (".rows.part", *(f"{split}.jsonl" for split in SPLITS)):
        (out / name).unlink(missing_ok=True)


def _free(out: Path, facts: Mapping[str, object]) -> bool:
    """Whether ``out`` may be written: not there, empty, begun by an apply that was killed, or the same work
    done before (the facts tell)."""
    if not out.exists():
        return True
    if not out.is_dir():
        return False
    if not (out / "info.json").is_file():
        return (out / _MARK).is_dir() or not any(out.iterdir())
    info = read_json(out / "info.json")
    return bool(facts) and isinstance(info, dict) and all(info.get(k) == v for k, v in facts.items())


def _copy(root: Path, relative: str, out: Path) -> None:
    try:
        source, target = inside(root, relative), inside(out, relative)
    except ValueError as error:
        raise UserError(f"image path refused: {relative}", str(error), "keep images inside") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")  # a kill leaves the image whole or absent
    shutil.copyfile(source, part)
    os.replace(part, target)
