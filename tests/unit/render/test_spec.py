"""What a scene is: the same for a seed, whole in itself, and true to the traffic it was taken from."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.render import fleet
from edgekit.render import frames as frames_module
from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.frames import way_of
from edgekit.render.networks import run_of
from edgekit.render.spec import SCHEMA, sample_scene, spec_text, split_of
from edgekit.render.traffic.crossroads import crossroads
from edgekit.render.traffic.geometry import heading, meet, project
from edgekit.render.traffic.motion import Vehicle
from edgekit.render.traffic.track import Track

DEMAND = {"duration_s": 240}
ONLY_RED = {"red": 1.0, "yellow": 0, "green": 0, "off": 0, "none": 0}
SUMO = [pytest.param(name, marks=pytest.mark.sumo) for name in ("x", "t", "grid", "toll")]


def config(**more):
    return build(RenderConfig, {"demand": DEMAND, "runs": 1} | more, "test")


def scenes(cfg, seeds=range(12)):
    return [sample_scene(cfg, seed, town=False) for seed in seeds]


@pytest.fixture(scope="module", params=["crossroads", *SUMO])
def drawn(request):
    """[(config, scene)] of poses and drives on one layout."""
    both = dict(layouts={request.param: 1.0}, mounts={"windscreen": 0.5, "cab": 0.5})
    poses = config(mode="poses", frames_per_scene=6, **both)
    drives = config(mode="drive", frames_per_scene=15, **both)
    return [(cfg, spec) for cfg in (poses, drives) for spec in scenes(cfg)]


@pytest.mark.parametrize("mode", ["poses", "drive"])
def test_same_seed_same_text_and_json_changes_nothing(mode):
    cfg = config(frames_per_scene=5, mode=mode)
    spec = sample_scene(cfg, 7)
    others = [sample_scene(cfg, seed) for seed in (9, 8)]  # what was drawn before does not matter
    assert spec_text(spec) == spec_text(sample_scene(cfg, 7))
    assert json.loads(spec_text(spec)) == spec
    assert spec["schema"] == SCHEMA
    assert len({spec_text(s) for s in (spec, *others)}) == 3


def test_another_process_draws_the_same():
    code = (
        "from edgekit.core.recipe import build\n"
        "from edgekit.render.config import RenderConfig\n"
        "from edgekit.render.spec import sample_scene, spec_text\n"
        f"cfg = build(RenderConfig, {{'demand': {DEMAND}, 'runs': 1}}, 'test')\n"
        "print(spec_text(sample_scene(cfg, 3)), end='')\n"
    )
    env = os.environ | {"PYTHONHASHSEED": "7"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert said.stdout == spec_text(sample_scene(config(), 3))


def test_classes_fit_a_pass_index():
    assert max(CLASSES.values()) * 1000 + 999 <= 32767


def test_splits_depend_on_the_seed_alone_and_keep_their_shares():
    splits = {"train": 0.8, "dev": 0.04, "test": 0.16}
    found = Counter(split_of(seed, splits) for seed in range(1000, 1300))
    assert found["train"] == pytest.approx(240, abs=3)
    assert found["test"] >= 45
    assert set(split_of(seed, splits) for seed in range(1000, 1030)) == set(splits)


def test_no_run_of_traffic_is_in_two_splits_or_two_recipes():
    asked = [(config(runs=2, seed=seed), split) for seed in (1, 2) for split in ("train", "test")]
    steps = [run_of(cfg, "crossroads", split, k).steps[0] for cfg, split in asked for k in range(2)]
    assert len(steps) == 8 and all(a != b for k, a in enumerate(steps) for b in steps[:k])
    assert run_of(config(), "crossroads", "train", 0) is run_of(config(scenes=50), "crossroads", "train", 0)


def test_without_a_town_the_frames_are_the_same():
    for mode in ("poses", "drive"):
        cfg = config(mode=mode)
        whole, bare = sample_scene(cfg, 4), sample_scene(cfg, 4, town=False)
        assert {key for key in whole if whole[key] != bare[key]} <= {
            "ground", "paint", "houses", "booths", "canopies", "trees", "lamps", "signs", "parked", "fleet",
        }  # fmt: skip
        assert whole["ground"] and whole["houses"] and not bare["ground"]
        assert [v | {"instance": 0} for v in whole["fleet"]] == [v | {"instance": 0} for v in bare["fleet"]]
        taken = [(v["kind"], v["instance"]) for v in whole["fleet"] + whole["parked"]]
        assert len(set(taken)) == len(taken)


def test_all_that_a_frame_names_is_in_the_scene(drawn):
    for _, spec in drawn:
        fleet, crowd, heads = (
            {thing[key]: thing for thing in spec[name]}
            for name, key in (("fleet", "name"), ("crowd", "name"), ("heads", "id"))
        )
        assert len(fleet) == len(spec["fleet"]) and len(crowd) == len(spec["crowd"])
        assert {v["name"] for f in spec["frames"] for v in f["vehicles"]} == set(fleet)
        assert {p["name"] for f in spec["frames"] for p in f["people"]} == set(crowd)
        assert {name for f in spec["frames"] for name in f["heads"]} == set(heads)
        for things in (crowd.values(), heads.values()):
            assert sorted(t["instance"] for t in things) == list(range(1, len(things) + 1))
        riders = [v["instance"] for v in fleet.values() if v["kind"] in ("bicycle", "motorcycle")]
        assert len(set(riders)) == len(riders)  # a rider has its machine's number
        for frame in spec["frames"]:
            assert set(frame["facts"]["governing"]) <= set(frame["heads"])
            assert frame["facts"]["leader"] is None or frame["facts"]["leader"] in fleet
            assert "fleet" not in frame


def test_the_camera_sits_in_the_ego_and_nobody_is_in_it(drawn):
    for _, spec in drawn:
        mount = spec["mount"]
        aside = 0.3 if spec["mode"] == "poses" else 0.0
        sizes = {v["name"]: (v["length"], v["width"]) for v in spec["fleet"]}
        for frame in spec["frames"]:
            ego, camera = frame["ego"], frame["camera"]
            ahead = heading(ego["yaw"])
            dx, dy = camera["x"] - ego["x"], camera["y"] - ego["y"]
            front = dx * ahead[0] + dy * ahead[1]
            assert front == pytest.approx(ego["length"] / 2 - mount["behind_bumper_m"], abs=0.01)
            assert abs(dy * ahead[0] - dx * ahead[1]) <= aside + 0.01
            assert camera["z"] == mount["height_m"]
            turned = (camera["yaw_deg"] - math.degrees(ego["yaw"]) + 180) % 360 - 180
            assert abs(turned) < (6 if aside else 0.01)
            box = (ego["x"], ego["y"], ego["yaw"], ego["length"], ego["width"])
            for v in frame["vehicles"]:
                assert not meet((v["x"], v["y"], v["yaw"], *sizes[v["name"]]), box, -0.01)
                assert math.dist((v["x"], v["y"]), (camera["x"], camera["y"])) <= 120
            bumper = [ego[axis] + ahead[k] * ego["length"] / 2 for k, axis in enumerate("xy")]
            assert math.dist(frame["path"][0], bumper) < 0.6


def test_who_overlaps_the_ego_is_left_out(monkeypatch):
    """SUMO lets two vehicles meet now and then: here every car has a bicycle in its side."""

    def crowded(cfg, name, split, k):
        run = run_of(cfg, name, split, k)
        steps = [
            replace(step, vehicles=tuple(w for v in step.vehicles for w in (v, beside(v))))
            for step in run.steps
        ]
        return replace(run, steps=tuple(steps))

    def beside(v):
        return replace(v, id=f"{v.id}b", x=v.x + 0.5, kind="bicycle", length=1.7, width=0.65)

    monkeypatch.setattr(frames_module, "run_of", crowded)
    spec = sample_scene(
        config(frames_per_scene=12, demand={"duration_s": 60}, lights=ONLY_RED), 1, town=False
    )
    sizes = {v["name"]: (v["length"], v["width"]) for v in spec["fleet"]}
    bicycles = 0
    for frame in spec["frames"]:
        ego = frame["ego"]
        box = (ego["x"], ego["y"], ego["yaw"], ego["length"], ego["width"])
        for v in frame["vehicles"]:
            assert not meet((v["x"], v["y"], v["yaw"], *sizes[v["name"]]), box)
            bicycles += v["name"].endswith("b")
    assert bicycles > 12


def test_the_path_begins_at_the_bumper_and_comes_back_to_the_lane():
    layout = crossroads()  # its southern arm's right lane is at x = 4.95
    for x in (4.95, 5.75, 3.95):
        car = Vehicle("a", "car", x, -100.0, 0.0, 10.0, 0.0, "s_in_1", 4.0, 1.8)
        path = way_of(Track(layout, 0, [car]), 0, 60.0)
        assert path[0] == pytest.approx((x, -98.0)) and len(path) == 31
        assert all(a[1] < b[1] for a, b in zip(path, path[1:], strict=False))
        assert all(abs(p[0] - 4.95) <= abs(x - 4.95) + 1e-9 for p in path)
        assert path[6] == pytest.approx((4.95, -86.0)) and path[-1] == pytest.approx((4.95, -38.0))


def test_the_path_leads_over_the_stop_line_where_the_facts_have_it(drawn):
    checked = 0
    for cfg, spec in drawn:
        layout = run_of(cfg, spec["layout"]["name"], spec["split"], 0).place.layout
        for frame in spec["frames"]:
            facts, path = frame["facts"], frame["path"]
            assert len(path) == 31
            if facts["stop_line_m"] is None or facts["stop_line_m"] > 50 or facts["on_link"]:
                continue
            ends = [
                ((line.left[0] + line.right[0]) / 2, (line.left[1] + line.right[1]) / 2)
                for line in layout.stop_lines
                if line.junction == facts["junction"]
            ]
            met = [project(path, *end) for end in ends]
            away, s = min((abs(left), s) for s, left in met)
            assert s == pytest.approx(facts["stop_line_m"], abs=1.0)
            assert away < 0.5 or facts["stop_line_m"] < 16  # it is still between two lanes
            checked += 1
    assert checked > 50


def test_the_light_is_what_its_heads_show_and_what_the_programme_says(drawn):
    colours = Counter()
    for cfg, spec in drawn:
        run = run_of(cfg, spec["layout"]["name"], spec["split"], 0)
        layout = run.place.layout
        for frame in spec["frames"]:
            facts = frame["facts"]
            shown = {frame["heads"][name] for name in facts["governing"]}
            assert shown == ({facts["light"]} if facts["light"] != "none" else set())
            colours[facts["light"]] += 1
            if not facts["governing"]:
                continue
            assert facts["stop_line_m"] <= 50
            heads = {head.id: head for head in layout.heads if head.id in facts["governing"]}
            assert all(head.junction == facts["junction"] for head in heads.values())
            if facts["light"] == "off":
                continue
            (light,) = {head.light for head in heads.values()}
            # some step of the run has the colour on the link that leads out of the lane by this turn
            letters = {"red": "r", "yellow": "yY", "green": "gG"}[facts["light"]]
            k = next(iter(heads.values())).indices[0]
            assert any(step.lights[light][k] in letters for step in run.steps)
    assert {"red", "green", "none", "off"} <= set(colours)


def test_heads_that_are_not_there_are_not_drawn():
    for mode in ("poses", "drive"):
        none = {"red": 0, "yellow": 0, "green": 0, "off": 0, "none": 1}
        cfg = config(mode=mode, lights=none, ego={"approach": 1, "stopped": 0, "turning": 0, "clear": 0})
        for spec in scenes(cfg, range(5)):
            assert spec["heads"] == []
            for frame in spec["frames"]:
                assert frame["heads"] == {} and frame["facts"]["light"] == "none"


def test_in_a_drive_a_vehicle_keeps_its_name_and_moves_by_its_speed():
    followed = 0
    for spec in scenes(config(mode="drive", frames_per_scene=20)):
        lights = {name: set() for name in (h["id"] for h in spec["heads"])}
        for a, b in zip(spec["frames"], spec["frames"][1:], strict=False):
            assert b["t_s"] - a["t_s"] == pytest.approx(0.2)
            assert a["cones"] == b["cones"] and a["barriers"] == b["barriers"] and a["debris"] == b["debris"]
            before = {v["name"]: v for v in a["vehicles"]}
            pairs = [(before[v["name"]], v) for v in b["vehicles"] if v["name"] in before]
            for v, w in [*pairs, tuple(f["ego"] | {"speed_mps": f["speed_mps"]} for f in (a, b))]:
                moved = math.dist((v["x"], v["y"]), (w["x"], w["y"])) / 0.2
                assert moved == pytest.approx((v["speed_mps"] + w["speed_mps"]) / 2, abs=1.5)
                followed += 1
            assert a["camera"]["pitch_deg"] == b["camera"]["pitch_deg"]
        for frame in spec["frames"]:
            for name, light in frame["heads"].items():
                lights[name].add(light)
        assert not any("off" in shown and len(shown) > 1 for shown in lights.values())
    assert followed > 1000


def test_the_sun_stands_ahead_of_the_first_look_when_it_is_low():
    for spec in scenes(config(time={"low_sun": 1.0}), range(40)):
        away = spec["conditions"]["sky"]["sun_azimuth_deg"] - spec["frames"][0]["camera"]["yaw_deg"]
        assert abs((away - 180 + 180) % 360 - 180) <= 22.2


def test_people_stand_on_the_pavement_or_on_the_road():
    found = Counter()
    for spec in scenes(config(demand={**DEMAND, "people_per_hour": 1500}), range(10)):
        for frame in spec["frames"]:
            for person in frame["people"]:
                found[person["z"]] += 1
                # the crossroads' arms: 6.6 m of road to each side of their axes
                on_road = min(abs(person["x"]), abs(person["y"])) < 6.5
                in_middle = max(abs(person["x"]), abs(person["y"])) < 16
                if not in_middle:
                    assert person["z"] == (0.0 if on_road else 0.15)
    assert found[0.0] > 5 and found[0.15] > 20


def test_more_things_than_an_id_can_tell_are_refused(monkeypatch):
    monkeypatch.setattr(fleet, "INSTANCES", 5)
    with pytest.raises(UserError, match="tells 4 of them apart") as caught:
        sample_scene(config(), 1, town=False)
    assert "demand" in caught.value.do


@pytest.mark.parametrize(
    ("ids", "what"), [(4, "4 zebra crossings"), (24, "24 speed signs"), (30, "parked cars")]
)
def test_a_network_of_more_than_an_id_can_tell_is_refused(monkeypatch, ids, what):
    monkeypatch.setattr(fleet, "INSTANCES", ids)
    with pytest.raises(UserError, match=what) as caught:
        sample_scene(config(), 1)
    assert "smaller network" in caught.value.do


def test_frames_between_the_steps_are_refused():
    with pytest.raises(UserError, match="do not fall on the steps"):
        sample_scene(config(mode="drive", fps=30), 1)
