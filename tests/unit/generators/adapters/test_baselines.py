"""The baselines' own maths, and the parameter counts that the papers state for DiT-XL/2."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch.nn import functional as F

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.config import AdaLora, BitFit, Bottleneck, Full, Lora, Vpt
from edgekit.generators.adapters.sites import blocks
from edgekit.generators.codec import PixelCodec
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator, share_embeddings
from edgekit.generators.process import Betas, linear
from edgekit.tune.ema import Ema
from tests.unit.generators.adapters import bases
from tests.unit.generators.adapters.bases import batch, predicted
from tests.unit.generators.shapes import meta_denoiser

torch.set_num_threads(1)
D = 1152
TABLE = 102 * D  # 101 labels and the null row


@functools.cache
def _xl() -> Generator:
    denoiser = meta_denoiser("dit-xl-2", num_embeds_ada_norm=101)
    share_embeddings(denoiser)
    labels = LabelCondition([f"label {i}" for i in range(101)])
    return Generator("dit", denoiser, labels, PixelCodec(), Betas(linear(), "epsilon", True), (32, 32), 4)


@functools.cache
def _built():
    return bases.base("dit", layers=3)


def base() -> Generator:
    return copy.deepcopy(_built())


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (Full(), 673_799_072),
        (BitFit(), 607_136),  # DiffFit's table 1: 0.61 M
        (BitFit(table=False), 489_632),  # DriveDiTFit's: 0.490 M
        (Bottleneck(), 4_280_320),
        (Bottleneck(placement="sequential"), 4_280_320),
        (Vpt(), 2_816_672),
        (Vpt(tokens=3, depth=14, final=False, table=False), 48_384),
        (Lora(targets="qv", rank=8, table=True), 1_149_696),
        (Lora(targets="qv", rank=16, table=True), 2_181_888),
        # Split q, k, v have an A each where a fused qkv has one: 258,048 more than the papers' counts at rank 4.
        (Lora(rank=4), 774_144 + 258_048),
        (Lora(rank=4, targets="linears"), 3_000_960 + 258_048),
        (AdaLora(rank=4, target_rank=2), 774_144 + 258_048 + 28 * 4 * 4),
    ],
)
def test_counts_on_dit_xl_2(config, count):
    generator = _xl()
    adapter = attach(config, generator, seed=0)
    assert sum(p.numel() for p in adapter.trainable().values()) == count
    adapter.detach()
    assert sum(p.numel() for p in generator.denoiser.parameters()) == 673_799_072


def test_lora_adds_scale_b_a_to_the_weight():
    generator, alpha, rank = base(), 6.0, 2
    adapter = attach(Lora(rank=rank, alpha=alpha, init="gaussian"), generator, seed=0)
    with torch.no_grad():
        for i, p in enumerate(adapter.added.values()):
            p.copy_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    wanted = base()
    for site in adapter.sites:
        a, b = adapter.factors(site)
        wanted.denoiser.get_submodule(site).weight.data += alpha / rank * (b @ a)
    assert torch.allclose(predicted(generator), predicted(wanted), atol=1e-5)


def test_gaussian_and_kaiming_starts_of_lora():
    gaussian = attach(Lora(rank=16, init="gaussian"), base(), seed=0)
    a = torch.cat([gaussian.factors(s)[0].flatten() for s in gaussian.sites])
    assert abs(a.std().item() * 16 - 1) < 0.05  # PEFT: N(0, 1/r)
    kaiming = attach(Lora(rank=16), base(), seed=0)
    a = torch.cat([kaiming.factors(s)[0].flatten() for s in kaiming.sites])
    assert a.abs().max() <= 32**-0.5  # uniform within 1/sqrt(fan in)
    assert all(not kaiming.factors(s)[1].any() for s in kaiming.sites)


def test_a_lora_of_which_each_component_lacks_one_side_changes_nothing():
    adapter = attach(Lora(rank=2), base(), seed=0)
    site = adapter.sites[0]
    a, b = adapter.factors(site)
    with torch.no_grad():
        a[0], b[:, 0] = 0, 1  # the first component has no A, the second no B
        assert adapter.changes_nothing()
        a[0, 0] = 1
    assert not adapter.changes_nothing()


ADALORA = AdaLora(rank=4, target_rank=2, steps=12, every=1)


def adalora_trained(generator, adapter, optimiser, steps):
    x, t, cond = batch(generator)
    for step in steps:
        ((generator.predict(x, t, cond) - 1).square().mean() + adapter.penalty()).backward()
        optimiser.step()
        adapter.after_step(step)
        optimiser.zero_grad()


def test_adalora_prunes_to_its_budget_and_stays_there():
    generator = base()
    adapter = attach(ADALORA, generator, seed=0)
    optimiser = torch.optim.AdamW(adapter.trainable().values(), lr=1e-2)
    adalora_trained(generator, adapter, optimiser, range(12))
    ranks = adapter.facts()["ranks"]
    assert sum(ranks.values()) == 2 * len(adapter.sites)
    assert len(set(ranks.values())) > 1, "ranks are given where they matter"


def test_adalora_goes_on_where_it_was_stopped():
    def start():
        generator = base()
        adapter = attach(ADALORA, generator, seed=0)
        return generator, adapter, torch.optim.AdamW(adapter.trainable().values(), lr=1e-2)

    whole = start()
    adalora_trained(*whole, range(12))
    for stop in (4, 9):  # while pruning, and after
        first = start()
        adalora_trained(*first, range(stop))
        second = start()
        second[1].load(first[1].state())
        second[1].load_training_state(copy.deepcopy(first[1].training_state()))
        second[2].load_state_dict(copy.deepcopy(first[2].state_dict()))
        adalora_trained(*second, range(stop, 12))
        assert all(torch.equal(t, whole[1].state()[n]) for n, t in second[1].state().items())


def test_adaloras_penalty_is_zero_for_orthogonal_factors_alone():
    adapter = attach(ADALORA, base(), seed=0)
    assert adapter.penalty() > 0.5
    with torch.no_grad():
        for site in adapter.sites:
            adapter.added[f"{site}.lora_A"].copy_(torch.eye(4, 32))
            adapter.added[f"{site}.lora_B"].copy_(torch.eye(32, 4))
    assert adapter.penalty() == 0
    assert attach(AdaLora(orthogonality=0), base(), seed=0).penalty() is None


def test_bottleneck_formulas_in_a_block():
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    for placement, scale in (("parallel", 0.1), ("sequential", 1.0)):
        generator = base()
        layer = blocks(generator.denoiser)[1][1].ff
        plain = layer(x)
        adapter = attach(Bottleneck(width=4, placement=placement), generator, seed=0)
        with torch.no_grad():
            for i, p in enumerate(adapter.added.values()):
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
        down, up = layer.bottleneck.down, layer.bottleneck.up
        fed = x if placement == "parallel" else plain
        wanted = plain + scale * F.linear(F.relu(F.linear(fed, down.weight, down.bias)), up.weight, up.bias)
        assert torch.allclose(layer(x), wanted, atol=1e-6)


def test_vpt_tokens_are_read_by_their_block_alone_and_dropped_after_it():
    generator, seen = base(), []
    found = [block for _, block in blocks(generator.denoiser)]
    hooks = [
        block.attn1.to_q.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape[1]))
        for block in found
    ]
    adapter = attach(Vpt(depth=2, tokens=3), generator, seed=0)
    out = predicted(generator)
    assert seen == [16 + 3, 16 + 3, 16] and out.shape[-2:] == (16, 16)
    assert set(adapter.added) == {f"transformer_blocks.{i}.prompt_tokens" for i in (0, 1)}
    with torch.no_grad():
        adapter.added["transformer_blocks.1.prompt_tokens"].add_(1)
    assert not torch.equal(predicted(generator), out)
    for hook in hooks:
        hook.remove()


def test_vpt_deeper_than_the_model_is_refused():
    with pytest.raises(UserError, match="has 3 blocks"):
        attach(Vpt(depth=4), base(), seed=0)


def test_the_mean_of_an_adalora_is_pruned_as_it_is():
    generator = base()
    adapter = attach(ADALORA, generator, seed=0)
    mean = Ema(adapter.trainable(), 0.9)
    optimiser = torch.optim.AdamW(adapter.trainable().values(), lr=1e-2)
    for step in range(ADALORA.steps):
        adalora_trained(generator, adapter, optimiser, [step])
        mean.update()
    kept = adapter.facts()["ranks"]
    mean.write()
    assert sum(adapter.facts()["ranks"].values()) > sum(kept.values()), "the mean remembers what was pruned"
    adapter.after_mean()
    assert adapter.facts()["ranks"] == kept
