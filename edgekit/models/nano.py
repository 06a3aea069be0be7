"""Nano models: the real Qwen2.5-VL classes, a few million parameters; and students by dropping layers."""

from __future__ import annotations

import copy
import math
import re
from typing import TYPE_CHECKING

from pydantic import model_validator

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.recipe import Config

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration


class NanoConfig(Config):
    """Widths and depths; everything else is as in Qwen2.5-VL. The vocabulary is the nano tokenizer's."""

    hidden: int = 256  # decoder width
    intermediate: int = 384
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    tied: bool = False  # lm_head = embeddings; the 7B is untied, the 3B is tied
    vision_hidden: int = 128
    vision_intermediate: int = 256
    vision_depth: int = 4
    vision_heads: int = 4
    window_px: int = 112  # side of an attention window
    full_attention_blocks: list[int] = [1, 3]  # the other vision blocks attend within windows
    patch_size: int = 14
    merge_size: int = 2
    max_tokens: int = 4096

    @model_validator(mode="after")
    def _fits(self) -> NanoConfig:
        if self.hidden % self.heads or (self.hidden // self.heads) % 16:
            raise ValueError(f"hidden={self.hidden} over heads={self.heads} is not a multiple of 16")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.vision_hidden % self.vision_heads or (self.vision_hidden // self.vision_heads) % 4:
            raise ValueError(f"vision_hidden over vision_heads={self.vision_heads} is not a multiple of 4")
        full = self.full_attention_blocks
        if not full or min(full) < 0 or max(full) >= self.vision_depth:
            raise ValueError(f"full_attention_blocks must lie within vision_depth={self.vision_depth}")
        if self.window_px % (self.patch_size * self.merge_size):
            raise ValueError(f"window_px={self.window_px} is not a whole number of merged patches")
        return self


# For parity tests: several windows per axis, the last ones ragged on both (11×7 merged patches in
# windows of 4×4), and widths that group-128 quantization divides into more than one group.
WINDOWED = NanoConfig(layers=2, vision_hidden=64, vision_intermediate=96, vision_heads=2)
WINDOWED_CONTRACT = Contract(width=308, height=196)


def build_nano(config: NanoConfig | None = None, seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """An untrained Qwen2_5_VLForConditionalGeneration in float32, in eval mode."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from edgekit.models.tokenizer import VOCAB, nano_tokenizer

    c = config or NanoConfig()
    token = nano_tokenizer().token_to_id
    axis = c.hidden // c.heads // 16  # rotary frequencies: 2/8 time, 3/8 rows, 3/8 columns, as the 7B
    text = dict(
        vocab_size=VOCAB,
        hidden_size=c.hidden,
        intermediate_size=c.intermediate,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        max_position_embeddings=c.max_tokens,
        max_window_layers=c.layers,
        rms_norm_eps=1e-6,
        use_sliding_window=False,
        tie_word_embeddings=c.tied,
        bos_token_id=token("<|endoftext|>"),
        eos_token_id=token("<|im_end|>"),
        pad_token_id=token("<|endoftext|>"),
        rope_parameters=dict(
            type="mrope", rope_type="default", rope_theta=1e6, mrope_section=[2 * axis, 3 * axis, 3 * axis]
        ),
    )
    vision = dict(
        depth=c.vision_depth,
        hidden_size=c.vision_hidden,
        intermediate_size=c.vision_intermediate,
        num_heads=c.vision_heads,
        out_hidden_size=c.hidden,
        patch_size=c.patch_size,
        spatial_patch_size=c.patch_size,
        spatial_merge_size=c.merge_size,
        temporal_patch_size=2,
        tokens_per_second=2,
        window_size=c.window_px,
        fullatt_block_indexes=list(c.full_attention_blocks),
        in_channels=3,
        hidden_act="silu",
    )
    whole = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=c.tied,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    with torch.random.fork_rng(devices=[]):
        model = Qwen2_5_VLForConditionalGeneration(whole).float().eval()
    initialise(model, seed)
    model.generation_config.eos_token_id = [token("<|im_end|>"), token("<|endoftext|>")]
    model.generation_config.pad_token_id = token("<|endoftext|>")
    return model


# Projections that write into the residual stream.
_INTO_STREAM = re.compile(r"(o_proj|down_proj|attn\.proj)\.weight$")


def initialise(model: Qwen2_5_VLForConditionalGeneration, seed: int) -> None:
    """Random weights for narrow nets, in place.

    The library's N(0, 0.02²) suits widths in the thousands; at 256 it starves the signal. Here:
    weights N(0, 1/fan_in), those that write into the residual stream divided by √(2·blocks)
    (GPT-2, Radford et al. 2019), embeddings N(0, 1/hidden), lm_head half of 1/√fan_in so that the
    first loss is about ln(vocabulary), biases 0, norms 1.
    """
    import torch

    random = torch.Generator().manual_seed(seed)
    text, vision = model.config.text_config, model.config.vision_config
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() < 2:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            std = 1 / math.sqrt(weight[0].numel())
            if _INTO_STREAM.search(name):
                std /= math.sqrt(2 * (vision.depth if "visual" in name else text.num_hidden_layers))
            elif name.startswith("lm_head"):
                std /= 2
            weight.normal_(0.0, std, generator=random)


def shrink(
    model: Qwen2_5_VLForConditionalGeneration,
    decoder_layers: list[int],
    vision_layers: list[int] | None = None,
) -> Qwen2_5_VLForConditionalGeneration:
    """A student that starts as the teacher without some layers (DistilBERT, Sanh et al. 2019, §3).

    decoder_layers, vision_layers: indices to keep, rising; None keeps the whole vision tower.
    Embeddings, norms, merger and lm_head are copied. Works on any Qwen2.5-VL; the teacher is not
    touched. Raises UserError for indices that are not there.
    """
    config = copy.deepcopy(model.config)
    text, vision = config.text_config, config.vision_config
    vision_layers = list(range(vision.depth)) if vision_layers is None else list(vision_layers)
    _check_layers("decoder_layers", decoder_layers, text.num_hidden_layers)
    _check_layers("vision_layers", vision_layers, vision.depth)
    full = [new for new, old in enumerate(vision_layers) if old in vision.fullatt_block_indexes]
    if not full:
        raise UserError(
            f"vision_layers={vision_layers}: no block sees the whole image",
            f"the blocks with full attention are {list(vision.fullatt_block_indexes)}",
            "keep one of them",
        )
    text.layer_types = [text.layer_types[i] for i in decoder_layers]
    text.num_hidden_layers = text.max_window_layers = len(decoder_layers)
    vision.depth, vision.fullatt_block_indexes = len(vision_layers), full

    import torch

    with torch.random.fork_rng(devices=[]):
        student = type(model)(config).to(model.dtype).eval()
    kept = {"language_model.layers": decoder_layers, "visual.blocks": vision_layers}
    weights = {}
    for name, weight in model.state_dict().items():
        match = re.match(r"(.*(language_model\.layers|visual\.blocks))\.(\d+)\.(.*)", name)
        if match:
            stack, kind, index, rest = match.groups()
            if int(index) not in kept[kind]:
                continue
            name = f"{stack}.{kept[kind].index(int(index))}.{rest}"
        weights[name] = weight
    student.load_state_dict(weights)
    student.generation_config = copy.deepcopy(model.generation_config)
    return student


def _check_layers(key: str, keep: list[int], depth: int) -> None:
    if not keep or sorted(set(keep)) != list(keep) or keep[0] < 0 or keep[-1] >= depth:
        raise UserError(
            f"{key}={keep} cannot be kept",
            f"the teacher has layers 0 to {depth - 1}, and they stand in rising order",
            "name some of them, each once",
        )
