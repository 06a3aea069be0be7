"""report.html of painted pictures: the metrics by network, both sides' pictures, and the nearest real ones."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgekit.core.files import write_text
from edgekit.evaluate.pictures import Pictures
from edgekit.evaluate.report import STYLE, html_table

SMALL = """
.small{grid-template-columns:repeat(auto-fill,minmax(132px,1fr));gap:.5rem}
.small .card div{font-size:.75rem;padding:.2rem .4rem}
.pairs{grid-template-columns:repeat(auto-fill,minmax(280px,1fr))}.pair{display:grid;grid-template-columns:1fr 1fr}
"""
WIDTH = 200  # pixels of a thumbnail
NONE = "—"


def write_images_report(
    path: Path, frames: int, found: dict[str, Any], real: Pictures, painted: Pictures, train: Pictures,
    notes: Sequence[str],
) -> None:  # fmt: skip
    """Writes the page; ``frames`` pictures are shown, half of them of each side."""
    count = (frames + 1) // 2
    body = [
        "<h1>Painted pictures</h1>",
        f"<p class=soft>N = {found['painted']} painted, {found['real']} real ones of split {found['split']}. "
        "Intervals: 95 %, scenes resampled.</p>",
        "".join(f"<p class=soft>Note: {escape(note)}</p>" for note in notes),
        "<h2>By network</h2>", _table(found),
        f"<p class=soft>{NONE}: the metric's own network was not given, or there is too little to measure. "
        f"Resizing: {escape(found['resize'])}.</p>",
        "<p class=soft>Not given: " + "; ".join(map(escape, found["not_given"])) + ".</p>",
        "<h2>What was asked</h2>", _asked(found["asked"]),
        "<h2>Painted</h2>", _grid(painted, count),
        f"<h2>Real, split {found['split']}</h2>", _grid(real, count),
        "<h2>Nearest real pictures</h2>", _nearest(found["nearest"], painted, train if len(train) else real),
    ]  # fmt: skip
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Painted pictures: evaluation</title><style>{STYLE}{SMALL}</style><body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)


def _table(found: dict[str, Any]) -> str:
    """A row a network. Columns: the metrics by name, filled by their own networks alone, then the stand-ins'."""
    columns = list(
        dict.fromkeys([*found["overall"], *(c for row in found["features"] for c in row["measures"])])
    )
    rows = []
    for row in found["features"]:
        size = " + ".join(str(n) for n in row["numbers"].values() if n)
        name = f"{escape(row['name'])}<br><small>{escape(row['source'])}; {size} numbers</small>"
        rows.append([name, *(_cell(row, column) for column in columns)])
    return html_table(["", *map(escape, columns)], rows)


def _cell(row: dict[str, Any], column: str) -> str:
    value = row["measures"].get(column)
    if value is None:
        return NONE
    text = f"{value:.4g}"
    if (std := row["std"].get(column)) is not None:
        text += f" <small>± {std:.2g}</small>"
    if between := row["intervals"].get(column):
        text += f" <small>[{between[0]:.3f}, {between[1]:.3f}]</small>"
    return text


def _asked(asked: dict[str, Any] | None) -> str:
    if not asked:
        return "<p class=soft>Not measured: it takes features of kind scenes.</p>"
    rows = []
    for factor, part in asked.items():
        between = part["interval"]
        sure = f" <small>[{between[0]:.3f}, {between[1]:.3f}]</small>" if between else ""
        right = NONE if part["right"] is None else f"{part['right']:.3f}{sure}"
        others = [NONE if part[k] is None else f"{part[k]:.3f}" for k in ("most_asked", "on_real")]
        rows.append(
            [f"{factor} <small>{escape(', '.join(part['classes']))}</small>", right, str(part["of"]), *others]
        )
    head = [
        "",
        "painted as asked",
        "pictures that asked",
        "commonest word's share",
        "right on the real pictures",
    ]
    return html_table(head, rows)


def _grid(side: Pictures, count: int) -> str:
    some = side.part(count) if count else side.only([])
    cards = (
        f"<div class=card>{_thumb(some.one(i), p.name)}<div>{escape(p.asked or ' '.join(p.tags) or p.name)}</div></div>"
        for i, p in enumerate(some.items)
    )
    return f"<div class='grid small'>{''.join(cards)}</div>"


def _nearest(found: dict[str, Any], painted: Pictures, others: Pictures) -> str:
    """The painted pictures (left) that come nearest to a real one (right)."""
    yardstick = (
        f"; held-out real ones {found['median_of_real']:.4g}. {found['copies']:.1%} of the painted ones come nearer "
        "than 19 of 20 held-out ones do (5 % where nothing is learned by heart)"
        if found["copies"] is not None
        else "; no held-out pictures to compare with"
    )
    text = (
        f"Distances in {found['features']} to the pictures of split {found['against']}: median of the painted "
        f"{found['median']:.4g}{yardstick}."
    )
    cards = (
        f"<div class=card><div class=pair>{_thumb(painted.one(p['painted']), painted.items[p['painted']].name)}"
        f"{_thumb(others.one(p['real']), others.items[p['real']].name)}</div>"
        f"<div>{escape(painted.items[p['painted']].name)} and {escape(others.items[p['real']].name)}: "
        f"{p['distance']:.4g}</div></div>"
        for p in found["pairs"]
    )
    return f"<p class=soft>{escape(text)}</p><div class='grid pairs'>{''.join(cards)}</div>"


def _thumb(image: np.ndarray, name: str) -> str:
    picture = Image.fromarray(image)
    filter_ = Image.Resampling.NEAREST if picture.width < WIDTH else Image.Resampling.BICUBIC
    picture = picture.resize((WIDTH, max(round(picture.height * WIDTH / picture.width), 1)), filter_)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
