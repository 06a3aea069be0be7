"""Fusion: identity without an opinion, agreement, dispute, review."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.box import Box
from edgekit.core.label import SLOTS, TASKS, UNKNOWN, coherent
from edgekit.mine.experts import Judged, Reliability, Said, fuse, measure
from edgekit.mine.experts.fusion import against, settle, settle_denied, together

quick = settings(max_examples=40, deadline=None)
labels = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()}).map(
    coherent
)
inside = st.floats(0.001, 0.999)
sures = st.fixed_dictionaries({task: st.floats(0, 1) for task in TASKS})


def gold(**voices: tuple[int, int]) -> Reliability:
    """Each voice with so many answers right and wrong, in every task, at confidence .5 and .9 alike."""
    return measure(
        Judged(voice, task, "", at, k < right)
        for voice, (right, wrong) in voices.items() for task in TASKS for k in range(right + wrong)
        for at in (0.5, 0.9)
    )  # fmt: skip


def light(colour: str):
    return coherent(
        {"light": colour, "light_arrow": "left", "light_kind": "toll", "cones": "no", "obstacle": "none"}
    )


GOOD_EXPERT, GOOD_VLM = gold(vlm=(10, 10), lamps=(60, 1)), gold(vlm=(60, 1), lamps=(10, 10))
RED = Said("lamps", {"light": ("red", 0.9)}, boxes={"light": [Box("light", 1, 2, 3.25, 4, 0.9)]})


@quick
@given(labels, sures, st.sampled_from([None, GOOD_EXPERT]))
def test_without_an_opinion_nothing_changes(label, confidence, reliability):
    for nothing in (Said(), [], [Said(), Said("lamps")]):
        fused = fuse(label, confidence, nothing, reliability, ["night"])
        assert fused.label == label and fused.confidence == confidence
        assert fused.history == {} and set(fused.status.values()) == {"kept"}


@quick
@given(labels, sures, st.floats(0, 1), st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_agreement_never_lowers_confidence_and_keeps_the_label(label, confidence, raw, counts):
    told = {
        s: (getattr(label, s), raw) for s in ("light", "cones", "obstacle") if getattr(label, s) != "unknown"
    }
    fused = fuse(label, confidence, Said("lamps", told), gold(vlm=(20, 4), lamps=counts))
    assert fused.label == label and set(fused.status.values()) == {"kept"}
    assert all(fused.confidence[task] >= confidence[task] for task in TASKS)


@quick
@given(labels, sures, labels, inside, st.booleans())
def test_whatever_is_said_the_label_is_one_and_other_tasks_stay(label, confidence, other, raw, measured):
    said = Said(
        "lamps", {s: (getattr(other, s), raw) for s in ("light", "cones") if getattr(other, s) != "unknown"}
    )
    fused = fuse(label, confidence, said, GOOD_EXPERT if measured else None)
    for task in ("speed", "crossroad"):
        assert all(getattr(fused.label, slot) == getattr(label, slot) for slot in TASKS[task])
        assert fused.confidence[task] == confidence[task]
    assert all(0 <= c <= 1 for c in fused.confidence.values())
    for task, status in fused.status.items():
        same = all(getattr(fused.label, slot) == getattr(label, slot) for slot in TASKS[task])
        assert same == (status != "changed") or status == "review"


def test_a_better_expert_wins_and_arrow_and_kind_stay():
    fused = fuse(light("green"), {"light": 0.9}, RED, GOOD_EXPERT)
    assert fused.label == light("red") and fused.status["light"] == "changed"
    assert fused.confidence["light"] > 0.8
    expert, last = fused.history["light"]
    assert (expert["step"], expert["by"], expert["value"], expert["slots"]) == (
        "expert",
        "lamps",
        "red",
        {"light": "red"},
    )
    assert expert["boxes"] == [["light", 1, 2, 3.2, 4, 0.9]]
    assert (last["step"], last["value"], last["slots"]["light_arrow"]) == ("fused", "red", "left")
    assert list(fused.history) == ["light"] and json.dumps(fused.history)


def test_a_better_teacher_stays_less_sure_than_before():
    fused = fuse(light("green"), {"light": 0.9}, RED, GOOD_VLM)
    assert fused.label == light("green") and fused.status["light"] == "kept"
    assert 0.5 < fused.confidence["light"] < GOOD_VLM.probability("vlm", "light", (), 0.9, "green")


def test_two_of_equal_worth_or_of_unknown_worth_go_to_review_with_the_label_kept():
    for known in (gold(vlm=(30, 3), lamps=(30, 3)), None):
        fused = fuse(light("green"), {"light": 0.9}, RED, known)
        assert fused.label == light("green") and fused.status["light"] == "review"
        assert fused.confidence["light"] < 0.5


def test_a_light_that_goes_away_takes_its_arrow_along_and_one_that_comes_brings_none():
    gone = fuse(light("green"), {}, Said("lamps", {"light": ("none", 0.9)}), GOOD_EXPERT).label
    assert (gone.light, gone.light_arrow, gone.light_kind) == ("none", "none", "none")
    comes = fuse(light("none"), {}, RED, GOOD_EXPERT).label
    assert (comes.light, comes.light_arrow) == ("red", "unknown")


def test_an_abstention_is_filled_by_who_is_measured_and_by_nobody_else():
    fused = fuse(UNKNOWN, {"light": 0.0}, RED, GOOD_EXPERT)
    assert (
        fused.label.light == "red" and fused.status["light"] == "changed" and fused.confidence["light"] > 0.9
    )
    left = fuse(UNKNOWN, {"light": 0.0}, RED)
    assert left.label == UNKNOWN and left.status["light"] == "kept" and left.confidence["light"] == 0.0
    assert [step["step"] for step in left.history["light"]] == ["expert", "fused"]


def test_a_denial_doubts_and_never_replaces():
    seen = light("red").model_copy(update={"obstacle": "person"})
    denied = Said("lamps", denied={"obstacle": {"person": 0.5, "debris": 0.5}})
    doubted = fuse(seen, {"obstacles": 0.9}, denied, GOOD_EXPERT)
    assert doubted.label == seen and doubted.status["obstacles"] == "review"
    assert doubted.confidence["obstacles"] < 0.1
    assert doubted.history["obstacles"][0]["denied"] == {"obstacle": ["debris", "person"]}
    trusted = fuse(seen, {"obstacles": 0.9}, denied, GOOD_VLM)
    assert trusted.label == seen and trusted.status["obstacles"] == "kept"
    other = fuse(light("red"), {"obstacles": 0.9}, denied, GOOD_EXPERT)  # nobody claimed a person
    assert other.confidence["obstacles"] == 0.9 and other.status["obstacles"] == "kept"


def test_two_experts_outweigh_one_teacher_and_a_dispute_stays_one():
    known = gold(vlm=(30, 5), a=(30, 5), b=(30, 5))
    red, green = (
        (lambda by: Said(by, {"light": ("red", 0.9)})),
        (lambda by: Said(by, {"light": ("green", 0.9)})),
    )
    assert fuse(light("green"), {}, [red("a"), green("b")], known).status["light"] == "review"
    assert fuse(light("green"), {}, [red("a"), green("b")], known).label == light("green")
    fused = fuse(light("green"), {}, [red("a"), red("b")], known)
    assert fused.label == light("red") and [s["step"] for s in fused.history["light"]] == ["expert"] * 2 + [
        "fused"
    ]


def test_a_slice_decides_who_is_believed():
    rows = [Judged("vlm", "light", "", 0.9, k % 10 > 0, ("day",)) for k in range(60)]
    rows += [Judged("vlm", "light", "", 0.9, k % 10 < 2, ("night",)) for k in range(60)]
    rows += [Judged("lamps", "light", "", 0.9, k % 10 > 2, (t,)) for k in range(60) for t in ("day", "night")]
    known = measure(rows)
    assert fuse(light("green"), {"light": 0.9}, RED, known, ["night"]).label.light == "red"
    assert fuse(light("green"), {"light": 0.9}, RED, known, ["day"]).label.light == "green"


@quick
@given(inside, inside)
def test_two_voices_by_bayes(p, q):
    assert 0 < together(p, q) < 1 and together(p, q) == pytest.approx(together(q, p))
    assert together(p, 0.5) == pytest.approx(p)
    assert (together(p, q) >= p) == (q >= 0.5) or abs(q - 0.5) < 1e-9
    first, second = against(p, q)
    assert 0 < first + second < 1 and (first > second) == (p > q) or p == pytest.approx(q)
    assert settle("red", p, "red", q).probability >= p
    assert settle("red", p, "green", q, margin=0.0).value == ("green" if second > first else "red")
    assert settle_denied("person", p, q).probability <= p or q < 0.5


def test_probabilities_by_hand():
    assert together(0.8, 0.9) == pytest.approx(0.72 / 0.74)
    assert against(0.8, 0.9) == pytest.approx((0.08 / 0.28, 0.18 / 0.28))
