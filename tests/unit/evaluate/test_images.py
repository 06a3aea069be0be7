"""Painted pictures against a Dataset's: whose network fills which column, what was asked, what is refused."""

import json
import re
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from PIL import Image

from edgekit.cli import main
from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import write_jsonl
from edgekit.core.label import UNKNOWN
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.dataset import DatasetWriter, Sample
from edgekit.evaluate import EvaluateConfig, evaluate
from edgekit.evaluate.images import COLUMNS, names_of
from edgekit.evaluate.pictures import Picture
from edgekit.evaluate.table import read_evaluation
from edgekit.generators.quality.features import AlexFeatures, ClipFeatures, OnnxFeatures
from edgekit.generators.quality.scenes import SceneNet
from tests.unit.generators.quality.pictures import write_clip, write_inception

torch.set_num_threads(1)
TAGS = (["clear"], ["rain", "night"])
SCENES = {"kind": "scenes", "steps": 25, "size": 16, "threads": 1}


def picture(kind, seed, size=56):
    """Day (0) is bright above, night (1) is dark with a bluish street."""
    draw = np.random.default_rng(seed)
    image = draw.integers(0, 40, (size, size, 3)) + (150 if kind == 0 else 10)
    image[size // 2 :] = draw.integers(0, 40, (size - size // 2, size, 3)) + (90, 90, 90 + 60 * kind)
    return image.clip(0, 255).astype(np.uint8)


def write_pictures(out, counts, first=0, size=56, shown=lambda kind: kind, asked=False):
    """shown: which picture a kind gets; asked: prompts in asked.jsonl instead of tags."""
    writer, words = DatasetWriter(out, Contract(width=size, height=size)), []
    for split, count in counts.items():
        for n in range(count):
            name = f"{split}{n}"
            image = picture(shown(n % 2), first + 1000 * len(split) + n, size)
            words.append({"id": name, "asked": ("a street on a clear day", "a rainy street at night")[n % 2]})
            writer.add(split, Sample.of(
                id=name, prompt_text="Look.", label=UNKNOWN, source="render", scene=name,
                images=[writer.image(name, image)], tags=[] if asked else TAGS[n % 2],
            ))  # fmt: skip
    writer.finish()
    if asked:
        write_jsonl(out / "asked.jsonl", words)
    return out


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("real") / "data", {"train": 24, "test": 16})


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("painted") / "data", {"train": 12}, first=50)


def go(out, real, painted, **raw):
    raw = {
        "images": str(painted),
        "dataset": str(real),
        "features": [SCENES],
        "report_frames": 4,
        "resamples": 100,
    } | raw
    run = start("evaluate", build(EvaluateConfig, raw, "test"), "test", out)
    evaluate(run.config, run)
    return run, json.loads((run.out / "metrics.json").read_text())


def test_a_stand_in_fills_no_column_of_another_network(tmp_path, real, painted):
    run, found = go(tmp_path / "run", real, painted)
    assert found["schema"] == "edgekit/report/1" and found["kind"] == "images"
    assert (found["painted"], found["real"], found["split"]) == (12, 16, "test")
    assert found["overall"] == dict.fromkeys(COLUMNS)
    (row,) = found["features"]
    assert row["stand_in"] and set(row["measures"]) & set(COLUMNS) == set()
    where = "in scene classifier features (stand-in)"
    assert [*row["measures"]] == [
        f"{name} {where}" for name in ("Fréchet", "spatial Fréchet", "kernel distance", "precision", "recall")
    ]
    assert row["intervals"].keys() == {f"precision {where}", f"recall {where}"} and len(row["std"]) == 1
    page = (run.out / "report.html").read_text()
    head = re.findall("<th>(.*?)</th>", page)
    cells = re.findall("<td>(.*?)</td>", page)
    assert head[1:8] == list(COLUMNS) and cells[1:8] == ["—"] * 7 and "—" not in cells[8:13]
    assert "N = 12 painted, 16 real" in page and "bicubic" in page and page.count("<img") == 2 + 2 + 2 * 6
    assert any("lower rank" in note for note in run.notes)
    assert run.finish() and not (run.out / "predictions.jsonl").exists()


def test_what_was_asked_is_seen_or_not(tmp_path, real, painted):
    _, right = go(tmp_path / "right", real, painted)
    swapped = write_pictures(tmp_path / "swapped", {"train": 12}, shown=lambda kind: 1 - kind)
    _, wrong = go(tmp_path / "wrong", real, swapped)
    for factor in ("weather", "time"):
        assert right["asked"][factor]["on_real"] == 1 == right["asked"][factor]["right"]
        assert wrong["asked"][factor]["right"] == 0 and wrong["asked"][factor]["of"] == 12
        assert right["asked"][factor]["most_asked"] == 0.5
    assert right["asked"]["weather"]["classes"] == ["clear", "rain"]


def test_prompts_count_where_there_are_no_tags(tmp_path, real):
    by_prompt = write_pictures(tmp_path / "prompts", {"train": 8}, first=70, asked=True)
    _, found = go(tmp_path / "run", real, by_prompt)
    assert found["asked"]["time"]["of"] == 8 and found["asked"]["weather"]["right"] == 1


@pytest.mark.parametrize(
    ("tags", "asked", "words"),
    [
        (("rain",), "a clear night", ("rain", "day")),
        ((), "Rainy dusk", ("rain", "dusk")),
        ((), "a street in low sun", ("clear", "low sun")),
        (("video",), "snow", ("snow", "day")),
        (("video",), "a street", None),
        ((), None, None),
        ((), "trainyard", None),
    ],
)
def test_words_of_a_picture(tags, asked, words):
    found = Picture(None, "x", "x", tags, asked).words
    assert (found and (found["weather"], found["time"])) == words


@pytest.mark.onnx
def test_the_real_networks_fill_their_own_columns(tmp_path, real):
    pytest.importorskip("onnxruntime")
    write_inception(tmp_path / "inception.onnx")
    painted = write_pictures(tmp_path / "painted", {"train": 6}, first=50, asked=True)
    features = [
        {"kind": "inception", "file": str(tmp_path / "inception.onnx")},
        {"kind": "clip", "model": str(write_clip(tmp_path / "tiny"))},
    ]
    run, found = go(tmp_path / "run", real, painted, features=features, frames=6)
    inception, clip = found["features"]
    assert [*inception["measures"]] == ["FID", "sFID", "KID", "precision", "recall"]
    assert [*clip["measures"]] == ["CMMD", "CLIP score"]
    assert inception["numbers"] == {"pooled": 2048, "spatial": 2023} and clip["numbers"]["spatial"] is None
    assert all(value is not None for value in found["overall"].values()) and found["asked"] is None
    assert (found["painted"], found["real"]) == (6, 6)
    assert [i.digest[:12] for i in run.inputs["feature_files"]][0] == inception["source"].split()[-1]
    assert not any("stand-in" in note for note in run.notes)
    _, again = go(tmp_path / "again", real, painted, features=features, frames=6)
    assert again == found
    _, tagged = go(
        tmp_path / "tagged", real, write_pictures(tmp_path / "silent", {"train": 6}), features=features[1:]
    )
    assert tagged["overall"]["CLIP score"] is None, "no words of these are known"
    assert tagged["overall"]["CMMD"] is not None and tagged["overall"]["FID"] is None


def test_every_extractor_says_what_it_is():
    real_ones = [OnnxFeatures, ClipFeatures]
    for kind in (OnnxFeatures, ClipFeatures, AlexFeatures, SceneNet):
        assert kind.stand_in == (kind not in real_ones)
    for kind in (AlexFeatures, SceneNet):
        assert all(name.endswith("(stand-in)") for name in names_of(kind).values())
        assert not set(names_of(kind).values()) & set(COLUMNS)


def test_copies_of_what_was_learned_are_found(tmp_path, real, painted):
    copied = tmp_path / "copied"
    copied.mkdir()
    for n in range(6):
        (copied / f"{n}.jpg").write_bytes((real / "images" / f"train{n}.jpg").read_bytes())
    _, found = go(tmp_path / "run", real, copied)
    near = found["nearest"]
    assert near["against"] == "train" and near["median"] == 0 and near["copies"] == 1
    assert [(p["painted"], p["real"]) for p in near["pairs"]][0] == (0, 0)
    _, fresh = go(tmp_path / "fresh", real, painted)
    assert fresh["nearest"]["median"] > 0 and fresh["nearest"]["copies"] < 1
    _, learned = go(tmp_path / "learned", real, painted, split="train")
    assert learned["nearest"]["copies"] is None and learned["nearest"]["against"] == "train"


def test_a_folder_of_other_sizes_is_squeezed_and_said(tmp_path, real):
    folder = tmp_path / "plain"
    (folder / "deeper").mkdir(parents=True)
    for n in range(5):
        Image.fromarray(picture(n % 2, n, 32 + 8 * (n % 2))).save(
            folder / ("deeper" if n else "") / f"{n}.png"
        )
    (folder / "notes.txt").write_text("not a picture")
    run, found = go(tmp_path / "run", real, folder)
    assert found["painted"] == 5
    assert found["asked"]["weather"]["of"] == 0 and found["asked"]["weather"]["right"] is None
    assert any("32×32 (3), 40×40 (2)" in note and "56×56" in note for note in run.notes)


def test_three_pictures_have_no_neighbourhoods(tmp_path, real):
    few = write_pictures(tmp_path / "few", {"train": 3})
    _, found = go(tmp_path / "run", real, few)
    assert len(found["features"][0]["measures"]) == 2


def refusal(tmp_path, real, painted, **raw):
    with pytest.raises(UserError) as error:
        go(Path(mkdtemp(dir=tmp_path)), real, painted, **raw)
    return str(error.value)


def test_wrong_uses(tmp_path, real, painted):
    assert "no such directory" in refusal(tmp_path, real, tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds 0 pictures" in refusal(tmp_path, real, empty)
    Image.fromarray(picture(0, 0)).save(empty / "one.png")
    assert "holds 1 picture\n" in refusal(tmp_path, real, empty)
    (empty / "two.png").write_bytes(b"no picture")
    assert "two.png: not a readable image" in refusal(tmp_path, real, empty)
    told = refusal(tmp_path, real, painted, split="dev")
    assert "split 'dev'" in told and "'train': 24, 'test': 16" in told
    same = write_pictures(tmp_path / "same", {"test": 4})
    assert "hold" in refusal(tmp_path, same, painted) and "0 pictures" in refusal(tmp_path, same, painted)
    assert "no CLIP model" in refusal(
        tmp_path, real, painted, features=[{"kind": "clip", "model": str(empty)}]
    )


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"model": "m", "images": "i"}, "exactly one"),
        ({}, "exactly one"),
        ({"images": "i", "gate": {"f1": 0.5}}, "gate does not go with images"),
        ({"images": "i", "kind": "torch"}, "kind: torch is of a model"),
        ({"images": "i", "features": []}, "features"),
        ({"images": "i", "features": [{"kind": "vgg"}]}, "features"),
        ({"images": "i", "features": [{"kind": "inception"}]}, "file"),
    ],
)
def test_a_recipe_that_cannot_be_meant(raw, told):
    with pytest.raises(UserError, match=re.escape(told)):
        build(EvaluateConfig, {"dataset": "d"} | raw, "test")


def test_a_models_table_refuses_an_evaluation_of_pictures(tmp_path, real, painted):
    run, _ = go(tmp_path / "run", real, painted)
    with pytest.raises(UserError, match="an evaluation of pictures"):
        read_evaluation(run.path)


def test_from_the_command_line(tmp_path, real, painted, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        f"images={painted}",
        f"dataset={real}",
        "features=[{kind: scenes, steps: 5, size: 16, threads: 1}]",
    ]
    assert main(["evaluate", "images", *words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "memory" in shown and "scenes" in shown and str(painted) in shown and "nothing was run" in shown
    assert not (tmp_path / "runs").exists()
    assert main(["evaluate", "images", *words, "--out", "run"]) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"images", "dataset"} and manifest["notes"]
    capsys.readouterr()
    assert main(["evaluate", "images", "images=nowhere", *words[1:]]) == 2
    assert "no such directory" in capsys.readouterr().err
