"""The asked shares hold in the labels, and nothing beside the picture tells them."""

from collections import Counter, defaultdict

import pytest

from edgekit.core.recipe import build
from edgekit.render.config import RenderConfig
from edgekit.render.labels import label_of
from edgekit.render.spec import sample_scene

WEATHER = {"clear": 0.3, "rain": 0.2, "cloudy": 0.2, "fog": 0.15, "snow": 0.15}
TIME = {"day": 0.4, "dusk": 0.2, "night": 0.2, "low_sun": 0.2}


def rows(cfg, seeds):
    """[((weather, hour, layout), labels' slots, frame)] of every frame."""
    found = []
    for seed in seeds:
        spec = sample_scene(cfg, seed, town=False)
        where = (spec["conditions"]["weather"], spec["conditions"]["time"], spec["layout"]["name"])
        found += [(where, label_of(spec, frame)[0], frame) for frame in spec["frames"]]
    return found


@pytest.fixture(scope="module")
def builtin():
    cfg = build(RenderConfig, {"frames_per_scene": 8, "weather": WEATHER, "time": TIME}, "test")
    return cfg, rows(cfg, range(300))


def test_lights_and_cases_come_by_their_shares(builtin):
    cfg, found = builtin
    reach = [label for _, label, frame in found if frame["case"] in ("approach", "stopped")]
    assert len(reach) / len(found) == pytest.approx(cfg.ego.approach + cfg.ego.stopped, abs=0.03)
    for name, share in cfg.lights.model_dump().items():
        told = sum(label["light"] == name for label in reach) / len(reach)
        assert told == pytest.approx(share, abs=0.033)  # 3 sigma of 1680 frames
    cases = Counter(frame["case"] for _, _, frame in found)
    for case in ("approach", "stopped", "turning", "clear"):
        assert cases[case] / len(found) == pytest.approx(getattr(cfg.ego, case), abs=0.031)


def test_roadworks_come_by_their_shares(builtin):
    cfg, found = builtin
    works = cfg.roadworks
    assert sum(bool(f["cones"]) for _, _, f in found) / len(found) == pytest.approx(works.cones, abs=0.031)
    assert sum(label["cones"] == "yes" for _, label, _ in found) / len(found) == pytest.approx(
        works.cones, abs=0.031
    )
    for key, share in (("barriers", works.barrier), ("debris", works.debris)):
        assert sum(bool(f[key]) for _, _, f in found) / len(found) == pytest.approx(share, abs=0.022)
    stands = sum(any(v["left"] and v["right"] for v in f["vehicles"]) for _, _, f in found)
    assert stands / len(found) == pytest.approx(works.stopped_vehicle, abs=0.015)


def test_crossroads_are_ahead_in_the_cases_that_have_one(builtin):
    for _, label, frame in builtin[1]:
        if frame["case"] in ("approach", "stopped"):
            assert label["crossroad"] == "yes"
        elif frame["case"] == "clear":
            assert label["crossroad"] == "no" and label["light"] == "none"


def obstacles(label):
    return "yes" if label["cones"] == "yes" or label["obstacle"] != "none" else "no"


TASKS = {
    "light": lambda label: label["light"],
    "obstacles": obstacles,
    "crossroad": lambda label: label["crossroad"],
    "speed": lambda label: label["recommended_speed_kmh"],
}


def scores(known, asked, told):
    """(accuracy, that of the best constant, balanced accuracy, chance) of a table: fitted on the scenes of even
    seeds, asked about the odd ones. told(row) is all that it sees."""
    table, all_of_them = defaultdict(Counter), Counter()
    for row in known[::2]:
        table[told(row)][asked(row)] += 1
        all_of_them[asked(row)] += 1
    pairs = []
    for row in known[1::2]:
        cell = table.get(told(row), all_of_them)
        pairs.append((cell.most_common(1)[0][0], asked(row)))
    truths = Counter(truth for _, truth in pairs)
    right = Counter(truth for guess, truth in pairs if guess == truth)
    balanced = sum(right[truth] / n for truth, n in truths.items()) / len(truths)
    return right.total() / len(pairs), max(truths.values()) / len(pairs), balanced, 1 / len(truths)


@pytest.fixture(scope="module", params=["builtin", pytest.param("sumo", marks=pytest.mark.sumo)])
def singles(request):
    """One frame of each of many scenes. The runs of traffic are shared: a scene costs milliseconds."""
    names = ("crossroads", "x", "t", "toll") if request.param == "sumo" else ("crossroads",)
    layouts = dict.fromkeys(names, 1 / len(names))
    cfg = {"frames_per_scene": 1, "layouts": layouts, "runs": 2, "weather": WEATHER, "time": TIME}
    return rows(build(RenderConfig, cfg | {"splits": {"train": 0.5, "test": 0.5}}, "test"), range(2400))


@pytest.mark.parametrize("task", TASKS)
def test_weather_hour_and_layout_tell_nothing(singles, task):
    accuracy, constant, balanced, chance = scores(
        singles, lambda row: TASKS[task](row[1]), lambda row: row[0]
    )
    assert accuracy <= constant + 0.05
    if task != "speed":
        assert balanced <= chance + 0.05


def test_the_control_which_is_told_the_light_does_far_better(singles):
    for task, more in (("light", 0.4), ("crossroad", 0.15), ("speed", 0.1)):
        accuracy, constant, balanced, chance = scores(
            singles, lambda row, task=task: TASKS[task](row[1]), lambda row: row[1]["light"]
        )
        assert accuracy > constant + more and balanced > chance + 0.05
