"""Boxes to latent masks: small boxes kept, the released rule, flips, both axes on their own."""

from __future__ import annotations

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.adapters.driveditfit.mask import object_mask
from edgekit.generators.objective import loss
from edgekit.generators.process import Betas, linear


def _cells(mask):
    """Of one image: the (row, column) of cells that are 1."""
    return {tuple(cell) for cell in mask[0, 0].nonzero().tolist()}


def test_a_box_covers_every_cell_that_it_touches():
    mask = object_mask([[[8, 4, 16, 12]]], (32, 32), (8, 8))
    assert mask.shape == (1, 1, 8, 8) and mask.dtype == torch.float32
    assert _cells(mask) == {(1, 2), (1, 3), (2, 2), (2, 3)}
    assert _cells(object_mask([[[7.9, 4, 16.1, 12]]], (32, 32), (8, 8))) == {
        (row, column) for row in (1, 2) for column in (1, 2, 3, 4)
    }


def test_axes_are_scaled_on_their_own():
    """1920 x 1208 squeezed into 32 x 32 cells: 60 px wide, 37.75 px high each."""
    mask = object_mask([[[600, 151, 660, 226.5]]], (1208, 1920), (32, 32))
    assert _cells(mask) == {(4, 10), (5, 10)}


@pytest.mark.parametrize("side", [1, 5, 30, 59])
def test_small_boxes_are_kept_and_the_released_rule_drops_them(side):
    for left in range(580, 680, 7):
        box = [left, 300, left + side, 300 + side * 1208 / 1920]
        assert object_mask([[box]], (1208, 1920), (32, 32)).sum() >= 1
        assert object_mask([[box]], (1208, 1920), (32, 32), rule="code").sum() == 0


def test_the_released_rule_asks_for_three_cells():
    kw = {"image": (1208, 1920), "latent": (32, 32), "rule": "code"}
    two = [600, 151, 600 + 119, 151 + 75]  # ends in the cell after its first: 2 cells a side
    three = [600, 151, 600 + 120, 151 + 76]
    assert object_mask([[two]], **kw).sum() == 0
    assert _cells(object_mask([[three]], **kw)) == {(r, c) for r in (4, 5, 6) for c in (10, 11, 12)}
    wide = [600, 151, 1200, 151 + 30]  # long enough in one axis alone
    assert object_mask([[wide]], **kw).sum() == 0


def test_min_cells():
    boxes = [[[8, 8, 12, 20], [16, 16, 24, 24]]]  # 1 x 3 cells and 2 x 2 cells of 4 px
    assert object_mask(boxes, (32, 32), (8, 8)).sum() == 7
    assert object_mask(boxes, (32, 32), (8, 8), min_cells=2).sum() == 4
    assert object_mask(boxes, (32, 32), (8, 8), min_cells=3).sum() == 0


def test_the_edges_of_the_image():
    assert _cells(object_mask([[[-50, -5, 1, 1]]], (32, 32), (8, 8))) == {(0, 0)}
    assert _cells(object_mask([[[31.5, 31.5, 90, 90]]], (32, 32), (8, 8))) == {(7, 7)}
    assert object_mask([[[-9, 4, 0, 8], [4, -9, 8, 0]]], (32, 32), (8, 8)).sum() == 0  # ends on the edge
    assert _cells(object_mask([[[0, 0, 0, 0]]], (32, 32), (8, 8))) == {(0, 0)}
    assert object_mask([[[-9, 4, -1, 8], [32, 4, 40, 8], [4, 33, 8, 40]]], (32, 32), (8, 8)).sum() == 0
    assert object_mask([[[0, 0, 32, 32]]], (32, 32), (8, 8)).min() == 1
    assert _cells(object_mask([[[5, 5, 5, 5]]], (32, 32), (8, 8))) == {(1, 1)}  # a point has its cell


def test_no_boxes_no_mask_and_each_image_its_own():
    mask = object_mask([[], [[0, 0, 4, 4]], []], (32, 32), (8, 8))
    assert mask.sum(dim=(1, 2, 3)).tolist() == [0, 1, 0]


def test_overlaps_stay_binary():
    assert object_mask([[[0, 0, 9, 9], [4, 4, 12, 12]]], (32, 32), (8, 8)).unique().tolist() == [0, 1]


def test_flip_mirrors_as_the_image_is_mirrored():
    box = [3, 4, 9, 12]
    mirrored = [32 - 9, 4, 32 - 3, 12]
    once = object_mask([[box], [box]], (32, 32), (8, 8), flip=[False, True])
    assert torch.equal(once[0], object_mask([[box]], (32, 32), (8, 8))[0])
    assert torch.equal(once[1], object_mask([[mirrored]], (32, 32), (8, 8))[0])
    assert not torch.equal(once[0], once[1])


@pytest.mark.parametrize("box", [[9, 0, 3, 4], [0, 9, 4, 3], [float("nan"), 0, 4, 4]])
def test_corners_out_of_order_are_refused(box):
    with pytest.raises(UserError, match="corners"):
        object_mask([[box]], (32, 32), (8, 8))


def test_the_object_loss_weighs_its_cells():
    """With the mask of a box: gradient (1+λ)-fold inside; no box is the plain loss, a full one (1+λ) of it."""
    process, weight = Betas(linear()), 0.7
    eps = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x0, t = torch.zeros_like(eps), torch.tensor([500])

    def total(boxes):
        guess = torch.zeros(1, 3, 8, 8, requires_grad=True)
        mask = object_mask([boxes], (32, 32), (8, 8))
        value = loss(process, guess, x0, process.noise(x0, eps, t), eps, t, mask, weight).total.sum()
        value.backward()
        return value.item(), guess.grad

    (plain, base), (some, inside), (full, _) = total([]), total([[8, 8, 16, 16]]), total([[0, 0, 32, 32]])
    assert plain == pytest.approx(eps.square().mean().item())
    assert full == pytest.approx((1 + weight) * plain)
    assert plain < some < full
    ratio = inside / base
    assert torch.allclose(ratio[..., 2:4, 2:4], torch.tensor(1 + weight))
    assert torch.allclose(ratio[..., :2, :], torch.tensor(1.0))
