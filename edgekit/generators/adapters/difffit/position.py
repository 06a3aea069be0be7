"""The position-code trick: a generator for larger images, its codes squeezed into the range it knows.

Going from 16 x 16 tokens to 32 x 32, token (i, j) takes the code of (i/2, j/2): the same sine and cosine
formula, no new parameters and no interpolated tensors (DiffFit §3.4; general form as in PixArt-alpha:
coordinate = index · base grid / new grid / interpolation scale).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.embeddings import PatchEmbed, get_2d_sincos_pos_embed_from_grid
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.generators.conditions import TextCondition


def position_codes(width: int, rows: Tensor, columns: Tensor) -> Tensor:
    """(h·w, width) float32 codes of the coordinates rows (h,) x columns (w,), row by row.

    The first half of the channels codes the column and the second the row, in DiT and diffusers alike.
    """
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # [2, h, w]
    grid = grid.reshape(2, 1, len(rows), len(columns))
    return get_2d_sincos_pos_embed_from_grid(width, grid, output_type="pt").float()


def squeezed(cells: int, base: int, interpolation: float = 1.0) -> Tensor:
    """Coordinates (cells,) of a grid of ``cells`` over the range of a grid of ``base``."""
    return torch.arange(cells, dtype=torch.float32) / (cells / base) / interpolation


def set_latent_size(generator, size: tuple[int, int], scaled: bool = True) -> Callable[[], None]:
    """Makes ``generator`` work at latents of ``size`` (height, width) and regenerates its position codes.

    scaled: False continues the codes beyond the range that the base was trained on, for comparison (an
    SD3 keeps its codes as they are). A UNet has no position codes: its size changes, and what SDXL and Kolors are
    told of it beside the text.
    Weights and the denoiser's config stay; returns a function that puts codes and size back.
    Raises UserError for a size that the patches do not divide or that the denoiser cannot hold.
    """
    embed = getattr(generator.denoiser, "pos_embed", None)
    before = generator.size
    if not isinstance(embed, PatchEmbed):
        return _resized(generator, tuple(size))
    grid = tuple(side // embed.patch_size for side in size)
    _check(generator, embed, tuple(size), grid)
    old = embed.pos_embed, embed.height, embed.width
    if embed.pos_embed_max_size:
        known = tuple(side // embed.patch_size for side in before)
        coordinates = _cropped(embed, known, grid) if scaled else None
    else:
        base = embed.base_size
        coordinates = [squeezed(c, base if scaled else c, embed.interpolation_scale) for c in grid]
        embed.height, embed.width = grid
    if coordinates:
        codes = position_codes(embed.pos_embed.shape[-1], *coordinates)
        embed.pos_embed = codes[None].to(old[0])  # keeps being the buffer that it was
    generator.size = tuple(size)

    def restore() -> None:
        embed.pos_embed, embed.height, embed.width = old
        generator.size = before

    return restore


def _resized(generator, size: tuple[int, int]) -> Callable[[], None]:
    """Another size without position codes: of the latents, and of the pictures that a text condition tells of."""
    before, condition = generator.size, generator.condition

    def set_to(size: tuple[int, int]) -> None:
        generator.size = size
        if isinstance(condition, TextCondition):
            condition.resize(tuple(side * generator.codec.factor for side in size))

    set_to(size)
    return lambda: set_to(before)


def _cropped(embed: PatchEmbed, known: tuple[int, int], grid: tuple[int, int]) -> list[Tensor]:
    """SD3 cuts the middle out of one large table: coordinates of a table whose middle covers ``known``."""
    most = embed.pos_embed_max_size
    step = embed.base_size / most / embed.interpolation_scale
    index = torch.arange(most, dtype=torch.float32)
    return [
        ((most - old) // 2 + (index - (most - new) // 2) * (old / new)) * step
        for old, new in zip(known, grid, strict=True)
    ]


def _check(generator, embed: PatchEmbed, size: tuple[int, int], grid: tuple[int, int]) -> None:
    where = f"latent size {size[0]} x {size[1]} for a {generator.arch}"
    if any(side % embed.patch_size for side in size) or min(grid) < 1:
        raise UserError(where, f"its patches are {embed.patch_size} wide", "choose multiples of that")
    # its forward takes the root of the number of tokens for both sides
    if generator.arch == "dit" and grid[0] != grid[1]:
        raise UserError(where, "diffusers' DiT puts its patches together as a square", "choose equal sides")
    most = embed.pos_embed_max_size
    if most and max(grid) > most:
        raise UserError(
            where,
            f"its table of positions has {most} a side, {max(grid)} are asked for",
            f"stay at or below {most * embed.patch_size}",
        )
