"""Gates: stated beforehand, checked after the report is written."""

from __future__ import annotations

from typing import Any

from edgekit.core.errors import GateError
from edgekit.core.label import TASKS
from edgekit.dataset.score import DETECTED
from edgekit.evaluate.config import Gate


def missed(gate: Gate, metrics: dict[str, Any]) -> list[str]:
    """Every gate that ``metrics`` (of metrics.json) does not meet, in words."""
    overall, out = metrics["overall"], []
    wanted = [(f"{task}/f1", gate.f1) for task in DETECTED]
    wanted += [("average", gate.average), ("speed/r2", gate.speed_r2)]
    for name, least in wanted:
        if least is not None and overall[name] < least:
            out.append(f"{name} {overall[name]:.3f} < {least:g}")
    for kind in ("blank", "shuffled") if gate.wants_controls else ():
        control = (metrics["controls"] or {}).get(kind)
        if control is None:
            out.append(f"{kind}: no control could be made")
            continue
        for task in TASKS:
            without, chance = control[f"{task}/balanced"], control[f"{task}/chance"]
            if gate.control_margin is not None and without - chance > gate.control_margin:
                out.append(f"{kind} {task}: {without - chance:.3f} above chance > {gate.control_margin:g}")
            seen = overall[f"{task}/balanced"] - without
            if gate.sight is not None and seen < gate.sight:
                out.append(f"{kind} {task}: true images are {seen:.3f} better < {gate.sight:g}")
    return out


def check(gate: Gate, metrics: dict[str, Any], report: str) -> None:
    """Raises GateError naming every missed gate."""
    wrong = missed(gate, metrics)
    if wrong:
        raise GateError(f"evaluate: {len(wrong)} gate(s) not met", "; ".join(wrong), f"look into {report}")
