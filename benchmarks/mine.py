"""How many of a teacher's label errors mining removes: labels of rendered drives made wrong, then corrected.

    python benchmarks/mine.py [--drives package:drives] [--simulated 60 120] [--seeds 3] [--out mine.json]
    python benchmarks/mine.py --teacher package:nano-teacher     its own errors on these drives, too
    python benchmarks/mine.py --throughput [--hours 0.25 0.5 1 2]

drives:     rendered, with truth. --simulated adds scenes of render's traffic that are not drawn (so that all that
            is there counts as seen): longer, and enough of them for an interval.
noise:      edgekit/mine/corrupt.py at three levels: bursts, confusions, hidden things, a drift.
steps:      raw -> smoothed -> chained -> motion (its rules) -> fused, then each step left out, and each alone. The
            chain learns from the gold scenes; deaf: the car's own motion has no say in it.
expert:     simulated, of the stated recall and precision; what it and the labels are worth is measured on every
            fifth scene (gold), which is scored nowhere.
an error:   a told state other than the truth's; of a speed: more than 5 km/h off. Unknown is no error, and is told
            apart. removed: the share of the raw errors that is gone, new ones counted against it.
set aside:  errors that stay and go to review, and right labels that go there with them.
events:     a true run of one state. long: more frames than half of its window holds.

Intervals: 95 %, scenes resampled, all seeds of a scene together.
"""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

from mine_steps import EXPERT, Scene, gold, level, rendered, simulated, teacher_labels

from edgekit import __version__
from edgekit.core.files import write_json
from edgekit.core.label import TASKS
from edgekit.dataset.score import DETECTED
from edgekit.mine import motion
from edgekit.mine.corrupt import RATES, corrupt

WANTED_REMOVED, WANTED_ERASED, AT = 0.6, 0.02, "middle"


def table(report: dict[str, Any]) -> str:
    """The report for people, in Markdown."""
    lines = [
        f"edgekit {report['edgekit']}, Python {report['python']}, {report['seeds']} seeds, rules: {report['rules']}."
    ]
    for source, found in report["sources"].items():
        lines += [
            "",
            f"## {source}: {found['scenes']} scenes, {found['gold']} of them gold, {found['frames']} frames",
        ]
        for name, one in found["levels"].items():
            lines += ["", f"**{name}**", "",
                      "| labels | light F1 | obstacles F1 | crossroad F1 | Average | speed sMAPE | wrong | untold | "
                      "errors removed | removed or in review | right ones in review |", "|---" * 11 + "|"]  # fmt: skip
            for step, row in one["steps"].items():
                m, whole = row["metrics"], row["tasks"]["all"]
                f1 = " | ".join(f"{m[f'{t}/f1']:.3f}" for t in DETECTED)
                lines.append(
                    f"| {step} | {f1} | {ranged(m['average'], row['intervals'].get('average'))} | "
                    f"{m['speed/smape']:.3f} | "
                    f"{whole['wrong'] / whole['frames']:.1%} | {whole['untold'] / whole['frames']:.1%} | "
                    f"{percent(row['removed']['all'])} | {percent(row['removed_or_aside']['all'])} | "
                    f"{whole['right_aside'] / whole['frames']:.1%} |"
                )
            last = one["steps"]["fused"]["removed"]
            by_task = ", ".join(f"{t} {last[t]['value']:.0%}" for t in TASKS)
            lines += [
                "",
                f"Removed after all steps, by task: {by_task} (the simulated expert speaks of lights and cones).",
            ]
            for kind, row in one["events"].items():
                steps = "; ".join(
                    f"{s}: {r['erased']} erased ({r['erased'] / max(r['found_raw'], 1):.1%}), {r['rescued']} rescued"
                    for s, r in row.items() if s != "raw"
                )  # fmt: skip
                share = "longer than half" if kind == "long" else "of at most half"
                lines.append(
                    f"True events {share} the window: {row['raw']['events']}, of these {row['raw']['found_raw']} "
                    f"named in raw labels; {steps}."
                )
            lines += [
                "",
                "| smoothing alone | errors removed | more than the first | "
                + " | ".join(TASKS)
                + " | events erased, raw | "
                "of the truth |",
                "|---" * 9 + "|",
            ]
            for window, row in one["windows"].items():
                low, high = row["against_speed_sized"]
                each = " | ".join(f"{row['tasks'][t]:.0%}" for t in TASKS)
                lines.append(f"| {window} | {percent(row['removed'])} | {low:+.1%} to {high:+.1%} | {each} | "
                             f"{row['events_erased']:.1%} | {row['truth_events_erased']:.1%} |")  # fmt: skip
            if name == AT:
                lines += ["", verdict(one)]
    return "\n".join(lines)


def verdict(one: dict[str, Any]) -> str:
    share = one["steps"]["fused"]["removed"]["all"]["value"]
    row = one["events"]["long"]["fused"]
    erased = row["erased"] / max(row["found_raw"], 1)
    return (
        f"Wanted at the {AT} level: at least {WANTED_REMOVED:.0%} of the errors removed: {share:.1%}, "
        f"{'met' if share >= WANTED_REMOVED else 'NOT met'}; under {WANTED_ERASED:.0%} of the long true events erased: "
        f"{erased:.1%}, {'met' if erased < WANTED_ERASED else 'NOT met'}."
    )


def percent(value: dict[str, Any]) -> str:
    told = value["interval"]
    return f"{value['value']:.1%}" + (f" ({told[0]:.1%} to {told[1]:.1%})" if told else "")


def ranged(value: float, told: list[float] | None) -> str:
    return f"{value:.3f}" + (f" ({told[0]:.3f} to {told[1]:.3f})" if told else "")


def measured(scenes: list[Scene], seeds: int, rules: list[motion.Rule], say) -> dict[str, Any]:
    """All three levels of noise on these scenes."""
    out = {}
    for name in RATES:
        say(f"{name} noise, {len(scenes)} scenes, {seeds} seeds")
        raws = [
            [corrupt(s.labels, s.times, name, seed * 10_007 + n) for n, s in enumerate(scenes)]
            for seed in range(seeds)
        ]
        out[name] = level(scenes, raws, rules)
    return described(scenes, out)


def described(scenes: list[Scene], levels: dict[str, Any]) -> dict[str, Any]:
    frames = sum(len(s.times) for s in scenes)
    return {"scenes": len(scenes), "gold": len(gold(len(scenes))), "frames": frames, "levels": levels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drives", default="package:drives", help="a run of render, or package:NAME")
    parser.add_argument(
        "--simulated", nargs=2, type=int, metavar=("SCENES", "FRAMES"), help="traffic, not drawn"
    )
    parser.add_argument(
        "--first-seed",
        nargs="+",
        type=int,
        default=[20_000],
        help="of the simulated scenes; several: sets of them",
    )
    parser.add_argument("--seeds", type=int, default=3, help="of the noise and of the simulated expert")
    parser.add_argument("--teacher", help="a Checkpoint or Bundle whose own errors are corrected, too")
    parser.add_argument("--throughput", action="store_true", help="speed and memory instead of labels")
    parser.add_argument(
        "--hours", nargs="+", type=float, default=[0.25, 0.5, 1.0, 2.0], help="of the long drives"
    )
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(f"[mine] {text}", file=sys.stderr, flush=True)

    if asked.throughput:
        from mine_throughput import throughput, told

        report = throughput(asked.teacher or "package:nano-teacher", asked.drives, asked.hours, say)
        print(told(report))
    else:
        rules, sources = motion.load_rules(), {}
        scenes = rendered(asked.drives)
        sources[asked.drives] = measured(scenes, asked.seeds, rules, say)
        if asked.teacher:
            say(f"asking {asked.teacher}")
            name, labels = teacher_labels(asked.teacher, asked.drives)
            own = level(scenes, [labels], rules)
            sources[f"{asked.drives}, {name}'s own errors"] = described(scenes, {"uncorrupted": own})
        for first in asked.first_seed if asked.simulated else ():
            say(f"simulating {asked.simulated[0]} scenes of {asked.simulated[1]} frames from seed {first} on")
            extra = simulated(*asked.simulated, first)
            sources[f"traffic, not drawn, from seed {first} on"] = measured(extra, asked.seeds, rules, say)
        report = {
            "edgekit": __version__, "python": platform.python_version(), "load": round(os.getloadavg()[0], 2),
            "seeds": asked.seeds, "rules": motion.digest(rules)[:8], "expert": EXPERT, "sources": sources,
            "rates": {name: vars(rates) for name, rates in RATES.items()},
        }  # fmt: skip
        print(table(report))
    if asked.out:
        write_json(asked.out, report)


if __name__ == "__main__":
    main()
