"""Denoisers of real sizes without weights: their published configs, built on the meta device.

For counts, names and shapes; nothing here can be run forward.
"""

from __future__ import annotations

import torch
from torch import nn

_UNET = dict(sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, norm_num_groups=32)
_SDXL = _UNET | dict(
    sample_size=128,
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10),
    attention_head_dim=(5, 10, 20),  # counts of heads, whatever the key's name says
    cross_attention_dim=2048,
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)
CONFIGS: dict[str, tuple[str, dict]] = {
    # facebook/DiT-XL-2-256; out_channels 8: noise and learned range
    "dit-xl-2": (
        "DiTTransformer2DModel",
        dict(sample_size=32, in_channels=4, out_channels=8, num_embeds_ada_norm=1000, norm_eps=1e-6),
    ),
    "sd15": (
        "UNet2DConditionModel",
        _UNET
        | dict(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768, attention_head_dim=8),
    ),
    "sdxl": ("UNet2DConditionModel", _SDXL),
    "kolors": (
        "UNet2DConditionModel",
        _SDXL
        | dict(
            encoder_hid_dim=4096, encoder_hid_dim_type="text_proj", projection_class_embeddings_input_dim=5632
        ),
    ),
    # PixArt-alpha/PixArt-XL-2-512x512
    "pixart": (
        "PixArtTransformer2DModel",
        dict(sample_size=64, out_channels=8, caption_channels=4096, norm_elementwise_affine=False),
    ),
    # stabilityai/stable-diffusion-3-medium
    "sd3": (
        "SD3Transformer2DModel",
        dict(
            num_layers=24, num_attention_heads=24, attention_head_dim=64, caption_projection_dim=1536,
            joint_attention_dim=4096, pooled_projection_dim=2048, pos_embed_max_size=192,
        ),
    ),
}  # fmt: skip


def meta_denoiser(name: str, **changes) -> nn.Module:
    """One of CONFIGS with ``changes`` to its config; parameters on the meta device.

    The DiT comes as diffusers stores it (each block its own embeddings): 749,826,464 parameters;
    ``edgekit.generators.generator.share_embeddings`` makes it the paper's 674,834,720.
    """
    import diffusers

    kind, config = CONFIGS[name]
    with torch.device("meta"):
        return getattr(diffusers, kind)(**(config | changes)).eval()
