"""Label Studio: tasks with predictions out, annotations in (labelstud.io, "task format" and "predictions").

The folder holds tasks.json (import it), labelling.xml (paste it as the project's labelling interface) and
images/. Images are given as local files: start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to this folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from edgekit.core.files import write_json, write_text
from edgekit.core.label import SLOTS, TASKS
from edgekit.dataset import Sample
from edgekit.review.queue import Review
from edgekit.review.tools import (
    Back,
    as_exported,
    copy_images,
    exported,
    new_folder,
    not_ours,
    questions_of,
    read_bounded,
    slots_now,
    words_of,
)

IMAGE = "picture"
EXPORTED = "edgekit_exported"  # in a task's data, which Label Studio hands back as it came


def export(rows: Sequence[Sample], review: Review, out: Path) -> None:
    """Writes ``out``: tasks.json, labelling.xml, images/. Each slot is a choice, predicted as it stands."""
    new_folder(out)
    names = copy_images(rows, review, out / "images")
    asked = questions_of(review)
    tasks = []
    for row in rows:
        slots = slots_now(review, row)
        result = [
            {"id": f"{n}", "from_name": slot, "to_name": IMAGE, "type": "choices", "value": {"choices": [slots[slot]]}}
            for n, slot in enumerate(SLOTS)
        ]  # fmt: skip
        data = {
            "image": f"/data/local-files/?d={quote('images/' + names[row.id])}", "edgekit_id": row.id,
            "asked": "; ".join(f"{entry.task}: {entry.why}" for entry in asked.get(row.id, []))
            or "nothing is asked of this frame",
            EXPORTED: as_exported(slots),
        }  # fmt: skip
        score = min((mark.confidence for mark in row.tasks.values()), default=1.0)
        prediction = {"model_version": row.teacher or "edgekit", "score": score, "result": result}
        tasks.append({"data": data, "predictions": [prediction]})
    write_json(out / "tasks.json", tasks)
    write_text(out / "labelling.xml", labelling())


def labelling() -> str:
    """The labelling interface: the picture, what is asked, and one choice a slot, grouped by task."""
    lines = ["<View>", f'  <Image name="{IMAGE}" value="$image"/>', '  <Text name="asked" value="$asked"/>']
    for task, slots in TASKS.items():
        lines.append(f"  <Header value={quoteattr(task)}/>")
        for slot in slots:
            layout = "select" if len(SLOTS[slot]) > 9 else "inline"
            lines += [
                f'  <Header size="5" value={quoteattr(slot.replace("_", " "))}/>',
                f'  <Choices name="{slot}" toName="{IMAGE}" choice="single" layout="{layout}">',
                *(f"    <Choice value={quoteattr(value)}/>" for value in SLOTS[slot]),
                "  </Choices>",
            ]
    return "\n".join([*lines, "</View>", ""])


def read(file: Path, review: Review) -> list[Back]:
    """The tasks of a JSON export that a person submitted; of several annotations the newest counts.

    A submitted task was looked at: what the queue asks of it is answered even where nothing changed. A
    cancelled (skipped) one is none. Raises UserError for what is no such file.
    """
    try:
        tasks = json.loads(read_bounded(file))
        if not isinstance(tasks, list):
            raise ValueError("its top is no list of tasks")
        return [back for task in tasks if (back := _back(task)) is not None]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise not_ours(file, f"{type(error).__name__}: {error}: want Label Studio's JSON export") from None


def _back(task: dict[str, Any]) -> Back | None:
    done = [a for a in task.get("annotations", []) if not a.get("was_cancelled")]
    if not done:
        return None
    newest = max(done, key=lambda a: str(a.get("updated_at") or a.get("created_at") or ""))
    fields = {
        part["from_name"]: part["value"]["choices"][0]
        for part in newest["result"]
        if part.get("type") == "choices" and part["value"].get("choices")
    }
    went_out = exported(task["data"].get(EXPORTED))
    return Back(str(task["data"]["edgekit_id"]), words_of(fields), seen=True, exported=went_out)
