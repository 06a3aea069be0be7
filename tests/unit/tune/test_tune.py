"""The tune station, end to end on a nano of 8 pixels: files, resuming, every joint to the methods."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.generators.adapters.calora import attach as calora
from edgekit.generators.adapters.files import load_adapter
from edgekit.generators.generator import Generator
from edgekit.generators.open import open_generator
from edgekit.tune.data import order
from edgekit.tune.trainer import Trainer
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


def test_driveditfit_with_all_its_parts(base, tuned, tmp_path):
    data = write_dataset(tmp_path / "fog", tags=(["fog"], ["snow", "dusk"]))
    run = tuned(
        tmp_path / "run", base=str(base), data=[str(data)],
        method={"kind": "driveditfit", "rank": 2, "rope": "hidden", "label_start": "ssei"},
        objective={"object_weight": 1.0, "objects": ["car"], "stages": "progressive"},
        train={"steps": 6, "clip": 0, "ema": 0, "weight_decay": 0.01}, ssei={"paint": 1, "steps": 1},
    )  # fmt: skip
    told = read_json(run.out / "adapter" / "adapter_config.json")
    assert told["condition"]["names"] == ["fog day", "snow dusk"]
    from edgekit.generators.process import stage_betas

    assert told["process"]["betas"] == pytest.approx(list(stage_betas(5)))
    assert set(told["facts"]["ssei"]["rows"]) == {"fog day", "snow dusk"}
    assert read_json(run.out / "tune.json")["signal_left"] == pytest.approx(0.0597, abs=5e-5)
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
    "a class that no frame shows": ({"objective": {"object_weight": 1, "objects": ["caar"]}}, "did you mean 'car'"),
    "frozen table, new labels": (
        {"data": "fog", "method": {"kind": "driveditfit", "table": False}}, "false with new labels",
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
    lora = tuned(tmp_path / "lora", base=str(base), method={"kind": "lora", "rank": 4})
    with pytest.raises(UserError, match="method.rank is 2\n.*made with 4"):
        recipe = dict(base=str(base), method={"kind": "lora", "rank": 2}, adapter_from=str(lora.path))
        tuned(tmp_path / "rank", **recipe)
    on = tuned(tmp_path / "on", base=str(base), method={"kind": "lora"}, adapter_from=str(lora.path))
    assert "method.rank is 4, as it was made with" in (on.path / "manifest.json").read_text()


def test_the_report_is_json_that_says_what_was_measured(base):
    told = json.loads((base / "out" / "tune.json").read_text())
    assert set(told["loss"]) == {"measured_on", "before", "after", "by_t"}
    assert told["signal_left"] == pytest.approx(0.0064, abs=5e-5)


@pytest.mark.parametrize("drop, wanted", [(1.0, {2}), (0.0, {0, 1})])
def test_a_dropped_condition_is_the_null_label(base, tuned, tmp_path, monkeypatch, drop, wanted):
    asked, predict = set(), Generator.predict

    def spied(self, x, t, cond):
        if torch.is_grad_enabled():
            asked.update(cond["labels"].tolist())
        return predict(self, x, t, cond)

    monkeypatch.setattr(Generator, "predict", spied)
    tuned(tmp_path / "run", base=str(base), method={"kind": "bitfit"}, train={"steps": 3, "drop": drop})
    assert asked == wanted


def test_what_is_trained_in_bf16_is_what_is_loaded(base, tuned, tmp_path):
    """A step of this rate is far below bfloat16's digits of a bias or a row."""
    train = {"precision": "bf16", "learning_rate": 1e-5, "ema": 0}
    run = tuned(tmp_path / "run", base=str(base), method={"kind": "bitfit"}, train=train)
    held = load_file(run.out / "adapter" / "adapter_model.safetensors")
    assert {t.dtype for t in held.values()} == {torch.float32}
    assert any(not torch.equal(t, t.bfloat16().float()) for t in held.values())
    generator = open_generator(base, torch.bfloat16)
    digest = generator.digest()
    adapter = load_adapter(run.out / "adapter", generator)
    assert all(torch.equal(t, held[n]) for n, t in adapter.state().items())
    adapter.detach()
    assert generator.digest() == digest


def test_adalora_keeps_its_budget_under_the_running_mean(base, tuned, tmp_path):
    method = {"kind": "adalora", "rank": 3, "target_rank": 1, "warmup": 0.1, "settle": 0.3, "every": 1}
    run = tuned(tmp_path / "run", base=str(base), method=method, train={"steps": 10, "ema": 0.9})
    facts = read_json(run.out / "tune.json")["facts"]
    assert sum(facts["ranks"].values()) == 1 * facts["layers"]


def test_a_gradient_that_is_no_number_ends_the_run(base, tuned, tmp_path, monkeypatch):
    gradients = Trainer._gradients

    def lost(self, step, phase):
        told = gradients(self, step, phase)
        if step == 3:  # the last: no later loss would tell
            next(p for p in self.adapter.trainable().values() if p.grad is not None).grad.fill_(float("nan"))
        return told

    monkeypatch.setattr(Trainer, "_gradients", lost)
    with pytest.raises(UserError, match="norm of the gradient of step 3 is not a number"):
        tuned(tmp_path / "run", base=str(base), method={"kind": "bitfit"})
    assert not (tmp_path / "run" / "out" / "adapter").exists()


def test_stages_go_through_the_frames_without_beginning_anew(base, tuned, tmp_path, monkeypatch):
    seen = []

    def told(count, batch, step, seed):
        seen.append(step)
        return order(count, batch, step, seed)

    monkeypatch.setattr("edgekit.tune.trainer.order", told)
    method = {"kind": "tsm", "core": 2, "contexts": [], "rank": 2}
    tuned(tmp_path / "run", base=str(base), method=method, train={"steps": 4, "accumulate": 2})
    assert seen == list(range(8))


def test_awareness_is_measured_once_whatever_is_killed(base, tuned, tmp_path, monkeypatch):
    measure, gradients, measured = calora.measure, Trainer._gradients, []

    def dies(self, step, phase):
        if step == 2:
            raise Killed
        return gradients(self, step, phase)

    monkeypatch.setattr(calora, "measure", lambda *args: measured.append(1) or measure(*args))
    method = {"kind": "calora", "images": 1, "steps": 1, "variants": 1, "share": 0.5, "rank": 2}
    with monkeypatch.context() as m, pytest.raises(Killed):
        m.setattr(Trainer, "_gradients", dies)
        tuned(tmp_path / "run", base=str(base), method=method)
    run = tuned(tmp_path / "run", base=str(base), method=method)
    whole = tuned(tmp_path / "whole", base=str(base), method=method)
    assert len(measured) == 2, "one for each run"
    assert run.digest == whole.digest and (run.out / "adapter" / "awareness.json").is_file()


def test_progressive_stages_on_a_text_base(tuned, tmp_path):
    """Off the DiT: a PixArt, whose table is linear too."""
    nano = NANO | {"arch": "pixart", "text_width": 32, "text_tokens": 8}
    made = tuned(tmp_path / "base", nano=nano, method={"kind": "full"})
    run = tuned(
        tmp_path / "run", base=str(made.path), method={"kind": "driveditfit", "rank": 2},
        objective={"stages": "progressive"}, train={"steps": 6},
    )  # fmt: skip
    generator = open_generator(made.path)
    load_adapter(run.out / "adapter", generator)
    assert generator.process.signal_left == pytest.approx(0.0597, abs=5e-5)
