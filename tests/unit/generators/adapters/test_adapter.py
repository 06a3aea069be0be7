"""What every method shares: attach, identity, freezing, detach bit for bit, load, refusals."""

from __future__ import annotations

import copy
import functools
import importlib
import subprocess
import sys
from typing import Literal

import pytest
import torch
from pydantic import TypeAdapter

from edgekit.core.errors import UserError
from edgekit.generators.adapters import config as methods
from edgekit.generators.adapters.adapter import attach, supports
from edgekit.generators.adapters.config import (
    METHODS,
    AdaLora,
    AdapterMethod,
    BitFit,
    Bottleneck,
    Full,
    Lora,
    Vpt,
)
from edgekit.generators.adapters.difffit.config import DiffFit
from tests.unit.generators.adapters import bases
from tests.unit.generators.adapters.bases import ARCHS, LABELS, batch, predicted

torch.set_num_threads(1)
SHORT = AdaLora(rank=4, target_rank=2, steps=10, every=1)
CONFIGS = {
    "full": Full(),
    "bitfit": BitFit(),
    "bitfit-alone": BitFit(table=False),
    "bitfit-tables": BitFit(scale_shift=True),
    "lora": Lora(rank=2, table=True),
    "lora-linears": Lora(rank=2, targets="linears", init="gaussian", alpha=3.0),
    "lora-added": Lora(rank=2, targets="qv", added=True),
    "adalora": SHORT,
    "vpt": Vpt(depth=2, tokens=2),
    "adapter": Bottleneck(width=4),
    "adapter-sequential": Bottleneck(width=4, placement="sequential", table=False),
}
NAMES = ["sunny", "snow"]
ONLY = {"bitfit-tables": "pixart", "lora-added": "mmdit"}  # others have no such layers
PAIRS = [
    (n, a) for n, c in CONFIGS.items() for a in ARCHS if supports(c.kind, a) is None and ONLY.get(n, a) == a
]


@functools.cache
def _built(arch: str):
    small = dict(size=16, unet_layers=(1, 1)) if arch == "unet" else dict(layers=2)
    generator = bases.base(arch, **small)
    batch(generator)  # texts are encoded once
    return generator


def base(arch: str = "dit"):
    return copy.deepcopy(_built(arch))


def bytes_of(generator) -> dict:
    denoiser = generator.denoiser
    return {
        "state": {n: t.clone() for n, t in denoiser.state_dict().items()},
        "modules": {n: type(m) for n, m in denoiser.named_modules()},
        "grads": {n: p.requires_grad for n, p in denoiser.named_parameters()},
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in denoiser.modules()),
        "attributes": {n: set(vars(m)) for n, m in denoiser.named_modules()},
        "config": dict(denoiser.config),
        "condition": generator.condition.to_json(),
        "process": generator.process,
    }


def same(a: dict, b: dict) -> bool:
    tensors = a["state"].keys() == b["state"].keys() and all(
        torch.equal(t, b["state"][n]) for n, t in a["state"].items()
    )
    return tensors and all(a[k] == b[k] for k in a if k != "state")


def trained(generator, adapter, steps=2):
    """A few steps of an ordinary optimiser towards a fixed target."""
    optimiser = torch.optim.AdamW(adapter.trainable().values(), lr=1e-2, weight_decay=0.1)
    x, t, cond = batch(generator)
    for step in range(steps):
        loss = (generator.predict(x, t, cond) - 1.0).square().mean() + (adapter.penalty() or 0.0)
        loss.backward()
        optimiser.step()
        adapter.after_step(step)
        optimiser.zero_grad()


@pytest.mark.parametrize(("name", "arch"), PAIRS)
def test_a_method_on_a_base(name, arch):
    generator = base(arch)
    before, plain = bytes_of(generator), predicted(generator)
    adapter = attach(CONFIGS[name], generator, seed=1)
    if adapter.kind != "vpt":  # a token takes part in attention at once
        assert torch.equal(predicted(generator), plain)
        assert adapter.changes_nothing()

    wanted = {id(p) for p in adapter.trainable().values()}
    assert {id(p) for p in generator.denoiser.parameters() if p.requires_grad} == wanted
    frozen = {n: p.clone() for n, p in generator.denoiser.named_parameters() if not p.requires_grad}
    at_start = {n: p.detach().clone() for n, p in adapter.trainable().items()}
    trained(generator, adapter)
    now = dict(generator.denoiser.named_parameters())
    assert all(torch.equal(now[n], p) for n, p in frozen.items())
    moved = {n for n, p in adapter.trainable().items() if not torch.equal(p, at_start[n])}
    assert moved, "nothing was trained"
    assert not adapter.changes_nothing()
    changed = predicted(generator)
    assert not torch.equal(changed, plain)

    # The same tensors on a fresh base give the same output, bit for bit.
    state, other = adapter.state(), base(arch)
    again = attach(CONFIGS[name], other, seed=7)
    again.load(state)
    assert torch.equal(predicted(other), changed)
    assert all(torch.equal(t, state[n]) for n, t in again.state().items())

    adapter.detach()
    assert same(bytes_of(generator), before)
    assert torch.equal(predicted(generator), plain)
    assert generator.adapter is None


@pytest.mark.parametrize(("name", "arch"), [(n, a) for n, a in PAIRS if "adapter" not in n and n != "vpt"])
def test_folding_leaves_a_plain_generator_with_the_same_output(name, arch):
    generator = base(arch)
    before = bytes_of(generator)
    adapter = attach(CONFIGS[name], generator, seed=1)
    trained(generator, adapter)
    changed = predicted(generator)
    adapter.fold()
    after = bytes_of(generator)
    assert after["modules"] == before["modules"] and after["attributes"] == before["attributes"]
    assert after["grads"] == before["grads"] and generator.adapter is None
    assert not same(after, before)
    exact = name in ("full", "bitfit", "bitfit-alone", "bitfit-tables")
    assert torch.allclose(predicted(generator), changed, rtol=0, atol=0 if exact else 1e-5)


@pytest.mark.parametrize("name", ["vpt", "adapter"])
def test_what_no_weight_can_hold_is_not_folded(name):
    adapter = attach(CONFIGS[name], base(), seed=1)
    with pytest.raises(UserError, match="cannot be folded"):
        adapter.fold()


@pytest.mark.parametrize("name", [n for n in CONFIGS if n not in ONLY])
def test_new_labels_rebuild_the_table_train_it_and_are_undone(name):
    generator = base("dit")
    before, plain = bytes_of(generator), predicted(generator)
    null = (
        generator.denoiser.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight[-1].clone()
    )
    config = CONFIGS[name].model_copy(update={"labels": NAMES})
    adapter = attach(config, generator, seed=1)
    assert generator.condition.names == NAMES
    table = [p for n, p in adapter.trainable().items() if "embedding_table" in n and p.shape[0] == 3]
    assert len(table) == 1 and torch.equal(table[0][-1], null)
    trained(generator, adapter)
    changed, other = predicted(generator), base("dit")
    attach(config, other, seed=5).load(adapter.state())
    assert torch.equal(predicted(other), changed)
    adapter.detach()
    assert same(bytes_of(generator), before) and torch.equal(predicted(generator), plain)


def test_the_bases_own_labels_do_not_rebuild_the_table():
    generator = base("dit")
    adapter = attach(Lora(labels=LABELS), generator, seed=0)
    assert not any("table" in name for name in adapter.trainable())


def test_labels_on_a_base_that_is_asked_with_text_are_refused_and_leave_it_as_it_was():
    generator = base("pixart")
    before = bytes_of(generator)
    with pytest.raises(UserError, match="label table"):
        attach(BitFit(labels=NAMES), generator, seed=0)
    assert same(bytes_of(generator), before)


def test_detach_puts_the_bases_process_back():
    generator = base("dit")
    process = generator.process
    adapter = attach(BitFit(), generator, seed=0)
    generator.process = None  # as a progressive schedule changes it
    adapter.detach()
    assert generator.process is process


@pytest.mark.parametrize("name", ["lora", "adalora", "vpt", "adapter"])
def test_the_seed_decides_the_start_and_the_global_generator_is_left_alone(name):
    def start(seed):
        return attach(CONFIGS[name], base(), seed).state()

    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    one, two, other = start(1), start(1), start(2)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(t, two[n]) for n, t in one.items())
    assert any(not torch.equal(t, other[n]) for n, t in one.items())


def test_a_second_adapter_is_refused():
    generator = base()
    attach(BitFit(), generator, seed=0)
    with pytest.raises(UserError, match="carries an adapter already"):
        attach(Lora(), generator, seed=0)


def test_pairs_that_make_no_sense_say_why():
    assert "token" in supports("vpt", "unet")
    assert supports("lora", "unet") is None
    with pytest.raises(UserError, match="not applicable"):
        attach(Vpt(), base("unet"), seed=0)
    with pytest.raises(UserError, match="did you mean 'lora'"):
        supports("lora2", "dit")


def test_load_names_the_first_tensor_that_does_not_fit():
    adapter = attach(Lora(rank=2), base(), seed=0)
    state = adapter.state()
    first = next(iter(state))
    with pytest.raises(UserError, match="is in the generator and not in the file") as missing:
        adapter.load({n: t for n, t in state.items() if n != first})
    assert first in str(missing.value)
    with pytest.raises(UserError, match="stranger is in the file and not in the generator"):
        adapter.load(state | {"stranger": torch.zeros(1)})
    with pytest.raises(UserError, match=r"is \(2, 32\) here and \(3, 32\) in the file"):
        adapter.load(state | {first: torch.zeros(3, 32)})


def test_a_bf16_base_gets_float32_updates():
    for name in ("lora", "adalora", "vpt", "adapter"):
        generator = base().to(dtype=torch.bfloat16)
        plain = predicted(generator)
        adapter = attach(CONFIGS[name], generator, seed=0)
        assert {p.dtype for p in adapter.added.values()} == {torch.float32}
        if name != "vpt":
            assert torch.equal(predicted(generator), plain)
        trained(generator, adapter)
        assert not adapter.changes_nothing()


@pytest.mark.parametrize("name", ["lora", "vpt", "adapter", "bitfit"])
def test_gradient_checkpointing_changes_no_gradient(name):
    def gradients(on):
        generator = base()
        adapter = attach(CONFIGS[name], generator, seed=1)
        with torch.no_grad():
            for i, p in enumerate(adapter.added.values()):
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
        generator.denoiser.train(on)  # diffusers recomputes in any mode; dropout is 0
        generator.gradient_checkpointing(on)
        generator.denoiser.eval()
        x, t, cond = batch(generator)
        generator.predict(x, t, cond).square().mean().backward()
        return {n: p.grad for n, p in adapter.trainable().items() if p.grad is not None}

    plain, recomputed = gradients(False), gradients(True)
    assert plain.keys() == recomputed.keys() and plain
    assert all(torch.allclose(g, recomputed[n], atol=1e-7) for n, g in plain.items())


def test_the_union_chooses_by_kind_and_refuses_unknown_keys():
    union = TypeAdapter(AdapterMethod)
    for kind, cls in METHODS.items():
        assert type(union.validate_python({"kind": kind})) is cls
    assert {"full", "bitfit", "lora", "adalora", "vpt", "adapter"} <= set(METHODS)
    with pytest.raises(ValueError, match="ranks"):
        union.validate_python({"kind": "lora", "ranks": 3})


def test_every_config_names_the_function_that_attaches_it():
    for kind, cls in METHODS.items():
        module, function = cls.attaches.split(":")
        assert callable(getattr(importlib.import_module(module), function)), kind


def test_a_stranger_comes_in_by_an_entry_point(monkeypatch):
    class Loaded:
        def load(self):
            return Mine

    monkeypatch.setattr(
        methods, "entry_points", lambda group: [Loaded()] if group == "edgekit.adapters" else []
    )
    assert methods._methods()["mine"] is Mine


class Mine(methods.Method):
    kind: Literal["mine"] = "mine"
    attaches = "somewhere:attach"


def test_the_configs_import_no_torch():
    code = (
        "import sys, edgekit.generators.adapters.config; sys.exit(bool({'torch', 'peft'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_adalora_needs_something_to_prune():
    with pytest.raises(ValueError, match="not below rank"):
        AdaLora(rank=4, target_rank=4)
    with pytest.raises(UserError, match="too few to prune"):
        attach(AdaLora(steps=1), base(), seed=0)


@pytest.mark.parametrize(
    ("config", "arch", "words"),
    [
        (AdaLora(steps=1, labels=NAMES), "dit", "too few to prune"),
        (Lora(added=True, labels=NAMES), "dit", "no text stream"),
        (BitFit(scale_shift=True, labels=NAMES), "dit", "no such tables"),
        (Vpt(depth=9, labels=NAMES), "dit", "has 2 blocks"),
        (Lora(added=True), "unet", "no text stream"),
    ],
)
def test_what_is_refused_leaves_the_base_as_it_was(config, arch, words):
    generator = base(arch)
    before = bytes_of(generator)
    with pytest.raises(UserError, match=words):
        attach(config, generator, seed=0)
    assert same(bytes_of(generator), before) and generator.adapter is None


def test_every_linear_layer_has_the_text_stream_already():
    for cls in (Lora, AdaLora):
        with pytest.raises(ValueError, match="leave added out"):
            cls(targets="linears", added=True)


@pytest.mark.parametrize(
    "config", [BitFit(), Vpt(depth=2, table=False), Lora(rank=2, table=True), DiffFit()], ids=lambda c: c.kind
)
def test_what_a_bf16_base_is_trained_to_in_place_is_loaded_to_the_bit_and_taken_back(config):
    generator = base().to(dtype=torch.bfloat16)
    before, fingerprint = bytes_of(generator), generator.fingerprint()
    adapter = attach(config, generator, seed=1)
    with torch.no_grad():
        for parameter in adapter.trainable().values():  # as a trainer widens and moves them
            parameter.data = parameter.data.float() * 1.001
    assert not adapter.changes_nothing() and generator.dtype == torch.bfloat16
    state, fresh = adapter.state(), base().to(dtype=torch.bfloat16)
    again = attach(config, fresh, seed=2)
    again.load(state)
    assert all(torch.equal(t, state[n]) and t.dtype == torch.float32 for n, t in again.state().items())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(predicted(fresh), predicted(generator))
    for one in (adapter, again):
        one.detach()
        assert one.generator.fingerprint() == fingerprint and same(bytes_of(one.generator), before)


def test_folded_into_a_bf16_base_all_of_it_is_bf16():
    generator = base().to(dtype=torch.bfloat16)
    adapter = attach(BitFit(), generator, seed=1)
    for parameter in adapter.trainable().values():
        parameter.data = parameter.data.float() + 1
    adapter.fold()
    assert {p.dtype for p in generator.denoiser.parameters()} == {torch.bfloat16}


def test_each_thing_that_is_drawn_has_a_stream_of_its_own():
    generator = base()
    adapter = attach(Vpt(depth=2, labels=["a", "b"]), generator, seed=0)
    drawn = {n: p for n, p in adapter.trainable().items() if "prompt_tokens" in n or "embedding_table" in n}
    rows = [row for p in drawn.values() for row in p.detach()]
    assert len(rows) == 2 + 3
    assert not any(torch.equal(a, b) for i, a in enumerate(rows) for b in rows[:i])
