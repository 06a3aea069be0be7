"""Two-dimensional rotary positions on attention's queries and keys (DriveDiTFit §3, after RoPE, Su et al. 2021).

The fixed absolute positions of the base stay. RoPE has no parameters and is no identity: it changes what a
pre-trained model paints at once, and it cannot be folded into weights.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.core.errors import UserError

Scope = Literal["hidden", "head"]


def angles(grid: tuple[int, int], channels: int) -> Tensor:
    """Angles in radians, (rows·columns, channels/2) float64, tokens row by row.

    The row index turns the first half of the channels and the column index the second; within a half of
    c = channels/2, pair m (channels 2m and 2m+1) turns by index·10000^(−2m/c). Raises UserError where the
    channels are no multiple of 4.
    """
    if channels % 4:
        raise UserError(
            f"RoPE over {channels} channels",
            "rows and columns take half of them each, in pairs: the number must be a multiple of 4",
            "set method.rope: off, or the other scope (hidden, head)",
        )
    rows, columns = grid
    half = channels // 2
    speed = 10000.0 ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)  # [channels/4]
    row = torch.arange(rows, dtype=torch.float64).repeat_interleave(columns)  # [rows·columns]
    column = torch.arange(columns, dtype=torch.float64).repeat(rows)
    return torch.cat([row[:, None] * speed, column[:, None] * speed], dim=1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (…, N, d) with pair m of token n turned by its angle; cos, sin (N, d/2). In fp32, returned as x's dtype.

    A true rotation. (The released code swaps the two tables and thereby reflects each pair instead: scores
    still depend on the offset alone, but position 0 is no identity.)
    """
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)  # [..., N, d/2] each
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


class RopeProcessor:
    """An attention processor for diffusers' self-attention over a grid of image tokens.

    grid: tokens (rows, columns). The tables are plain fp32 tensors and no buffers: nothing of them is saved,
    and turning the model into bf16 leaves them exact. One processor serves any number of layers of one width.
    """

    def __init__(self, grid: tuple[int, int], width: int, heads: int, scope: Scope):
        self.grid, self.scope = grid, scope
        turn = angles(grid, width if scope == "hidden" else width // heads)
        self._tables = {torch.device("cpu"): (turn.cos().float(), turn.sin().float())}

    def turned(self, x: Tensor) -> Tensor:
        """``rotate`` with this grid's tables; x (…, N, d). Raises UserError for another number of tokens."""
        rows, columns = self.grid
        if x.shape[-2] != rows * columns:
            raise UserError(
                f"RoPE: {x.shape[-2]} image tokens",
                f"the adapter was attached for a grid of {rows} x {columns} = {rows * columns}",
                "attach the adapter again at this size",
            )
        if x.device not in self._tables:
            self._tables[x.device] = tuple(t.to(x.device) for t in self._tables[torch.device("cpu")])
        return rotate(x, *self._tables[x.device])

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("RoPE is for unmasked self-attention")
        q, k, v = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)  # [B, N, D]
        if self.scope == "hidden":
            q, k = self.turned(q), self.turned(k)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))  # [B, heads, N, d]
        if attn.norm_q is not None:
            q, k = attn.norm_q(q), attn.norm_k(k)
        if self.scope == "head":
            q, k = self.turned(q), self.turned(k)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # [B, N, D]
        return attn.to_out[1](attn.to_out[0](mixed)) / attn.rescale_output_factor
