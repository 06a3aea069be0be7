"""The parts of the trainer that can be told by hand: means, rates, draws, flips, conditions, plans."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.core.places import shipped
from edgekit.core.recipe import build, load_recipe
from edgekit.dataset import open_dataset
from edgekit.generators.conditions import LabelCondition
from edgekit.tune.config import Condition, Objective, Train, TuneConfig
from edgekit.tune.data import Latents, flips_of, order, read_frames, words_of
from edgekit.tune.ema import Ema
from edgekit.tune.trainer import draw_of, set_stage, share_of_rate

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
    others = read_frames(
        [open_dataset(frames)], "train", True, Condition(), Objective(object_weight=1, objects=["bus"])
    )
    assert others[0].boxes == ()


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
    from edgekit.generators.process import Betas, linear, stage_betas

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
