"""The parts of the trainer that can be told by hand: means, rates, draws, flips, conditions, plans."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.core.files import write_jsonl
from edgekit.core.places import shipped
from edgekit.core.recipe import build, load_recipe
from edgekit.dataset import open_dataset
from edgekit.generators.adapters.driveditfit import ssei
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.draws import draw_of
from edgekit.generators.process import (
    Betas,
    Flow,
    cosine_power,
    linear,
    matched_t,
    scaled_linear,
    stage_betas,
)
from edgekit.tune import report
from edgekit.tune.config import Condition, Objective, Train, TuneConfig
from edgekit.tune.data import Latents, flips_of, order, read_frames, words_of
from edgekit.tune.ema import Ema
from edgekit.tune.run import _check, phases
from edgekit.tune.start import start_labels
from edgekit.tune.trainer import set_stage, share_of_rate
from tests.unit.tune.data import write_dataset

RECIPES = sorted((shipped("recipes") / "tune").glob("*.yaml"))


def test_the_mean_warms_up_and_is_what_the_formula_says():
    x = torch.zeros(1)
    mean, expected = Ema({"x": x}, 0.5), 0.0
    for n in range(12):
        x.fill_(float(n + 1))
        d = min(0.5, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * (n + 1)
        assert mean.decay_now() == pytest.approx(d)
        mean.update()
        assert mean.shadow["x"].item() == pytest.approx(expected, rel=1e-6)
    kept = mean.state()
    other = Ema({"x": torch.zeros(1)}, 0.5)
    other.load(kept)
    assert other.updates == 12 and other.decay_now() == 0.5
    mean.write()
    assert x.item() == pytest.approx(expected, rel=1e-6)


def test_the_rate_warms_up_and_falls_to_its_final_share():
    train = Train(warmup_steps=4, final_share=0.1)
    assert [share_of_rate(s, 14, train) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert share_of_rate(4, 14, train) == 1.0 and share_of_rate(14, 14, train) == pytest.approx(0.1)
    assert share_of_rate(9, 14, train) == pytest.approx(0.55)
    assert share_of_rate(13, 14, Train(warmup_steps=4)) == 1.0


def test_every_frame_comes_once_an_epoch_whatever_the_batch():
    seen = [i for step in range(7) for i in order(7, 3, step, seed=5)]
    assert [sorted(seen[at : at + 7]) for at in (0, 7, 14)] == [list(range(7))] * 3
    assert seen[:7] != seen[7:14]


def test_a_step_s_draws_depend_on_its_place_alone():
    assert torch.equal(torch.rand(3, generator=draw_of(0, 7, 2)), torch.rand(3, generator=draw_of(0, 7, 2)))
    assert not torch.equal(
        torch.rand(3, generator=draw_of(0, 7, 2)), torch.rand(3, generator=draw_of(0, 7, 3))
    )


def test_the_share_of_dropped_conditions():
    condition = LabelCondition(["a", "b"])
    cond = condition.encode([0] * 4000)
    dropped = (condition.drop(cond, 0.1, draw_of(1))["labels"] == 2).float().mean().item()
    assert abs(dropped - 0.1) < 4 * (0.1 * 0.9 / 4000) ** 0.5


def test_frames_that_tell_left_from_right_are_never_mirrored(frames):
    data = open_dataset(frames)
    told = read_frames([data], "train", False, Condition(), Objective())
    assert [f.asked for f in told[:2]] == ["A car ahead.", "A car on the left."]
    flips = [flips_of(told, 1.0, draw_of(i)) for i in range(3)]
    assert flips == [[not f.sided for f in told]] * 3 and any(flips[0]) and not all(flips[0])
    labelled = read_frames([data], "train", True, Condition(), Objective())
    share = sum(sum(flips_of(labelled, 0.5, draw_of(i))) for i in range(400)) / (400 * len(labelled))
    assert abs(share - 0.5) < 0.05
    assert not any(flips_of(labelled, 0.0, draw_of(0)))


def test_a_mirrored_frame_takes_its_mask_along(frames):
    frame = read_frames([open_dataset(frames)], "train", True, Condition(), Objective(object_weight=1))[0]
    codec = SimpleNamespace(factor=1, encode=lambda x: x.permute(0, 3, 1, 2).float())
    latents = Latents(SimpleNamespace(codec=codec, size=(8, 8), device="cpu"))
    x0, mask = latents.batch([frame, frame], [False, True], Objective(object_weight=1))
    assert torch.equal(x0[0].flip(-1), x0[1]) and torch.equal(mask[0].flip(-1), mask[1])
    assert mask[0, 0, 5, :4].tolist() == [1, 1, 1, 1] and mask[0, 0, 5, 4:].sum() == 0
    assert latents.batch([frame], [False], Objective())[1] is None


def test_labels_and_captions_come_from_tags_where_nothing_is_described(frames):
    assert words_of(["clear"]) == {"weather": "clear", "time": "day", "tags": "clear"}
    assert words_of(["rain", "low_sun"])["time"] == "low sun"
    data = [open_dataset(frames)]
    assert {f.asked for f in read_frames(data, "train", True, Condition(), Objective())} == {
        "clear day",
        "rain night",
    }
    plain = read_frames(data, "train", False, Condition(descriptions=False), Objective())
    assert plain[1].asked == "a street, rain, night"


def test_the_stages_of_the_schedule_follow_the_step():
    generator = SimpleNamespace(process=Betas(linear(), learned_range=True))
    for step, stage in ((0, 0), (5, 2), (11, 5)):
        set_stage(generator, step, 12)
        assert generator.process.betas == stage_betas(stage) and generator.process.learned_range


@pytest.mark.parametrize(
    "change, says",
    [
        ({"base": None}, "exactly one"),
        ({"nano": {}}, "exactly one"),
        ({"base": None, "nano": {}}, "nothing to adapt"),
        ({"condition": {"label": "{town}"}}, "{town}"),
        ({"method": {"kind": "loraa"}}, "method"),
        ({"train": {"batches": 2}}, "batch"),
        ({"class_data": ["z"]}, "label_start: ssei alone"),
        ({"ssei": {"paint": 2}}, "label_start: ssei alone"),
        ({"method": {"kind": "adalora", "steps": 40}}, "train.steps"),
        ({"method": {"kind": "adalora"}, "adapter_from": "z"}, "begin anew"),
    ],
)
def test_a_recipe_that_makes_no_sense(change, says):
    raw = {"base": "x", "data": ["y"], "method": {"kind": "lora"}} | change
    with pytest.raises(UserError, match=says.replace("{", r"\{")):
        build(TuneConfig, raw, "r.yaml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_shipped_recipes_load_and_have_a_plan(path):
    config = load_recipe(TuneConfig, path)
    plan = config.plan()
    assert plan.memory_gb > 0 and plan.minutes > 0 and plan.notes
    assert (plan.memory_gb > 2) == bool(config.base and config.base.startswith("hub:"))


def test_a_config_and_its_plan_need_no_torch():
    code = (
        "import sys; import edgekit.generate.config; from edgekit.tune.config import TuneConfig as T;"
        "T(base='hub:a/sdxl', data=['d'], method={'kind': 'lora'}).plan();"
        "assert not {'torch', 'diffusers', 'peft', 'numpy'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- objects ---


def _boxes(tmp_path, things, **objective):
    """Boxes of the first of two frames, whose things are given."""
    out = write_dataset(tmp_path / str(len(list(tmp_path.iterdir()))), frames=2, dev=0)
    truth = [{"id": "f0", "things": things}, {"id": "f1", "things": [{"class": "bus", "box": [1, 2, 3, 4]}]}]
    write_jsonl(out / "truth.jsonl", truth)
    asked = Objective(object_weight=1, **objective)
    return read_frames([open_dataset(out)], "train", True, Condition(), asked)[0].boxes


def test_a_thing_counts_where_it_is_seen(tmp_path):
    hidden = {"class": "car", "box": [4, 30, 24, 50], "box_visible": None, "pixels": 0}
    half = {"class": "car", "box": [4, 30, 24, 50], "box_visible": [4, 30, 9, 50], "pixels": 60}
    unknown = {"class": "van", "box": [5, 6, 7, 8], "box_visible": None, "pixels": None}
    assert _boxes(tmp_path, [hidden]) == ()
    assert _boxes(tmp_path, [hidden, half, unknown]) == ((4, 30, 9, 50), (5, 6, 7, 8))
    assert _boxes(tmp_path, [half, unknown], objects=["van"]) == ((5, 6, 7, 8),)
    assert _boxes(tmp_path, [half], objects=["bus"]) == (), "another frame shows one"
    with pytest.raises(UserError, match="'buss', and no frame shows one\n.*did you mean 'bus'"):
        _boxes(tmp_path, [half], objects=["bus", "buss"])


# --- new labels ---


def test_ssei_looks_at_frames_that_are_drawn_with_the_seed(tmp_path, monkeypatch):
    seen = []

    def choose(classes, scenarios, *_):
        seen.append([sorted(picture[0, 0, 0].item() for picture in group) for group in scenarios])
        return ssei.Choice([0, 0], [1.0, 1.0], "made", True)

    monkeypatch.setattr(ssei, "choose", choose)
    monkeypatch.setattr("edgekit.tune.start._painted", lambda *_: [torch.zeros(1, 8, 8, 3)])
    frames = [
        SimpleNamespace(
            asked=("fog", "snow")[i % 2], pixels=lambda h, w, i=i: np.full((h, w, 3), i, np.uint8)
        )
        for i in range(40)
    ]
    generator = SimpleNamespace(codec=SimpleNamespace(factor=1), size=(8, 8))
    adapter = SimpleNamespace(
        generator=generator, new_labels=["fog", "snow"], start_labels=lambda choice: None
    )
    for number, seed in enumerate((1, 1, 2)):
        config = TuneConfig(
            base="b", data=["d"], seed=seed, ssei={"per": 3},
            method={"kind": "driveditfit", "label_start": "ssei"},
        )  # fmt: skip
        run = SimpleNamespace(state=tmp_path / str(number), note=lambda text: None)
        start_labels(config, run, adapter, LabelCondition(["a", "b"]), frames)
    assert seen[0] == seen[1] != seen[2]
    assert all(len(group) == 3 for one in seen for group in one)
    assert all(i % 2 == n for one in seen for n, group in enumerate(one) for i in group)
    assert any(group != [n, n + 2, n + 4] for n, group in enumerate(seen[0])), "not the first ones"


def test_a_plan_counts_the_classes_that_are_painted():
    def minutes(**method):
        recipe = {
            "base": "hub:facebook/DiT-XL-2-256",
            "data": ["d"],
            "method": {"kind": "driveditfit"} | method,
        }
        return build(TuneConfig, recipe, "r").plan().minutes

    # 1000 classes, 4 pictures of 20 steps, twice for guidance: 160,000 passes of 237 GFLOP
    assert minutes(label_start="ssei") - minutes() == pytest.approx(
        160_000 * 237e9 / (0.35 * 300e12) / 60, rel=0.02
    )


# --- schedules and stages ---


def _asks(**objective):
    return TuneConfig(base="b", data=["d"], method={"kind": "lora"}, objective=objective)


def test_stages_begin_where_the_base_is():
    asked = _asks(stages="progressive")
    for process in (Betas(linear()), Betas(linear(100), learned_range=True)):
        _check(asked, SimpleNamespace(arch="dit", process=process))
    with pytest.raises(UserError, match=r"progressive on unet\n.*0.00085 against 0.0001"):
        _check(asked, SimpleNamespace(arch="unet", process=Betas(scaled_linear())))
    with pytest.raises(UserError, match="a flow"):
        _check(asked, SimpleNamespace(arch="mmdit", process=Flow()))


@pytest.mark.parametrize("objective", [{"interval": (0, 500)}, {"stages": "progressive"}])
def test_a_method_with_stages_has_intervals_of_its_own(objective):
    adapter = SimpleNamespace(kind="tsm", stages=[None, None])
    with pytest.raises(UserError, match=f"{next(iter(objective))}.* with method.kind: tsm"):
        phases(_asks(**objective), adapter)


@pytest.mark.parametrize("own", [Betas(linear()), Betas(cosine_power(2))])
def test_errors_are_compared_at_equal_noise(own):
    """Of two schedules: at the t of each that is as noisy as the reference's."""
    reference, told = Betas(cosine_power(2)), []

    def predict(x, t, cond):
        told.append((x, t))
        return torch.zeros_like(x)

    frames = [SimpleNamespace(asked="a", boxes=())] * 40
    generator = SimpleNamespace(
        process=own, device="cpu", predict=predict, condition=LabelCondition(["a"]), channels=3
    )
    latents = SimpleNamespace(batch=lambda *_: (torch.zeros(40, 3, 4, 4), None))
    square, mask = report.squares(generator, latents, frames, reference, 300, 400, seed=5)
    draw = torch.Generator().manual_seed(5)
    wanted, eps = reference.sample_t(40, draw, (300, 400)), torch.randn(40, 3, 4, 4, generator=draw)
    x, t = (torch.cat(parts) for parts in zip(*told, strict=True))
    assert mask is None and torch.allclose(square, eps.square().mean(1))
    if own == reference:
        assert torch.equal(t, wanted)
    else:
        assert torch.equal(t, matched_t(wanted, reference, own).round().long()) and t.max() < 300
    gap = own.log_snr[t] - reference.log_snr[wanted]
    assert gap.abs().max() < 0.02
    assert torch.allclose(x, (1 - own.abar[t]).sqrt().float().view(-1, 1, 1, 1) * eps)
