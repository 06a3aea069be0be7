"""What the road ends in: the paper's table, shortfalls first; frames and curves on a page."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.core.files import read_json, write_json, write_text
from edgekit.core.run import Run
from edgekit.evaluate.compare import compare
from edgekit.evaluate.gate import missed
from edgekit.evaluate.measure import lights_told
from edgekit.evaluate.table import read_evaluation, table
from edgekit.road.config import RoadConfig
from edgekit.road.page import page

CLAIM = "1 seed, no claim"


def write_report(config: RoadConfig, written: Mapping[str, Path], run: Run) -> list[str]:
    """Writes out/steps.json and out/report.html; returns the lines that a person reads at the end."""
    manifests = {name: read_json(path / "manifest.json") for name, path in written.items()}
    rows = [(step.row, written[step.name]) for step in config.steps if step.row]
    short = shortfalls(config, rows)
    compared = comparisons(config, written)
    said = [sentence(pair) for pair in compared]
    told = table(rows, CLAIM) if rows else "no step measured anything (none has a row)\n"
    # The table holds speeds, so it is no part of the run's digest; the answers' metrics are.
    write_json(
        run.out / "steps.json",
        {
            "steps": {name: manifest["digest"] for name, manifest in manifests.items()},
            "notes": {name: manifest["notes"] for name, manifest in manifests.items() if manifest["notes"]},
            "metrics": {name: read_evaluation(path)[0]["overall"] for name, path in rows},
            "comparisons": compared,
            "shortfalls": short,
        },
    )
    about = f"recipe {run.recipe}, run {run.path.name}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, edgekit {__version__}"
    html = page(config, written, manifests, rows, short, said, told, run.out, about)
    write_text(run.out / "report.html", html)
    lines = [*(f"SHORTFALL {text}" for text in short), *([""] if short else []), *told.splitlines(), ""]
    lines += [*said, *([""] if said else [])]
    for name, path in rows:
        if lights := read_evaluation(path)[0].get("lights"):
            lines.append(f"lights right, {name}: {lights_told(lights)}")
    lines += [""] if rows else []
    lines += [f"page   {run.out / 'report.html'}"]
    lines += [f"video  {film}" for film in films(written)]
    return lines


def shortfalls(config: RoadConfig, rows: list[tuple[str, Path]]) -> list[str]:
    """Every gate that a row does not meet, in words."""
    measured = dict(rows)
    return [
        f"{row}: {text}"
        for row, gate in config.gates.items()
        for text in missed(gate, read_evaluation(measured[row])[0])
    ]


def comparisons(config: RoadConfig, written: Mapping[str, Path]) -> list[dict[str, Any]]:
    """For every row that stands ``against`` another: both, and ``evaluate.compare`` of the two."""
    at = {step.row: written[step.name] for step in config.steps if step.row}
    out = []
    for step in config.steps:
        if step.against:
            pair = (at[name] / "out" / "predictions.jsonl" for name in (step.against, step.row))
            median = read_evaluation(at[step.row])[0].get("train_median_kmh")
            out.append({"row": step.row, "against": step.against, **compare(*pair, train_median_kmh=median)})
    return out


def sentence(pair: Mapping[str, Any]) -> str:
    """A comparison's Average in words."""
    average, span = pair["average"], pair["average"]["interval"]
    sure = f"95 % [{span[0]:+.3f}, {span[1]:+.3f}]" if span else "no interval from one scene"
    share = (
        f" ({average['second'] / average['first']:.1%} of {average['first']:.3f})"
        if average["first"] > 0
        else ""
    )
    return (
        f"{pair['row']} against {pair['against']}: Average {average['difference']:+.3f}{share}, "
        f"{sure} over {pair['scenes']} scenes drawn alike for both"
    )


def films(written: Mapping[str, Path]) -> list[Path]:
    return [film for path in written.values() for film in sorted((path / "out").glob("annotated.*"))]
