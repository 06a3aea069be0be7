"""The report: what was tried, what was kept and why, per task and slice, and the front as a small table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgekit.core.label import TASKS
from edgekit.dataset import Sample
from edgekit.dataset.score import DETECTED
from edgekit.engine.answerer import Answer
from edgekit.library import Library
from edgekit.prompts.config import PromptsConfig
from edgekit.prompts.edits import Edit
from edgekit.prompts.failures import grouped
from edgekit.prompts.front import Candidate, score_of
from edgekit.prompts.promote import Promotion
from edgekit.prompts.search import Found

SCHEMA = "edgekit/prompts-report/1"
GROUPS, TRIES = 12, 60  # shown in report.md; report.json holds all


class Outcome(NamedTuple):
    """All that a run came to. rows: learning, choosing, held out; chosen_by: answers of the choosing rows to
    the given library and to the chosen candidate; searched, spent: evaluations."""

    config: PromptsConfig
    model: str
    before: Library
    after: Library
    first: Candidate
    chosen: Candidate
    found: Found
    promotion: Promotion | None
    rows: tuple[Sequence[Sample], Sequence[Sample], Sequence[Sample]]
    chosen_by: tuple[list[Answer], list[Answer]]
    median_kmh: float
    searched: int
    spent: int


def verdict(o: Outcome) -> str:
    """One line: what became of the library. ``no change`` is an answer like any other."""
    tries = f"tried {len(o.found.tried)}, accepted {o.found.accepted}{refusals(o.found.refused)}"
    if o.promotion is None:
        left = (
            "no failure was found to mend"
            if not o.found.groups
            else "no edit did better on the choosing scenes"
        )
        return f"no change: {left} ({tries}; ended: {o.found.stopped})"
    kept = sum(step.kept for step in o.promotion.steps)
    scenes = len({row.scene for row in o.rows[2]})
    if not kept:
        first = o.promotion.steps[0]
        between = f" [{first.interval[0]:+.3f}, {first.interval[1]:+.3f}]" if first.interval else ""
        return (
            f"no change: {len(o.promotion.steps)} edit(s) did better on the choosing scenes, and none held on "
            f"{scenes} held-out ones (the first: {first.difference:+.3f}{between}; {tries})"
        )
    before, after = o.promotion.before, o.promotion.after
    return (
        f"promoted: {kept} of {len(o.promotion.steps)} edits; on {scenes} held-out scenes score {before.goal:.3f} → "
        f"{after.goal:.3f}, Average {before.metrics['average']:.3f} → {after.metrics['average']:.3f}, tokens "
        f"{before.tokens:.0f} → {after.tokens:.0f} ({tries})"
    )


def refusals(refused: dict[str, int]) -> str:
    """How many of the writer's texts were not taken, and why most often; empty where all were."""
    if not refused:
        return ""
    why = max(refused, key=lambda name: (refused[name], name))
    return f"; {sum(refused.values())} texts of the writer refused, most often: {why} ({refused[why]})"


def report(o: Outcome) -> dict[str, Any]:
    """report.json."""
    _, choose, held = o.rows
    operators: dict[str, Counter[str]] = {}
    for row in o.found.tried:
        counted = operators.setdefault(row["edit"]["operator"], Counter(tried=0, accepted=0))
        counted["tried"] += 1
        counted["accepted"] += row["accepted"]
    out: dict[str, Any] = {
        "schema": SCHEMA,
        "verdict": verdict(o),
        "changed": o.after != o.before,
        "model": o.model,
        "library": {"id": o.before.id, "before": o.before.digest(), "after": o.after.digest()},
        "splits": {
            name: {"split": split, "frames": len(rows), "scenes": len({row.scene for row in rows})}
            for name, split, rows in zip(
                ("learn", "choose", "held_out"), (o.config.split, o.config.split, o.config.held_out), o.rows,
                strict=True,
            )
        },
        "evaluations": {
            "budget": o.config.budget, "search": o.searched, "promotion": o.spent - o.searched,
        },
        "search": o.config.search.kind,
        "stopped": o.found.stopped,
        "tried": len(o.found.tried),
        "accepted": o.found.accepted,
        "promoted": sum(step.kept for step in o.promotion.steps) if o.promotion else 0,
        "operators": {name: dict(row) for name, row in sorted(operators.items())},
        "refused_texts": o.found.refused,
        "failures": [group.record() for group in o.found.groups],
        "failures_left": [group.record() for group in grouped(choose, o.chosen_by[1])],
        "front": [
            {**c.score.record(), "edits": [edit.told() for edit in c.edits], "chosen": c.library == o.chosen.library}
            for c in o.found.front.sorted()
        ],
        "tries": o.found.tried,
        "choose": slices(choose, *o.chosen_by, o.median_kmh),
        "promotion": None,
    }  # fmt: skip
    if o.promotion:
        out["promotion"] = {
            "before": o.promotion.before.record(),
            "after": o.promotion.after.record(),
            "steps": [step.record() for step in o.promotion.steps],
            "held_out": slices(held, *o.promotion.answers, o.median_kmh),
        }
    return out


def slices(
    rows: Sequence[Sample], before: Sequence[Answer], after: Sequence[Answer], median_kmh: float
) -> dict[str, Any]:
    """F1 of each task (speed: sMAPE) before and after, over all rows and over each tag's."""
    tags = sorted({tag for row in rows for tag in row.tags})
    out = {}
    for tag in ("all", *tags):
        own = [i for i, row in enumerate(rows) if tag == "all" or tag in row.tags]
        part = [rows[i] for i in own]
        scores = [
            score_of(part, [said[i] for i in own], [0] * len(own), median_kmh) for said in (before, after)
        ]
        names = [f"{task}/f1" if task in DETECTED else f"{task}/smape" for task in TASKS]
        out[tag] = {"frames": len(own)} | {
            name: [round(score.metrics[name], 6) for score in scores] for name in ("average", *names)
        }
    return out


def markdown(r: dict[str, Any]) -> str:
    """report.md: for people, from report.json alone."""
    e, s = r["evaluations"], r["splits"]
    where = ", ".join(
        f"{name.replace('_', ' ')} {row['frames']} frames of {row['scenes']} scenes ({row['split']})"
        for name, row in s.items()
    )
    lines = [
        f"# Prompts: {r['library']['id']}", "", f"**{r['verdict']}**", "",
        f"Model {r['model']}. {where}. Evaluations: {e['search']} searching and {e['promotion']} promoting, "
        f"of {e['budget']}. Search: {r['search']}; it ended because {r['stopped']}.",
        "", "## The front", "",
        "Score: the mean of the four tasks, on the choosing scenes (of light, obstacles and crossroad the mean of "
        "P, R and F1; of speed 1 − sMAPE / 2).", "",
        "| score | tokens | Average | light F1 | obstacles F1 | crossroad F1 | sMAPE | edits |", "|" + "---|" * 8,
    ]  # fmt: skip
    for row in r["front"]:
        cells = [f"{row['score']:.3f}", f"{row['tokens']:.0f}", *(f"{row[n]:.3f}" for n in (
            "average", "light/f1", "obstacles/f1", "crossroad/f1", "speed/smape"))]  # fmt: skip
        edits = "<br>".join(cell(edit) for edit in row["edits"]) or "the given library"
        lines.append(f"| {' | '.join(cells)} | {edits}{' (chosen)' if row['chosen'] else ''} |")
    lines += ["", "## Promotion", ""] + promoted(r["promotion"])
    held = r["promotion"] and r["promotion"]["held_out"]
    for title, rows in (("On the choosing scenes", r["choose"]), ("On the held-out scenes", held)):
        if rows:
            lines += ["", f"## {title}, before → after", "", *per_slice(rows)]
    lines += ["", "## What failed with the given library", "", *failed(r["failures"])]
    lines += ["", "## What was tried", "", *tried(r)]
    return "\n".join(lines) + "\n"


def promoted(promotion: dict[str, Any] | None) -> list[str]:
    if not promotion:
        return ["Nothing was there to promote: the held-out split was not asked about."]
    lines = ["| edit | kept | difference | interval | tokens | why |", "|" + "---|" * 6]
    for step in promotion["steps"]:
        low, high = step["interval"] or (0.0, 0.0)
        between = f"[{low:+.3f}, {high:+.3f}] at {100 * step['level']:.4g} %" if step["interval"] else "—"
        edit = Edit.model_validate(step["edit"]).told()
        lines.append(
            f"| {cell(edit)} | {'yes' if step['kept'] else 'no'} | {step['difference']:+.3f} | {between} | "
            f"{step['tokens']:+.0f} | {step['why']} |"
        )
    return lines


def per_slice(rows: dict[str, Any]) -> list[str]:
    names = [name for name in next(iter(rows.values())) if name != "frames"]
    lines = [f"| slice | frames | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    for tag, row in rows.items():
        both = " | ".join(f"{row[name][0]:.3f} → {row[name][1]:.3f}" for name in names)
        lines.append(f"| {cell(tag)} | {row['frames']} | {both} |")
    return lines


def failed(groups: Sequence[dict[str, Any]]) -> list[str]:
    if not groups:
        return ["Nothing."]
    lines = ["| task | slice | true | answered | failed | of |", "|" + "---|" * 6]
    for g in groups[:GROUPS]:
        lines.append(
            f"| {g['task']} | {cell(g['slice']) or 'all'} | {g['true']} | {g['said']} | {g['failed']} | {g['frames']} |"
        )
    return lines + more(len(groups) - GROUPS)


def tried(r: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{k} {v['accepted']} of {v['tried']}" for k, v in r["operators"].items()) or "none"
    lines = [f"Accepted {r['accepted']} of {r['tried']} tries ({counts})."]
    if r["refused_texts"]:
        lines += ["", "Texts of the writer that were not taken: " + ", ".join(
            f"{n} {why}" for why, n in r["refused_texts"].items()) + "."]  # fmt: skip
    lines += ["", "| edit | for | mended | score | gain | tokens | accepted |", "|" + "---|" * 7]
    for row in r["tries"][:TRIES]:
        edit = Edit.model_validate(row["edit"])
        mended = "/".join(map(str, row["mended"])) if "mended" in row else "—"
        told = (
            f"{row['score']:.3f} | {row['gain']:+.3f} | {row['tokens']:.0f}"
            if "score" in row
            else "— | — | —"
        )
        lines.append(
            f"| {cell(edit.told())} | {cell(edit.why)} | {mended} | {told} | {'yes' if row['accepted'] else 'no'} |"
        )
    return lines + more(len(r["tries"]) - TRIES)


def more(count: int) -> list[str]:
    return ["", f"And {count} more in report.json."] if count > 0 else []


def cell(text: str) -> str:
    """A text of any origin as one cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") if text else ""
