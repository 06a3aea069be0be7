"""The tune station, end to end on a nano of 8 pixels: files, resuming, every joint to the methods."""

import json

import pytest
import torch
from PIL import Image

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.generators.adapters.files import load_adapter
from edgekit.generators.open import open_generator
from tests.unit.tune.data import NANO, write_dataset


def test_a_nano_start_becomes_a_whole_generator(base):
    out = base / "out"
    generator = open_generator(out / "generator")
    assert generator.condition.names == ["clear day", "rain night"]
    told = read_json(out / "tune.json")
    assert told["method"] == "full" and told["base"] == "nano" and told["parameters"]["share"] == 1.0
    assert len(told["loss"]["by_t"]) == 10 and told["loss"]["by_t"][-1]["to"] == 1000
    assert told["loss"]["measured_on"] == "2 dev frames" and told["loss"]["after"] != told["loss"]["before"]
    assert [row["step"] for row in read_jsonl(out / "curves.jsonl")] == [4]
    assert not (out / "adapter").exists() and Image.open(out / "samples.png").width > 200


def test_lora_learns_on_it_and_leaves_it_as_it_was(base, tuned, tmp_path):
    before = open_generator(base).digest()
    run = tuned(tmp_path / "lora", base=str(base), method={"kind": "lora", "rank": 2})
    generator = open_generator(base)
    assert generator.digest() == before
    adapter = load_adapter(run.out / "adapter", generator)
    told = read_json(run.out / "tune.json")
    assert told["parameters"]["trainable"] == sum(p.numel() for p in adapter.trainable().values()) > 0
    assert told["parameters"]["share"] < 0.2 and told["effect"]["mean_grey_levels"] > 0
    assert adapter.base_digest == before


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "method", [{"kind": "lora", "rank": 2, "dropout": 0.5}, {"kind": "adalora", "rank": 3, "target_rank": 2}]
)
def test_a_killed_run_goes_on_to_the_same_bytes(base, tuned, tmp_path, monkeypatch, method):
    from edgekit.tune.trainer import Trainer

    recipe = dict(base=str(base), method=method, train={"steps": 6, "accumulate": 2})
    if method["kind"] == "adalora":
        method |= {"warmup": 0.2, "settle": 0.3, "every": 1}
    whole = tuned(tmp_path / "whole", **recipe)
    gradients = Trainer._gradients

    def dies(self, step, phase):
        if step == 5:
            raise Killed
        return gradients(self, step, phase)

    with monkeypatch.context() as m, pytest.raises(Killed):
        m.setattr(Trainer, "_gradients", dies)
        tuned(tmp_path / "killed", **recipe)
    assert (tmp_path / "killed" / "state" / "tune.pt").is_file()
    steps = []
    monkeypatch.setattr(
        Trainer, "_gradients", lambda self, step, phase: steps.append(step) or gradients(self, step, phase)
    )
    again = tuned(tmp_path / "killed", **recipe)
    assert steps == [4, 5], "no step before the last save is taken again"
    assert again.digest == whole.digest


def test_driveditfit_as_published(base, tuned, tmp_path):
    data = write_dataset(tmp_path / "fog", tags=(["fog"], ["snow", "dusk"]))
    run = tuned(
        tmp_path / "run", base=str(base), data=[str(data)],
        method={"kind": "driveditfit", "rank": 2, "rope": "hidden", "label_start": "ssei"},
        objective={"object_weight": 1.0, "stages": "progressive"}, train={"steps": 6}, ssei={"paint": 1, "steps": 1},
    )  # fmt: skip
    told = read_json(run.out / "adapter" / "adapter_config.json")
    assert told["condition"]["names"] == ["fog day", "snow dusk"]
    from edgekit.generators.process import stage_betas

    assert told["process"]["betas"] == pytest.approx(list(stage_betas(5)))
    assert set(told["facts"]["ssei"]["rows"]) == {"fog day", "snow dusk"}
    assert "object" in next(iter(read_jsonl(run.out / "curves.jsonl")))
    manifest = (run.path / "manifest.json").read_text()
    assert "stand-in" in manifest and "painted 1 pictures" in manifest


@pytest.mark.parametrize("arch", ["mmdit", "unet"])
def test_text_bases_learn_their_encoders_too(arch, tuned, tmp_path):
    nano = {"arch": arch, "size": 8, "patch": 4, "width": 32, "layers": 2, "heads": 2, "text_width": 32,
            "text_tokens": 8, "unet_widths": [16, 16, 16], "unet_layers": [1, 1]}  # fmt: skip
    from edgekit.generators.config import NanoGenerator
    from edgekit.generators.nano import build_nano_generator

    run = tuned(tmp_path / arch, nano=nano, method={"kind": "full"}, train={"steps": 6})
    fresh = build_nano_generator(NanoGenerator(**nano), 0, ["A car ahead.", "A car on the left."])
    trained = open_generator(run.path)
    moved = [
        any(not torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))
        for x, y in zip(fresh.text_encoders(), trained.text_encoders(), strict=True)
    ]
    assert moved == [True, True]


REFUSED = {
    "nothing to learn": ({"data": "none"}, "nothing to learn from"),
    "method.labels without a frame's": ({"method": {"kind": "bitfit", "labels": ["fog day"]}}, "'clear day'"),
    "no objects known": ({"data": "no truth", "objective": {"object_weight": 1}}, "no object is known"),
    "interval beyond the table": ({"objective": {"interval": [900, 1200]}}, "interval"),
    "learning rate of nothing": ({"train": {"learning_rate": 0.0}}, "changes nothing"),
    "deeper than the base": ({"method": {"kind": "difffit", "depth": 9}}, "2 blocks"),
    "frozen table, new labels": (
        {"data": "fog", "method": {"kind": "driveditfit", "table": "frozen"}}, "frozen with new labels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change, says", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_told_in_three_lines(base, frames, tuned, tmp_path, change, says):
    if kind := change.get("data"):
        more = {"none": {"frames": 0}, "no truth": {"truth": False}, "fog": {"tags": (["fog"],)}}[kind]
        change = change | {"data": [str(write_dataset(tmp_path / "data", **more))]}
    with pytest.raises(UserError) as caught:
        tuned(tmp_path / "run", **({"base": str(base), "method": {"kind": "bitfit"}} | change))
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 3


def test_an_adapter_goes_on_from_another_and_only_on_its_base(base, tuned, tmp_path):
    first = tuned(tmp_path / "first", base=str(base), method={"kind": "bitfit"})
    second = tuned(
        tmp_path / "second", base=str(base), method={"kind": "bitfit"}, adapter_from=str(first.path)
    )
    losses = [read_json(run.out / "tune.json")["loss"] for run in (first, second)]
    assert losses[1]["before"] == pytest.approx(losses[0]["after"], abs=1e-6)
    other = tuned(tmp_path / "other", nano=NANO, method={"kind": "full"}, seed=1)
    with pytest.raises(UserError, match="another base"):
        tuned(
            tmp_path / "wrong", base=str(other.path), method={"kind": "bitfit"}, adapter_from=str(first.path)
        )
    with pytest.raises(UserError, match="adapter_from is a bitfit"):
        tuned(tmp_path / "mixed", base=str(base), method={"kind": "lora"}, adapter_from=str(first.path))


def test_the_report_is_json_that_says_what_was_measured(base):
    told = json.loads((base / "out" / "tune.json").read_text())
    assert set(told["loss"]) == {"measured_on", "before", "after", "by_t"}
