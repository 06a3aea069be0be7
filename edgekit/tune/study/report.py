"""The table of a study: means over seeds with intervals, and differences to the control, paired by seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import t as student

from edgekit.core.run import Run
from edgekit.tune.study.config import Arms

SCHEMA = "edgekit/study/1"
# column: (what the table says, digits, whether less is better; None: no verdict)
COLUMNS: dict[str, tuple[str, int, bool | None]] = {
    "parameters": ("trained", 0, None),
    "loss": ("error", 5, True),
    "loss_in_boxes": ("error in boxes", 4, True),
    "loss_outside": ("error outside", 4, True),
    "loss_on_source": ("error on source", 5, True),
    "frechet": ("Fréchet †", 3, True),
    "kid": ("kernel †", 4, True),
    "precision": ("precision †", 3, False),
    "recall": ("recall †", 3, False),
    "right_style": ("right style †", 3, False),
    "right_view": ("right view †", 3, False),
    "right_weather": ("right weather †", 3, False),
    "right_time": ("right time †", 3, False),
    "others_style": ("others' style †", 3, False),
    "others_view": ("others' view †", 3, False),
    "label_miou": ("label maps' mIoU", 3, False),
    "segmenter_with": ("segmenter's mIoU", 3, False),
    "own_expert_best": ("own expert best", 2, None),
    "own_against_others": ("own / others' error", 3, None),
}
_VERDICTS = ("loss", "frechet")  # columns whose difference to the control is spelt out
_STAND_IN = (
    "† in the features of a small classifier of these scenes, a stand-in for Inception: these numbers order the "
    "arms of this table and mean nothing beside published ones."
)


def spread(values: list[float]) -> tuple[float, float | None]:
    """(mean, half of its 95 % interval) over seeds, by Student's t; no interval from one seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return mean, float(half)


def verdict(difference: float, half: float | None, less_is_better: bool) -> str:
    """What may be said of "arm − control"; nothing from fewer than three seeds (their half is None then)."""
    if half is None or abs(difference) <= half:
        return "no difference shown"
    return "better" if (difference < 0) == less_is_better else "worse"


def report(study: Arms, results: list[dict[str, Any]], run: Run) -> dict[str, Any]:
    """study.json: the results, a summary for each base and target, and ``text``, its markdown."""
    tables, text = [], [f"# {study.question}", ""]
    for on in study.on:
        for target in study.targets:
            rows = [r for r in results if (r["base"], r["target"]) == (on, target)]
            table = _table(study, rows)
            tables.append({"base": on, "target": target, **table})
            text += [f"## {on}, {target}", "", *_markdown(study, table), ""]
            if sticks := next(
                (r["measured"]["yardsticks"] for r in rows if "yardsticks" in r.get("measured", {})), None
            ):
                text += [
                    "Beside them: " + ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in sticks.items()),
                    "",
                ]
    seeds = f"{len(study.seeds)} seeds: mean ± half of the 95 % interval (Student's t); differences are paired by seed."
    seeds += (
        " They cover the training's chance, not the choice of the held-out pictures, which all arms share."
    )
    text += [seeds if len(study.seeds) > 2 else f"{len(study.seeds)} seed(s): no claim.", "", _STAND_IN, ""]
    text += [f"Note: {note}" for note in sorted(set(run.notes))]
    text += ["", "Nano ordering on a toy world; no evidence about full-size models.", ""]
    return {
        "schema": SCHEMA, "question": study.question, "tables": tables, "results": results, "text": "\n".join(text)
    }  # fmt: skip


def _table(study: Arms, rows: list[dict[str, Any]]) -> dict[str, Any]:
    control, *_ = study.arms
    numbers = {
        arm: [r["measured"]["numbers"] for r in rows if r["arm"] == arm and "measured" in r]
        for arm in study.arms
    }
    reasons = {r["arm"]: r["not_applicable"] for r in rows if "not_applicable" in r}
    measured = {key for seeds in numbers.values() for one in seeds for key in one}
    columns = [key for key in COLUMNS if key in measured and (not study.columns or key in study.columns)]
    arms = {}
    for arm, seeds in numbers.items():
        if arm in reasons:
            arms[arm] = {"not_applicable": reasons[arm]}
            continue
        told: dict[str, Any] = {"mean": {}, "half": {}, "against_control": {}}
        for key in columns:
            values = [one[key] for one in seeds if key in one]
            if not values:
                continue
            told["mean"][key], told["half"][key] = spread(values)
            if arm != control and key in _VERDICTS and numbers[control]:
                paired = [one[key] - other[key] for one, other in zip(seeds, numbers[control], strict=True)]
                mean, half = spread(paired)
                said = verdict(mean, half if len(paired) > 2 else None, COLUMNS[key][2])
                told["against_control"][key] = {"difference": mean, "half": half, "verdict": said}
        arms[arm] = told
    return {"control": control, "columns": columns, "arms": arms}


def _markdown(study: Arms, table: dict[str, Any]) -> list[str]:
    columns = table["columns"]
    shown = [key for key in _VERDICTS if key in columns]
    head = [
        "arm",
        *(COLUMNS[key][0] for key in columns),
        *(f"{COLUMNS[k][0]}, − {table['control']}" for k in shown),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for arm, told in table["arms"].items():
        if "not_applicable" in told:
            lines.append(f"| {arm} | n/a: {told['not_applicable']} |" + " |" * (len(head) - 2))
            continue
        cells = [_number(told["mean"].get(key), told["half"].get(key), key) for key in columns]
        for key in shown:
            if arm == table["control"]:
                cells.append("control")
                continue
            gap = told["against_control"][key]
            cells.append(f"{_signed(gap['difference'], gap['half'], key)} {gap['verdict']}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def _number(mean: float | None, half: float | None, key: str) -> str:
    if mean is None:
        return "—"
    digits = COLUMNS[key][1]
    if key == "parameters":
        return f"{mean:,.0f}"
    return f"{mean:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def _signed(mean: float, half: float | None, key: str) -> str:
    digits = COLUMNS[key][1]
    return f"{mean:+.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")
