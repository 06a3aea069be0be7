"""The modulation's maths, on single weights: identity, rank, gradients, the released operator's defect, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from edgekit.generators.adapters.driveditfit.modulation import BiasShift, LowRank, Ones, OnesConv


def count(shape, rank, mul=True, add=False, bias=True):
    """New parameters of one modulated weight (out, in[, kh, kw]): r·(in + out) a part, and 2·out."""
    out, inner = shape[0], math.prod(shape[1:])
    return (mul + add) * rank * (out + inner) + 2 * out * bias


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _weight(*shape):
    return torch.randn(*shape, generator=_rng(1)) / 4


@pytest.mark.parametrize("shape", [(24, 16), (12, 3, 2, 2)])
@pytest.mark.parametrize("mul,add", [(True, True), (True, False), (False, True)])
def test_a_residual_start_is_the_weight_bit_for_bit(shape, mul, add):
    weight = _weight(*shape)
    assert torch.equal(LowRank(weight, 4, mul, add, _rng())(weight), weight)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 7])
def test_ones_start_within_rounding(rank):
    weight, kernel = _weight(24, 16), _weight(12, 3, 2, 2)
    assert (Ones(weight, rank)(weight) - weight).abs().max() <= 1e-6
    assert (OnesConv(kernel, rank)(kernel) - kernel).abs().max() <= 1e-6


def test_the_operator_is_the_papers_with_a_residual_gain():
    weight = _weight(6, 5)
    part = LowRank(weight, 2, True, True, _rng())
    with torch.no_grad():
        part.mul_out.copy_(_weight(6, 2))
        part.add_out.copy_(_weight(6, 2) * 3)
    want = torch.empty(6, 5, dtype=torch.float64)
    for o in range(6):
        for i in range(5):
            gain = sum(part.mul_out[o, r].item() * part.mul_in[r, i].item() for r in range(2))
            shift = sum(part.add_out[o, r].item() * part.add_in[r, i].item() for r in range(2))
            want[o, i] = weight[o, i].item() * (1 + gain) + shift
    assert (part(weight).double() - want).abs().max() < 1e-6


def test_a_kernels_gain_is_laid_out_as_the_kernel_is():
    weight = _weight(6, 3, 2, 2)
    part = LowRank(weight, 2, True, False, _rng())
    with torch.no_grad():
        part.mul_out[2, 0] = 1.0
    change = part(weight) / weight - 1
    assert change[[0, 1, 3, 4, 5]].abs().max() == 0
    assert torch.allclose(change[2], part.mul_in[0].view(3, 2, 2), atol=1e-5)


def test_only_out_factors_move_at_the_start_and_as_the_formula_says():
    weight, x = _weight(8, 6), torch.randn(10, 6, generator=_rng(2))
    part = LowRank(weight, 3, True, True, _rng())
    changed = part(weight)
    changed.retain_grad()
    F.linear(x, changed).square().sum().backward()
    grad = changed.grad
    assert torch.allclose(part.mul_out.grad, (grad * weight) @ part.mul_in.T, rtol=1e-4, atol=1e-4)
    assert torch.allclose(part.add_out.grad, grad @ part.add_in.T, rtol=1e-4, atol=1e-4)
    assert part.mul_in.grad.abs().max() == 0 and part.add_in.grad.abs().max() == 0


def test_zero_weights_are_moved_by_the_additive_part_alone():
    dead = torch.zeros(8, 6)
    part = LowRank(dead, 3, True, True, _rng())
    part(dead).sum().backward()
    assert part.mul_out.grad.abs().max() == 0
    assert part.add_out.grad.abs().max() > 0


def _learn(part, weight, steps=60):
    """A regression onto a weight that differs by a gain of full rank; AdamW as the released script has it."""
    gain = 1 + 0.5 * torch.randn(weight.shape, generator=_rng(5))
    optimiser = torch.optim.AdamW(part.parameters(), lr=1e-2, weight_decay=1e-2)
    for step in range(steps):
        x = torch.randn(32, weight.shape[1], generator=_rng(100 + step))
        loss = F.mse_loss(F.linear(x, part(weight)), F.linear(x, weight * gain))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.parametrize("rank", [2, 4])
def test_a_residual_start_reaches_its_rank(rank):
    weight = _weight(24, 16)
    part = LowRank(weight, rank, True, False, _rng())
    _learn(part, weight)
    values = torch.linalg.svdvals((part.mul_out @ part.mul_in).double())  # Γ - 1
    assert values[rank - 1] > 0.05 * values[0]
    assert values[rank] < 1e-5 * values[0]


@pytest.mark.parametrize("rank", [2, 4])
def test_the_released_start_never_leaves_rank_one(rank):
    weight = _weight(24, 16)
    part = Ones(weight, rank)
    _learn(part, weight)
    with torch.no_grad():
        assert (part.mul_out @ part.mul_in - 1).abs().max() > 0.05  # it did learn
        assert torch.equal(part.mul_out, part.mul_out[:, :1].expand_as(part.mul_out))
        assert torch.equal(part.mul_in, part.mul_in[:1].expand_as(part.mul_in))
        values = torch.linalg.svdvals((part.mul_out @ part.mul_in).double())
    assert values[1] < 1e-6 * values[0]


def test_bias_modulation():
    bias = _weight(7)
    part = BiasShift(bias)
    assert torch.equal(part(bias), bias)
    with torch.no_grad():
        part.scale.copy_(torch.arange(7.0))
        part.shift.fill_(0.5)
    assert torch.allclose(part(bias), bias * torch.arange(7.0) + 0.5)


def test_half_precision_weights_keep_their_type_and_autocast_does_not_reach_the_factors():
    weight = _weight(8, 6).bfloat16()
    part = LowRank(weight, 2, True, True, _rng())
    assert torch.equal(part(weight), weight)
    plain = _weight(8, 6)
    with torch.no_grad():
        part.mul_out.fill_(1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = part(plain)
    assert inside.dtype == torch.float32 and torch.equal(inside, part(plain))


def test_counts_of_one_weight():
    d, r = 1152, 4
    assert count((3 * d, d), r) == 25_344  # qkv as one linear
    assert count((d, d), r) == 11_520
    assert 3 * count((d, d), r) == 25_344 + 9_216  # q, k and v apart
    assert count((6 * d, d), r) == 46_080  # adaLN of a block
    assert count((4 * d, d), r) + count((d, 4 * d), r) == 57_600  # the feed-forward
    assert count((d, 256), r) + count((d, d), r) == 19_456  # t-embedder
    assert count((32, d), r) + count((2 * d, d), r) == 23_232  # final layers
    kernel = torch.empty(d, 4, 2, 2)  # beside its bias's 2,304: 6,992 as published, 6,976 as a residual
    for part, want in ((OnesConv(kernel, r), 4_688), (LowRank(kernel, r, True, False, _rng()), 4_672)):
        assert sum(p.numel() for p in part.parameters()) == want
    for mul, add in ((True, True), (True, False), (False, True)):
        part = LowRank(torch.empty(24, 16), 3, mul, add, _rng())
        assert sum(p.numel() for p in part.parameters()) == count((24, 16), 3, mul, add, bias=False)


def test_the_published_totals_by_formula():
    """Table 5 of the paper, over fused qkv, for 5 scenarios and the null row; and eq. 8–9 taken literally."""
    d, blocks, r = 1152, 28, 4

    def modulated(*shapes, rank=r, **kw):
        return sum(count(shape, rank, **kw) for shape in shapes)

    attention, adaln, ff = [(3 * d, d), (d, d)], [(6 * d, d)], [(4 * d, d), (d, 4 * d)]
    always = [(d, 256), (d, d), (32, d), (2 * d, d)]

    def total(rank, *groups, labels=6):
        return modulated(*always, rank=rank) + labels * d + sum(
            blocks * modulated(*group, rank=rank) for group in groups
        )  # fmt: skip

    assert total(4, attention) == 1_081_792
    assert total(4, attention, adaln) == 2_372_032
    assert total(4, attention, adaln, ff) == 3_984_832
    assert total(4, attention, adaln, ff) + 6_992 == 3_991_824
    assert total(2, attention, adaln) == 1_516_672
    assert total(4, attention, adaln, labels=7) == 2_373_184
    literal = blocks * modulated((3 * d, d), (6 * d, d), mul=True, add=True, bias=False)
    assert literal == 2_838_528
