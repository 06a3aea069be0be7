"""The small segmenter and the boxes of its maps."""

import numpy as np
import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.quality.distance import mean_average_precision, miou
from edgekit.generators.quality.downstream import Segmenter, boxes_of, train_segmenter

torch.set_num_threads(1)
COLOURS = np.array([[90, 90, 90], [200, 40, 40], [60, 60, 220]])
QUICK = {"steps": 40, "batch": 8, "threads": 1}


def streets(n=12, size=(18, 22), seed=0):
    """Road, a red car somewhere, sky above; its first column is not labelled."""
    draw = np.random.default_rng(seed)
    masks = np.zeros((n, *size), np.uint8)
    masks[:, :6] = 2
    for mask in masks:
        y, x = draw.integers(7, size[0] - 6), draw.integers(1, size[1] - 6)
        mask[y : y + 5, x : x + 5] = 1
    images = (COLOURS[masks] + draw.integers(-15, 15, (*masks.shape, 3))).clip(0, 255).astype(np.uint8)
    masks[:, :, 0] = 255
    return images, masks


@pytest.fixture(scope="module")
def learned():
    return train_segmenter(*streets(), 3, **QUICK)


def test_it_learns_streets(learned):
    images, masks = streets(6, seed=5)
    said = learned.predict(images, batch=4)
    assert said.shape == masks.shape and said.dtype == np.uint8
    untrained = miou(masks, Segmenter(3).predict(images), 3)
    assert miou(masks, said, 3) > 0.8 > untrained + 0.3
    truth = [boxes_of(mask, [1]) for mask in masks]
    sure = learned.probabilities(images)
    found = [boxes_of(mask, [1], p, least=6) for mask, p in zip(said, sure, strict=True)]
    assert mean_average_precision(truth, found, [1])[0] > 0.7
    assert all((0 < box.scores).all() and (box.scores < 1).all() for box in found)


def test_what_is_unknown_teaches_nothing(learned):
    images, masks = streets()
    images[:, :, 0] = 255 - images[:, :, 0]  # other pixels where nothing is known change the input only
    cut = np.where(np.arange(12)[:, None, None] < 6, masks, 255).astype(np.uint8)
    found = train_segmenter(images, cut, 3, **QUICK)
    assert 255 not in found.predict(images)
    wrong = np.where(masks == 255, 255, (masks + 1) % 3).astype(np.uint8)
    wrong[:6] = cut[:6]
    assert miou(masks, train_segmenter(images, wrong, 3, **QUICK).predict(images), 3) < miou(
        masks, found.predict(images), 3
    )


def test_the_same_seed_gives_the_same_map(learned):
    images, masks = streets()
    again = train_segmenter(images, masks, 3, **QUICK)
    assert np.array_equal(again.probabilities(images), learned.probabilities(images))
    other = train_segmenter(images, masks, 3, seed=1, **QUICK)
    assert not np.array_equal(other.probabilities(images), learned.probabilities(images))


def test_flipping_mirrors_picture_and_mask_together():
    """Sky on the left alone: a picture mirrored without its mask would teach both sides."""
    masks = np.zeros((4, 16, 18), np.uint8)
    masks[:, :, :9] = 1
    images = np.where(masks[..., None] == 1, COLOURS[2], COLOURS[0]).astype(np.uint8)
    found = train_segmenter(images, masks, 2, flip=True, **QUICK)
    assert miou(masks, found.predict(images), 2) > 0.9
    assert miou(masks[:, :, ::-1], found.predict(images[:, :, ::-1]), 2) > 0.9


def test_sizes():
    assert sum(p.numel() for p in Segmenter(19).net.parameters()) < 120_000
    for size in ((8, 8), (9, 11), (30, 16)):
        found = Segmenter(3).probabilities(np.zeros((2, *size, 3), np.uint8))
        assert found.shape == (2, 3, *size) and np.allclose(found.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("masks", "told"),
    [(np.zeros((2, 8, 9), np.uint8), "do not fit"), (np.full((2, 8, 8), 255, np.uint8), "nothing to learn"),
     (np.full((2, 8, 8), 3, np.uint8), "ids up to 3, of 3 classes")],
)  # fmt: skip
def test_masks_that_cannot_be_learned_are_refused(masks, told):
    with pytest.raises(UserError, match=told):
        train_segmenter(np.zeros((2, 8, 8, 3), np.uint8), masks, 3)


def test_boxes_are_those_of_the_components():
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 2:5] = 1
    mask[4, 6] = 1
    mask[3, 5] = 1  # touches both at a corner alone
    mask[0, 0] = 2
    sure = np.zeros((3, 6, 8))
    sure[1, 1:3, 2:5] = [[0.9] * 3, [0.7] * 3]
    found = boxes_of(mask, [1, 2, 0], sure)
    assert found.of(1).boxes.tolist() == [[2, 1, 5, 3], [5, 3, 6, 4], [6, 4, 7, 5]]
    assert found.of(1).scores.tolist() == pytest.approx([0.8, 0, 0])
    assert found.of(2).boxes.tolist() == [[0, 0, 1, 1]]
    assert boxes_of(mask, [1], least=2).boxes.tolist() == [[2, 1, 5, 3]]
    assert boxes_of(mask, [1]).scores.tolist() == [1, 1, 1]
    assert boxes_of(mask, []).boxes.shape == (0, 4)
