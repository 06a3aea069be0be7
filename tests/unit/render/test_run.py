"""The station with a stand-in for the worker's frames: resuming, scenes that are left out. No Blender."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.render import records
from edgekit.render import run as station
from edgekit.render.config import RenderConfig

RECIPE = {"scenes": 3, "frames_per_scene": 2, "width": 112, "height": 56, "failed_scenes_max": 0.4}


def draw(out: Path, stem: str) -> None:
    for folder, name, picture in (("images", "jpg", np.uint8), ("ids", "png", np.uint16)):
        (out / folder).mkdir(exist_ok=True)
        Image.fromarray(np.zeros((56, 112), picture)).save(out / folder / f"{stem}.{name}")


@pytest.fixture
def go(tmp_path, monkeypatch):
    """render() in tmp_path/run; its worker fails at, or is stopped after, the scene of a number."""
    monkeypatch.setattr(station, "blender_python", lambda asked: "python")
    monkeypatch.setattr(station, "bpy_version", lambda python: "5.0.1")

    def run(fails=None, stopped=None):
        def render_scenes(orders, python, workers, recycle, timeout, log, on_line, allowed):
            failed = []
            for number, order in enumerate(orders):
                spec = read_json(order["spec"])
                for index in order["frames"]:
                    stem = spec["frames"][index]["stem"]
                    draw(Path(order["out"]), stem)
                    if number == fails:
                        failed.append({"spec": order["spec"], "why": "it fell over"})
                        break
                    on_line(order, {"event": "frame", "index": index, "stem": stem, "cpu_s": 1, "wall_s": 1})
                if number == stopped:
                    raise KeyboardInterrupt
            return failed

        monkeypatch.setattr(station, "render_scenes", render_scenes)
        made = start("render", build(RenderConfig, RECIPE, "test"), "test", tmp_path / "run")
        station.render(made.config, made)
        made.finish()
        return made

    return run


def test_a_run_that_another_edgekit_began_is_not_gone_on_with(go, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        go(stopped=0)
    scene = tmp_path / "run" / "out" / "scenes" / "s000001.json"
    old = json.loads(scene.read_text())
    old["frames"][1]["ego"]["x"] += 1
    scene.write_text(json.dumps(old, separators=(",", ":")) + "\n")
    with pytest.raises(UserError, match="s000001.json") as caught:
        go()
    assert "--force" in caught.value.do


def test_all_labels_of_a_resumed_run_are_of_one_code(go, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        go(stopped=0)
    truth_of = records.truth_of
    monkeypatch.setattr(records, "truth_of", lambda *facts: {**truth_of(*facts), "rules": ["newer"]})
    rows = list(read_jsonl(go().out / "truth.jsonl"))
    assert [row["rules"] for row in rows] == [["newer"]] * 6


def test_nothing_of_a_scene_that_is_left_out_stays_and_the_renderer_is_named(go):
    run = go(fails=1)
    assert {row["id"][:7] for row in read_jsonl(run.out / "truth.jsonl")} == {"s000001", "s000003"}
    files = [path for path in run.out.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if "s000002" in path.name]
    manifest = read_json(run.path / "manifest.json")
    assert manifest["made_with"]["bpy"] == "5.0.1"
    assert "s000002" in manifest["notes"][0]


def test_how_it_is_run_does_not_make_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configs = [build(RenderConfig, {**RECIPE, **more}, "test") for more in ({}, {"workers": 7}, {"seed": 2})]
    one, other_workers, other_seed = (start("render", config, "test").path for config in configs)
    assert one == other_workers != other_seed
