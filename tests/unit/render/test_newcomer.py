"""What a newcomer types wrong, and what a machine that went down leaves behind. No Blender."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.library import default_prompt
from edgekit.render.assets import read_manifest
from edgekit.render.config import BUILTIN, RenderConfig
from edgekit.render.scenes import Scenes
from edgekit.render.traffic.net import NETS

NAN = float("nan")


def config(**more):
    return build(RenderConfig, more, "mine.yaml")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"layouts": {BUILTIN: NAN}}, "shares of 1"),
        ({"weather": {"rain": 1.0, "fog": NAN}}, "shares of 1"),
        ({"layouts": {"x": 0.5, "t": 0.6}}, "in sum 1.1"),
        ({"layouts": {"x": -1.0, "t": 2.0}}, "none below 0"),
        ({"layouts": "toll"}, "{toll: 1.0}"),
        ({"weather": "rain"}, "{rain: 1.0}"),
        ({"workers": 0}, "from 1 to 256"),
        ({"workers": {"ray": 0}}, "from 1 to 4096"),
    ],
)
def test_mistakes_in_shares_and_workers(raw, said):
    with pytest.raises(UserError) as caught:
        config(**raw)
    assert said in caught.value.why
    assert "constrained" not in str(caught.value) and len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("workers", [3, {"ray": 3}])
def test_workers_are_as_they_were_asked_for(workers):
    assert config(workers=workers).model_dump(mode="json")["workers"] == workers


@pytest.mark.sumo
def test_a_dry_run_reads_a_network_of_ones_own(tmp_path):
    lines = (NETS / "t.net.xml").read_text().splitlines()
    bare = tmp_path / "bare.net.xml"
    bare.write_text("\n".join(line for line in lines if not line.startswith("<connection ")))
    with pytest.raises(UserError, match="has no junction"):
        config(layouts={BUILTIN: 0.999, str(bare): 0.001}).plan()
    config(layouts={str(NETS / "t.net.xml"): 1.0}).plan()


def test_a_dry_run_says_what_is_not_here(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("")
    python.chmod(0o755)
    monkeypatch.setenv("EDGEKIT_BLENDER_PYTHON", str(python))
    monkeypatch.setattr("edgekit.render.config.find_spec", lambda name: None)

    def lacks(**more):
        return " ".join(note for note in config(**more).plan().notes if "NOT HERE" in note)

    assert lacks() == ""  # the built-in crossroads needs no SUMO
    assert "edgekit[sumo]" in lacks(layouts={"x": 1.0})
    monkeypatch.setattr("edgekit.render.config.find_spec", lambda name: name)
    assert lacks(layouts={"x": 1.0}) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(python))
    monkeypatch.delenv("SUMO_HOME", raising=False)
    assert "eclipse-sumo" in lacks(layouts={"made": 1.0})
    assert "edgekit setup blender" in lacks(blender_python=str(tmp_path / "none"))


def test_the_plan_counts_what_grows():
    def plan(**more):
        return config(**{"scenes": 1000, "frames_per_scene": 10, **more}).plan()

    few = plan()
    assert plan(frames_per_scene=100).memory_gb - few.memory_gb == pytest.approx(90_000 * 7e-5, abs=0.1)
    assert plan(width=1792, height=1008).memory_gb > few.memory_gb + 1.5  # two workers of larger images
    one_each = plan(scenes=10_000, frames_per_scene=1)
    assert one_each.disk_gb > few.disk_gb + 0.9  # as many frames, ten times the scenes
    assert plan(formats=["hdf5"]).disk_gb > few.disk_gb + 1.5
    assert plan(formats=["coco", "yolo"]).disk_gb > few.disk_gb


def test_a_list_of_conditions_that_does_not_come_out_even_is_told():
    conditions = {"conditions": [{"weather": "rain"}, {"weather": "fog"}], "layouts": {"x": 0.5, "t": 0.5}}
    assert any("take 4 scenes" in note for note in config(scenes=6, **conditions).plan().notes)
    assert not any("take" in note for note in config(scenes=8, **conditions).plan().notes)


def test_a_folder_is_no_manifest(tmp_path):
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path)
    assert caught.value.why == "it is a folder"


@pytest.fixture
def run(tmp_path):
    """A start of a run of one scene with both of its frames drawn; gives the orders of the next start."""
    cfg = config(scenes=1, frames_per_scene=2, width=112, height=56)

    def orders():
        return [
            order["frames"] for order in Scenes(cfg, tmp_path, default_prompt(cfg.student_library)).orders()
        ]

    assert orders() == [[0, 1]]
    for stem in ("s000001_000", "s000001_001"):
        for folder, name, kind in (("images", "jpg", np.uint8), ("ids", "png", np.uint16)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(np.zeros((56, 112), kind)).save(tmp_path / folder / f"{stem}.{name}")
    assert orders() == []
    return orders


@pytest.mark.parametrize("left", [0, 60])
def test_ids_that_a_crash_has_cut_off_are_drawn_again(run, tmp_path, left):
    ids = tmp_path / "ids" / "s000001_001.png"
    ids.write_bytes(ids.read_bytes()[:left])
    assert run() == [[1]]


@pytest.mark.parametrize("left", [0, 5000])
def test_a_scene_that_a_crash_has_cut_off_is_written_again(run, tmp_path, left):
    scene = tmp_path / "scenes" / "s000001.json"
    whole = scene.read_text()
    scene.write_text(whole[:left])
    assert run() == []
    assert scene.read_text() == whole


def test_a_scene_that_was_changed_is_not_gone_on_with(run, tmp_path):
    scene: Path = tmp_path / "scenes" / "s000001.json"
    scene.write_text(json.dumps({**json.loads(scene.read_text()), "seed": 2}))
    with pytest.raises(UserError, match="s000001.json") as caught:
        run()
    assert "the file was changed" in caught.value.why
