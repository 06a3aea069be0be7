"""benchmarks/mine.py on a drawn scene: what it counts is what happened."""

import importlib.util
import sys
from pathlib import Path

import pytest

from edgekit.core.label import SceneLabel, coherent
from edgekit.drives import FrameTruth
from edgekit.mine import motion

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


steps = load("mine_steps")
mine = load("mine")  # it finds mine_steps above


def label(light="none", speed="30", crossroad="no") -> SceneLabel:
    return coherent(
        {"light": light, "light_arrow": "any", "light_kind": "intersection", "cones": "no", "obstacle": "none",
         "crossroad": crossroad, "zebra": "no", "recommended_speed_kmh": speed, "other_left": "none",
         "other_straight": "none", "other_right": "none"}
    )  # fmt: skip


def scene(labels, name="s", speed=10.0, hidden=()) -> steps.Scene:
    n = len(labels)
    truth = [
        FrameTruth(i, i / 5, x, {t: i not in hidden for t in ("speed", "light", "obstacles", "crossroad")})
        for i, x in enumerate(labels)
    ]
    return steps.Scene(name, (), [i / 5 for i in range(n)], ([speed] * n, [0.0] * n, [0.0] * n), truth)


def test_an_error_is_a_told_state_that_is_not_the_truths():
    assert steps.wrong(label("red"), label("green"), "light") and not steps.wrong(
        label("red"), label("red"), "light"
    )
    assert not steps.wrong(label("red"), SceneLabel(), "light")
    assert not steps.wrong(label(speed="30"), label(speed="35"), "speed")
    assert steps.wrong(label(speed="30"), label(speed="40"), "speed")


def test_tallies_leave_out_what_cannot_be_seen_and_count_what_is_set_aside():
    made = steps.Made(
        [label("red"), label("red"), SceneLabel(), label()], [{"light"}, set(), set(), {"light"}]
    )
    found = steps.tallies(scene([label()] * 4, hidden=(1,)), made)
    assert found["light"].tolist() == [3, 1, 1, 1, 1] and found["crossroad"].tolist() == [3, 0, 1, 0, 0]


def test_events_longer_and_shorter_than_half_the_window():
    true = [label()] * 10 + [label("red")] * 2 + [label()] * 10 + [label("green")] * 6 + [label()] * 10
    raw = [label("green") if i == 25 else x for i, x in enumerate([*true[:22], *[label()] * 16])]
    one = scene(true)
    smoothed = steps.corrected(one, raw, ("smooth",), [], None)[0].labels
    found = steps.event_tally(one, {"raw": raw, "smoothed": smoothed}, steps.Window())
    assert found["short"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]  # the red of 2 frames in windows of 5
    assert found["long"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 0]]  # the green, of which one frame was left
    back = steps.event_tally(one, {"raw": [label()] * 38, "after": true}, steps.Window())
    assert back["long"].tolist() == [[1, 0, 0, 0], [1, 0, 0, 1]]


def test_removed_counts_new_errors_against():
    import numpy as np

    assert steps.removed(np.array([1.0, 3.0]), np.array([4.0, 4.0]), 0)["value"] == 0.5
    assert steps.removed(np.array([8.0]), np.array([4.0]), 0) == {"value": -1.0, "interval": None}


def test_the_expert_is_what_it_is_stated_to_be():
    one = scene([label("red")] * 4000 + [label()] * 4000)
    said = [x.opinions["light"][0] for x in steps.simulated_expert(one, 1)]
    seen = [x for x in said[:4000] if x != "none"]
    assert len(seen) / 4000 == pytest.approx(steps.EXPERT["recall"], abs=0.03)
    assert seen.count("red") / len(seen) == pytest.approx(steps.EXPERT["state_right"], abs=0.02)
    assert sum(x != "none" for x in said[4000:]) / 4000 == pytest.approx(
        steps.EXPERT["false_alarms"], abs=0.01
    )
    assert all("crossroad" not in x.opinions for x in steps.simulated_expert(one, 1)[:5])


def test_all_levels_and_the_table_on_a_handful_of_scenes():
    part = (
        [label()] * 15
        + [label("red", "20", "yes")] * 20
        + [label("green", "40", "yes")] * 10
        + [label()] * 10
    )
    scenes = [scene(part, f"s{n}", 5.0) for n in range(6)]
    rules = motion.load_rules()
    found = mine.measured(scenes, 1, rules, lambda text: None)
    report = {"edgekit": "0", "python": "3", "seeds": 1, "rules": "", "sources": {"drawn": found}}
    text = mine.table(report)
    assert all(f"| {name} |" in text for name in steps.VARIANTS) and "Wanted at the middle level" in text
    assert found["gold"] == 2 and set(found["levels"]) == {"low", "middle", "high"}
    for level in found["levels"].values():
        raw, last = level["steps"]["raw"], level["steps"]["fused"]
        assert raw["removed"]["all"]["value"] == 0 and set(level["windows"]) == set(steps.WINDOWS)
        assert raw["tasks"]["all"]["frames"] == 4 * 4 * 55 == last["tasks"]["all"]["frames"]
    assert (
        found["levels"]["low"]["steps"]["raw"]["tasks"]["all"]["wrong"]
        < (found["levels"]["high"]["steps"]["raw"]["tasks"]["all"]["wrong"])
    )


def test_another_fusion_can_be_put_in():
    part = [label("red", "20", "yes")] * 30
    scenes = [scene(part, f"s{n}", 5.0) for n in range(6)]

    def oracle(scene, made, sure, said, worth):
        return steps.Made(scene.labels, [set() for _ in scene.labels])

    raws = [[[label()] * 30 for _ in scenes]]
    found = steps.level(scenes, raws, [], oracle)
    assert found["steps"]["fused"]["removed"]["all"]["value"] == 1
    assert found["steps"]["motion"]["removed"]["all"]["value"] == 0
    assert (
        found["events"]["long"]["fused"]["rescued"] == 8 and found["events"]["long"]["motion"]["rescued"] == 0
    )


def test_most_errors_of_simulated_traffic_still_go():
    """A floor under docs/results/mine.md, far below its 60 %: there is half the gold here, and a third of the
    scenes. What falls through it is a broken step."""
    scenes = steps.simulated(20, 100, 60_000)
    raws = [[mine.corrupt(one.labels, one.times, "middle", n) for n, one in enumerate(scenes)]]
    found = steps.level(scenes, raws, motion.load_rules())
    removed = {step: row["removed"]["all"]["value"] for step, row in found["steps"].items()}
    assert removed["fused"] >= 0.4, removed
    assert removed["fused"] >= removed["chained"] > removed["smoothed"] > removed["raw"] == 0
    long = found["events"]["long"]["fused"]
    assert long["found_raw"] >= 30 and long["erased"] / long["found_raw"] < 0.06, long
