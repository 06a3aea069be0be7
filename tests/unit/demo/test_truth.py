"""The live page's truth: beside the answer where the drive knows it, and nothing where it does not."""

import json

import pytest

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, TASKS, SceneLabel
from edgekit.demo.advice import Shown, advise
from edgekit.demo.truth import beside
from edgekit.demo.view import View
from edgekit.drives import FrameTruth
from tests.unit.demo.fakes import CLEAR, RED

ALL = dict.fromkeys(TASKS, True)


def wrong(seen: dict) -> set[str]:
    return {slot for slot, row in seen.items() if row["wrong"]}


def test_wrong_slots_are_those_that_differ_from_a_truth_that_can_be_seen():
    shown = Shown("fresh", advise(RED), RED)
    seen = beside(shown, FrameTruth(0, 0.0, CLEAR, ALL))
    differ = {slot for slot in SLOTS if getattr(RED, slot) != getattr(CLEAR, slot)}
    assert set(seen) == set(SLOTS) and wrong(seen) == differ and "light" in differ
    assert seen["light"] == {"answer": "red", "truth": "none", "wrong": True}
    assert wrong(beside(shown, FrameTruth(0, 0.0, RED, ALL))) == set()
    assert wrong(beside(shown, FrameTruth(0, 0.0, SceneLabel(), ALL))) == set()  # the truth is unknown
    assert wrong(beside(Shown("none"), FrameTruth(0, 0.0, CLEAR, ALL))) == set()  # nothing is said
    hidden = beside(shown, FrameTruth(0, 0.0, CLEAR, ALL | {"light": False}))
    assert wrong(hidden) == differ - set(TASKS["light"]) and hidden["light"]["truth"] is None


@pytest.fixture
def states(monkeypatch) -> list[dict]:
    """What the page was given, frame by frame."""
    found: list[dict] = []
    monkeypatch.setattr(View, "show", lambda self, image, shown, **numbers: found.append(numbers))
    return found


def test_the_page_gets_the_truth_of_the_frame_it_shows(go, drive, states):
    """True: red from frame 12 on. The answers say so at once, their vote five frames later."""
    rows = [
        {"frame": n, "t_s": n / 20, "label": (RED if n >= 12 else CLEAR).model_dump()} for n in range(24) if n
    ]
    (drive / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    go(drive, page={"port": 0}, video=False)
    assert "truth" not in states[0]  # no row for frame 0
    late = [n for n, state in enumerate(states) if n and state["truth"]["light"]["wrong"]]
    assert late == [12, 13, 14, 15, 16] and states[16]["truth"]["light"]["truth"] == "red"


def test_a_drive_without_truth_gives_the_page_none(go, drive, states):
    go(drive, page={"port": 0}, video=False)
    assert len(states) == 24 and not any("truth" in state for state in states)


def test_truth_that_cannot_be_read_is_told_before_the_first_frame(go, drive, states):
    (drive / "truth.jsonl").write_text('{"frame": 0}\n')
    with pytest.raises(UserError, match="not a row of truth"):
        go(drive, page={"port": 0}, video=False)
    assert states == []
    go(drive, out="without", video=False)  # no page: nobody asks for it
