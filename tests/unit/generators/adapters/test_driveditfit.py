"""DriveDiTFit on generators of all four architectures: identity, what is trained, fold, RoPE, scenario rows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.driveditfit.config import DriveDiTFit
from edgekit.generators.adapters.driveditfit.ssei import Choice, choose, colour_histogram
from edgekit.generators.adapters.files import load_adapter, save_adapter
from edgekit.generators.process import check_same, stage_betas, stage_of
from edgekit.generators.sampling import sample_latents
from tests.unit.generators.adapters.bases import ARCHS, LABELS, base, batch, predicted

EVERYTHING = dict(feed_forward=True, patch=True)
NEW = ["clouds", "rain", "snow", "night"]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _train(generator, adapter, steps=1, rate=5e-3):
    groups = [{"params": g["params"], "lr": rate * g["lr_scale"],
               "weight_decay": 1e-2 if g["weight_decay"] is None else g["weight_decay"]}
              for g in adapter.groups()]  # fmt: skip
    optimiser = torch.optim.AdamW(groups)
    for step in range(steps):
        x, t, cond = batch(generator, seed=step)
        optimiser.zero_grad()
        generator.predict(x, t, cond).square().mean().backward()
        optimiser.step()


def _plain(generator):
    return {name: t.clone() for name, t in generator.denoiser.state_dict().items()}


@pytest.mark.parametrize("arch", ARCHS)
def test_identity_at_the_start_bit_for_bit(arch):
    generator = base(arch)
    before = predicted(generator)
    for keys in [EVERYTHING, *[{"depth": 1}, {"bias_mod": False}] * (arch == "dit")]:
        adapter = attach(DriveDiTFit(**keys), generator, seed=0)
        assert torch.equal(predicted(generator), before)
        adapter.detach()


def test_the_released_start_is_the_identity_within_rounding_and_folds():
    generator = base("dit")
    before = predicted(generator)
    adapter = attach(DriveDiTFit(init="released", add=False, **EVERYTHING), generator, seed=0)
    assert (predicted(generator) - before).abs().max() <= 1e-6 * max(1, before.abs().max())
    _train(generator, adapter, steps=1)
    tuned = predicted(generator)
    adapter.fold()
    assert torch.equal(predicted(generator), tuned)


@pytest.mark.parametrize("arch", ARCHS)
def test_training_moves_its_own_alone_loads_folds_and_is_taken_back(arch):
    generator = base(arch)
    before, output = _plain(generator), predicted(generator)
    config = DriveDiTFit(**EVERYTHING, labels=NEW if arch == "dit" else [])
    adapter = attach(config, generator, seed=0)
    trainable = adapter.trainable()
    wanting = {id(p) for p in generator.denoiser.parameters() if p.requires_grad}
    assert wanting == {id(p) for p in trainable.values()}
    start = {name: p.detach().clone() for name, p in trainable.items()}
    frozen = {n: p.detach().clone() for n, p in generator.denoiser.named_parameters() if not p.requires_grad}
    assert len(frozen) > 20

    _train(generator, adapter, steps=2)  # the first moves out-factors, the second the in-factors too
    for name, p in generator.denoiser.named_parameters():
        assert p.requires_grad or torch.equal(p, frozen[name]), name
    still = [n for n, p in trainable.items() if torch.equal(p, start[n])]
    # SD3's last block gives its text stream to no one.
    assert [n for n in still if arch != "mmdit" or "add" not in n and "context" not in n] == []
    tuned = predicted(generator)
    assert (tuned - output).abs().max() > 1e-3

    state = adapter.state()
    fresh = base(arch)
    other = attach(config, fresh, seed=5)
    other.load(state)
    assert torch.equal(predicted(fresh), tuned)
    other.fold()
    assert torch.equal(predicted(fresh), tuned)
    assert set(fresh.denoiser.state_dict()) == set(before)  # a plain denoiser again

    missing = next(n for n in state if n.endswith("weight.mul_out"))
    with pytest.raises(UserError, match=missing):
        adapter.load({n: t for n, t in state.items() if n != missing})
    adapter.detach()
    after = _plain(generator)
    assert set(after) == set(before) and all(torch.equal(after[n], before[n]) for n in before)
    assert torch.equal(predicted(generator), output) and generator.adapter is None


@pytest.mark.parametrize("scope", ["hidden", "head"])
@pytest.mark.parametrize("arch", ["dit", "pixart"])
def test_rope_changes_the_first_output_and_is_not_folded(arch, scope):
    generator = base(arch)
    before, names = predicted(generator), set(generator.denoiser.state_dict())
    adapter = attach(DriveDiTFit(rope=scope), generator, seed=0)
    assert (predicted(generator) - before).abs().max() > 1e-4
    assert adapter.facts()["rope"] == {"scope": scope, "grid": [4, 4]}
    assert not [n for n in generator.denoiser.state_dict() if "rope" in n or "cos" in n]
    with pytest.raises(UserError, match="cannot be folded"):
        adapter.fold()
    assert generator.adapter is adapter and (predicted(generator) - before).abs().max() > 1e-4
    adapter.detach()
    assert torch.equal(predicted(generator), before) and set(generator.denoiser.state_dict()) == names


@pytest.mark.parametrize("arch", ["unet", "mmdit"])
def test_rope_is_refused_where_there_is_no_plain_grid(arch):
    generator = base(arch)
    before = _plain(generator)
    with pytest.raises(UserError, match="rope"):
        attach(DriveDiTFit(rope="hidden"), generator, seed=0)
    assert set(generator.denoiser.state_dict()) == set(before)


def test_cross_attention_keeps_its_places():
    generator = base("pixart")
    attach(DriveDiTFit(rope="hidden"), generator, seed=0)
    for block in generator.denoiser.transformer_blocks:
        assert block.attn1.processor is generator.adapter.rope
        assert block.attn2.processor is not generator.adapter.rope


def test_depth_limits_modulation_and_rope_to_the_first_blocks():
    generator = base("dit")
    adapter = attach(DriveDiTFit(depth=2, rope="head"), generator, seed=0)
    blocks = generator.denoiser.transformer_blocks
    assert [block.attn1.processor is adapter.rope for block in blocks] == [True, True, False, False]
    in_blocks = [name for name in adapter.added if ".attn1." in name or ".norm1.linear." in name]
    touched = {name.split(".")[1] for name in in_blocks}
    assert touched == {"0", "1"}
    assert any(name.startswith("proj_out_2.weight") for name in adapter.added)
    assert any("timestep_embedder" in name for name in adapter.added)
    with pytest.raises(UserError, match="4 blocks"):
        attach(DriveDiTFit(depth=5), base("dit"), seed=0)


def test_gradient_checkpointing_gives_the_same_gradients():
    found = []
    for on in (False, True):
        generator = base("dit")
        adapter = attach(DriveDiTFit(rope="hidden"), generator, seed=0)
        generator.gradient_checkpointing(on)
        x, t, cond = batch(generator)
        generator.predict(x, t, cond).square().mean().backward()
        found.append({n: p.grad for n, p in adapter.trainable().items()})
    assert all(torch.allclose(found[1][n], grad, rtol=1e-4, atol=1e-7) for n, grad in found[0].items())


def test_weight_decay_spares_what_starts_at_one():
    adapter = attach(DriveDiTFit(), base("dit"), seed=0)
    groups = adapter.groups()
    names = {id(p): n for n, p in adapter.trainable().items()}
    undecayed = [names[id(p)] for g in groups if g["weight_decay"] == 0 for p in g["params"]]
    assert undecayed and all(n.endswith("bias.scale") for n in undecayed)
    assert sum(len(g["params"]) for g in groups) == len(names)
    ones = attach(DriveDiTFit(init="released", add=False), base("dit"), seed=0)
    names = {id(p): n for n, p in ones.trainable().items()}
    decayed = [names[id(p)] for g in ones.groups() if g["weight_decay"] is None for p in g["params"]]
    assert all(n.endswith(("bias.shift", "embedding_table.weight")) for n in decayed)


@pytest.mark.parametrize("init", ["residual", "released"])
def test_an_adapter_that_changes_nothing_says_so(init):
    generator = base("dit")
    adapter = attach(DriveDiTFit(init=init, add=init == "residual"), generator, seed=0)
    assert adapter.changes_nothing()
    with torch.no_grad():
        if init == "residual":  # in-factors drift under weight decay, and the product stays 0
            for name, p in adapter.added.items():
                if name.endswith("_in"):
                    p.mul_(0.9)
    assert adapter.changes_nothing()
    _train(generator, adapter, steps=1)
    assert not adapter.changes_nothing()
    assert not attach(DriveDiTFit(rope="hidden"), base("dit"), seed=0).changes_nothing()


def test_a_zero_initialised_net_needs_the_additive_part():
    """adaLN-zero from scratch: the multiplicative part cannot move a weight of 0."""
    moved = {}
    for add in (False, True):
        generator = base("dit")
        with torch.no_grad():
            generator.denoiser.proj_out_2.weight.zero_()
            generator.denoiser.proj_out_2.bias.zero_()
        adapter = attach(DriveDiTFit(add=add, bias_mod=False, table=False), generator, seed=0)
        x, t, cond = batch(generator)
        (generator.predict(x, t, cond) - 1).square().mean().backward()
        last = [p.grad for n, p in adapter.added.items() if n.startswith("proj_out_2")]
        moved[add] = max(grad.abs().max().item() for grad in last)
    assert moved[False] == 0 < moved[True]


def test_the_seed_decides_the_start():
    states = [attach(DriveDiTFit(labels=NEW), base("dit"), seed=s).state() for s in (3, 3, 4)]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert any(not torch.equal(states[0][n], states[2][n]) for n in states[0])


# --- scenario rows ---


def _table(generator):
    return generator.denoiser.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight


def test_new_labels_have_a_table_with_the_null_row_and_give_it_back():
    generator = base("dit")
    old, output = _table(generator).detach().clone(), predicted(generator)
    adapter = attach(DriveDiTFit(labels=NEW), generator, seed=0)
    table = _table(generator)
    assert table.shape[0] == len(NEW) + 1 and torch.equal(table[-1], old[-1]) and table.requires_grad
    assert any(p is table for p in adapter.trainable().values())
    assert generator.condition.names == NEW
    assert generator.condition.null(2)["labels"].tolist() == [4, 4]
    adapter.detach()
    assert torch.equal(_table(generator), old) and generator.condition.names == LABELS
    assert torch.equal(predicted(generator), output)


def test_label_dropout_uses_the_new_null_index():
    generator = base("dit")
    attach(DriveDiTFit(labels=NEW), generator, seed=0)
    cond = generator.condition.encode(NEW * 50)
    dropped = generator.condition.drop(cond, 0.3, torch.Generator().manual_seed(0))["labels"]
    changed = dropped != cond["labels"]
    assert 30 < changed.sum() < 90 and (dropped[changed] == len(NEW)).all()


def test_guidance_of_one_is_the_conditional_prediction():
    generator = base("dit")
    attach(DriveDiTFit(labels=NEW, rope="hidden"), generator, seed=0)
    cond = generator.condition.encode(["rain", "snow"])
    one = sample_latents(generator, cond, 2, 1.0, [0, 1])
    generator.condition.null = lambda n: pytest.fail("asked for the null condition")
    assert torch.equal(one, sample_latents(generator, cond, 2, 1.0, [0, 1]))


def test_ssei_copies_rows_refuses_to_train_without_and_names_its_encoder(caplog):
    generator = base("dit")
    old = _table(generator).detach().clone()
    adapter = attach(DriveDiTFit(labels=NEW, label_start="ssei"), generator, seed=0)
    with pytest.raises(UserError, match="no rows were chosen"):
        predicted(generator)

    def picture(*colour):
        return torch.tensor(colour, dtype=torch.uint8).expand(4, 8, 8, 3)

    classes = [picture(200, 0, 0), picture(0, 200, 0), picture(0, 0, 200)]
    scenarios = [picture(0, 0, 201), picture(0, 201, 0), picture(201, 0, 0), picture(202, 0, 0)]
    with caplog.at_level("INFO", logger="edgekit"):
        adapter.start_labels(choose(classes, scenarios, colour_histogram()))
    assert torch.equal(_table(generator), old[[2, 1, 0, 0, 3]])
    assert "snow, night" in caplog.text
    told = adapter.facts()["ssei"]
    assert told["stand_in"] is True and told["encoder"] == "colour histogram, 8 bins"
    assert told["rows"] == {"clouds": 2, "rain": 1, "snow": 0, "night": 0}
    assert told["collisions"] == {"0": [2, 3]}
    resumed = attach(adapter.config, base("dit"), seed=0)
    resumed.load(adapter.state())
    resumed.load_training_state(adapter.training_state())
    assert resumed.facts()["ssei"] == told and predicted(resumed.generator).isfinite().all()
    x, t, _ = batch(generator, n=2)
    generator.predict(x, t, generator.condition.encode(["snow", "night"])).square().mean().backward()
    with torch.no_grad():
        _table(generator).sub_(_table(generator).grad)
    assert not torch.equal(_table(generator)[2], _table(generator)[3])  # rows that start alike part ways


def test_ssei_is_refused_where_no_rows_wait():
    choice = Choice([0, 1, 2, 0], [1, 1, 1, 1], "made", True)
    for config in (DriveDiTFit(), DriveDiTFit(labels=NEW), DriveDiTFit(labels=LABELS, label_start="ssei")):
        adapter = attach(config, base("dit"), seed=0)
        with pytest.raises(UserError, match="no label table waits"):
            adapter.start_labels(choice)


@pytest.mark.parametrize("how", ["random_rows", "zero", "kaiming", "xavier"])
def test_other_starts_of_rows(how):
    generator = base("dit")
    old = _table(generator).detach().clone()
    attach(DriveDiTFit(labels=NEW, label_start=how), generator, seed=0)
    rows = _table(generator)
    assert torch.equal(rows[-1], old[-1])
    if how == "random_rows":
        assert all(any(torch.equal(row, one) for one in old[:-1]) for row in rows[:-1])
    if how == "zero":
        assert rows[:-1].abs().max() == 0


def test_the_bases_own_labels_keep_their_table():
    generator = base("dit")
    table = _table(generator)
    adapter = attach(DriveDiTFit(labels=LABELS), generator, seed=0)
    assert _table(generator) is table and table.requires_grad
    adapter.detach()
    attach(DriveDiTFit(table=False), generator, seed=0)
    assert not table.requires_grad


def test_text_conditions_have_no_labels():
    generator = base("pixart")
    with pytest.raises(UserError, match="label table"):
        attach(DriveDiTFit(labels=NEW), generator, seed=0)


# --- schedule ---


def test_the_stages_end_with_the_last_whatever_the_number_of_steps():
    generator = base("dit")
    attach(DriveDiTFit(), generator, seed=0)
    seen = set()
    for step in range(7):  # not divisible by 6
        stage = stage_of(step, 7)
        seen.add(stage)
        generator.process = replace(generator.process, betas=stage_betas(stage, len(generator.process)))
    assert stage == 5 and seen == set(range(6))
    assert generator.process.betas == stage_betas(5)
    assert stage_of(3, 4) == 4 and stage_of(0, 1) == 0  # fewer steps than stages: none fails


def test_the_file_keeps_the_schedule_and_another_is_refused(tmp_path):
    generator = base("dit")
    linear = generator.process
    adapter = attach(DriveDiTFit(rope="head", labels=NEW), generator, seed=0)
    _train(generator, adapter, steps=1)
    generator.process = replace(linear, betas=stage_betas(5))
    tuned = predicted(generator)
    save_adapter(adapter, tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told["process"]["betas"] == list(stage_betas(5))

    fresh = base("dit")
    loaded = load_adapter(tmp_path, fresh)
    assert fresh.process.betas == stage_betas(5) and torch.equal(predicted(fresh), tuned)
    with pytest.raises(UserError, match="another noise schedule"):
        check_same(fresh.process, linear, "the adapter")
    loaded.detach()
    assert fresh.process == linear


def test_a_file_without_any_change_is_refused(tmp_path):
    save_adapter(attach(DriveDiTFit(), base("dit"), seed=0), tmp_path)
    with pytest.raises(UserError, match="this adapter changes nothing"):
        load_adapter(tmp_path, base("dit"))


# --- what a recipe may say ---


@pytest.mark.parametrize("wrong,why", [
    (dict(mul=False, add=False, bias_mod=False), "nothing is modulated"),
    (dict(init="released"), "add: false"),
    (dict(init="released", mul=False, add=False), "mul: true"),
    (dict(labels=["a", "a"]), "named twice"),
    (dict(labels=["a"], table=False), "stay as they start"),
    (dict(rank=0), "greater than or equal to 1"),
    (dict(rope="rows"), "hidden"),
])  # fmt: skip
def test_recipes_that_make_no_sense(wrong, why):
    with pytest.raises(UserError, match=why):
        build(DriveDiTFit, wrong, "a recipe")


# --- labels of which the base knows some ---


@pytest.mark.parametrize("how", ["normal", "zero", "ssei"])
def test_only_names_that_the_base_lacks_are_started(how):
    generator = base("dit")
    old = _table(generator).detach().clone()
    labels = ["snow", LABELS[1], "dust"]
    adapter = attach(DriveDiTFit(labels=labels, label_start=how), generator, seed=0)
    assert adapter.new_labels == ["snow", "dust"]
    if how == "ssei":
        adapter.start_labels(Choice([2, 0], [0.9, 0.8], "made", True))
        assert torch.equal(_table(generator)[[0, 2]], old[[2, 0]])
        assert adapter.facts()["ssei"]["rows"] == {"snow": 2, "dust": 0}
    elif how == "zero":
        assert not _table(generator)[[0, 2]].any()
    assert torch.equal(_table(generator)[[1, 3]], old[[1, 3]])


def test_labels_in_another_order_wait_for_no_rows():
    generator = base("dit")
    old = _table(generator).detach().clone()
    attach(DriveDiTFit(labels=LABELS[::-1], label_start="ssei"), generator, seed=0)
    assert torch.equal(_table(generator), old[[2, 1, 0, 3]])
    assert predicted(generator).isfinite().all()


def test_how_labels_were_started_survives_loading_and_saving(tmp_path):
    generator = base("dit")
    adapter = attach(DriveDiTFit(labels=NEW, label_start="ssei"), generator, seed=0)
    adapter.start_labels(Choice([2, 1, 0, 0], [0.9, 0.8, 0.7, 0.6], "made", True))
    save_adapter(adapter, tmp_path / "one")
    save_adapter(load_adapter(tmp_path / "one", base("dit")), tmp_path / "two")
    one, two = (
        json.loads((tmp_path / name / "adapter_config.json").read_text())["facts"] for name in ("one", "two")
    )
    assert one == two and two["ssei"]["stand_in"] is True
