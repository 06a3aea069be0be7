"""Which units are tuned: the paper's choice and its ablations, all as a list of unit names."""

from __future__ import annotations

import math

import torch

from edgekit.core.errors import UserError
from edgekit.generators.adapters.calora.awareness import BOTH, Awareness
from edgekit.generators.adapters.calora.config import Strategy
from edgekit.generators.adapters.units import Projection, group_of
from edgekit.generators.draws import draw_of


def how_many(share: float, of: int) -> int:
    """share of ``of``, rounded half up, at least 1."""
    return max(1, math.floor(share * of + 0.5))


def select(
    strategy: Strategy,
    share: float,
    found: list[Projection],
    awareness: Awareness | None = None,
    seed: int = 0,
) -> list[str]:
    """Names of units of ``found``, sorted. A larger share of the same strategy, scores and seed holds a smaller one.

    One ranking over all kinds of projection and of attention, without quotas; equal scores go by name. block,
    layer and integrated rank groups, by a ratio measured over all entries of a group, and take ``share`` of
    them; q, k, v, out and all take every unit of their kind and leave ``share`` aside. seed: of random. Scores of
    units that are not in ``found`` (a text stream that is not to be tuned) are left aside.
    Raises UserError where scores are wanting, of other units, or no numbers.
    """
    units = [unit for p in found for unit in p.units]
    if strategy in ("q", "k", "v", "out", "all"):
        return sorted(u for p in found for u in p.units if strategy in ("all", p.role))
    if strategy == "random":
        ranking = sorted(units)
        order = torch.randperm(len(ranking), generator=draw_of(seed, "heads")).tolist()
        return sorted(ranking[i] for i in order[: how_many(share, len(ranking))])
    lacking = [] if awareness is None else [unit for unit in units if unit not in awareness.scores]
    if awareness is None or lacking:
        held = (
            f"{len(lacking)} of {len(units)} units lack one, {lacking[0]} first"
            if lacking
            else "none are given"
        )
        raise UserError(
            f"calora: select: {strategy} needs scores of this base",
            held,
            "leave method.scores out to measure them",
        )
    if strategy in ("awareness", "unnormalised"):
        scores = awareness.scores if strategy == "awareness" else awareness.concept_rms
        return sorted(_top({unit: scores[unit] for unit in units}, share))
    table = strategy + (BOTH if any(p.added for p in found) else "")
    groups = set(_top(awareness.groups[table], share))
    return sorted(unit for unit in units if group_of(unit, strategy) in groups)


def _top(scores: dict[str, float], share: float) -> list[str]:
    if wrong := [name for name, score in scores.items() if not math.isfinite(score)]:
        raise UserError(
            f"calora: the score of {wrong[0]} is no number",
            f"{len(wrong)} of {len(scores)} scores are infinite or undefined",
            "look at the base's weights, or measure at another method.at",
        )
    return sorted(scores, key=lambda name: (-scores[name], name))[: how_many(share, len(scores))]
