"""The mask decoder: levels of features in, classes and masks of queries out (Mask2Former, Cheng et al. 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMaskedAttentionDecoder,
    Mask2FormerSinePositionEmbedding,
)

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.generators.adapters.adapter import refuse_mismatch
from edgekit.generators.generator import Generator
from edgekit.generators.labeller.config import LabellerConfig

SCHEMA = "edgekit/labeller/2"


class Queries(NamedTuple):
    """Of one decoder layer. classes: [B,Q,K+1] logits, the last is "no object"; masks: [B,Q,h,w] logits."""

    classes: Tensor
    masks: Tensor


class PixelDecoder(nn.Module):
    """Coarse to fine: upsample, concatenate, a residual block; then on to the latent's size.

    DatasetDM's shape with group norm for its batch norm (batches of two, and the same result in training and
    use) and without spectral norm, whose scale a norm behind each convolution undoes.
    """

    def __init__(self, channels: list[int], hidden: int, latent_size: tuple[int, int]):
        super().__init__()
        self.latent_size = latent_size
        self.lateral = nn.ModuleList(nn.Sequential(nn.Conv2d(c, hidden, 1), _norm(hidden)) for c in channels)
        self.merge = nn.ModuleList(_Residual(2 * hidden, hidden) for _ in channels[1:])
        self.grow = _Residual(hidden, hidden)  # of levels beyond the features' finest: one block, used again
        self.last = nn.Conv2d(hidden, hidden, 3, padding=1)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """levels: [B,C_l,h_l,w_l] coarse to fine -> as many of [B,hidden,h_l,w_l]; mask features [B,hidden,h,w]."""
        x, *rest = [lateral(level) for lateral, level in zip(self.lateral, levels, strict=True)]
        outs = [x]
        for merge, y in zip(self.merge, rest, strict=True):
            x = merge(torch.cat([_resized(x, y.shape[-2:]), y], dim=1))
            outs.append(x)
        while x.shape[-2] < self.latent_size[0] or x.shape[-1] < self.latent_size[1]:
            larger = [min(2 * side, full) for side, full in zip(x.shape[-2:], self.latent_size, strict=True)]
            x = self.grow(_resized(x, larger))
        return outs, self.last(x)


class LabelDecoder(nn.Module):
    """channels: of each level of features, coarse to fine; latent_size: (h, w) of a latent and of the masks.

    The finest level gives mask features alone, and the others are what queries attend to, in turn (SDXL: 32 and
    64; 10 layers in 5 rounds). A single level serves as both.
    """

    def __init__(self, config: LabellerConfig, channels: list[int], latent_size: tuple[int, int]):
        super().__init__()
        self.config, self.channels, self.latent_size = config, list(channels), tuple(latent_size)
        hidden, memory = config.hidden, max(1, len(channels) - 1)
        self.pixels = PixelDecoder(channels, hidden, self.latent_size)
        self.decoder = Mask2FormerMaskedAttentionDecoder(
            Mask2FormerConfig(
                hidden_dim=hidden,
                mask_feature_size=hidden,
                num_attention_heads=config.heads,
                dim_feedforward=config.feed_forward,
                decoder_layers=config.rounds * memory + 1,  # theirs counts the prediction before the first
            )
        )
        self.decoder.num_feature_levels = memory
        self.place = Mask2FormerSinePositionEmbedding(hidden // 2, normalize=True)
        self.level = nn.Embedding(memory, hidden)
        self.queries = nn.Embedding(config.queries, hidden)
        self.queries_place = nn.Embedding(config.queries, hidden)
        self.classes = nn.Linear(hidden, len(config.classes) + 1)

    def forward(self, levels: list[Tensor]) -> list[Queries]:
        """One entry a layer, and before them that of the queries themselves; the last one is the answer."""
        outs, mask_features = self.pixels(levels)
        memory = outs[: max(1, len(outs) - 1)]
        batch = len(mask_features)
        tokens = [
            (m.flatten(2) + self.level.weight[i].view(1, -1, 1)).permute(2, 0, 1)
            for i, m in enumerate(memory)
        ]  # [h·w, B, hidden]
        places = [self.place(m.shape, m.device, m.dtype).flatten(2).permute(2, 0, 1) for m in memory]
        told = self.decoder(
            inputs_embeds=self.queries.weight.unsqueeze(1).expand(-1, batch, -1),
            multi_stage_positional_embeddings=places,
            pixel_embeddings=mask_features,
            encoder_hidden_states=tokens,
            query_position_embeddings=self.queries_place.weight.unsqueeze(1).expand(-1, batch, -1),
            feature_size_list=[m.shape[-2:] for m in memory],
            return_dict=True,
        )
        return [
            Queries(self.classes(state.transpose(0, 1)), masks)
            for state, masks in zip(told.intermediate_hidden_states, told.masks_queries_logits, strict=True)
        ]


class _Residual(nn.Module):
    def __init__(self, into: int, out: int):
        super().__init__()
        self.skip = nn.Conv2d(into, out, 1) if into != out else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(into, out, 3, padding=1), _norm(out), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1), _norm(out)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.body(x))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels)


def _resized(x: Tensor, size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def save_labeller(decoder: LabelDecoder, generator: Generator, folder: str | Path) -> None:
    """labeller.safetensors and labeller.json, which names the generator (with its adapter) that it reads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {k: v.cpu().contiguous() for k, v in decoder.state_dict().items()}, folder / "labeller.safetensors"
    )
    told = {
        "schema": SCHEMA,
        "config": decoder.config.model_dump(mode="json"),
        "channels": decoder.channels,
        "latent_size": list(decoder.latent_size),
        "generator": generator.digest(),
    }
    write_json(folder / "labeller.json", told)


def open_labeller(folder: str | Path, generator: Generator) -> LabelDecoder:
    """Raises UserError for a folder that is none, and for a generator other than the one it was trained on."""
    folder = Path(folder)
    try:
        told = read_json(folder / "labeller.json")
        if told["schema"] != SCHEMA:
            raise ValueError(f"its schema is {told['schema']!r}")
        decoder = LabelDecoder(LabellerConfig(**told["config"]), told["channels"], tuple(told["latent_size"]))
        state = load_file(folder / "labeller.safetensors")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: no label generator", str(error)[:200], "train it again") from None
    if told["generator"] != (mine := generator.digest()):
        raise UserError(
            f"{folder}: this label generator reads the features of another generator",
            f"digest {told['generator'][:16]} against {mine[:16]}",
            "open the base with the adapter that it was trained on",
        )
    refuse_mismatch(decoder.state_dict(), state, f"{folder}: its tensors do not fit its config")
    decoder.load_state_dict(state)
    return decoder.to(generator.device).eval()
