"""Fusing a label with what experts say (driving-mllm section 3.2.1, step 4): a pure function of one frame.

Agree: kept, with the two probabilities combined. Disagree: the more probable value where the margin is clear, else a
person decides and the label stays. Probabilities are calibrated (reliability.py), and the voices are taken to err
apart from one another (naive Bayes), as a VLM and a detector mostly do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edgekit.core.label import TASKS, SceneLabel, coherent
from edgekit.dataset.score import state
from edgekit.mine.experts.reliability import Reliability
from edgekit.mine.experts.see import Said

MARGIN = 0.2


@dataclass(frozen=True)
class Fused:
    """A frame after fusion; ``status`` (kept, changed, review) and ``history`` for each task."""

    label: SceneLabel
    confidence: dict[str, float]
    status: dict[str, str]
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class Verdict(NamedTuple):
    """One slot's: its value, the probability that it is right, and what was done."""

    value: str
    probability: float
    status: str


def together(p: float, q: float) -> float:
    """Probability of a value that two voices give: both right against both wrong in the same way."""
    return p * q / (p * q + (1 - p) * (1 - q))


def against(p: float, q: float) -> tuple[float, float]:
    """Probabilities of the first and the second of two different values; what is left is that neither is right."""
    first, second, neither = p * (1 - q), q * (1 - p), (1 - p) * (1 - q)
    whole = first + second + neither
    return first / whole, second / whole


def settle(value: str, p: float, other: str, q: float, margin: float = MARGIN) -> Verdict:
    """A label's ``value`` (probability p) and an expert's ``other`` (q); all in (0, 1)."""
    if value == other:
        return Verdict(value, max(p, together(p, q)), "kept")
    if value == "unknown":  # an abstention is filled by whoever is clearly more right than wrong
        return Verdict(other, q, "changed") if 2 * q - 1 > margin else Verdict(value, p, "kept")
    mine, theirs = against(p, q)
    if theirs - mine > margin:
        return Verdict(other, theirs, "changed")
    return Verdict(value, mine, "kept" if mine - theirs > margin else "review")


def settle_denied(value: str, p: float, q: float, margin: float = MARGIN) -> Verdict:
    """A label's ``value`` (p) that an expert did not see (q): never replaced, only doubted."""
    stays = together(p, 1 - q)
    return Verdict(value, stays, "kept" if 2 * stays - 1 > -margin else "review")


def fuse(
    label: SceneLabel,
    confidence: Mapping[str, float],
    said: Said | Sequence[Said],
    reliability: Reliability | None = None,
    tags: Sequence[str] = (),
    *,
    voice: str = "vlm",
    margin: float = MARGIN,
) -> Fused:
    """``label`` with its ``confidence`` per task and what one expert or several said of the frame, in order.

    voice: whose the label is in ``reliability`` (None: nobody is measured, so nobody is overruled). A task that nobody
    speaks about comes back as it is, without history. A task is as sure as its least sure slot that was spoken of,
    and agreement alone never makes it less sure than it was.
    """
    reliability = reliability or Reliability()
    opinions = [said] if isinstance(said, Said) else list(said)
    values, sure = label.model_dump(), {task: float(confidence.get(task, 1.0)) for task in TASKS}
    status, steps = dict.fromkeys(TASKS, "kept"), {}
    for task in TASKS:
        spoken = [one for one in opinions if task in one.tasks()]
        if not spoken:
            continue
        first = reliability.probability(voice, task, tags, sure[task], state(label, task))
        verdicts, disputed = _verdicts(label, task, first, spoken, reliability, tags, margin)
        if verdicts:
            least = min(verdict.probability for verdict in verdicts.values())
            sure[task] = least if disputed else max(sure[task], least)
            status[task] = max((verdict.status for verdict in verdicts.values()), key=_ORDER.index)
        values |= {slot: verdict.value for slot, verdict in verdicts.items()}
        steps[task] = [_told(one, task, reliability, tags) for one in spoken]
    fused = coherent(values)
    last = {
        task: {
            "step": "fused", "value": state(fused, task), "slots": {s: getattr(fused, s) for s in TASKS[task]},
            "confidence": round(sure[task], 3), "status": status[task],
        }
        for task in steps
    }  # fmt: skip
    return Fused(fused, sure, status, {task: [*told, last[task]] for task, told in steps.items()})


def _verdicts(
    label: SceneLabel, task: str, first: float, spoken: Sequence[Said], reliability: Reliability,
    tags: Sequence[str], margin: float,
) -> tuple[dict[str, Verdict], bool]:  # fmt: skip
    """Verdicts of the task's slots that were spoken of, and whether anybody changed or doubted one.

    A dispute stays one, whoever agrees later; a change that is taken back is none.
    """
    verdicts: dict[str, Verdict] = {}
    disputed = False
    for one in spoken:
        for slot in TASKS[task]:
            was = verdicts.get(slot, Verdict(getattr(label, slot), first, "kept"))
            now = _heard(was, slot, task, one, reliability, tags, margin)
            if now is None:
                continue
            disputed |= now.value != was.value or now.probability < was.probability
            verdicts[slot] = now._replace(status=max(was.status, now.status, key=_ORDER.index))
    for slot, verdict in verdicts.items():
        if verdict.status == "changed" and verdict.value == getattr(label, slot):
            verdicts[slot] = verdict._replace(status="kept")
    return verdicts, disputed


_ORDER = ("kept", "changed", "review")


def _heard(
    was: Verdict,
    slot: str,
    task: str,
    one: Said,
    reliability: Reliability,
    tags: Sequence[str],
    margin: float,
) -> Verdict | None:
    """The slot's verdict after this expert; None where it says nothing of it, or not enough to fill what is open."""
    if slot in one.opinions:
        value, raw = one.opinions[slot]
        q = reliability.probability(one.by, task, tags, raw, value)
        now = settle(was.value, was.probability, value, q, margin)
        return None if now.value == "unknown" else now
    if was.value in one.denied.get(slot, {}):
        q = reliability.probability(one.by, task, tags, one.denied[slot][was.value], f"not {was.value}")
        return settle_denied(was.value, was.probability, q, margin)
    return None


def _told(one: Said, task: str, reliability: Reliability, tags: Sequence[str]) -> dict[str, Any]:
    """The expert's step of the history: what it said in its own words, and how probable that is."""
    slots = {slot: one.opinions[slot] for slot in TASKS[task] if slot in one.opinions}
    denied = {slot: sorted(one.denied[slot]) for slot in TASKS[task] if slot in one.denied}
    sure = [reliability.probability(one.by, task, tags, raw, value) for value, raw in slots.values()]
    step = {
        "step": "expert", "value": ", ".join(value for value, _ in slots.values()) or "nothing",
        "slots": {slot: value for slot, (value, _) in slots.items()},
        "confidence": round(min(sure), 3) if sure else 0.0,
        "by": one.by,
        "boxes": [[b.name, *(round(v, 1) for v in b[1:5]), round(b.score, 3)] for b in one.boxes.get(task, [])],
    }  # fmt: skip
    return step | ({"denied": denied} if denied else {})
