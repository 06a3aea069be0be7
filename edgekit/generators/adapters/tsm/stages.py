"""What is trained, and in which order: experts one by one, the widest intervals first, then routers. Light."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.errors import UserError
from edgekit.generators.adapters.tsm.config import TimestepMaster
from edgekit.generators.adapters.tsm.intervals import bounds

TABLE, ROUTER = "table", "router"


@dataclass(frozen=True)
class Stage:
    """One training, with an optimiser of its own.

    interval: lo ≤ t < hi to draw t from, None = all; parts: which of an adapter's tensors are trained
    ("experts.<n>.<i>", "router", "table"); share: of all steps; expert: (n, i) where it is one expert's.
    """

    name: str
    interval: tuple[float, float] | None
    parts: tuple[str, ...]
    share: float
    expert: tuple[int, int] | None = None


def plan(config: TimestepMaster, T: int = 1000) -> list[Stage]:
    """The stages of ``config``; shares sum to 1. T: how many steps the noise schedule has.

    Each expert is trained for itself on its interval (eq. 4), then routers alone over all t (eq. 7). A label
    table belongs to every expert, so it is trained over all t and stays as it is afterwards.
    """
    table = config.table or bool(config.labels)
    weighted: list[tuple[float, Stage]] = []
    if config.mixture == "moe":
        parts = (*(f"experts.{config.core}.{i}" for i in range(config.core)), ROUTER, *([TABLE] * table))
        weighted.append((1.0, Stage("mixture", None, parts, 0.0)))
    else:
        if table and 1 not in config.scales:
            weighted.append((1.0, Stage("labels", None, (TABLE,), 0.0)))
        for n in sorted(config.scales):
            for i in range(n):
                parts = (f"experts.{n}.{i}", *([TABLE] * (table and n == 1)))
                stage = Stage(f"expert-{n}-{i}", None if n == 1 else bounds(i, n, T), parts, 0.0, (n, i))
                weighted.append((1.0, stage))
        if config.gates:
            weighted.append((config.router_share, Stage("routers", None, (ROUTER,), 0.0)))
    total = sum(weight for weight, _ in weighted)
    return [
        Stage(stage.name, stage.interval, stage.parts, weight / total, stage.expert)
        for weight, stage in weighted
    ]


def schedule(stages: list[Stage], total: int) -> list[range]:
    """The optimiser steps of each stage: together range(total), each in proportion to its share.

    Raises UserError where a stage would have no step.
    """
    whole = sum(stage.share for stage in stages)
    edges, done = [0], 0.0
    for stage in stages:
        done += stage.share
        edges.append(round(total * done / whole))
    ranges = [range(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    if empty := [stage.name for stage, steps in zip(stages, ranges, strict=True) if not steps]:
        raise UserError(
            f"{total} steps for {len(stages)} stages",
            f"{len(empty)} of them would have none, {empty[0]} first",
            f"give at least {len(stages)} steps, or fewer intervals",
        )
    return ranges
