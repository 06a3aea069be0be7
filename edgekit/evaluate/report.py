"""report.html: one file, no script, nothing fetched: what the model saw beside what was true."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from edgekit.core.files import write_text
from edgekit.core.label import SLOTS, TASK_OF, TASKS
from edgekit.dataset import Dataset, Sample
from edgekit.dataset.score import DETECTED, state
from edgekit.engine.answerer import Answer

THUMB_WIDTH = 280

STYLE = """
:root{color-scheme:light dark;--page:#fff;
 --ink:#1d2433;--soft:#667085;--line:#d9dee8;--bad:#b42318;--ok:#067647}
@media(prefers-color-scheme:dark){:root{--page:#12161f;
 --ink:#e6e9f0;--soft:#98a2b3;--line:#344054;--bad:#fda29b;--ok:#75e0a7}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);
 max-width:1080px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p.soft,small{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}th{font-weight:600;color:var(--soft);font-size:.85rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(280px,1fr));gap:1rem}
.card{border:1px solid var(--line);border-radius:8px;overflow:hidden}
.card img{width:100%;display:block}
.card div{padding:.5rem .7rem;font-size:.85rem}
.card td,.card th{padding:.1rem .3rem;border:0;font-size:.8rem;text-align:left}
.bad{color:var(--bad);font-weight:600}.ok{color:var(--ok)}.scroll{overflow-x:auto}
"""


def write_report(
    path: Path, frames: int, metrics: dict[str, Any], cost: dict[str, Any], dataset: Dataset,
    rows: Sequence[Sample], answers: Sequence[Answer], notes: Sequence[str],
) -> None:  # fmt: skip
    """Writes the page; ``frames`` of the rows are shown, wrong ones first."""
    order = sorted(range(len(rows)), key=lambda i: (-_wrong(rows[i], answers[i]), rows[i].id))
    half = order[: (frames + 1) // 2]
    rest = [i for i in order if i not in set(half)]
    step = max(len(rest) // max(frames - len(half), 1), 1)
    shown = half + rest[::step][: frames - len(half)]
    body = [
        f"<h1>{escape(cost['model'])}</h1>",
        f"<p class=soft>{metrics['frames']} frames of {metrics['scenes']} scenes, split {metrics['split']}; "
        f"{metrics['unparsed']} answers did not parse. Intervals: 95 %, scenes resampled.</p>",
        "".join(f"<p class=soft>Note: {escape(note)}</p>" for note in notes),
        "<h2>Detection</h2>", _detection(metrics),
        "<h3>Lights: true (rows), answered (columns)</h3>", _lights(metrics["lights"]),
        "<h2>Speed, coverage, controls</h2>", _rest(metrics),
        "<h2>Slices</h2>", _slices(metrics),
        "<h2>Cost</h2>", _cost(cost),
        "<h2>Frames: seen against true</h2>",
        "<div class=grid>", *(_card(dataset, rows[i], answers[i]) for i in shown), "</div>",
    ]  # fmt: skip
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(cost['model'])}: evaluation</title><style>{STYLE}</style>"
        f"<body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)


def _wrong(row: Sample, answer: Answer) -> int:
    """How many scored tasks are wrong (a speed: by more than 10 km/h)."""
    count = 0
    for task in TASKS:
        true, said = state(row.label, task), state(answer.seen, task)
        if row.tasks[task].status == "dropped" or true == "unknown" or true == said:
            continue
        if task == "speed" and said != "unknown" and abs(int(true) - int(said)) <= 10:
            continue
        count += 1
    return count


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{top}</tr>{lines}</table></div>"


def _with_interval(metrics: dict[str, Any], name: str) -> str:
    value, between = metrics["overall"][name], metrics["intervals"].get(name)
    return f"{value:.3f}" + (f" <small>[{between[0]:.3f}, {between[1]:.3f}]</small>" if between else "")


def _detection(metrics: dict[str, Any]) -> str:
    rows = [
        [task, *(_with_interval(metrics, f"{task}/{k}") for k in ("precision", "recall", "f1")),
         str(int(metrics["overall"][f"{task}/frames"]))]
        for task in DETECTED
    ]  # fmt: skip
    rows.append(
        [
            "<b>Average</b> <small>of the nine</small>",
            "",
            "",
            f"<b>{_with_interval(metrics, 'average')}</b>",
            "",
        ]
    )
    return html_table(["", "precision", "recall", "F1", "frames scored"], rows)


def _lights(lights: dict[str, dict[str, int]]) -> str:
    said = sorted({answer for row in lights.values() for answer in row})
    rows = [
        [escape(true), *(f"<b>{row.get(a, 0)}</b>" if a == true else str(row.get(a, 0)) for a in said)]
        for true, row in lights.items()
    ]
    return html_table(["", *map(escape, said)], rows)


def _rest(metrics: dict[str, Any]) -> str:
    overall, controls = metrics["overall"], metrics["controls"] or {}
    rows = []
    for task in TASKS:
        excluded = metrics["excluded"][task]
        wrong = [
            f"{controls[kind][f'{task}/balanced']:.3f}" if controls.get(kind) else "–"
            for kind in ("blank", "shuffled")
        ]
        rows.append(
            [task, _with_interval(metrics, f"{task}/balanced"), f"{overall[f'{task}/chance']:.3f}", *wrong,
             f"{overall[f'{task}/coverage']:.3f}", f"{excluded['dropped']} / {excluded['truth_unknown']}"]
        )  # fmt: skip
    head = [
        "",
        "balanced accuracy",
        "chance",
        "blank images",
        "shuffled images",
        "coverage",
        "not visible / unknown",
    ]
    smape, r2 = (_with_interval(metrics, f"speed/{k}") for k in ("smape", "r2"))
    speed = f"<p>Speed: sMAPE {smape}, R² {r2}</p>"
    return speed + html_table(head, rows)


def _slices(metrics: dict[str, Any]) -> str:
    names = [*(f"{task}/f1" for task in DETECTED), "average", "speed/smape"]
    rows = [
        [
            escape(tag),
            str(part["frames"]),
            str(part["scenes"]),
            *(_with_interval(part, name) for name in names),
        ]
        for tag, part in {"all": metrics, **metrics["slices"]}.items()
    ]
    return html_table(
        ["", "frames", "scenes", "light F1", "obstacles F1", "crossroad F1", "Average", "speed sMAPE"], rows
    )


def _cost(cost: dict[str, Any]) -> str:
    words = {
        "answers_per_s": f"answers per second, {cost['batch']} at a time",
        "latency_ms_p50": "milliseconds alone, median",
        "latency_ms_p95": "milliseconds alone, 95th percentile",
        "peak_memory_mb": "peak memory of the process, MB",
        "disk_mb": "size on disk, MB",
        "decoder_passes_mean": "decoder passes per answer",
    }
    return html_table(
        ["", ""], [[text, "–" if cost[k] is None else str(cost[k])] for k, text in words.items()]
    )


def _card(dataset: Dataset, row: Sample, answer: Answer) -> str:
    lines = []
    for slot in SLOTS:
        true, said = getattr(row.label, slot), getattr(answer.seen, slot)
        scored = row.tasks[TASK_OF[slot]].status != "dropped" and true != "unknown"
        if true == said and true in ("none", "no", "unknown"):
            continue
        kind = "" if not scored else "ok" if true == said else "bad"
        aside = "" if scored else " <small>not scored</small>"
        name = slot.replace("_", " ").removeprefix("recommended ")
        lines.append(
            f"<tr><th>{name}</th><td>{escape(true)}{aside}</td><td class='{kind}'>{escape(said)}</td></tr>"
        )
    unparsed = "" if answer.label else "<p class=bad>did not parse</p>"
    return (
        f"<div class=card>{_thumb(dataset, row)}<div>"
        f"<b>{escape(row.id)}</b> <small>{escape(' '.join(row.tags))}</small>"
        f"{unparsed}<table><tr><th></th><th>true</th><th>seen</th></tr>{''.join(lines)}</table></div></div>"
    )


def _thumb(dataset: Dataset, row: Sample) -> str:
    image = Image.fromarray(dataset.image(row))
    image = image.resize((THUMB_WIDTH, max(round(image.height * THUMB_WIDTH / image.width), 1)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(row.id)}" src="data:image/jpeg;base64,{data}">'
