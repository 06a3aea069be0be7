"""The cutting of shipped assets: which runs they name, and what is refused."""

import numpy as np
import pytest

from edgekit.assets import make
from edgekit.core.contract import Contract
from edgekit.core.files import read_json
from edgekit.core.label import SceneLabel
from edgekit.core.recipe import build
from edgekit.core.run import open_input, start
from edgekit.dataset import DatasetWriter, Sample, open_dataset
from edgekit.render.config import RenderConfig


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


def test_half_a_sample_is_no_sample(capsys):
    with pytest.raises(SystemExit):
        make.main(["--frames", "a"])
    assert "together" in capsys.readouterr().err
