"""What the vision graph wants beside the patches, in numpy: angles, masks, window order.

Source: Qwen2.5-VL's windowed vision transformer (Bai et al. 2025, section 2.1.1) as in transformers'
``vision_utils`` (get_vision_window_index, get_vision_position_ids); checked against it in
tests/unit/engine. All depend on the grid alone, so a caller computes them once per image size.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

# What is added to a score that must not count; float16's lowest, so that a float16 graph can hold it.
LOW = float(np.finfo(np.float16).min)


@dataclass(frozen=True)
class VisionShape:
    """patch_size and window_size in pixels; merge: patches per side of a merged token; head_dim: D."""

    patch_size: int
    merge_size: int
    window_size: int
    head_dim: int

    @classmethod
    def of(cls, config: dict) -> VisionShape:
        """From the vision section of a checkpoint's config.json."""
        return cls(
            patch_size=config["patch_size"],
            merge_size=config["spatial_merge_size"],
            window_size=config["window_size"],
            head_dim=config["hidden_size"] // config["num_heads"],
        )

    def record(self) -> dict:
        return asdict(self)


def window_order(shape: VisionShape, grid: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(order (G) int64 of the merged tokens window by window, window number (G) of each in that order).

    grid: (t, h, w) in patches. Windows at the right and lower edge are smaller where it does not divide.
    """
    frames, height, width = grid[0], grid[1] // shape.merge_size, grid[2] // shape.merge_size
    side = shape.window_size // shape.merge_size // shape.patch_size
    across = -(-width // side)
    down = -(-height // side)
    row, column = np.divmod(np.arange(height * width), width)
    window = (row // side) * across + column // side
    within = np.argsort(window, kind="stable")  # row-major inside each window
    order = np.concatenate([within + frame * height * width for frame in range(frames)])
    number = np.concatenate([window[within] + frame * across * down for frame in range(frames)])
    return order.astype(np.int64), number


def patch_positions(shape: VisionShape, grid: tuple[int, int, int]) -> np.ndarray:
    """(4G, 2) int64 row and column of each patch, in merge-block order."""
    frames, height, width = grid
    m = shape.merge_size
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    blocks = [
        a.reshape(height // m, m, width // m, m).transpose(0, 2, 1, 3).reshape(-1) for a in (rows, columns)
    ]
    return np.tile(np.stack(blocks, axis=-1), (frames, 1)).astype(np.int64)


def _mask(segment: np.ndarray) -> np.ndarray:
    """(n) segment numbers → (1, n, n) float32: 0 inside a segment, LOW across."""
    return np.where(segment[:, None] == segment[None, :], np.float32(0), np.float32(LOW))[None]


def vision_inputs(shape: VisionShape, grid: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """The vision graph's inputs but for ``input``, for one image of ``grid`` = (t, h, w) patches."""
    order, window = window_order(shape, grid)
    unit = shape.merge_size**2
    half = shape.head_dim // 2
    # Half of the head's angle pairs turn with the row, half with the column (RoPE, base 10000).
    steps = np.arange(0, half, 2, dtype=np.float32) / np.float32(half)
    inverse = np.float32(1) / np.float32(10000) ** steps
    angles = patch_positions(shape, grid).astype(np.float32)[:, :, None] * inverse
    frame = np.repeat(np.arange(grid[0]), grid[1] * grid[2])
    return {
        "rotary_pos_emb": angles.reshape(len(angles), half),
        "attention_mask": _mask(frame),
        "window_attention_mask": _mask(np.repeat(window, unit)),
        "window_index": order,
        "reverse_window_index": np.argsort(order, kind="stable"),
    }
