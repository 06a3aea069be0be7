"""Two models on the same frames: a paired bootstrap over scenes of the difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl
from edgekit.core.label import TASKS, UNKNOWN, SceneLabel
from edgekit.dataset.bootstrap import RESAMPLES, interval, resample
from edgekit.dataset.score import counts, median_kmh, score

NAMES = ("average", "light/f1", "obstacles/f1", "crossroad/f1", "speed/smape", "speed/r2")


def compare(
    first: Path,
    second: Path,
    resamples: int = RESAMPLES,
    seed: int = 0,
    train_median_kmh: float | None = None,
) -> dict[str, Any]:
    """second − first of two predictions.jsonl: per metric {first, second, difference, interval}.

    The same scenes are drawn for both, so what both find hard cancels out. An interval that does not
    hold 0 tells the two apart at 95 %; None for fewer than two scenes. Raises UserError where the
    files hold other frames.
    """
    a, b = ({row["id"]: row for row in read_jsonl(path)} for path in (first, second))
    if set(a) != set(b):
        raise UserError(
            f"compare {first} and {second}: they hold other frames",
            f"{len(set(a) - set(b))} only in the first, {len(set(b) - set(a))} only in the second",
            "evaluate both models on one Dataset and split",
        )
    ids = sorted(a)
    changed = [i for i in ids if a[i]["truth"] != b[i]["truth"]]
    if changed:
        raise UserError(
            f"compare {first} and {second}: the truths differ", f"{len(changed)} frames, first {changed[0]}",
            "evaluate both models on one Dataset",
        )  # fmt: skip
    truths = [SceneLabel(**a[i]["truth"]) for i in ids]
    masks = {task: [a[i]["counted"][task] for i in ids] for task in TASKS}
    scenes = [a[i]["scene"] for i in ids]
    median = median_kmh(truths) if train_median_kmh is None else train_median_kmh
    values, drawn = [], []
    for rows in (a, b):
        said = [SceneLabel(**rows[i]["label"]) if rows[i]["label"] else UNKNOWN for i in ids]
        values.append(score(truths, masks, said, median))
        drawn.append(resample(counts(truths, masks, said, median), scenes, resamples, seed))
    several = len(set(scenes)) > 1
    return {
        "frames": len(ids),
        "scenes": len(set(scenes)),
        **{
            name: {
                "first": round(values[0][name], 6),
                "second": round(values[1][name], 6),
                "difference": round(values[1][name] - values[0][name], 6),
                "interval": interval(drawn[1][name] - drawn[0][name]) if several else None,
            }
            for name in NAMES
        },
    }
