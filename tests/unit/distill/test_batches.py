from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.contract import Contract
from edgekit.core.label import coherent
from edgekit.dataset import open_dataset
from edgekit.distill.augment import augment, sided
from edgekit.distill.batches import Batcher, Row, order, training_device
from edgekit.distill.config import Augment, Dense, Train
from edgekit.distill.dense import TARGETS, cells
from edgekit.distill.trainer import schedule
from edgekit.models.nano import WINDOWED_CONTRACT
from edgekit.models.tokenizer import grammar_of, nano_tokenizer


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


LIGHT = {"light": "green", "light_arrow": "any", "light_kind": "intersection"}


@pytest.mark.parametrize(
    ("label", "tells"),
    [
        (LIGHT, False),
        (LIGHT | {"light_arrow": "straight"}, False),
        (LIGHT | {"light_arrow": "left"}, True),
        (LIGHT | {"light_arrow": "right"}, True),
        (LIGHT | {"other_left": "red", "other_right": "red"}, False),
        (LIGHT | {"other_left": "red", "other_right": "none"}, True),
    ],
)
def test_a_label_that_tells_left_from_right_is_known(label, tells):
    assert sided(coherent(label)) is tells


def batcher(**how) -> Batcher:
    tokenizer = nano_tokenizer()
    return Batcher(WINDOWED_CONTRACT, tokenizer, grammar_of(tokenizer), 0.05, **how)


def rows_of(folder) -> list[Row]:
    data = open_dataset(folder)
    return [Row(sample, data, data.info.get("classes")) for sample in data.rows("train")]


def test_a_row_with_sides_is_not_mirrored_and_the_rows_after_it_are_as_they_were(dataset):
    rows = rows_of(dataset)[:3]
    left = rows[1].sample.model_copy(
        update={"label": rows[1].sample.label.model_copy(update={"light_arrow": "left"})}
    )
    with_left = [rows[0], Row(left, rows[1].data, rows[1].classes), rows[2]]

    def pixels(chosen, mirror):
        how = Augment(mirror=mirror, noise=3)
        batch = batcher().batch(chosen, how, np.random.default_rng(0))
        return batch.pixel_values.reshape(len(chosen), -1)

    plain, told, as_is = pixels(rows, 1.0), pixels(with_left, 1.0), pixels(rows, 1e-9)
    assert torch.equal(told[0], plain[0]) and torch.equal(told[2], plain[2])
    assert torch.equal(told[1], as_is[1]) and not torch.equal(told[1], plain[1])


def test_the_device_is_the_accelerator_where_there_is_one(monkeypatch):
    for found, want in ((torch.device("cuda"), "cuda"), (None, "cpu")):
        asked = []
        monkeypatch.setattr(
            torch.accelerator,
            "current_accelerator",
            lambda found=found, asked=asked, **k: asked.append(k) or found,
        )
        assert training_device().type == want
        assert asked == [{"check_available": True}]  # a CUDA build without a card is a CPU


def test_every_tensor_of_a_batch_lies_on_the_batchers_device(dataset):
    """``meta`` stands for an accelerator: what stayed on the CPU would show."""
    elsewhere = batcher(device=torch.device("meta"))
    batch = elsewhere.batch(rows_of(dataset)[:2], dense=Dense(weight=1))
    assert {value.device.type for value in vars(batch).values()} == {"meta"}
    dense = Dense(weight=1, warmup_crop=(140, 112))
    seen = elsewhere.windows(rows_of(dataset)[:2], Augment(), np.random.default_rng(0), dense)
    assert {value.device.type for value in seen} == {"meta"}


@pytest.mark.parametrize("key", ["save_every", "dev_every"])
def test_a_step_count_of_zero_is_refused(key):
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Train(**{key: 0})


def test_the_schedule_warms_up_and_ends_low():
    train = Train(steps=100, warmup_steps=10, final_share=0.05)
    shares = [schedule(step, 100, train) for step in range(100)]
    assert shares[0] == pytest.approx(0.1) and max(shares) == pytest.approx(1.0)
    assert shares[-1] == pytest.approx(0.05, abs=0.01)
    assert shares[10:] == sorted(shares[10:], reverse=True)
