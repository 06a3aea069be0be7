"""The coverage–precision curve as a PNG (matplotlib: extra ``diffusers``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.mine.experts.calibrate import Point


def draw_curves(curves: Mapping[str, Sequence[Point]], path: str | Path) -> None:
    """A line for each name: coverage along, precision up. The same curves give the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 4), dpi=120)
    for name, points in curves.items():
        if points:
            axes.step([p.coverage for p in points], [p.precision for p in points], where="post", label=name)
    axes.set(
        xlabel="coverage: share of labels kept, surest first", ylabel="precision of those kept", xlim=(0, 1)
    )
    axes.grid(alpha=0.3)
    if curves:
        axes.legend(loc="lower left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
