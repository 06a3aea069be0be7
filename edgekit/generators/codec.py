"""Between pictures (uint8, [B, H, W, 3]) and what a denoiser sees ([B, C, h, w], float32, near unit scale)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def _unit(images: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1


def _bytes(x: Tensor) -> Tensor:
    """The inverse of ``_unit``, rounded and clipped."""
    x = ((x.float() + 1) * 127.5).round().clamp(0, 255)
    return x.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class PixelCodec:
    """No latent space: values in [-1, 1]. decode(encode(x)) == x."""

    factor = 1  # pixels a latent, per axis
    channels = 3
    bounded = True  # what is cleaner than any picture can be is an error, and sampling may cut it off

    def encode(self, images: Tensor) -> Tensor:
        return _unit(images)

    def decode(self, z: Tensor) -> Tensor:
        return _bytes(z)

    def to(self, device: torch.device | str) -> PixelCodec:
        return self


class VaeCodec:
    """Latents of a diffusers VAE: z = (mode - shift_factor) * scaling_factor.

    The posterior's mode, not a draw: the same picture has the same latent in every epoch and run. The VAE is
    frozen and stays in float32 (SDXL's overflows in half precision).
    """

    bounded = False

    def __init__(self, vae: AutoencoderKL):
        self.vae = vae.requires_grad_(False).eval().float()
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.channels: int = vae.config.latent_channels
        self.scale = float(vae.config.scaling_factor)
        self.shift = float(vae.config.get("shift_factor") or 0.0)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        x = _unit(images.to(self.vae.device))
        return (self.vae.encode(x).latent_dist.mode() - self.shift) * self.scale

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        return _bytes(self.vae.decode(z.to(self.vae.device).float() / self.scale + self.shift).sample)

    def to(self, device: torch.device | str) -> VaeCodec:
        self.vae.to(device)
        return self
