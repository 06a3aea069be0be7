"""How much a concept weighs in each attention head of a pretrained generator (eq. 5 to 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import bar
from edgekit.generators.adapters.calora.concepts import concept_of
from edgekit.generators.adapters.calora.config import CaLora
from edgekit.generators.adapters.units import Projection, group_of, projections
from edgekit.generators.conditions import Cond
from edgekit.generators.generator import Generator
from edgekit.generators.process import Betas
from edgekit.generators.sampling import sample

SCHEMA = "edgekit/awareness/1"
SMALLEST = 1e-12  # of a denominator: a unit that the denoising loss does not reach scores 0, not nan
GRANULARITIES = ("integrated", "layer", "block")


@dataclass(frozen=True)
class Awareness:
    """scores: {unit: mean of RMS(grad L_con) / RMS(grad L_dif)}; concept_rms, denoising_rms: mean of either alone;
    groups: {granularity: {group: the same ratio over all entries of its units}}; t: in the process' units."""

    prompt: str
    altered: list[str]
    t: float
    seeds: list[int]
    base_digest: str
    scores: dict[str, float]
    concept_rms: dict[str, float]
    denoising_rms: dict[str, float]
    groups: dict[str, dict[str, float]]

    def to_json(self) -> dict:
        return {"schema": SCHEMA, **asdict(self)}

    def save(self, path: str | Path) -> None:
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: str | Path) -> Awareness:
        """Raises UserError for a file that is none."""
        try:
            told = dict(read_json(path))
            if told.pop("schema", None) != SCHEMA:
                raise ValueError(f"its schema is not {SCHEMA}")
            return cls(**told)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: no scores of concept awareness", str(error)[:200], "leave method.scores out"
            ) from None


def measure(generator: Generator, config: CaLora, seed: int) -> Awareness:
    """Samples ``config.images`` of the base's own pictures of the prompt, and scores every unit on them.

    No target data is seen. Raises UserError for a generator in float16 or with an adapter on it.
    """
    concept = concept_of(config, getattr(generator.condition, "names", None))
    seeds = list(range(seed, seed + config.images))
    cond = generator.condition.encode([concept.prompt])
    rows = {key: x.expand(len(seeds), *x.shape[1:]) for key, x in cond.items()}
    pictures = sample(generator, rows, config.steps, config.guidance, seeds, what="pictures to score")
    x0 = generator.codec.encode(pictures.to(generator.device))  # [n,C,h,w]
    altered = [generator.condition.encode([text]) for text in concept.altered]
    betas = isinstance(generator.process, Betas)
    t = round(config.at * len(generator.process)) if betas else 1000 * config.at
    found = projections(generator.denoiser, config.added)
    ratio, con, dif, groups = score(generator, found, x0, cond, altered, t, seed)
    units = [unit for p in found for unit in p.units]
    return Awareness(
        concept.prompt, list(concept.altered), t, seeds, generator.digest(),
        dict(zip(units, ratio.tolist(), strict=True)), dict(zip(units, con.tolist(), strict=True)),
        dict(zip(units, dif.tolist(), strict=True)), groups,
    )  # fmt: skip


def score(
    generator: Generator,
    found: list[Projection],
    x0: Tensor,
    cond: Cond,
    altered: list[Cond],
    t: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor, dict[str, dict[str, float]]]:
    """Awareness, RMS of the concept's and of the denoising gradient, each [units] float64; ratios of groups.

    x0: [n,C,h,w]; cond and each of ``altered``: of one row. Mean of ratios over every (picture, alteration), each
    with noise of its own, one picture at a time: RMS of a mean gradient is not the mean RMS. No guidance.
    """
    if generator.adapter is not None or generator.dtype == torch.float16:
        why = "float16 loses gradients" if generator.adapter is None else "the base has an adapter on it"
        raise UserError(
            "calora: awareness is measured on the base as it was trained", why, "detach it; use fp32 or bf16"
        )
    draw = torch.Generator().manual_seed(seed)
    times = torch.tensor([t], device=x0.device)  # [1], long or float as the process has it
    owners = {g: _owners(found, g) for g in GRANULARITIES}
    entries = _entries(found)  # [units]
    ratios, cons, difs, coarse = [], [], [], {g: [] for g in GRANULARITIES}
    with _gradients_of(generator, found), bar("concept awareness", len(x0) * len(altered), "pair") as shown:
        for x in x0.split(1):
            for other in altered:
                eps = torch.randn(x.shape, generator=draw).to(x)
                x_t = generator.process.noise(x, eps, times)
                with torch.no_grad():
                    target = generator.predict(x_t, times, other)[:, : x.shape[1]]
                said = generator.predict(x_t, times, cond)[:, : x.shape[1]]
                denoising = F.mse_loss(said, generator.process.target(x, eps, times))  # eq. 6
                con, dif = mean_squares(concept_loss(said, target), denoising, found)
                ratios.append(ratio_of(con, dif))
                cons.append(con.sqrt())
                difs.append(dif.sqrt())
                for g, (names, owner) in owners.items():
                    sums = [
                        torch.zeros(len(names), dtype=torch.float64).index_add(0, owner, entries * ms)
                        for ms in (con, dif)
                    ]
                    coarse[g].append(ratio_of(*sums))
                shown.update()
    means = [torch.stack(values).mean(0) for values in (ratios, cons, difs)]
    groups = {
        g: dict(zip(names, torch.stack(coarse[g]).mean(0).tolist(), strict=True))
        for g, (names, _) in owners.items()
    }
    return *means, groups


def concept_loss(said: Tensor, target: Tensor) -> Tensor:
    """Eq. 5 as a mean: the prediction under c against the fixed one under c_aug. A mean or a sum, but as in eq. 6."""
    return F.mse_loss(said, target.detach())


def mean_squares(concept: Tensor, denoising: Tensor, found: list[Projection]) -> tuple[Tensor, Tensor]:
    """Mean square of either loss' gradient over the weights of each unit: two of [units] float64, on the CPU."""
    weights = [p.layer.weight for p in found]
    told = []
    for loss, again in ((denoising, True), (concept, False)):
        # A layer may lie off every path to the output (the last block's text queries in an MM-DiT).
        gradients = torch.autograd.grad(loss, weights, retain_graph=again, allow_unused=True)
        told.append(
            torch.cat(
                [
                    torch.zeros(p.heads, dtype=torch.float64) if g is None else p.mean_squares(g).cpu()
                    for p, g in zip(found, gradients, strict=True)
                ]
            )
        )
    return told[1], told[0]


def ratio_of(concept: Tensor, denoising: Tensor) -> Tensor:
    """Eq. 7 of one pair, from mean squares."""
    return concept.sqrt() / denoising.sqrt().clamp(min=SMALLEST)


def _owners(found: list[Projection], granularity: str) -> tuple[list[str], Tensor]:
    groups = [group_of(unit, granularity) for p in found for unit in p.units]
    names = list(dict.fromkeys(groups))
    place = {name: i for i, name in enumerate(names)}
    return names, torch.tensor([place[group] for group in groups])


def _entries(found: list[Projection]) -> Tensor:
    counts = [p.layer.weight.numel() // p.heads for p in found for _ in range(p.heads)]
    return torch.tensor(counts, dtype=torch.float64)


@contextmanager
def _gradients_of(generator: Generator, found: list[Projection]) -> Iterator[None]:
    """Only the projections' weights require a gradient: their gradients are the same, for less memory."""
    before = {p: p.requires_grad for p in generator.denoiser.parameters()}
    try:
        generator.denoiser.requires_grad_(False)
        for projection in found:
            projection.layer.weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter, required in before.items():
            parameter.requires_grad_(required)
