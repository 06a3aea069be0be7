"""The pictures of a study: samples of each arm, the error per noise time, experts by intervals, maps of heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from edgekit.core.run import Run
from edgekit.tune.report import sheet
from edgekit.tune.study.config import Arms


def draw_figures(study: Arms, results: list[dict[str, Any]], run: Run) -> None:
    """samples_*.png, loss_by_t_*.png, experts_*.png and awareness_*.png below ``run.out``."""
    for on in study.on:
        for target in study.targets:
            rows = [r for r in results if (r["base"], r["target"]) == (on, target) and "measured" in r]
            if not rows:
                continue
            name = f"{on}-{target}"
            _samples(study, run, name, rows)
            _loss_by_t(study, rows, run.out / f"loss_by_t_{name}.png", name)
            _experts(rows, run.out / f"experts_{name}.png")
            _awareness(rows, run.out / f"awareness_{name}.png")


def _samples(study: Arms, run: Run, name: str, rows: list[dict]) -> None:
    first = study.seeds[0]
    shown, heads = {}, None
    for row in (r for r in rows if r["seed"] == first):
        place = run.path / "arms" / f"{name}-{row['arm']}-{first}" / "samples.npz"
        kept = np.load(place)  # allow_pickle is false by default
        shown.setdefault("real, asked alike", kept["real"])
        shown[row["arm"]], heads = kept["painted"], [str(a) for a in kept["asked"]]
    sheet(shown, heads, run.out / f"samples_{name}.png")


def _loss_by_t(study: Arms, rows: list[dict], path: Path, title: str) -> None:
    """Each arm's error over the control's, per tenth of the noise times: the error itself spans two decades."""
    by_arm = {arm: [r["measured"]["loss_by_t"] for r in rows if r["arm"] == arm] for arm in study.arms}
    control = np.mean(by_arm[next(iter(study.arms))], axis=0)
    figure, axes = plt.subplots(figsize=(7, 4))
    at = np.arange(len(control)) / len(control) + 0.5 / len(control)
    for arm, curves in by_arm.items():
        if curves:
            ratio = np.array(curves) / control
            axes.plot(at, ratio.mean(0), marker="o", markersize=3, label=arm)
            if len(curves) > 1:
                axes.fill_between(at, ratio.min(0), ratio.max(0), alpha=0.12)
    axes.set(xlabel="noise time, share of the schedule (1: noise alone)", title=title,
             ylabel=f"held-out error / that of {next(iter(study.arms))}")  # fmt: skip
    axes.legend(fontsize=7, ncols=2)
    _save(figure, path)


def _experts(rows: list[dict], path: Path) -> None:
    found = [(r["arm"], r["measured"]["matrix"]) for r in rows if "matrix" in r["measured"]]
    if not found:
        return
    arm = found[0][0]
    table = np.mean([matrix for name, matrix in found if name == arm], axis=0)
    excess = table / table.min(0) - 1  # by column: intervals differ in error by their noise
    figure, axes = plt.subplots(figsize=(4.6, 4))
    shown = axes.imshow(100 * excess, cmap="viridis")
    axes.set(
        xlabel="interval of noise times", ylabel="expert", title=arm,
        xticks=range(table.shape[1]), yticks=range(table.shape[0]),
    )  # fmt: skip
    figure.colorbar(shown, label="error above the best expert's, %")
    _save(figure, path)


def _awareness(rows: list[dict], path: Path) -> None:
    """Heads by layer, one panel a concept: the ratio's rank."""
    found = next((r["measured"]["scores"] for r in rows if "scores" in r["measured"]), None)
    if not found:
        return
    figure, panels = plt.subplots(1, len(found), figsize=(4.5 * len(found), 6), squeeze=False)
    for axes, (concept, scores) in zip(panels[0], found.items(), strict=True):
        layers = list(dict.fromkeys(unit.rpartition(".h")[0] for unit in scores))
        heads = 1 + max(int(unit.rpartition(".h")[2]) for unit in scores)
        table = np.full((len(layers), heads), np.nan)
        for unit, score in scores.items():
            layer, _, head = unit.rpartition(".h")
            table[layers.index(layer), int(head)] = score
        shown = axes.imshow(np.log10(table), aspect="auto", cmap="magma")
        axes.set(title=f"log10 of the ratio: {concept}", xlabel="head", xticks=range(heads))
        axes.set_yticks(range(len(layers)), [_short(layer) for layer in layers], fontsize=4)
        figure.colorbar(shown)
    _save(figure, path)


def _short(layer: str) -> str:
    return layer.replace("transformer_blocks", "b").replace("attentions", "a").replace("_blocks", "")


def _save(figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
