"""How much a concept weighs in each attention head of a pretrained generator (eq. 5 to 7)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import bar
from edgekit.generators.adapters.calora.concepts import concept_of
from edgekit.generators.adapters.calora.config import CaLora
from edgekit.generators.adapters.units import Projection, group_of, projections
from edgekit.generators.conditions import Cond
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator
from edgekit.generators.process import Betas, Process
from edgekit.generators.sampling import sample

SCHEMA = "edgekit/awareness/2"
# Least of a denominator: a unit that neither loss reaches scores 0, not nan.
SMALLEST = 1e-12
GRANULARITIES = ("integrated", "layer", "block")
BOTH = "+added"  # behind a granularity: its groups span both streams of an MM-DiT


@dataclass(frozen=True)
class Awareness:
    """scores: {unit: mean over pairs of RMS(grad L_con) / RMS(grad L_dif)}, an MM-DiT's text stream among them;
    concept_rms, denoising_rms: the mean over pairs of either alone. groups: {granularity: {group: the same ratio
    over all entries of its units}}, of the image stream, and of both as "<granularity>+added".

    t: in the process' units; seeds: of the pictures, painted in ``steps`` at ``guidance``; added: whether there is
    a text stream; dtype: of the base's weights (gradients are float32 whatever it is).
    """

    prompt: str
    altered: list[str]
    t: float
    seeds: list[int]
    steps: int
    guidance: float
    added: bool
    dtype: str
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

    No target data is seen. Both streams of an MM-DiT are scored, so that one file serves either choice. Raises
    UserError for a generator with an adapter on it.
    """
    if generator.adapter is not None:
        raise UserError(
            "calora: awareness is measured on the base as it was trained",
            f"it has a {generator.adapter.kind} adapter on it",
            "detach it",
        )
    concept = concept_of(config, getattr(generator.condition, "names", None))
    seeds = [draw_of(seed, "pictures to score", i).initial_seed() for i in range(config.images)]
    cond = generator.condition.encode([concept.prompt])
    rows = {key: x.expand(len(seeds), *x.shape[1:]) for key, x in cond.items()}
    pictures = sample(generator, rows, config.steps, config.guidance, seeds, what="pictures to score")
    x0 = generator.codec.encode(pictures.to(generator.device))  # [n,C,h,w]
    altered = [generator.condition.encode([text]) for text in concept.altered]
    t = time_of(config.at, generator.process)
    found = projections(generator.denoiser, added=True)
    ratio, con, dif, groups = score(generator, found, x0, cond, altered, t, draw_of(seed, "noise to score"))
    units = [unit for p in found for unit in p.units]
    return Awareness(
        prompt=concept.prompt,
        altered=list(concept.altered),
        t=t,
        seeds=seeds,
        steps=config.steps,
        guidance=config.guidance,
        added=any(p.added for p in found),
        dtype=str(generator.dtype).removeprefix("torch."),
        base_digest=generator.digest(),
        scores=dict(zip(units, ratio.tolist(), strict=True)),
        concept_rms=dict(zip(units, con.tolist(), strict=True)),
        denoising_rms=dict(zip(units, dif.tolist(), strict=True)),
        groups=groups,
    )


def time_of(at: float, process: Process) -> float:
    """A share of the schedule in the process' units: a step of a table of betas, 1000 times a flow's sigma."""
    if isinstance(process, Betas):
        return min(round(at * len(process)), len(process) - 1)
    return 1000 * at


def score(
    generator: Generator,
    found: list[Projection],
    x0: Tensor,
    cond: Cond,
    altered: list[Cond],
    t: float,
    draw: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, dict[str, dict[str, float]]]:
    """Awareness, RMS of the concept's and of the denoising gradient, each [units] float64; ratios of groups.

    x0: [n,C,h,w]; cond and each of ``altered``: of one row; draw: of noise, which must know nothing of x0. Mean of
    ratios over every (picture, alteration), each with noise of its own, one picture at a time: RMS of a mean
    gradient is not the mean RMS. No guidance. Weights and gradients are float32 whatever the base's are.
    """
    times = torch.tensor([t], device=x0.device)  # [1], long or float as the process has it
    tables, entries = _tables(found), _entries(found)
    ratios, cons, difs, coarse = [], [], [], {name: [] for name in tables}
    with (
        _widened(generator.denoiser),
        _gradients_of(generator, found),
        bar("concept awareness", len(x0) * len(altered), "pair") as shown,
    ):
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
                for name, (groups, units, owner) in tables.items():
                    sums = [
                        torch.zeros(len(groups), dtype=torch.float64).index_add(0, owner, (entries * ms)[units])
                        for ms in (con, dif)
                    ]  # fmt: skip
                    coarse[name].append(ratio_of(*sums))
                shown.update()
    means = [torch.stack(values).mean(0) for values in (ratios, cons, difs)]
    return *means, {
        name: dict(zip(groups, torch.stack(coarse[name]).mean(0).tolist(), strict=True))
        for name, (groups, _, _) in tables.items()
    }


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


def _tables(found: list[Projection]) -> dict[str, tuple[list[str], Tensor, Tensor]]:
    """{granularity: (groups, the indices of the units that count, the group of each of them)}."""
    every = [(unit, p.added) for p in found for unit in p.units]
    streams = {"": [i for i, (_, added) in enumerate(every) if not added]}
    if len(streams[""]) < len(every):
        streams[BOTH] = list(range(len(every)))
    tables = {}
    for suffix, units in streams.items():
        for granularity in GRANULARITIES:
            of_each = [group_of(every[i][0], granularity) for i in units]
            groups = list(dict.fromkeys(of_each))
            place = {name: i for i, name in enumerate(groups)}
            owner = torch.tensor([place[group] for group in of_each])
            tables[granularity + suffix] = groups, torch.tensor(units), owner
    return tables


def _entries(found: list[Projection]) -> Tensor:
    counts = [p.layer.weight.numel() // p.heads for p in found for _ in range(p.heads)]
    return torch.tensor(counts, dtype=torch.float64)


@contextmanager
def _widened(denoiser: nn.Module) -> Iterator[None]:
    """Narrow weights in float32, and afterwards the very tensors that they were.

    Gradients in bf16 are some per cent off, those in float16 vanish.
    """
    tensors = [*denoiser.parameters(), *denoiser.buffers()]
    narrow = [(x, x.data) for x in tensors if x.is_floating_point() and x.itemsize < 4]
    try:
        for tensor, data in narrow:
            tensor.data = data.float()
        yield
    finally:
        for tensor, data in narrow:
            tensor.data = data


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
