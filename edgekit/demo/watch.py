"""watch.html: the annotated video with its advice beside it; opens from the disk, needs nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.core.files import write_text

_PAGE = Path(__file__).with_name("watch.html")
_KEEP = ("t_s", "level", "text", "state", "valid_until_s")


def write_watch(folder: Path, drive: str, rows: list[dict], timing: dict) -> None:
    """Writes ``folder/watch.html`` beside annotated.mp4. rows: of advice.jsonl."""
    told = [{key: row[key] for key in _KEEP} for row in rows if "skipped" not in row]
    data = json.dumps({"drive": drive, "rows": told, "timing": timing}, ensure_ascii=True)
    # Inside a script element only "<" could end it early.
    write_text(folder / "watch.html", _PAGE.read_text().replace("{{data}}", data.replace("<", "\\u003c")))
