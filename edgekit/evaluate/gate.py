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
    if gate.control_margin is not None:
        for kind in ("blank", "shuffled"):
            control = metrics["controls"][kind]
            if control is None:
                out.append(f"{kind}: no control could be made")
                continue
            for task in TASKS:
                above = control[f"{task}/balanced"] - control[f"{task}/chance"]
                if above > gate.control_margin:
                    out.append(f"{kind} {task}: {above:.3f} above chance > {gate.control_margin:g}")
    return out


def check(gate: Gate, metrics: dict[str, Any], report: str) -> None:
    """Raises GateError naming every missed gate."""
    wrong = missed(gate, metrics)
    if wrong:
        raise GateError(f"evaluate: {len(wrong)} gate(s) not met", "; ".join(wrong), f"look into {report}")
