"""Reliability and calibration: counts by hand, and what must hold for every gold set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.label import UNKNOWN, coherent
from edgekit.mine.experts import Judged, Reliability, Said, coverage_precision, judge, measure
from edgekit.mine.experts.calibrate import Curve, rising
from edgekit.mine.experts.figure import draw_curves

quick = settings(max_examples=40, deadline=None)
sure = st.floats(0, 1)
answers = st.builds(
    Judged, st.just("vlm"), st.just("light"), st.sampled_from(["red", "green"]), sure, st.booleans(),
    st.lists(st.sampled_from(["night", "rain"]), unique=True).map(tuple),
)  # fmt: skip
golds = st.lists(answers, max_size=60)


def many(voice: str, right: int, wrong: int, value="red", tags=(), at=0.9, task="light") -> list[Judged]:
    return [Judged(voice, task, value, at, k < right, tags) for k in range(right + wrong)]


def test_rates_by_hand():
    known = measure([*many("vlm", 16, 2), *many("vlm", 0, 4, "green", ("night",))])
    assert known.rate("vlm", "light") == pytest.approx(17 / 24)
    assert known.rate("vlm", "light", "red") == pytest.approx((16 + 8 * 17 / 24) / 26)
    assert known.rate("vlm", "light", "", "night") == pytest.approx((8 * 17 / 24) / 12)
    assert known.rate("vlm", "light", "", "fog") == pytest.approx(17 / 24)  # a slice without gold: the whole
    assert known.knows("vlm", "light") == 22 and known.knows("lights", "light") == 0


def test_who_is_not_measured_is_at_a_half_whatever_it_claims():
    for confidence in (0.0, 0.5, 1.0):
        assert Reliability().probability("anyone", "light", ("night",), confidence, "red") == 0.5


def test_a_value_and_a_slice_shift_what_the_confidence_gives():
    gold = [*many("vlm", 40, 4), *many("vlm", 4, 12, "green"), *many("vlm", 2, 10, "red", ("night",))]
    p = measure(gold).probability
    assert p("vlm", "light", (), 0.9, "red") > p("vlm", "light", (), 0.9, "green")
    assert p("vlm", "light", (), 0.9, "red") > p("vlm", "light", ("night",), 0.9, "red")
    # of several tags the one that says most; one of no account changes nothing
    assert p("vlm", "light", ("fog", "night"), 0.9, "red") == p("vlm", "light", ("night",), 0.9, "red")


def test_an_overconfident_voice_is_taken_down():
    random = np.random.default_rng(0)
    told = random.uniform(0.5, 1, 4000)
    gold = [Judged("vlm", "light", "", float(c), bool(random.random() < c - 0.3)) for c in told]
    known = measure(gold)
    for confidence in (0.6, 0.75, 0.9):
        assert known.probability("vlm", "light", (), confidence) == pytest.approx(confidence - 0.3, abs=0.06)


@quick
@given(golds, st.lists(sure, min_size=2, max_size=8), st.lists(st.sampled_from(["night", "rain", "fog"])))
def test_probabilities_are_inside_and_never_fall(gold, asked, tags):
    known = measure(gold)
    told = [known.probability("vlm", "light", tags, c, "red") for c in sorted(asked)]
    assert all(0 < p < 1 for p in told)
    assert all(a <= b + 1e-12 for a, b in zip(told, told[1:], strict=False))


@quick
@given(golds)
def test_a_file_holds_all_of_it(tmp_path_factory, gold):
    path = tmp_path_factory.mktemp("gold") / "reliability.json"
    known = measure(gold)
    known.save(path)
    again = Reliability.load(path)
    assert again.table() == known.table()
    for confidence in (0.0, 0.3, 0.71, 1.0):
        asked = ("vlm", "light", ("night",), confidence, "red")
        assert again.probability(*asked) == pytest.approx(known.probability(*asked), abs=1e-12)
    before = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "Expecting"),
        ("[]", "list"),
        ('{"schema": "edgekit/reliability/9"}', "edgekit/reliability/9"),
        ('{"schema": "edgekit/reliability/1", "counts": [], "curves": [{"voice": "a", "task": "b", '
         '"confidence": [0.1, 0.9], "probability": [0.8, 0.2]}]}', "must not fall"),
        ('{"schema": "edgekit/reliability/1", "counts": [], "curves": [{"voice": "a", "task": "b", '
         '"confidence": [], "probability": []}]}', "must rise"),
        ('{"schema": "edgekit/reliability/1", "curves": [], "counts": [{"voice": "a", "task": "b", "value": "", '
         '"slice": "", "right": -3, "wrong": 0}]}', "below 0"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused(tmp_path, text, why):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError) as caught:
        Reliability.load(tmp_path / "r.json")
    assert why in str(caught.value)


def test_counts_without_end_stay_inside():
    known = Reliability()
    for key in (("", ""), ("red", ""), ("", "night")):
        known.counts["vlm", "light", *key] = [10**30, 0]
    assert 0 < known.probability("vlm", "light", ("night",), 1.0, "red") < 1


def test_judging_a_label_and_an_opinion():
    truth = coherent({"light": "red", "light_arrow": "any", "light_kind": "intersection", "cones": "no",
                      "obstacle": "person"})  # fmt: skip
    said = coherent({"light": "green", "light_arrow": "any", "light_kind": "unknown", "cones": "no", "obstacle": "none",
                     "crossroad": "yes"})  # fmt: skip
    rows = judge(truth, said, "vlm", ["night"], {"light": 0.7})
    assert rows == [
        Judged("vlm", "light", "green", 0.7, False, ("night",)),
        Judged("vlm", "obstacles", "no", 1.0, False, ("night",)),  # crossroad: truth does not tell
    ]
    opinion = Said(
        "coco", {"light": ("red", 0.4), "cones": ("yes", 0.3)}, {"obstacle": {"person": 0.5, "debris": 0.5}}
    )
    assert judge(truth, opinion, "coco") == [
        Judged("coco", "light", "red", 0.4, True),
        Judged("coco", "obstacles", "yes", 0.3, False),
        Judged("coco", "obstacles", "not person", 0.5, False),
        Judged("coco", "obstacles", "not debris", 0.5, True),
    ]
    assert judge(UNKNOWN, opinion, "coco") == [] and judge(truth, UNKNOWN, "vlm") == []


def test_bins_that_fall_are_pooled():
    confidences = [0.1] * 10 + [0.5] * 10 + [0.9] * 10
    right = [True] * 5 + [False] * 5 + [True] * 3 + [False] * 7 + [True] * 9 + [False]
    curve = rising(confidences, right, 0.5, 0.0)
    assert curve.confidence == (0.1, 0.5, 0.9)
    assert curve.probability == (0.4, 0.4, 0.9)  # 5 and 3 of 10 each: 8 of 20
    assert curve.at(0.7) == pytest.approx(0.65) and curve.at(0.0) == 0.4 and curve.at(1.0) == 0.9
    assert rising([0.5], [True], 0.5, 1.0) == Curve((0.5,), (0.75,))


@quick
@given(
    st.lists(st.tuples(sure, st.booleans()), min_size=1, max_size=80), st.floats(0.05, 0.95), st.floats(1, 20)
)
def test_a_curve_is_always_one_that_may_be_loaded(pairs, rate, strength):
    curve = rising([c for c, _ in pairs], [r for _, r in pairs], rate, strength)
    assert curve.checked() is curve and len(curve.confidence) <= 10


def test_coverage_and_precision_by_hand():
    points = coverage_precision([0.9, 0.9, 0.5, 0.2], [True, False, True, True])
    assert points == [(0.9, 0.5, 0.5), (0.5, 0.75, 2 / 3), (0.2, 1.0, 0.75)]
    assert coverage_precision([], []) == []
    with pytest.raises(ValueError, match="2 confidences"):
        coverage_precision([0.1, 0.2], [True])


@quick
@given(st.lists(st.tuples(sure, st.booleans()), min_size=1, max_size=40))
def test_a_curve_of_coverage_ends_with_all(pairs):
    points = coverage_precision([c for c, _ in pairs], [r for _, r in pairs])
    assert points[-1].coverage == 1 and points[-1].precision == pytest.approx(np.mean([r for _, r in pairs]))
    assert all(
        a.coverage < b.coverage and a.least > b.least for a, b in zip(points, points[1:], strict=False)
    )


def test_a_figure_is_a_picture_and_the_same_each_time(tmp_path):
    pytest.importorskip("matplotlib")
    from PIL import Image

    curves = {"fused": coverage_precision([0.9, 0.5], [True, False]), "nothing": []}
    for name in ("a.png", "b.png"):
        draw_curves(curves, tmp_path / name)
    assert Image.open(tmp_path / "a.png").size == (600, 480)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
