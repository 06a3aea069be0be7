"""Nano generators: diffusers' own classes with small configs, in pixel space, from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgekit.generators.codec import PixelCodec
from edgekit.generators.conditions import LabelCondition, TextCondition
from edgekit.generators.config import DENOISERS, NanoGenerator
from edgekit.generators.generator import Generator, share_embeddings
from edgekit.generators.words import nano_tokenizer

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from transformers import PreTrainedModel

    from edgekit.generators.process import Betas, Flow

_HEAD = 32  # width of a text encoder's attention head


def build_nano_generator(cfg: NanoGenerator, seed: int = 0, conditions: Sequence[str] = ()) -> Generator:
    """An untrained generator in float32, in eval mode; the same bytes for the same seed.

    conditions: the class names of a DiT (at least one); for the others texts whose words become tokens of
    their own beside the built-in driving words.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = _denoiser(cfg, max(1, len(conditions))).eval()
        initialise(denoiser)
        if cfg.arch == "dit":
            condition = LabelCondition(conditions)
        else:
            pipeline = _pipeline(cfg, denoiser, conditions)
            # SD3 pads its context with T5's tokens; without a T5 there is nothing to pad with.
            tokens = {"pixart": cfg.text_tokens, "mmdit": 0}.get(cfg.arch)
            condition = TextCondition(pipeline, (cfg.size, cfg.size), tokens)
    return Generator(
        cfg.arch, denoiser, condition, PixelCodec(), _process(cfg), (cfg.size, cfg.size), PixelCodec.channels
    )


def _process(cfg: NanoGenerator) -> Betas | Flow:
    """What each model's full-size kin was trained with."""
    from edgekit.generators import process

    if cfg.arch == "mmdit":
        return process.Flow()
    if cfg.arch != "unet":
        return process.Betas(process.linear(cfg.timesteps), learned_range=True)
    # As linear() does with its ends: the last step is to hold as little of the picture at every T.
    grown = 1000 / cfg.timesteps
    return process.Betas(process.scaled_linear(cfg.timesteps, 0.00085 * grown, 0.012 * grown))


def _denoiser(cfg: NanoGenerator, classes: int) -> nn.Module:
    import diffusers

    shape = dict(
        sample_size=cfg.size, patch_size=cfg.patch, in_channels=3, num_layers=cfg.layers,
        num_attention_heads=cfg.heads, attention_head_dim=cfg.width // cfg.heads,
    )  # fmt: skip
    context = 2 * cfg.text_width  # two CLIP encoders side by side
    config = {
        "dit": shape | dict(out_channels=6, num_embeds_ada_norm=classes, norm_eps=1e-6),
        "pixart": shape
        | dict(
            out_channels=6, cross_attention_dim=cfg.width, caption_channels=cfg.text_width,
            use_additional_conditions=False, interpolation_scale=1,
        ),
        "unet": dict(
            sample_size=cfg.size, in_channels=3, out_channels=3,
            block_out_channels=cfg.unet_widths, layers_per_block=1, norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, *cfg.unet_layers),
            attention_head_dim=tuple(w // 16 for w in cfg.unet_widths),  # counts of heads, as in SDXL
            cross_attention_dim=context, use_linear_projection=True,
            addition_embed_type="text_time", addition_time_embed_dim=_HEAD,
            projection_class_embeddings_input_dim=cfg.text_width + 6 * _HEAD,
        ),
        "mmdit": shape
        | dict(
            out_channels=3, joint_attention_dim=context, caption_projection_dim=cfg.width,
            pooled_projection_dim=context, pos_embed_max_size=2 * cfg.size // cfg.patch,
        ),
    }  # fmt: skip
    return getattr(diffusers, DENOISERS[cfg.arch])(**config[cfg.arch])


def _pipeline(cfg: NanoGenerator, denoiser: nn.Module, texts: Sequence[str]) -> DiffusionPipeline:
    import diffusers
    import transformers

    tokenizer = nano_tokenizer(texts, cfg.text_tokens)
    clip, projected = transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection
    if cfg.arch == "pixart":
        return diffusers.PixArtAlphaPipeline(
            tokenizer=tokenizer, text_encoder=_t5(cfg, len(tokenizer)), vae=None, transformer=denoiser,
            scheduler=None,
        )  # fmt: skip
    one, two = (clip if cfg.arch == "unet" else projected), projected
    parts = dict(
        vae=None, text_encoder=_clip(cfg, one, tokenizer), tokenizer=tokenizer, scheduler=None,
        text_encoder_2=_clip(cfg, two, tokenizer), tokenizer_2=nano_tokenizer(texts, cfg.text_tokens),
    )  # fmt: skip
    if cfg.arch == "unet":
        return diffusers.StableDiffusionXLPipeline(
            **parts, unet=denoiser, force_zeros_for_empty_prompt=False, add_watermarker=False
        )
    return diffusers.StableDiffusion3Pipeline(
        **parts, transformer=denoiser, text_encoder_3=None, tokenizer_3=None
    )


def _clip(cfg: NanoGenerator, kind: type[PreTrainedModel], tokenizer) -> PreTrainedModel:
    from transformers import CLIPTextConfig

    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=cfg.text_width, intermediate_size=2 * cfg.text_width,
            projection_dim=cfg.text_width, num_hidden_layers=cfg.text_layers,
            num_attention_heads=cfg.text_width // _HEAD, max_position_embeddings=cfg.text_tokens,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def _t5(cfg: NanoGenerator, words: int) -> PreTrainedModel:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=words, d_model=cfg.text_width, d_kv=_HEAD, d_ff=2 * cfg.text_width,
            num_layers=cfg.text_layers, num_heads=cfg.text_width // _HEAD, feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip


# --- initialisation from scratch ------------------------------------------------------------


def initialise(denoiser: nn.Module) -> None:
    """Weights of a training from scratch, drawn from torch's global generator (seed it before).

    The transformers start as DiT does (Peebles & Xie 2023, adaLN-zero): Xavier linears with zero biases, the
    patch convolution Xavier on its flattened weight, label table and timestep MLP N(0, 0.02); zero are what
    computes scales, shifts and gates, cross-attention's outputs (PixArt), and the last linear, so that each
    block is the identity and the first output is 0. diffusers does none of this. A UNet keeps torch's own
    initialisation, with the last layer of each residual branch and of the whole at zero.
    """
    from diffusers.models.embeddings import LabelEmbedding, TimestepEmbedding

    if type(denoiser).__name__ == DENOISERS["unet"]:
        return _zero(_unet_ends(denoiser))
    for module in denoiser.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in denoiser.modules():
        if isinstance(module, TimestepEmbedding):
            nn.init.normal_(module.linear_1.weight, std=0.02)
            nn.init.normal_(module.linear_2.weight, std=0.02)
        elif isinstance(module, LabelEmbedding):
            nn.init.normal_(module.embedding_table.weight, std=0.02)
    _zero(_transformer_ends(denoiser))
    if type(denoiser).__name__ == DENOISERS["dit"]:
        first = denoiser.transformer_blocks[0].norm1.emb.state_dict()
        for block in denoiser.transformer_blocks[1:]:
            block.norm1.emb.load_state_dict(first)
        share_embeddings(denoiser)


def stir(denoiser: nn.Module, seed: int = 0, std: float = 0.02) -> nn.Module:
    """Adds N(0, std) to every parameter, in place: an untrained denoiser whose output is not 0 (for tests)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator).mul_(std))
    return denoiser


def _zero(modules: list[nn.Module]) -> None:
    for module in modules:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


def _transformer_ends(denoiser: nn.Module) -> list[nn.Module]:
    blocks = denoiser.transformer_blocks
    if type(denoiser).__name__ == DENOISERS["dit"]:
        return [*(b.norm1.linear for b in blocks), denoiser.proj_out_1, denoiser.proj_out_2]
    if type(denoiser).__name__ == DENOISERS["mmdit"]:
        norms = [norm.linear for b in blocks for norm in (b.norm1, b.norm1_context)]
        return [*norms, denoiser.norm_out.linear, denoiser.proj_out]
    for holder in (*blocks, denoiser):  # PixArt: what the one adaLN linear gives is added to these
        nn.init.zeros_(holder.scale_shift_table)
    return [denoiser.adaln_single.linear, *(b.attn2.to_out[0] for b in blocks), denoiser.proj_out]


def _unet_ends(unet: nn.Module) -> list[nn.Module]:
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    ends = [m.conv2 for m in unet.modules() if isinstance(m, ResnetBlock2D)]
    ends += [m.proj_out for m in unet.modules() if isinstance(m, Transformer2DModel)]
    return [*ends, unet.conv_out]
