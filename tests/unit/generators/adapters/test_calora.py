"""CA-LoRA's adapter: identity, confinement to chosen heads, sharing, files, folding, PEFT's masked twin."""

import json
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraModel
from pydantic import ValidationError

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.calora.config import CaLora
from edgekit.generators.adapters.calora.head_lora import confine
from edgekit.generators.adapters.files import load_adapter, save_adapter
from edgekit.generators.adapters.units import projections
from tests.unit.generators.adapters import bases
from tests.unit.generators.adapters.bases import ARCHS, batch, predicted
from tests.unit.generators.adapters.bases import tiny as base

torch.set_num_threads(1)
RANDOM = CaLora(select="random", share=0.3, rank=4)


def moved(adapter):
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapter.trainable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return adapter


def tensors(generator):
    return {name: t.detach().clone() for name, t in generator.denoiser.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def two_heads_and_one(arch="pixart"):
    """Both heads of a query layer, one of a value layer, one of an output layer."""
    found = projections(base(arch).denoiser)
    first = {role: next(p for p in found if p.role == role) for role in ("q", "v", "out")}
    units = [*first["q"].units, first["v"].units[1], first["out"].units[0]]
    return CaLora(units=units, rank=4), first


@pytest.mark.parametrize("arch", ARCHS)
def test_identity_at_the_start_and_after_detach_bit_for_bit(arch):
    generator = base(arch)
    before, output = tensors(generator), predicted(generator)
    adapter = attach(RANDOM, generator, 0)
    assert torch.equal(predicted(generator), output) and adapter.changes_nothing()
    moved(adapter)
    assert (predicted(generator) - output).abs().max() > 1e-3 and not adapter.changes_nothing()
    adapter.detach()
    assert same(tensors(generator), before)
    assert torch.equal(predicted(generator), output)
    assert not any(module._forward_hooks for module in generator.denoiser.modules())


@pytest.mark.parametrize("arch", ARCHS)
def test_only_the_pairs_are_trained(arch):
    generator = base(arch)
    before = tensors(generator)
    adapter = attach(RANDOM, generator, 0)
    assert {id(p) for p in generator.denoiser.parameters() if p.requires_grad} == {
        id(p) for p in adapter.trainable().values()
    }
    optimiser = torch.optim.AdamW(adapter.trainable().values(), lr=1e-2, weight_decay=0.1)
    generator.predict(*batch(generator)).square().mean().backward()
    optimiser.step()
    now = tensors(generator)
    assert all(torch.equal(now[name], before[name]) for name in before)
    assert not adapter.changes_nothing()


@pytest.mark.parametrize("arch", ARCHS)
def test_folding_changes_only_the_chosen_rows_and_columns(arch):
    config, layers = two_heads_and_one(arch)
    generator = base(arch)
    before = tensors(generator)
    moved(attach(config, generator, 0))
    output = predicted(generator)
    generator.adapter.fold()
    assert (predicted(generator) - output).abs().max() <= 1e-5
    after = tensors(generator)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert changed == {f"{p.name}.weight" for p in layers.values()}
    delta = {role: after[f"{p.name}.weight"] - before[f"{p.name}.weight"] for role, p in layers.items()}
    half = {role: p.head_width for role, p in layers.items()}
    assert (delta["q"] != 0).any(1)[: 2 * half["q"]].all()
    rows, columns = (delta["v"] != 0).any(1), (delta["out"] != 0).any(0)
    assert rows.nonzero().flatten().tolist() == list(range(half["v"], 2 * half["v"]))
    assert columns.nonzero().flatten().tolist() == list(range(half["out"]))


def test_heads_of_one_layer_share_one_pair():
    found = projections(base().denoiser)
    q, out = (next(p for p in found if p.role == role) for role in ("q", "out"))
    adapter = attach(CaLora(units=[*q.units, *out.units], rank=4), base(), 0)
    shapes = {
        name.rpartition("lora_")[2] + name.split(".")[-4]: tuple(p.shape) for name, p in adapter.added.items()
    }
    assert len(adapter.added) == 4
    lora = adapter.lora(q.name), adapter.lora(out.name)
    assert lora[0].A.shape == (4, 32) and lora[0].B.shape == (2 * q.head_width, 4), shapes
    assert lora[1].A.shape == (4, 2 * out.head_width) and lora[1].B.shape == (32, 4)
    assert torch.equal(lora[0].index, torch.arange(32))
    moved(adapter)
    update = lora[0].B @ lora[0].A  # both heads' rows come out of the same r directions
    assert torch.linalg.matrix_rank(update) == 4


def test_a_starts_with_deviation_one_over_rank_whatever_the_fan_in():
    found = projections(base().denoiser)
    heads = {"all inputs": [u for p in found for u in p.units if p.role != "out"],
             "a head's inputs": [p.units[1] for p in found if p.role == "out"]}  # fmt: skip
    for what, fan_in, near in (("all inputs", 32, 0.05), ("a head's inputs", 16, 0.1)):
        adapter = attach(CaLora(units=heads[what], rank=8), base(), 0)
        values = torch.stack([adapter.lora(name).A for name in adapter.layers])
        assert values.shape[-1] == fan_in and values.std().item() == pytest.approx(1 / 8, rel=near), what
        assert all(not adapter.lora(name).B.any() for name in adapter.layers)


def test_the_file_brings_the_choice_and_the_output(tmp_path):
    generator = base()
    adapter = moved(attach(RANDOM, generator, 0))
    save_adapter(adapter, tmp_path)
    fresh = base()
    loaded = load_adapter(tmp_path, fresh)
    assert loaded.config == adapter.config and len(loaded.config.units) == round(0.3 * 32)
    assert torch.equal(predicted(fresh), predicted(generator))
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told["facts"]["selected"] == len(loaded.config.units) and told["config"]["scores"] is None
    assert told["facts"]["share_of_parameters"] > told["facts"]["share_of_units"]  # pairs are per layer


def test_peft_reads_the_folder(tmp_path):
    generator = base()
    save_adapter(moved(attach(RANDOM, generator, 0)), tmp_path)
    other = base()
    PeftModel.from_pretrained(other.denoiser, tmp_path)
    assert (predicted(other) - predicted(generator)).abs().max() < 1e-6


def test_a_tensor_that_strays_from_the_chosen_heads_is_refused():
    config, layers = two_heads_and_one()
    adapter = attach(config, base(), 0)
    state = adapter.state()
    state[f"base_model.model.{layers['v'].name}.lora_B.weight"][0, 0] = 1.0
    with pytest.raises(UserError, match="lora_B.weight is not 0 outside the chosen heads"):
        adapter.load(state)


def test_an_untrained_adapter_is_refused_at_load(tmp_path):
    save_adapter(attach(RANDOM, base(), 0), tmp_path)
    with pytest.raises(UserError, match="this adapter changes nothing"):
        load_adapter(tmp_path, base())


def test_new_labels_of_a_dit_come_and_go(tmp_path):
    generator = base("dit")
    before = tensors(generator)
    adapter = moved(attach(RANDOM.model_copy(update={"labels": ["sunny", "snow"]}), generator, 0))
    save_adapter(adapter, tmp_path)
    fresh = base("dit")
    load_adapter(tmp_path, fresh)
    assert fresh.condition.names == ["sunny", "snow"]
    assert torch.equal(predicted(fresh), predicted(generator))
    adapter.detach()
    assert same(tensors(generator), before) and generator.condition.names == bases.LABELS


def test_a_masked_peft_lora_trains_to_the_same_weights():
    """20 steps of AdamW with decay: the index form, and PEFT's whole pairs confined to the same heads."""
    config, layers = two_heads_and_one()
    ours, theirs = base(), base()
    adapter = attach(config, ours, 0)
    theirs.denoiser.requires_grad_(False)
    names = sorted(adapter.layers)
    tuner = LoraModel(theirs.denoiser, LoraConfig(r=4, lora_alpha=4, target_modules=names), "default")
    pairs = {}
    for name in names:
        layer = theirs.denoiser.get_submodule(name)
        pairs[name] = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        lora = adapter.lora(name)
        a, b = lora.whole(adapter.layers[name])
        with torch.no_grad():
            # 0.3 outside the chosen heads: confine() has to remove it
            pairs[name][0].copy_(torch.where(a == 0, torch.full_like(a, 0.3), a))
            pairs[name][1].copy_(b)
        assert confine(*pairs[name], lora.axis, lora.index)
    assert tuner is not None
    whole_pairs = [p for pair in pairs.values() for p in pair]
    for generator, trained in ((ours, list(adapter.trainable().values())), (theirs, whole_pairs)):
        optimiser = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.1)
        x, t, cond = batch(generator)
        for _ in range(20):
            optimiser.zero_grad()
            (generator.predict(x, t, cond) - 1).square().mean().backward()
            optimiser.step()
    for name in names:
        for mine, whole in zip(pairs[name], adapter.lora(name).whole(adapter.layers[name]), strict=True):
            assert torch.equal(mine == 0, whole == 0)
            assert (mine - whole).abs().max() < 1e-5
    assert (predicted(ours) - predicted(theirs)).abs().max() < 1e-5
    assert max(adapter.lora(name).B.abs().max() for name in names) > 1e-2


@pytest.mark.parametrize(
    "keys, why",
    [
        (dict(units=["a.h0", "a.h0"]), "named twice"),
        (dict(units=[]), "at least 1"),
        (dict(prompt="a"), "go together"),
        (dict(prompt="a", altered=["b", "c"]), "variants 3 of 2 in altered"),
    ],
)
def test_configs_that_make_no_sense_are_refused(keys, why):
    with pytest.raises(ValidationError, match=why):
        CaLora(**keys)


def test_the_config_is_light():
    code = (
        "import sys, edgekit.generators.adapters.calora.config, edgekit.generators.adapters.calora.concepts\n"
        "assert not {'torch', 'diffusers', 'peft'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
