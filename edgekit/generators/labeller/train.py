"""Training the mask decoder: which query answers for which mask, the losses, the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import (
    dice_loss,
    pair_wise_dice_loss,
    pair_wise_sigmoid_cross_entropy_loss,
    sample_point,
    sigmoid_cross_entropy_loss,
)

from edgekit.core.errors import UserError
from edgekit.core.progress import bar
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator
from edgekit.generators.labeller.config import LabellerConfig
from edgekit.generators.labeller.decoder import LabelDecoder, Queries
from edgekit.generators.labeller.features import Features, features_of, last_step

IGNORE = 255  # of a label map: nothing is known, and nothing is learned
Example = tuple[
    Tensor, Tensor, str
]  # picture uint8 [H,W,3] of the base's size, label map uint8 [H,W], prompt


def train_labeller(
    generator: Generator,
    examples: Sequence[Example],
    config: LabellerConfig,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> LabelDecoder:
    """Trains a decoder on features of real pictures, each noised to the sampler's last step (Sec. 3.3, Table 13).

    generator: frozen, with the adapter that will generate on it: features are then alike in both uses. prompt:
    of a picture, such as ``scene_prompt`` of the classes on its label map, or a label. on_step: told step and
    loss. Adam without decay, polynomial rate. Raises UserError for maps with classes that there are not.
    """
    if not len(examples):
        raise UserError("label generator: nothing to train on", "0 label maps", "give a Dataset with ids")
    draw = draw_of(seed, "labeller")
    t = last_step(generator.process, config.sampling_steps)
    decoder = optimiser = schedule = None
    with Features(generator, config.every, config.keep_heads) as features:
        with bar("label generator", config.steps, "step") as shown:
            for step in range(config.steps):
                pictures, labels, cond = _batch(generator, examples, config, draw)
                z = generator.codec.encode(pictures)
                eps = torch.randn(z.shape, generator=draw)
                levels = features_of(generator, features, z, cond, t, eps)
                if decoder is None:
                    decoder = _new_decoder(config, [x.shape[1] for x in levels], generator, seed)
                    optimiser = torch.optim.Adam(decoder.parameters(), lr=config.learning_rate)
                    schedule = torch.optim.lr_scheduler.PolynomialLR(optimiser, config.steps, config.power)
                optimiser.zero_grad()
                value = loss(decoder(levels), labels, config, draw)
                value.backward()
                optimiser.step()
                schedule.step()
                if on_step:
                    on_step(step, value.item())
                shown.update()
    return decoder.eval()


def loss(layers: list[Queries], labels: Tensor, config: LabellerConfig, draw: torch.Generator) -> Tensor:
    """The last layer's loss, and with ``auxiliary`` the sum over all; each layer has a matching of its own.

    labels: uint8 [B,H,W]; each class on a map is one mask. A pixel with IGNORE is in no mask, in no point and in
    no gradient; a map of nothing else is left out. draw: of points, where a map has more than ``points``.
    """
    known = [i for i in range(len(labels)) if (labels[i] != IGNORE).any()]
    targets = [masks_of(labels[i]) for i in known]
    if not known:
        return sum(part.sum() for part in layers[-1]) * 0.0
    used = layers if config.auxiliary else layers[-1:]
    return torch.stack(
        [_layer_loss(Queries(*(part[known] for part in layer)), targets, config, draw) for layer in used]
    ).sum()


def masks_of(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A label map uint8 [H,W] -> classes [M], masks [M,P] float and places [P,2] (x, y in 0..1) of P known pixels."""
    height, width = labels.shape
    y, x = (labels != IGNORE).nonzero(as_tuple=True)
    values = labels[y, x].long()
    classes = values.unique()
    places = torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=-1)
    return classes, (values == classes[:, None]).float(), places


def _layer_loss(said: Queries, targets, config: LabellerConfig, draw: torch.Generator) -> Tensor:
    nothing = len(config.classes)
    wanted = torch.full(said.classes.shape[:2], nothing, device=said.classes.device)  # [B,Q]
    total = sum(len(classes) for classes, _, _ in targets)
    mask_loss = dice = said.masks.sum() * 0.0
    for i, (classes, masks, places) in enumerate(targets):
        some = _some(len(places), config.points, draw)
        rows, columns = match(
            said.classes[i], logits_at(said.masks[i], places[some]), classes, masks[:, some], config
        )
        wanted[i, rows] = classes[columns]
        matched, truth = said.masks[i, rows], masks[columns]  # [M,h,w], [M,P]
        where = uncertain(matched, places, config, draw)  # [M,p]
        logits = logits_at(matched, places[where])
        truth = truth.gather(1, where)
        mask_loss = mask_loss + sigmoid_cross_entropy_loss(logits, truth, total)
        dice = dice + dice_loss(logits, truth, total)
    weight = torch.ones(nothing + 1, device=wanted.device)
    weight[nothing] = config.no_object_weight
    named = F.cross_entropy(said.classes.transpose(1, 2), wanted, weight)
    return config.class_weight * named + config.mask_weight * mask_loss + config.dice_weight * dice


@torch.no_grad()
def match(
    classes: Tensor, masks: Tensor, true_classes: Tensor, true_masks: Tensor, config: LabellerConfig
) -> tuple[Tensor, Tensor]:
    """The cheapest assignment of queries (classes [Q,K+1], masks at points [Q,P], logits) to masks [M,P]:
    indices of queries and of masks, min(Q, M) each."""
    cost = (
        -config.class_weight * classes.softmax(-1)[:, true_classes]
        + config.mask_weight * pair_wise_sigmoid_cross_entropy_loss(masks, true_masks)
        + config.dice_weight * pair_wise_dice_loss(masks, true_masks)
    )
    rows, columns = linear_sum_assignment(cost.float().cpu().numpy())
    return torch.as_tensor(rows, device=masks.device), torch.as_tensor(columns, device=masks.device)


def logits_at(masks: Tensor, places: Tensor) -> Tensor:
    """masks [M,h,w] read bilinearly at places [P,2], or [M,P,2] of each mask's own -> [M,P]."""
    places = places.expand(len(masks), *places.shape[-2:]).to(masks.dtype)
    return sample_point(masks[:, None], places, align_corners=False).squeeze(1)


@torch.no_grad()
def uncertain(masks: Tensor, places: Tensor, config: LabellerConfig, draw: torch.Generator) -> Tensor:
    """[M, p] indices into places: all known pixels where there are no more than ``points``; else of an oversampled
    draw the ones nearest to the decision, ``importance`` of all, and the rest as drawn."""
    known = len(places)
    if known <= config.points:
        return torch.arange(known, device=masks.device).expand(len(masks), -1)
    surely = int(config.importance * config.points)
    drawn = [_some(known, int(config.oversample * config.points), draw) for _ in masks]
    others = [_some(known, config.points - surely, draw) for _ in masks]
    drawn, others = (torch.stack(x).to(masks.device) for x in (drawn, others))
    near = logits_at(masks, places[drawn]).abs().topk(surely, dim=1, largest=False).indices
    return torch.cat([drawn.gather(1, near), others], dim=1)


def augmented(
    picture: Tensor, labels: Tensor, config: LabellerConfig, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flipped at random, resized by a random scale and cropped back; what lies outside is grey and IGNORE."""
    coin, scale, dy, dx = torch.rand(4, generator=draw).tolist()
    if config.flip and coin < 0.5:
        picture, labels = picture.flip(1), labels.flip(1)
    low, high = config.scales
    scale = low + scale * (high - low)
    if scale == 1:
        return picture, labels
    crops = []
    for x, mode, outside in ((picture, "bilinear", 128), (labels[..., None], "nearest", IGNORE)):
        height, width = x.shape[:2]
        size = [max(1, round(side * scale)) for side in (height, width)]
        x = F.interpolate(x.permute(2, 0, 1)[None].float(), size=size, mode=mode)[0].round()
        below, right = max(0, height - size[0]), max(0, width - size[1])
        top, left = int(dy * (abs(height - size[0]) + 1)), int(dx * (abs(width - size[1]) + 1))
        if below or right:
            x = F.pad(x, (left, right - left, top, below - top), value=outside)
        else:
            x = x[:, top : top + height, left : left + width]
        crops.append(x.to(torch.uint8).permute(1, 2, 0))
    return crops[0], crops[1][..., 0]


def _some(of: int, count: int, draw: torch.Generator) -> Tensor:
    """All indices where there are no more than ``count``, else so many, drawn with repetition."""
    return torch.arange(of) if of <= count else torch.randint(of, (count,), generator=draw)


def _batch(generator: Generator, examples: Sequence[Example], config: LabellerConfig, draw: torch.Generator):
    chosen = torch.randint(len(examples), (config.batch,), generator=draw).tolist()
    some = [examples[i] for i in chosen]
    for number, (_, labels, _) in zip(chosen, some, strict=True):
        _refuse_unknown(number, labels, config)
    pairs = [augmented(picture, labels, config, draw) for picture, labels, _ in some]
    pictures, labels = (torch.stack(parts).to(generator.device) for parts in zip(*pairs, strict=True))
    return pictures, labels, generator.condition.encode([text for _, _, text in some])


def _new_decoder(
    config: LabellerConfig, channels: list[int], generator: Generator, seed: int
) -> LabelDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LabelDecoder(config, channels, generator.size).to(generator.device).train()


def _refuse_unknown(number: int, labels: Tensor, config: LabellerConfig) -> None:
    wrong = [v for v in labels.unique().tolist() if v != IGNORE and v >= len(config.classes)]
    if wrong:
        raise UserError(
            f"label map {number}: class {wrong[0]}",
            f"the config names {len(config.classes)} classes, 0 to {len(config.classes) - 1}",
            "map the ids first; 255 is ignored",
        )
