"""What the road ends in: the paper's table, shortfalls first; frames and curves on a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgekit.core.files import read_json, write_json, write_text
from edgekit.core.run import Run
from edgekit.evaluate.compare import compare
from edgekit.evaluate.gate import missed
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
    write_text(
        run.out / "report.html", page(config, written, manifests, rows, short, compared, told, run.out)
    )
    lines = [*(f"SHORTFALL {text}" for text in short), *([""] if short else []), *told.splitlines(), ""]
    lines += [*compared, *([""] if compared else [])]
    lines += [f"page   {run.out / 'report.html'}"]
    lines += [f"video  {film}" for film in films(written)]
    return lines


def shortfalls(config: RoadConfig, rows: list[tuple[str, Path]]) -> list[str]:
    """Every gate that a row does not meet, in words; a gate whose row was never measured is one too."""
    out = []
    measured = dict(rows)
    for row, gate in config.gates.items():
        if row not in measured:
            out.append(f"{row}: never measured")
            continue
        out += [f"{row}: {text}" for text in missed(gate, read_evaluation(measured[row])[0])]
    return out


def comparisons(config: RoadConfig, written: Mapping[str, Path]) -> list[str]:
    """One line for every row that stands ``against`` another: the paired difference of the Averages."""
    at = {step.row: written[step.name] for step in config.steps if step.row}
    out = []
    for step in config.steps:
        if not step.against:
            continue
        paths = [at[name] / "out" / "predictions.jsonl" for name in (step.against, step.row)]
        median = read_evaluation(at[step.row])[0].get("train_median_kmh")
        both = compare(*paths, train_median_kmh=median)
        average = both["average"]
        span = average["interval"]
        sure = f"95 % [{span[0]:+.3f}, {span[1]:+.3f}]" if span else "no interval: one scene"
        share = f", {average['second'] / average['first']:.1%} of it" if average["first"] > 0 else ""
        out.append(
            f"{step.row} against {step.against}: Average {average['difference']:+.3f}{share}; "
            f"{sure} over {both['scenes']} scenes, drawn alike for both"
        )
    return out


def films(written: Mapping[str, Path]) -> list[Path]:
    return [film for path in written.values() for film in sorted((path / "out").glob("annotated.*"))]
