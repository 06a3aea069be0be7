"""Who moves in a scene, where the user's own models may stand in; and conditions asked one by one."""

import json

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.drives.info import read_info
from edgekit.library import default_prompt
from edgekit.render.bodies import bodies_of
from edgekit.render.config import RenderConfig
from edgekit.render.fleet import dress
from edgekit.render.records import files_of
from edgekit.render.spec import sample_scene
from edgekit.render.tables import licence_of, write_drive, write_tables
from tests.unit.render import wedge

BASE = {"runs": 1, "demand": {"duration_s": 120, "vehicles_per_hour": 900}, "frames_per_scene": 6}


def car(**more):
    return {"name": "v1", "kind": "car", "length": 4.3, "width": 1.8, "height": 1.45, "asset": None} | more


def manifest(folder, **row):
    """A manifest of one model, the wedge, which is written beside it."""
    folder.mkdir(exist_ok=True)
    wedge.write_gltf(folder / "a.gltf", wedge.in_file_axes())
    return wedge.manifest(folder, {"path": "a.gltf"} | row)


MODEL = {"class": "car", "length_m": 4.0, "width_m": 1.8, "height_m": 1.4}


@pytest.mark.parametrize(
    ("vehicle", "fits"),
    [
        ({}, True),
        ({"kind": "truck"}, False),
        ({"length": 4.7}, True),
        ({"length": 4.8}, False),
        ({"width": 1.4}, False),
    ],
)
def test_a_model_stands_in_for_what_it_fits(vehicle, fits):
    vehicle = car(**vehicle)
    before = dict(vehicle)
    dress("s1", [vehicle], [MODEL], 1.0)
    if fits:
        assert (vehicle["asset"], vehicle["length"], vehicle["width"], vehicle["height"]) == (
            0,
            4.0,
            1.8,
            1.4,
        )
    else:
        assert vehicle == before


def test_the_share_of_models_is_the_asked_one():
    cars = [car(name=f"v{k}") for k in range(2000)]
    dress("s1", cars, [MODEL, MODEL], 0.3)
    dressed = [c["asset"] for c in cars if c["asset"] is not None]
    assert abs(len(dressed) / 2000 - 0.3) < 0.04  # four sigma
    assert abs(dressed.count(0) / len(dressed) - 0.5) < 0.09


def test_a_scene_with_the_users_models(tmp_path):
    path = manifest(tmp_path)
    cfg = build(RenderConfig, {**BASE, "assets": str(path), "assets_share": 1.0}, "test")
    spec = sample_scene(cfg, 3)
    plain = sample_scene(build(RenderConfig, BASE, "test"), 3)
    dressed = [v for v in [*spec["fleet"], *spec["parked"]] if v["asset"] is not None]
    assert dressed and all(v["kind"] == "car" and v["length"] == 4.0 for v in dressed)
    assert str(tmp_path) not in json.dumps(spec)  # a scene is the same wherever its models lie
    assert [f["camera"] for f in spec["frames"]] == [f["camera"] for f in plain["frames"]]
    assert plain["assets"] == []
    # what labels and boxes are made from is the model, not our own car
    names = {v["name"] for v in dressed}
    shown = [b for f in spec["frames"] for b in bodies_of(spec, f) if b.name in names]
    assert shown
    assert all(np.ptp(np.asarray(b.points)[:, 2]) == pytest.approx(1.4, abs=0.03) for b in shown)


def test_other_models_are_another_run_and_another_place_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [manifest(tmp_path / name) for name in ("a", "b")]
    other = manifest(tmp_path / "c", licence="CC0-1.0 OR MIT")
    one, same, else_, none = (
        start("render", build(RenderConfig, {**BASE, "assets": str(p)} if p else BASE, "test"), "test").path
        for p in (*paths, other, None)
    )
    assert one == same
    assert len({one, else_, none}) == 3


def test_the_licence_names_those_of_the_models(tmp_path):
    theirs = manifest(tmp_path, licence="CC-BY-4.0")
    wedge.manifest(
        tmp_path,
        {"path": "a.gltf", "licence": "CC-BY-4.0"},
        {"path": "a.gltf", "licence": "MIT OR ISC"},
        {"path": "a.gltf"},
    )
    cfg = build(RenderConfig, {**BASE, "assets": str(theirs)}, "test")
    said = licence_of(cfg)
    assert said == "CC0-1.0 AND CC-BY-4.0 AND (MIT OR ISC)"
    assert licence_of(build(RenderConfig, BASE, "test")) == "CC0-1.0"
    info = write_tables(tmp_path / "out", cfg, [], "5.0", default_prompt("library"), said)
    assert info["licence"] == said
    spec = sample_scene(build(RenderConfig, {**BASE, "mode": "drive"}, "test"), 3)
    for frame in spec["frames"]:
        for file in files_of(tmp_path / "out", spec, frame):
            file.parent.mkdir(exist_ok=True)
            file.touch()
    write_drive(tmp_path / "out", spec, [], said)
    assert read_info(tmp_path / "out/drives" / spec["scene"] / "drive.json").licence == said


def test_a_network_is_known_by_what_it_says(tmp_path):
    from edgekit.render.traffic.net import NETS

    net = tmp_path / "mine.net.xml"
    net.write_bytes((NETS / "x.net.xml").read_bytes())
    digests = [build(RenderConfig, {"layouts": {str(net): 1.0}}, "test").digests]
    net.write_bytes(net.read_bytes() + b"<!-- changed -->\n")
    digests.append(build(RenderConfig, {"layouts": {str(net): 1.0}}, "test").digests)
    assert digests[0].keys() == digests[1].keys() == {str(net)}
    assert digests[0] != digests[1]


def test_every_condition_in_every_layout_in_turn():
    conditions = [{"weather": "fog"}, {"time": "night"}, {"weather": "rain", "camera": {"dirt": 1.0}}]
    raw = {**BASE, "frames_per_scene": 1, "seed": 40, "conditions": conditions, "camera": {"glare": 1.0}}
    cfg = build(RenderConfig, raw, "test")
    specs = [sample_scene(cfg, 40 + k, town=False) for k in range(6)]
    drawn = [(s["conditions"]["weather"], s["conditions"]["time"]) for s in specs]
    assert drawn == [("fog", "day"), ("clear", "night"), ("rain", "day")] * 2
    effects = [set(s["conditions"].get("effects", {})) for s in specs]
    assert all("glare" in e for e in (effects[0], effects[1])) and "glare" not in effects[2]
    assert "dirt" in effects[2] and "dirt" not in effects[0]


@pytest.mark.sumo
def test_conditions_go_through_the_layouts():
    raw = {**BASE, "frames_per_scene": 1, "conditions": [{}, {"weather": "snow"}]}
    cfg = build(RenderConfig, {**raw, "layouts": {"x": 0.5, "toll": 0.5}}, "test")
    specs = [sample_scene(cfg, 1 + k, town=False) for k in range(4)]
    drawn = [(s["layout"]["name"], s["conditions"]["weather"]) for s in specs]
    assert drawn == [("x", "clear"), ("x", "snow"), ("toll", "clear"), ("toll", "snow")]


def test_models_that_are_none_are_told_before_a_scene(tmp_path):
    with pytest.raises(UserError) as caught:
        build(RenderConfig, {"assets": str(tmp_path / "no.yaml")}, "test")
    assert len(str(caught.value).splitlines()) == 3
