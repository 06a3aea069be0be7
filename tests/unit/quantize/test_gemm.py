import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.models.compressed import nibbles
from edgekit.quantize.gemm import ORDER, pack, unpack


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))
def test_codes_come_back(rows, words, seed):
    q = torch.randint(0, 16, (rows, words * 8), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(unpack(pack(q)), q.to(torch.uint8))


def test_the_layout_is_autoawqs():
    # Nibbles from the lowest: columns 0 2 4 6 1 3 5 7. Column k holds code k here.
    assert int(pack(torch.arange(8)[None]).item()) & 0xFFFFFFFF == 0x75316420


def test_another_nibble_order_is_another_matrix():
    q = torch.randint(0, 16, (4, 64), generator=torch.Generator().manual_seed(0))
    assert not torch.equal(unpack(pack(q), order=tuple(range(8))), q.to(torch.uint8))
    assert torch.equal(nibbles(pack(q, order=tuple(range(8))), dim=1), q.to(torch.int32))
    assert sorted(ORDER) == list(range(8))


@pytest.mark.parametrize("value", [0, 15])
def test_the_sign_bit_survives(value):
    q = torch.full((2, 16), value)
    assert torch.equal(unpack(pack(q)), q.to(torch.uint8))
