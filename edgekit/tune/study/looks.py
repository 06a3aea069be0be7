"""What some studies look at beside the error and the samples. Each gives columns of the table, and more to draw."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.calora.awareness import measure as scored
from edgekit.generators.adapters.calora.config import CaLora
from edgekit.generators.adapters.units import projections
from edgekit.generators.generator import Generator
from edgekit.generators.open import open_generator
from edgekit.generators.process import Process
from edgekit.tune import report
from edgekit.tune.config import Objective
from edgekit.tune.data import Frame, Latents, read_frames
from edgekit.tune.study import labels
from edgekit.tune.study.ground import Ground
from edgekit.tune.study.words import CONCEPTS, WORLD
from edgekit.tune.study.world import STYLES, VIEWS, draw

Found = tuple[dict[str, float], dict[str, Any]]
_SEED = 29


def squares(
    generator: Generator, latents: Latents, frames: list[Frame], reference: Process, low: float, high: float,
    null: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """``report.squares`` with the noise that all arms share."""
    return report.squares(generator, latents, frames, reference, low, high, _SEED + int(low), null)


def by_time(ground: Ground, generator: Generator, latents: Latents, frames: list[Frame], null: bool = False):
    """(low, high, ``squares``) of each tenth of the base's noise times."""
    bounds = report.edges(ground.process)
    for low, high in zip(bounds, bounds[1:], strict=False):
        yield low, high, squares(generator, latents, frames, ground.process, low, high, null)


def boxes(ground: Ground, generator: Generator, adapter: Adapter, latents: Latents) -> Found:
    """The error inside objects' boxes and outside, per tenth of the noise times."""
    inside, outside = [], []
    for _, _, (square, mask) in by_time(ground, generator, latents, ground.frames):
        inside.append(float((square * mask).sum() / mask.sum()))
        outside.append(float((square * (1 - mask)).sum() / (1 - mask).sum()))
    return {"loss_in_boxes": np.mean(inside), "loss_outside": np.mean(outside)}, {
        "in_boxes_by_t": inside, "outside_by_t": outside
    }  # fmt: skip


def forgets(ground: Ground, generator: Generator, adapter: Adapter, latents: Latents) -> Found:
    """The error on what the base was trained on, asked with nothing: a new label table has no words for it."""
    frames = read_frames(ground.world, "dev", ground.labels, WORLD, Objective())[:128]
    found = [float(square.mean()) for _, _, (square, _) in by_time(ground, generator, latents, frames, True)]
    return {"loss_on_source": np.mean(found)}, {}


def others(ground: Ground, generator: Generator, adapter: Adapter, latents: Latents) -> Found:
    """What is asked for and was not tuned on: streets in the source's other styles, and other views. Whether the
    samples show the style and the view that were asked for, by the scene classifier."""
    pairs = [(style, view) for style in STYLES for view in ("street", "above")]
    asked = [draw(style, view, i).caption for i, (style, view) in enumerate(pairs * 13)]  # 130
    said = ground.net.predict(ground.paint(generator, asked).numpy())
    want = {
        "style": [STYLES.index(s) for s, _ in pairs * 13],
        "view": [VIEWS.index(v) for _, v in pairs * 13],
    }
    return {f"others_{factor}": float(np.mean(said[factor] == want[factor])) for factor in want}, {}


def experts(ground: Ground, generator: Generator, adapter: Adapter, latents: Latents) -> Found:
    """TimeStep Master: the error of each core expert on each interval (rows: experts), how alike their updates
    are, and each gate's part that depends on the time alone, E[t] (eq. 6), as a mean over layers in twenty parts
    of the noise times. Nothing for other methods."""
    if adapter.kind != "tsm" or adapter.config.mixture == "moe" or adapter.config.core == 1:
        return {}, {}
    n, frames = adapter.config.core, ground.frames[:128]
    bounds = [round(i * adapter.T / n) for i in range(n + 1)]
    matrix, updates = [], []
    for i in range(n):
        adapter.only(n, i)
        spans = zip(bounds, bounds[1:], strict=False)
        matrix.append(
            [float(squares(generator, latents, frames, ground.process, *s)[0].mean()) for s in spans]
        )
        updates.append(torch.cat([e.weight(n, i).flatten() for e in adapter.experts.values()]).float())
    adapter.finish()
    stack = torch.nn.functional.normalize(torch.stack(updates), dim=1)
    table = np.array(matrix)
    own = np.diag(table)
    others = (table.sum(0) - own) / (n - 1)
    wins = float(np.mean(table.argmin(0) == np.arange(n)))  # of intervals whose own expert errs least
    told = {"matrix": matrix, "likeness": (stack @ stack.T).detach().tolist()}
    times = [e.router.time for e in adapter.experts.values() if e.router and e.router.time is not None]
    if times:
        mean = torch.stack(times).detach().mean(0)  # [T, gates]
        told["gates_by_t"] = [part.mean(0).tolist() for part in mean.tensor_split(20)]
    return {"own_expert_best": wins, "own_against_others": float(np.mean(own / others))}, told


def awareness(ground: Ground, generator: Generator, adapter: Adapter, latents: Latents) -> Found:
    """CA-LoRA: how the style's map of heads relates to the viewpoint's, by ratio and by raw gradient, and each to
    itself on other pictures. Measured once a base, as it is a property of the base alone."""
    return {}, ground.once("awareness", _maps)


def _maps(ground: Ground) -> dict[str, Any]:
    if ground.labels:
        return {}
    maps: dict[str, list[dict]] = {}
    for concept, (prompt, altered) in CONCEPTS.items():
        config = CaLora(
            prompt=prompt, altered=list(altered), variants=len(altered), images=8, steps=20, guidance=3.0
        )
        maps[concept] = [scored(open_generator(ground.base), config, seed).to_json() for seed in range(3)]
    # Without an MM-DiT's text stream, some of whose heads lie off every path to the output.
    units = [unit for p in projections(open_generator(ground.base).denoiser) for unit in p.units]

    def rank(a: dict, b: dict, key: str) -> float:
        return round(float(spearmanr([a[key][u] for u in units], [b[key][u] for u in units])[0]), 4)

    found = {}
    for key, name in (("scores", "ratio"), ("concept_rms", "raw")):
        style, viewpoint = maps["style"], maps["viewpoint"]
        found[name] = {
            "style_against_viewpoint": [rank(a, b, key) for a, b in zip(style, viewpoint, strict=True)],
            "style_on_other_pictures": [rank(a, b, key) for a, b in combinations(style, 2)],
            "viewpoint_on_other_pictures": [rank(a, b, key) for a, b in combinations(viewpoint, 2)],
        }
    return {"spearman": found, "scores": {c: {u: maps[c][0]["scores"][u] for u in units} for c in maps}}


LOOKS = {
    "labels": labels.look,
    "boxes": boxes,
    "forgets": forgets,
    "others": others,
    "experts": experts,
    "awareness": awareness,
}
