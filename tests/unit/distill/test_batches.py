from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.contract import Contract
from edgekit.distill.augment import augment
from edgekit.distill.batches import order
from edgekit.distill.config import Augment, Train
from edgekit.distill.dense import TARGETS, cells
from edgekit.distill.trainer import schedule


@given(st.integers(1, 40), st.integers(1, 17), st.integers(0, 3))
def test_every_row_is_seen_once_an_epoch(count, batch, seed):
    steps = count  # count·batch draws: exactly `batch` epochs
    drawn = Counter(i for step in range(steps) for i in order(count, batch, step, seed))
    assert set(drawn.values()) == {batch} and len(drawn) == count


def test_the_order_depends_on_seed_and_step_alone():
    assert order(100, 16, 5, 0) == order(100, 16, 5, 0)
    assert order(100, 16, 5, 0) != order(100, 16, 5, 1)


CLASSES = {"road": 1, "cone": 9, "lamp_red": 4}


def test_cells_say_where_a_class_is():
    contract = Contract(width=84, height=56)
    ids = np.full((56, 84), CLASSES["road"], np.uint8)
    ids[30:34, 60:64] = CLASSES["cone"]  # 16 px in row 1, column 2
    ids[0, 0] = CLASSES["lamp_red"]  # one pixel: under the threshold
    out = cells(ids, CLASSES, contract, min_pixels=4).reshape(2, 3, len(TARGETS))
    assert np.argwhere(out > 0).tolist() == [[1, 2, TARGETS.index("cone")]]
    assert (cells(None, CLASSES, contract, 4) == -1).all()


def test_image_and_ids_move_together():
    rng = np.random.default_rng(0)
    image, ids = np.zeros((56, 84, 3), np.uint8), np.zeros((56, 84), np.uint8)
    image[20:36, 30:50], ids[20:36, 30:50] = 255, 1
    how = Augment(shift=9, zoom=0.2, mirror=0.5)
    for _ in range(20):
        moved, where = augment(image, ids, how, rng)
        bright = moved[..., 0] > 127
        assert moved.dtype == np.uint8 and where.dtype == np.uint8
        # Bilinear against nearest: they may part on the rim only.
        assert (bright != (where == 1)).sum() <= 2 * (16 + 20) + 8
        assert where.sum() > 200


def test_no_augmentation_is_the_identity():
    image = np.random.default_rng(0).integers(0, 255, (56, 84, 3), dtype=np.uint8)
    same, _ = augment(image, None, Augment(), np.random.default_rng(1))
    assert (same == image).all()


def test_the_schedule_warms_up_and_ends_low():
    train = Train(steps=100, warmup_steps=10, final_share=0.05)
    shares = [schedule(step, 100, train) for step in range(100)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == pytest.approx(1.0)
    assert shares[-1] == pytest.approx(0.05, abs=0.01)
    assert shares[10:] == sorted(shares[10:], reverse=True)
