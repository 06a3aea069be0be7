import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.engine import pixels
from edgekit.engine.pixels import pixel_values, read_image, resize


def theirs(images, contract):
    area = contract.width * contract.height
    processor = Qwen2VLImageProcessorPil(min_pixels=area, max_pixels=area)
    out = processor(images, return_tensors="np")
    return out["pixel_values"], out["image_grid_thw"]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    across=st.integers(2, 17),
    down=st.integers(2, 10),
    times=st.sampled_from([1, 2]),
)
def test_same_numbers_as_the_reference_processor(seed, across, down, times):
    """Identity at the contract's size; at twice that size, the same bicubic resize."""
    contract = Contract(width=28 * across, height=28 * down)
    shape = (contract.height * times, contract.width * times, 3)
    images = list(np.random.default_rng(seed).integers(0, 256, (2, *shape), dtype=np.uint8))
    want, want_grid = theirs(images, contract)
    have, grid = pixel_values(images, contract)
    assert have.dtype == np.float32 and (grid == want_grid).all()
    assert np.abs(have - want).max() < 1e-6


def test_default_contract_is_the_reference():
    contract = Contract()
    image = np.random.default_rng(0).integers(0, 256, (contract.height, contract.width, 3), dtype=np.uint8)
    have, grid = pixel_values([image], contract)
    assert have.shape == (32 * 18, 1176) and grid.tolist() == [[1, 18, 32]]
    assert np.abs(have - theirs([image], contract)[0]).max() < 1e-6
    assert resize(image, contract) is image
    swapped, _ = pixel_values([image[..., ::-1]], contract)
    assert np.abs(swapped - have).max() > 0.1, "channel order must show"


def test_wrong_arrays_are_refused():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="RGB uint8"):
            resize(wrong, Contract())


def test_reading_files(tmp_path, monkeypatch):
    Image.new("L", (30, 20), 7).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").shape == (20, 30, 3)
    (tmp_path / "not.jpg").write_text("no image")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(tmp_path / "not.jpg")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 100)
    with pytest.raises(UserError, match="too large"):
        read_image(tmp_path / "grey.png")
