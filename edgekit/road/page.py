"""report.html of a road: one file, no script, nothing fetched."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from PIL import Image

from edgekit.core.files import read_jsonl
from edgekit.core.inputs import given
from edgekit.core.label import SLOTS
from edgekit.core.run import open_input
from edgekit.dataset import open_dataset
from edgekit.evaluate.report import STYLE
from edgekit.road.steps import resolve

if TYPE_CHECKING:
    from edgekit.road.config import RoadConfig
    from edgekit.road.steps import Step

FRAMES = 8
THUMB = 300  # pixels
COLOURS = ("#3366cc", "#cc6633", "#339966", "#993399", "#888888", "#aa8800")
Rows = Sequence[tuple[str, Path]]


def page(
    config: RoadConfig, written: Mapping[str, Path], manifests: Mapping[str, Any], rows: Rows,
    short: Sequence[str], compared: Sequence[str], table: str, here: Path, about: str,
) -> str:  # fmt: skip
    """The whole page, to lie in ``here``, the out/ of the road's run. rows: (name, evaluate run); table: their
    table in markdown; compared: a sentence for each pair of rows that was compared; about: the line below
    the title."""
    claim, _, lines = table.partition("\n")
    body = [
        "<h1>The road, walked</h1>",
        f"<p class=soft>{escape(about)}</p>",
        *(f"<p class=bad>Shortfall: {escape(text)}</p>" for text in short),
        f"<h2>{escape(claim)}</h2>", html_table(lines),
        *(f"<p>{escape(text)}</p>" for text in compared),
        "<p class=soft>sMAPE: lower is better; all others: higher. Intervals and slices: each step's own report.</p>",
        "<h2>Steps</h2>", steps(config, written, manifests, here),
        "".join(film(name, path, here) for name, path in written.items()),
        "<h2>Frames: true, and seen by each model</h2>", frames(config, written, rows),
        "<h2>Curves</h2>", "".join(curves(name, path) for name, path in written.items()),
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>edgekit road</title><style>{STYLE}svg,video{{max-width:100%}}</style>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def html_table(markdown: str) -> str:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:1] + lines[2:]]
    text = "".join(
        "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in row) + "</tr>"
        for row, tag in zip(cells, ["th"] + ["td"] * len(cells), strict=False)
    )
    return f"<div class=scroll><table>{text}</table></div>"


def steps(config: RoadConfig, written: Mapping[str, Path], manifests: Mapping[str, Any], here: Path) -> str:
    """A row for each step: its recipe, what it read, its digest, the pages that it wrote, its notes."""
    rows = []
    for step in config.steps:
        manifest, out = manifests[step.name], written[step.name] / "out"
        links = " ".join(
            f"<a href='{href(out / name, here)}'>{text}</a>"
            for name, text in (("report.html", "report"), ("watch.html", "watch"))
            if (out / name).is_file()
        )
        reads = "<br>".join(f"{key}: {escape(', '.join(names))}" for key, names in read_by(step).items())
        notes = "<br>".join(escape(note) for note in manifest["notes"])
        what, digest = f"{step.verb} {escape(step.recipe)}", manifest["digest"][:12]
        cells = (escape(step.name), what, reads, digest, links, notes)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>step<th>recipe<th>reads<th>digest<th>pages<th>notes</tr>"
    return f"<div class=scroll><table>{head}{''.join(rows)}</table></div>"


def read_by(step: Step) -> dict[str, list[str]]:
    """A step's inputs by key, by the names that the recipes give them: a step's, ``package:NAME``, a path."""
    found: dict[str, list[str]] = {}
    for key, item in given(resolve(step, {})):
        found.setdefault(key, []).append(item)
    return found


def film(name: str, path: Path, here: Path) -> str:
    """A step's annotated video: it plays in the page where it lies below the road's run, else a link."""
    video = path / "out" / "annotated.mp4"
    if not video.is_file():
        return ""
    at = href(video, here)
    below = here.parent.resolve() in video.resolve().parents
    shown = f"<video src='{at}' controls muted playsinline></video>" if below else f"<a href='{at}'>{at}</a>"
    return f"<h2>The film of {escape(name)}</h2><p>{shown}</p>"


def href(path: Path, here: Path) -> str:
    return escape(quote(os.path.relpath(path, here)))


def frames(config: RoadConfig, written: Mapping[str, Path], rows: Rows) -> str:
    """Frames that all rows answered, spread evenly: what is true, and what each model saw."""
    if not rows:
        return "<p class=soft>nothing was evaluated</p>"
    said = {name: {r["id"]: r for r in read_jsonl(path / "out" / "predictions.jsonl")} for name, path in rows}
    shared = [i for i in said[rows[0][0]] if all(i in answers for answers in said.values())]
    chosen = (
        {shared[round(k * (len(shared) - 1) / max(1, FRAMES - 1))] for k in range(FRAMES)}
        if shared
        else set()
    )
    last = next(step for step in config.steps if written[step.name] == rows[-1][1])
    data = open_dataset(open_input(resolve(last, written).dataset).out)
    images = {
        row.id: row for split in ("train", "dev", "test") for row in data.rows(split) if row.id in chosen
    }
    return "".join(card(i, thumb(data.image(images[i])), said) for i in sorted(chosen))


def card(frame: str, picture: str, said: Mapping[str, Mapping[str, Any]]) -> str:
    truth = next(iter(said.values()))[frame]["truth"]
    head = "".join(f"<th>{escape(name)}</th>" for name in said)
    lines = []
    for slot in SLOTS:
        cells = []
        for answers in said.values():
            label = answers[frame]["label"]
            seen = label[slot] if label else "(did not parse)"
            cells.append(f"<td class={'ok' if seen == truth[slot] else 'bad'}>{escape(seen)}</td>")
        lines.append(f"<tr><td>{slot}</td><td>{escape(truth[slot])}</td>{''.join(cells)}</tr>")
    return (
        f"<h3>{escape(frame)}</h3><img alt='{escape(frame)}' src='data:image/jpeg;base64,{picture}'>"
        f"<div class=scroll><table><tr><th></th><th>true</th>{head}</tr>{''.join(lines)}</table></div>"
    )


def thumb(image) -> str:
    """RGB uint8 (H, W, 3) as a small JPEG in base64."""
    small = Image.fromarray(image)
    small.thumbnail((THUMB, THUMB))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def curves(name: str, path: Path) -> str:
    """One SVG of a step's curves.jsonl (rows with ``step`` and numbers); nothing where there is none."""
    source = path / "out" / "curves.jsonl"
    if not source.is_file():
        return ""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in read_jsonl(source):
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                series.setdefault(key, []).append((row["step"], value))
    return f"<h3>{escape(name)}</h3>" + "".join(
        plot(key, points, COLOURS[i % len(COLOURS)]) for i, (key, points) in enumerate(series.items())
    )


def plot(name: str, points: Sequence[tuple[float, float]], colour: str) -> str:
    """A line of (step, value) with its least and greatest value written beside it."""
    width, height, left, top = 300, 110, 8, 22
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    span_x, span_y = (max(xs) - min(xs)) or 1, (max(ys) - min(ys)) or 1
    path = " ".join(
        f"{left + (x - min(xs)) / span_x * (width - 2 * left):.1f},"
        f"{height - 8 - (y - min(ys)) / span_y * (height - top - 16):.1f}"
        for x, y in points
    )
    text = f"{escape(name)}: {ys[0]:.4g} to {ys[-1]:.4g} (least {min(ys):.4g}, greatest {max(ys):.4g})"
    line = f"<polyline points='{path}' fill=none stroke='{colour}' stroke-width=1.5 />"
    caption = f"<text x=8 y=14 font-size=10 fill=currentColor>{text}</text>"
    return f"<svg width={width} height={height} role=img aria-label='{text}'>{caption}{line}</svg>"
