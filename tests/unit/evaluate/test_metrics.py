"""The metrics against cases counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.label import SLOTS, TASKS, UNKNOWN, SceneLabel, coherent
from edgekit.dataset.bootstrap import draw, intervals, resample
from edgekit.dataset.score import counts, median_kmh, metrics_of, score, state


def lights(*states: str) -> list[SceneLabel]:
    return [coherent({"light": s, "light_arrow": "any", "light_kind": "intersection"}) for s in states]


def speeds(*kmh) -> list[SceneLabel]:
    return [SceneLabel(recommended_speed_kmh=str(v)) for v in kmh]


def test_light_wrong_colour_is_both_errors_and_off_is_a_state():
    truth = lights("red", "red", "green", "off", "none", "none", "yellow")
    said = lights("red", "green", "unknown", "off", "none", "red", "none")
    out = score(truth, None, said)
    # tp: red, off = 2; fp: green for red, red for none = 2; fn: red, green, yellow = 3
    assert out["light/precision"] == pytest.approx(2 / 4)
    assert out["light/recall"] == pytest.approx(2 / 5)
    assert out["light/f1"] == pytest.approx(2 * 0.5 * 0.4 / 0.9)
    assert out["light/coverage"] == pytest.approx(6 / 7)
    # recalls: none 1/2, red 1/2, yellow 0, green 0, off 1
    assert out["light/balanced"] == pytest.approx(2 / 5)
    assert out["light/chance"] == pytest.approx(1 / 5)


def test_obstacles_are_cones_or_an_obstacle():
    truth = [
        SceneLabel(cones="yes", obstacle="none"),
        SceneLabel(cones="no", obstacle="barrier"),
        SceneLabel(cones="no", obstacle="none"),
        SceneLabel(cones="no", obstacle="none"),
        SceneLabel(cones="no", obstacle="unknown"),  # cannot be told: not scored
    ]
    said = [
        SceneLabel(cones="no", obstacle="other"),  # found, by the other slot: right
        SceneLabel(cones="no", obstacle="unknown"),  # abstained: missed
        SceneLabel(cones="yes", obstacle="none"),
        SceneLabel(cones="no", obstacle="none"),
        SceneLabel(cones="yes", obstacle="none"),
    ]
    out = score(truth, None, said)
    assert out["obstacles/frames"] == 4
    assert (out["obstacles/precision"], out["obstacles/recall"]) == (0.5, 0.5)
    assert out["obstacles/coverage"] == pytest.approx(3 / 4)


def test_speed_by_hand():
    truth, said = speeds(0, 40, 60, 20), speeds(0, 60, "unknown", 20)
    out = score(truth, None, said, train_median_kmh=30)
    assert out["speed/smape"] == pytest.approx((0 + 20 / 50 + 2 + 0) / 4)
    total = sum((v - 30) ** 2 for v in (0, 40, 60, 20))
    assert out["speed/r2"] == pytest.approx(1 - (20**2 + 30**2) / total)
    assert out["speed/balanced"] == pytest.approx(2 / 4)


def test_average_is_the_mean_of_the_nine():
    truth = [
        coherent({"light": a, "cones": c, "obstacle": "none", "crossroad": x})
        for a, c, x in [
            ("red", "yes", "yes"),
            ("none", "no", "no"),
            ("green", "yes", "yes"),
            ("off", "no", "no"),
        ]
    ]
    said = [
        coherent({"light": a, "cones": c, "obstacle": "none", "crossroad": x})
        for a, c, x in [
            ("red", "yes", "no"),
            ("red", "no", "no"),
            ("green", "no", "yes"),
            ("off", "no", "yes"),
        ]
    ]
    out = score(truth, None, said)
    # light P 3/4 R 1 F 6/7; obstacles P 1 R 1/2 F 2/3; crossroad P 1/2 R 1/2 F 1/2; speed is not in it
    nine = [3 / 4, 1, 6 / 7, 1, 1 / 2, 2 / 3, 1 / 2, 1 / 2, 1 / 2]
    assert out["average"] == pytest.approx(np.mean(nine))


def test_the_papers_average_of_its_best_column():
    # Table 2, "ours, all": lights .889/.903/.896, obstacles .926/.914/.920, crossroad .893/.840/.866
    column = {
        "light": (0.889, 0.903, 0.896),
        "obstacles": (0.926, 0.914, 0.920),
        "crossroad": (0.893, 0.840, 0.866),
    }
    one = lights("red")
    sums = {name: values.sum(axis=0) for name, values in counts(one, None, one, 0.0).items()}
    for task, (precision, recall, _) in column.items():  # per true positive, so many false ones and misses
        sums |= {f"{task}/tp": 1.0, f"{task}/fp": 1 / precision - 1, f"{task}/fn": 1 / recall - 1}
    out = metrics_of(sums)
    for task, (_, _, f1) in column.items():
        assert out[f"{task}/f1"] == pytest.approx(f1, abs=5e-4)
    assert round(float(out["average"]), 3) == 0.894


def test_nothing_to_score_gives_zeros_and_no_warning(recwarn):
    out = score([UNKNOWN], None, [UNKNOWN])
    assert out["average"] == 0 and out["speed/r2"] == 0 and out["light/chance"] == 0
    assert score([], None, [])["light/frames"] == 0
    assert not recwarn.list


def test_masks_exclude_and_a_perfect_answer_is_one():
    truth = lights("red", "none", "green")
    wrong = lights("red", "none", "red")
    out = score(truth, {"light": [True, True, False]}, wrong)
    assert out["light/f1"] == 1 and out["light/frames"] == 2


def test_an_unparsed_answer_is_all_unknown_and_stays_counted():
    out = score(lights("red", "red"), None, [lights("red")[0], UNKNOWN])
    assert out["light/frames"] == 2 and out["light/recall"] == 0.5 and out["light/precision"] == 1


def test_median_and_unequal_lengths():
    assert median_kmh(speeds(10, 20, "unknown", 60)) == 20
    assert median_kmh([UNKNOWN]) == 0
    with pytest.raises(ValueError, match="2 truths, 1 answers"):
        score(speeds(1 * 5, 10), None, speeds(5))


labels = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()}).map(
    coherent
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=30))
def test_every_metric_is_in_its_range_and_perfection_is_perfect(pairs):
    truth, said = [a for a, _ in pairs], [b for _, b in pairs]
    out = score(truth, None, said)
    for name, value in out.items():
        if name == "speed/r2":
            assert value <= 1
        elif not name.endswith("frames"):
            assert 0 <= value <= (2 if name == "speed/smape" else 1), name
    best = score(truth, None, truth)
    assert best["speed/smape"] == 0
    for task in TASKS:
        if any(state(label, task) != "unknown" for label in truth):
            assert best[f"{task}/balanced"] == pytest.approx(1) and best[f"{task}/coverage"] == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(labels, labels, st.sampled_from("abcd")), min_size=2, max_size=25))
def test_bootstrap_by_matrix_is_bootstrap_by_hand(rows):
    truth, said, scenes = ([r[i] for r in rows] for i in range(3))
    per_frame = counts(truth, None, said, 40.0)
    names = sorted(set(scenes))
    drawn = resample(per_frame, scenes, resamples=5, seed=3)
    for k, weights in enumerate(draw(len(names), 5, 3)):
        chosen = [i for name, w in zip(names, weights, strict=True) for _ in range(int(w))
                  for i, s in enumerate(scenes) if s == name]  # fmt: skip
        by_hand = score([truth[i] for i in chosen], None, [said[i] for i in chosen], 40.0)
        for name, value in by_hand.items():
            assert drawn[name][k] == pytest.approx(value, abs=1e-7), name


def test_intervals_hold_the_estimate_and_need_two_scenes():
    random = np.random.default_rng(0)
    truth = lights(*random.choice(["red", "green", "none"], 300))
    said = [t if random.random() < 0.8 else s for t, s in zip(truth, lights(*["red"] * 300), strict=True)]
    scenes = [f"s{i // 10}" for i in range(300)]
    per_frame = counts(truth, None, said, 0.0)
    found = intervals(per_frame, scenes, seed=1)
    low, high = found["light/f1"]
    assert low < score(truth, None, said)["light/f1"] < high and high - low < 0.2
    assert found == intervals(per_frame, scenes, seed=1)
    assert intervals(per_frame, ["one"] * 300) == {}
