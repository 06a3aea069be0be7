"""The true label beside the answer, for the live page: where the drive was rendered and knows it."""

from __future__ import annotations

from edgekit.core.label import TASKS
from edgekit.demo.advice import Shown
from edgekit.drives import FrameTruth


def beside(shown: Shown, truth: FrameTruth) -> dict:
    """{slot: {"answer", "truth", "wrong"}} of the frame on the page, in the label's order.

    truth is None where the camera cannot see it: evaluation leaves that out too. Nothing is wrong where
    no advice stands, or where the truth itself is unknown.
    """
    out = {}
    for task, slots in TASKS.items():
        for slot in slots:
            true = getattr(truth.label, slot) if truth.visible[task] else None
            answer = getattr(shown.label, slot)
            judged = shown.state != "none" and true not in (None, "unknown")
            out[slot] = {"answer": answer, "truth": true, "wrong": judged and answer != true}
    return out
