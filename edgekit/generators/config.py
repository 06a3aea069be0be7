"""NanoGenerator: the sizes of a small generator of a real class."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config

Arch = Literal["dit", "pixart", "unet", "mmdit"]

# diffusers' class of each architecture: the one place that ties the two together.
DENOISERS: dict[str, str] = {
    "dit": "DiTTransformer2DModel",
    "pixart": "PixArtTransformer2DModel",
    "unet": "UNet2DConditionModel",
    "mmdit": "SD3Transformer2DModel",
}


class NanoGenerator(Config):
    """A denoiser in pixel space (no VAE), of the class that its full-size kin has.

    ``layers`` and ``width`` are a transformer's; a UNet (SDXL-shaped) takes ``unet_widths`` instead: one
    level without and two with cross-attention. ``text_*`` size the text encoders of all but the DiT.
    ``timesteps`` are a beta schedule's; the MM-DiT learns a rectified flow, which has none.
    """

    arch: Arch = "dit"
    size: int = Field(32, ge=8)  # pixels a side
    patch: int = Field(4, ge=1)
    width: int = 128
    layers: int = Field(6, ge=1)
    heads: int = Field(4, ge=1)
    unet_widths: tuple[int, int, int] = (16, 32, 32)
    unet_layers: tuple[int, int] = (1, 2)  # transformer blocks per attention, at the two lower levels
    text_width: int = 64
    text_layers: int = Field(2, ge=2)  # SDXL and SD3 read the last layer but one
    text_tokens: int = Field(32, ge=4)
    timesteps: int = Field(1000, ge=10)

    @model_validator(mode="after")
    def _fits(self) -> NanoGenerator:
        if self.width % self.heads or self.width // self.heads % 4:
            raise ValueError(f"width={self.width} over heads={self.heads} is not a multiple of 4")
        if self.arch != "unet" and self.size % self.patch:
            raise ValueError(f"size={self.size} is not a whole number of patches of {self.patch}")
        if self.arch == "unet" and self.size % 4:
            raise ValueError(f"size={self.size} is not a multiple of 4: the UNet halves it twice")
        if any(w % 16 for w in self.unet_widths) or self.text_width % 32:
            raise ValueError("unet_widths must be multiples of 16, text_width of 32")
        return self
