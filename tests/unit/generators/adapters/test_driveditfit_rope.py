"""RoPE in two dimensions: a rotation, relative, row by row, over the width or within heads."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention

from edgekit.core.errors import UserError
from edgekit.generators.adapters.driveditfit.rope import RopeProcessor, angles, rotate


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _turned(x, grid):
    turn = angles(grid, x.shape[-1])
    return rotate(x, turn.cos().float(), turn.sin().float())


def test_the_16_by_16_layout_is_row_major_rows_first():
    turn = angles((16, 16), 1152)
    assert turn.shape == (256, 576)
    token = 5 * 16 + 3  # row 5, column 3
    pairs = torch.arange(288, dtype=torch.float64)
    speed = 10000 ** (-2 * pairs / 576)
    assert torch.allclose(turn[token, :288], 5 * speed) and torch.allclose(turn[token, 288:], 3 * speed)
    assert turn[token, 0] == 5 and turn[token, 288] == 3
    # Over the hidden width of 16 heads of 72: rows turn heads 0–7, columns heads 8–15.
    row_only = turn[1 * 16] != 0
    assert row_only.nonzero().max() * 2 < 8 * 72 and (turn[1] != 0).nonzero().min() * 2 >= 8 * 72


def test_within_a_head_of_72_there_are_18_pairs_for_rows_and_18_for_columns():
    turn = angles((4, 6), 72)
    assert turn.shape == (24, 36)
    assert (turn[6] != 0).nonzero().flatten().tolist() == list(range(18))
    assert (turn[1] != 0).nonzero().flatten().tolist() == list(range(18, 36))


def test_it_is_a_rotation():
    x = _normal(2, 20, 24)
    turned = _turned(x, (4, 5))
    assert torch.equal(turned[:, 0], x[:, 0])  # position (0, 0) is the identity, not a swap
    assert not torch.allclose(turned[:, 1:], x[:, 1:], atol=1e-2)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-5)
    # Each pair turns counter-clockwise with determinant +1: (1, 0) → (cos, sin), (0, 1) → (-sin, cos).
    unit = torch.zeros(2, 20, 24)
    unit[0, :, 0::2] = 1
    unit[1, :, 1::2] = 1
    a, b = _turned(unit, (4, 5))
    turn = angles((4, 5), 24).float()
    assert torch.allclose(a[:, 0::2], turn.cos()) and torch.allclose(a[:, 1::2], turn.sin())
    assert torch.allclose(b[:, 0::2], -turn.sin()) and torch.allclose(b[:, 1::2], turn.cos())


def test_scores_depend_on_the_offset_alone():
    grid, d = (9, 11), 32
    q, k = (_normal(d, seed=s).expand(99, d) for s in (1, 2))
    scores = (_turned(q, grid) @ _turned(k, grid).T).view(9, 11, 9, 11)
    for i, j, di, dj in ((0, 0, 3, 2), (2, 4, 1, -3), (5, 5, -4, 0)):
        shifts = [(r, c) for r in range(4) for c in range(4)]
        found = torch.stack([scores[i + r, j + c, i + r + di, j + c + dj]
                             for r, c in shifts if 0 <= j + c + dj < 11 and 0 <= i + r + di < 9
                             and i + r < 9 and j + c < 11])  # fmt: skip
        assert len(found) > 4
        assert (found - found[0]).abs().max() < 1e-5 * q[0].norm() * k[0].norm()
    assert (scores[0, 0, 3, 2] - scores[0, 0, 2, 3]).abs() > 1e-2  # rows and columns are told apart
    assert (scores[0, 0, 3, 2] - scores[3, 2, 0, 0]).abs() > 1e-2  # and so are the directions


def test_channels_in_pairs_of_pairs():
    with pytest.raises(UserError, match="multiple of 4"):
        angles((2, 2), 18)


@pytest.mark.parametrize("scope", ["hidden", "head"])
def test_the_processor_is_plain_attention_over_turned_queries_and_keys(scope):
    torch.manual_seed(0)
    heads, width, grid = 2, 16, (2, 3)
    attn = Attention(width, heads=heads, dim_head=width // heads, bias=True)
    attn.set_processor(RopeProcessor(grid, width, heads, scope))
    x = _normal(3, 6, width)
    q, k, v = attn.to_q(x), attn.to_k(x), attn.to_v(x)
    if scope == "hidden":
        q, k = _turned(q, grid), _turned(k, grid)
    out = torch.empty_like(v)
    for h in range(heads):
        part = slice(h * 8, h * 8 + 8)
        q_h, k_h = q[..., part], k[..., part]
        if scope == "head":
            q_h, k_h = _turned(q_h, grid), _turned(k_h, grid)
        out[..., part] = (q_h @ k_h.transpose(1, 2) / 8**0.5).softmax(-1) @ v[..., part]
    assert torch.allclose(attn(x), attn.to_out[0](out), atol=1e-6)


def test_the_scopes_differ_and_neither_is_an_identity():
    torch.manual_seed(0)
    attn = Attention(16, heads=2, dim_head=8, bias=True)
    x = _normal(1, 6, 16)
    plain = attn(x)
    out = {}
    for scope in ("hidden", "head"):
        attn.set_processor(RopeProcessor((2, 3), 16, 2, scope))
        out[scope] = attn(x)
        assert (out[scope] - plain).abs().max() > 1e-4
    assert (out["hidden"] - out["head"]).abs().max() > 1e-4


def test_half_precision_turns_in_full_precision():
    x = _normal(1, 6, 16).bfloat16()
    rope = RopeProcessor((2, 3), 16, 2, "hidden")
    turned = rope.turned(x)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, rope.turned(x.float()).bfloat16())


def test_the_tables_are_no_state_of_the_model():
    attn = Attention(16, heads=2, dim_head=8)
    before = set(attn.state_dict())
    attn.set_processor(RopeProcessor((2, 3), 16, 2, "hidden"))
    assert set(attn.state_dict()) == before and not list(attn.buffers())


def test_another_number_of_tokens_is_refused():
    attn = Attention(16, heads=2, dim_head=8)
    attn.set_processor(RopeProcessor((2, 3), 16, 2, "hidden"))
    with pytest.raises(UserError, match="2 x 3"):
        attn(_normal(1, 8, 16))
