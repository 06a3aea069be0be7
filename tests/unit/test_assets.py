"""The cutting of shipped assets: which runs they name, and what is refused."""

from typing import ClassVar

import numpy as np
import pytest

from edgekit.assets import make
from edgekit.core.contract import Contract
from edgekit.core.files import read_json
from edgekit.core.label import SceneLabel
from edgekit.core.recipe import Config, build
from edgekit.core.run import open_input, start
from edgekit.dataset import DatasetWriter, Sample, open_dataset
from edgekit.drives import DriveInfo, Telemetry, write_drive
from edgekit.render.config import RenderConfig


class Learns(Config):
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    data: str = ""


def rendered(folder, seed, split, contract=None):
    """A complete run as render leaves it: three scenes of two frames."""
    run = start("render", build(RenderConfig, {"seed": seed}, "here"), "r", folder)
    writer = DatasetWriter(run.out, contract or Contract(width=84, height=56))
    for number in range(6):
        image = writer.image(f"s{seed}-{number}", np.full((56, 84, 3), 40 * number, np.uint8))
        facts = {"id": f"s{seed}/{number}", "images": [image], "scene": f"s{seed}-{number // 2}"}
        writer.add(split, Sample.of(prompt_text="?", label=SceneLabel(), source="render", **facts))
    writer.finish()
    run.finish()
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "HERE", tmp_path / "assets")
    (tmp_path / "assets" / "sample" / "out").mkdir(parents=True)
    return tmp_path / "assets"


def test_a_sample_takes_scene_after_scene_and_names_both_runs(here, tmp_path):
    train, test = rendered(tmp_path / "a", 1, "train"), rendered(tmp_path / "b", 2, "test")
    words = ["--frames", str(train), "--test-frames", str(test), "--train", "3", "--test", "4"]
    assert make.main(words) == 0
    found = open_input(here / "sample")
    data = open_dataset(found.out)
    assert len({row.scene for row in data.rows("train")}) == 3
    assert len(data.rows("test")) == 4 and len({row.scene for row in data.rows("test")}) == 3
    row = data.rows("test")[0]
    assert abs(int(data.image(row)[0, 0, 0]) - 40 * int(row.id[-1])) <= 3
    named = [r["manifest"] for r in read_json(here / "sample" / "manifest.json")["inputs"]["cut_from"]]
    assert named == [open_input(train).manifest, open_input(test).manifest]


def test_frames_of_another_contract_are_refused(here, tmp_path, capsys):
    train = rendered(tmp_path / "a", 1, "train")
    test = rendered(tmp_path / "b", 2, "test", Contract(width=112, height=56))
    assert make.main(["--frames", str(train), "--test-frames", str(test)]) == 2
    assert "error: " in capsys.readouterr().err


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def drawn(folder, count):
    """A complete run of drives: two frames each."""
    run = start("render", build(RenderConfig, {"mode": "drive"}, "here"), "r", folder)
    (run.out / "drives").mkdir()
    telemetry = Telemetry(*(np.arange(2.0) for _ in range(4)))
    for number in range(count):
        frames = [np.full((56, 84, 3), 90, np.uint8)] * 2
        write_drive(run.out / "drives" / f"d{number}", DriveInfo(id=f"d{number}", fps=5), frames, telemetry)
    run.made_with["bpy"] = "5.0.1"
    run.finish()
    return folder


def test_what_cannot_be_made_touches_nothing(here, tmp_path, capsys, monkeypatch):
    good, test = rendered(tmp_path / "a", 1, "train"), rendered(tmp_path / "b", 2, "test")
    both = ["--frames", str(good), "--test-frames", str(test)]
    assert make.main(both) == 0
    before = tree(here)
    empty, foreign = drawn(tmp_path / "c", 0), tmp_path / "d"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("no run")
    for more in (["--drives", str(empty)], ["--drives", str(foreign)], ["--teacher", str(tmp_path / "no")]):
        assert make.main([*both, "--train", "1", *more]) == 2
        assert tree(here) == before
    monkeypatch.setattr(make, "LIMIT_MB", 1e-6)
    assert make.main([*both, "--train", "1"]) == 2
    assert "too large" in capsys.readouterr().err
    assert tree(here) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "assets", "b", "c", "d"]  # no scratch is left


def test_drives_take_the_place_of_the_old_ones_and_name_their_renderer(here, tmp_path):
    (here / "drives" / "out").mkdir(parents=True)
    (here / "drives" / "out" / "old").touch()
    assert make.main(["--drives", str(drawn(tmp_path / "a", 3)), "--count", "2"]) == 0
    assert sorted(p.name for p in (here / "drives" / "out" / "drives").iterdir()) == ["d0", "d1"]
    assert not (here / "drives" / "out" / "old").exists()
    assert read_json(here / "drives" / "manifest.json")["made_with"]["bpy"] == "5.0.1"


def test_what_the_teacher_learned_from_stays_in_its_manifest(here, tmp_path):
    data = rendered(tmp_path / "data", 1, "train")
    source = start("probe", Learns(data=str(data)), "t", tmp_path / "teacher")
    (source.out / "model.safetensors").write_bytes(b"weights")
    source.finish()
    assert make.main(["--teacher", str(source.path)]) == 0
    inputs = read_json(here / "nano-teacher" / "manifest.json")["inputs"]
    assert [r["digest"] for r in inputs["data"]] == [open_input(data).digest]
    assert [r["digest"] for r in inputs["cut_from"]] == [open_input(source.path).digest]


def test_half_a_sample_is_no_sample(capsys):
    with pytest.raises(SystemExit):
        make.main(["--frames", "a"])
    assert "together" in capsys.readouterr().err
