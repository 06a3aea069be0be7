"""The paper's table: models as rows, its metrics and the costs as columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError
from edgekit.core.files import read_json
from edgekit.dataset.score import DETECTED

HEAD = (
    "model", "sMAPE", "R²", "light P", "R", "F1", "obst. P", "R", "F1", "cross. P", "R", "F1",
    "Average", "answers/s", "peak MB", "disk MB",
)  # fmt: skip


def read_evaluation(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(metrics, timing) of an evaluate run's directory. Raises UserError where it is none."""
    out = run / "out" if (run / "out").is_dir() else run
    if not (out / "metrics.json").is_file():
        raise UserError(f"{run}: not an evaluation", "it has no metrics.json", "name a run of evaluate")
    metrics = read_json(out / "metrics.json")
    if metrics.get("kind") == "images":
        raise UserError(
            f"{run}: an evaluation of pictures",
            "it has no scores of a model",
            "name an evaluation of a model",
        )
    cost = read_json(out / "timing.json") if (out / "timing.json").is_file() else {}
    return metrics, cost


def line(name: str, metrics: dict[str, Any], cost: dict[str, Any]) -> list[str]:
    """One model's cells, in the order of HEAD."""
    m = metrics["overall"]
    cells = [name, f"{m['speed/smape']:.3f}", f"{m['speed/r2']:.3f}"]
    cells += [f"{m[f'{task}/{k}']:.3f}" for task in DETECTED for k in ("precision", "recall", "f1")]
    cells.append(f"{m['average']:.3f}")
    for key, digits in (("answers_per_s", 1), ("peak_memory_mb", 0), ("disk_mb", 1)):
        value = cost.get(key)
        cells.append("–" if value is None else f"{value:.{digits}f}")
    return cells


def table(rows: Sequence[tuple[str, Path]], note: str = "") -> str:
    """A markdown table of evaluate runs (name, directory), headed by ``note`` ("1 seed, no claim")."""
    lines = [list(HEAD)] + [line(name, *read_evaluation(run)) for name, run in rows]
    widths = [max(len(cells[i]) for cells in lines) for i in range(len(HEAD))]

    def text(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest)]) + " |"

    rule = "|" + "|".join([":" + "-" * (widths[0] + 1), *("-" * (w + 1) + ":" for w in widths[1:])]) + "|"
    head = [note, ""] if note else []
    return "\n".join([*head, text(lines[0]), rule, *(text(cells) for cells in lines[1:])]) + "\n"
