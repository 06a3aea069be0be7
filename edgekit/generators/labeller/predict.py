"""Label maps out of a generator: of pictures that it makes, and of pictures that it is shown."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.generators.conditions import Cond
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator
from edgekit.generators.labeller.decoder import LabelDecoder, Queries
from edgekit.generators.labeller.features import Features, features_of, last_step
from edgekit.generators.sampling import sample_latents


def class_scores(said: Queries) -> Tensor:
    """softmax(classes) without "no object" times sigmoid(masks), summed over queries: [B,K,h,w]."""
    return torch.einsum("bqk,bqhw->bkhw", said.classes.softmax(-1)[..., :-1], said.masks.sigmoid())


def label_map(said: Queries, size: tuple[int, int]) -> Tensor:
    """uint8 [B,H,W]: the best class of each pixel; scores are resized (bilinear), never classes."""
    scores = F.interpolate(class_scores(said), size=size, mode="bilinear", align_corners=False)
    return scores.argmax(1).to(torch.uint8)


@torch.no_grad()
def sample_pairs(
    generator: Generator,
    decoder: LabelDecoder,
    cond: Cond,
    guidance: float,
    seeds: list[int],
    *,
    sampler: str | None = None,
    batch: int = 8,
    what: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Pictures uint8 [N,H,W,3] and their label maps uint8 [N,H,W], read at the sampler's last step.

    Arguments as of ``sample``; the number of steps is the decoder's. The paper's guidance is 5.
    """
    config, pictures, labels = decoder.config, [], []
    with Features(generator, config.every, config.keep_heads) as features:
        for start in range(0, len(seeds), batch):
            some = seeds[start : start + batch]
            part = {key: value[start : start + batch] for key, value in cond.items()}
            z = sample_latents(
                generator, part, config.sampling_steps, guidance, some, sampler, batch=len(some), what=what
            )
            # The last pass was the last step's; under guidance its second half is the condition's.
            answer = decoder(features.levels(last=len(some)))[-1]
            pictures.append(torch.as_tensor(generator.codec.decode(z)))
            labels.append(label_map(answer, tuple(pictures[-1].shape[1:3])))
    return torch.cat(pictures), torch.cat(labels)


@torch.no_grad()
def label_pictures(
    generator: Generator, decoder: LabelDecoder, pictures: Tensor, cond: Cond, seed: int, batch: int = 8
) -> Tensor:
    """Label maps uint8 [N,H,W] of pictures uint8 [N,H,W,3] of the base's size, as training reads them.

    Each picture has noise of its own: how many are read at once (batch) changes nothing but rounding.
    """
    config, found = decoder.config, []
    t = last_step(generator.process, config.sampling_steps)
    with Features(generator, config.every, config.keep_heads) as features:
        for start in range(0, len(pictures), batch):
            part = {key: value[start : start + batch] for key, value in cond.items()}
            z = generator.codec.encode(pictures[start : start + batch].to(generator.device))
            draws = [draw_of(seed, "labels", start + i) for i in range(len(z))]
            eps = torch.stack([torch.randn(z.shape[1:], generator=draw) for draw in draws])
            levels = features_of(generator, features, z, part, t, eps)
            found.append(label_map(decoder(levels)[-1], tuple(pictures.shape[1:3])))
    return torch.cat(found)
