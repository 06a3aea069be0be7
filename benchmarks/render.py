"""What a rendered frame costs, and how much less than done naively. All figures are ratios within one run.

    python benchmarks/render.py [--ray] [--quick] [--out render.json]

naive:   a fresh Blender process for each frame, and a second full render for its labels. Same scene, samples,
         denoiser; measured on a few frames of the drive, since each is the same work anew. Its second render
         runs in the same process, and the second building of the scene is taken off: a script of one file
         would build it once.
labels:  ids and depth that come with the render, against the render alone (no pass asked for).
--ray:   two workers over Ray against one process, the same drives.

CPU-seconds are those of all processes, start to end, so another program on the machine disturbs them less
than the clock; variants take turns, and the median and the range over the repeats are told.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from process_tree import ProcessTree

from edgekit import __version__
from edgekit.core.files import write_json, write_text
from edgekit.core.recipe import build
from edgekit.library import default_prompt
from edgekit.render.blender import blender_python, bpy_version
from edgekit.render.config import RenderConfig
from edgekit.render.launch import render_scenes
from edgekit.render.records import record_frame
from edgekit.render.spec import sample_scene, spec_text

WANTED = {"naive_ratio": 2.0, "labels_share": 0.15, "ray_efficiency": 0.9}
SIZES = ((448, 252, 8), (320, 180, 4))  # width, height, samples
LABELS = (448, 252, 16)
BARE, LABELLED = {"ids": False, "depth": False}, {"ids": True, "depth": True}


def scene(folder: Path, size: tuple[int, int, int], frames: int, passes: dict[str, bool], seed: int) -> Path:
    """The file of a drive on a clear day, with the given passes."""
    width, height, samples = size
    recipe = {
        "scenes": 1, "seed": seed, "mode": "drive", "frames_per_scene": frames, "samples": samples,
        "weather": {"clear": 1.0}, "time": {"day": 1.0},
    }  # fmt: skip
    cfg = build(RenderConfig, recipe, "benchmark")
    spec = {**sample_scene(cfg, seed), "passes": passes}
    spec["image"] |= {"width": width, "height": height}  # here: a recipe's are multiples of 28
    kind = "labelled" if passes["ids"] else "bare"
    path = folder / f"{spec['scene']}_{width}_{samples}_{frames}_{kind}.json"
    write_text(path, spec_text(spec))
    return path


class Bench:
    def __init__(self, folder: Path, say):
        self.folder, self.say, self.python, self.turn = folder, say, blender_python(""), 0

    def draw(self, orders: list[tuple[Path, list[int]]], workers: Any = 1, frames_per_worker: int = 10_000):
        """CPU-seconds of drawing (scene file, frame indices) in turn:
        {"cpu_s": all processes, "wall_s", "frames": [each frame's], "builds": [each order's], "out"}."""
        self.turn += 1
        outs = [self.folder / f"out{self.turn}_{k}" for k in range(len(orders))]
        listed = [
            {"spec": str(path), "out": str(out), "frames": frames, "number": k}
            for k, ((path, frames), out) in enumerate(zip(orders, outs, strict=True))
        ]
        frames, builds = {}, {}

        def on_line(order: dict[str, Any], line: dict[str, Any]) -> None:
            if line["event"] == "frame":
                frames[order["number"], line["index"]] = line["cpu_s"]
            else:
                builds[order["number"]] = line["build_cpu_s"]

        with ProcessTree() as tree:
            began = time.monotonic()
            failed = render_scenes(
                listed, self.python, workers, frames_per_worker, 300.0, self.folder / "worker.log", on_line, 0
            )
            wall_s = time.monotonic() - began
        if failed:
            raise SystemExit(f"a scene failed: {failed[0]['why']}; see {self.folder / 'worker.log'}")
        asked = sum(len(order["frames"]) for order in listed)
        assert len(frames) == asked, f"{len(frames)} of {asked} frames"
        return {
            "cpu_s": tree.cpu_s, "wall_s": wall_s, "frames": [frames[key] for key in sorted(frames)],
            "builds": [builds[key] for key in sorted(builds)], "out": outs,
        }  # fmt: skip

    def against_naive(self, size, frames: int, of_naive: int, repeats: int) -> dict[str, Any]:
        """Per frame: a drive in one process with its labels, against the naive way on some of its frames."""
        labelled = scene(self.folder, size, frames, LABELLED, 1)
        bare = scene(self.folder, size, frames, BARE, 1)
        some = [(2 * k + 1) * frames // (2 * of_naive) for k in range(of_naive)]
        ours, naive = [], []
        for number in range(repeats):
            self.say(f"{told(size)}: repeat {number + 1} of {repeats}")
            run = self.draw([(labelled, list(range(frames)))])
            ours.append(parts(run, run["builds"], frames))
            run = self.draw([(path, [k]) for k in some for path in (bare, labelled)], frames_per_worker=2)
            kept = run["builds"][0::2]
            run["cpu_s"] -= sum(run["builds"][1::2])
            naive.append(parts(run, kept, of_naive))
        ratios = [n["cpu_s"] / o["cpu_s"] for n, o in zip(naive, ours, strict=True)]
        return {
            "size": told(size), "frames": frames, "naive_frames": of_naive, "edgekit": spread_of(ours),
            "naive": spread_of(naive), "naive_ratio": median_range(ratios),
        }  # fmt: skip

    def labels(self, size, frames: int, repeats: int) -> dict[str, Any]:
        """The share that ids and depth add to a frame's render, and what the launcher makes of them."""
        paths = [scene(self.folder, size, frames, kind, 1) for kind in (BARE, LABELLED)]
        shares, launcher, drawn = [], [], []
        for number in range(repeats):
            self.say(f"labels, {told(size)}: repeat {number + 1} of {repeats}")
            both = paths if number % 2 == 0 else paths[::-1]
            runs = {path: self.draw([(path, list(range(frames)))]) for path in both}
            bare, labelled = runs[paths[0]], runs[paths[1]]
            if list(bare["out"][0].glob("ids/*")):
                raise SystemExit("this worker writes ids that were not asked for: nothing to compare with")
            shares.append(sum(labelled["frames"]) / sum(bare["frames"]) - 1)
            drawn.append(sum(bare["frames"]) / frames)
            launcher.append(self.recorded(paths[1], labelled["out"][0]))
        with_rows = [s + own / d for s, own, d in zip(shares, launcher, drawn, strict=True)]
        return {
            "size": told(size), "frames": frames, "render_cpu_s": median_range(drawn),
            "labels_share": median_range(shares), "launcher_cpu_s": median_range(launcher),
            "labels_share_with_launcher": median_range(with_rows),
        }  # fmt: skip

    def recorded(self, path: Path, out: Path) -> float:
        """CPU-seconds a frame of the launcher's part: truth, boxes and the Dataset's row."""
        spec, prompt = json.loads(path.read_text()), default_prompt(RenderConfig().student_library)
        began = time.process_time()
        for frame in spec["frames"]:
            record_frame(out, spec, frame, prompt)
        return (time.process_time() - began) / len(spec["frames"])

    def over_ray(self, size, drives: int, frames: int, repeats: int) -> dict[str, Any]:
        """CPU-seconds a frame of one local process, over those of two Ray workers: 1 is no loss."""
        from edgekit.render.spread import RayWorkers

        orders = [
            (scene(self.folder, size, frames, LABELLED, seed + 1), list(range(frames)))
            for seed in range(drives)
        ]
        kinds = {"one": 1, "ray": RayWorkers(ray=2)}
        runs: dict[str, list] = {kind: [] for kind in kinds}
        for number in range(repeats):
            self.say(f"Ray, {told(size)}: repeat {number + 1} of {repeats}")
            for kind in kinds if number % 2 == 0 else reversed(kinds):
                runs[kind].append(self.draw(orders, kinds[kind]))
        total = drives * frames

        def each(kind: str, of) -> list[float]:
            return [of(run) / total for run in runs[kind]]

        def workers_cpu(run: dict[str, Any]) -> float:
            return sum(run["frames"]) + sum(run["builds"])

        def ratio(of) -> dict[str, float]:
            return median_range([a / b for a, b in zip(each("one", of), each("ray", of), strict=True)])

        return {
            "size": told(size), "drives": drives, "frames": total,
            "one": {"cpu_s": median_range(each("one", lambda r: r["cpu_s"])),
                    "wall_s": median_range(each("one", lambda r: r["wall_s"]))},
            "ray": {"cpu_s": median_range(each("ray", lambda r: r["cpu_s"])),
                    "wall_s": median_range(each("ray", lambda r: r["wall_s"]))},
            "ray_efficiency": ratio(workers_cpu), "ray_efficiency_all": ratio(lambda r: r["cpu_s"]),
        }  # fmt: skip


def parts(run: dict[str, Any], builds: list[float], frames: int) -> dict[str, float]:
    """CPU-seconds a frame, in all and by what they went into; "start" is the processes' beginning and the
    launcher."""
    render_s, build_s, all_s = sum(run["frames"]), sum(builds), run["cpu_s"]
    named = {"cpu_s": all_s, "start": all_s - render_s - build_s, "build": build_s, "render": render_s}
    return {name: value / frames for name, value in named.items()}


def spread_of(runs: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: median_range([run[name] for run in runs]) for name in runs[0]}


def median_range(values: list[float]) -> dict[str, float]:
    rounded = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 4) for name, value in rounded.items()} | {"repeats": len(values)}


def told(size: tuple[int, int, int]) -> str:
    return f"{size[0]}x{size[1]}, {size[2]} samples"


def machine(python: str) -> dict[str, Any]:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "platform": platform.platform(),
        "python": platform.python_version(), "bpy": bpy_version(python), "edgekit": __version__,
    }  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """The report for people, in Markdown."""
    on = report["machine"]
    lines = [
        f"{on['cpu']}, {on['cores']} cores, load {on['load']} before and {report['load_after']} after; "
        f"bpy {on['bpy']}, edgekit {on['edgekit']}. CPU-seconds of all processes; median (min to max).",
        "",
        "| drive | way | cpu-s a frame | start + build + render | frames an hour and core |",
        "|---|---|---|---|---|",
    ]
    for row in report["drives"]:
        for way, frames in (("edgekit", row["frames"]), ("naive", row["naive_frames"])):
            cost = row[way]
            split = " + ".join(f"{cost[name]['median']:.2f}" for name in ("start", "build", "render"))
            hourly = 3600 / cost["cpu_s"]["median"]
            lines.append(
                f"| {row['size']} | {way}, {frames} frames | {ranged(cost['cpu_s'])} | {split} | {hourly:.0f} |"
            )
    lines.append("")
    for row in report["drives"]:
        lines.append(f"naive / edgekit, {row['size']}: {ranged(row['naive_ratio'])}{met(row, 'naive_ratio')}")
    row = report["labels"]
    lines += [
        f"labels, {row['size']}, {row['frames']} frames: ids and depth add {percent(row['labels_share'])} to "
        f"{row['render_cpu_s']['median']:.2f} cpu-s of a render without{met(row, 'labels_share')}; with the "
        f"launcher's part (truth, boxes, rows) {percent(row['labels_share_with_launcher'])}",
    ]
    if row := report.get("ray"):
        lines.append(
            f"Ray, 2 workers, {row['drives']} drives, {row['frames']} frames, {row['size']}: one process takes "
            f"{ranged(row['ray_efficiency'])} of the workers' CPU-seconds a frame{met(row, 'ray_efficiency')}, "
            f"{ranged(row['ray_efficiency_all'])} with Ray's own processes; by the clock "
            f"{row['one']['wall_s']['median']:.2f} s a frame against {row['ray']['wall_s']['median']:.2f}"
        )
    if report["quick"]:
        lines.append(
            "A quick run: it shows that all works; pictures of this size say nothing of the figures."
        )
    return "\n".join(lines)


def ranged(value: dict[str, float]) -> str:
    return f"{value['median']:.2f} ({value['min']:.2f} to {value['max']:.2f})"


def percent(value: dict[str, float]) -> str:
    return f"{value['median']:.1%} ({value['min']:.1%} to {value['max']:.1%})"


def met(row: dict[str, Any], name: str) -> str:
    """Whether a figure is what was wanted."""
    wanted, found = WANTED[name], row[name]["median"]
    most = name == "labels_share"
    good = found <= wanted if most else found >= wanted
    return f" [wanted: {'at most' if most else 'at least'} {wanted:g}: {'met' if good else 'NOT met'}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=60, help="of a drive (default 60)")
    parser.add_argument("--naive-frames", type=int, default=6, help="of them drawn naively too (default 6)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ray", action="store_true", help="two Ray workers against one process, too")
    parser.add_argument("--quick", action="store_true", help="tiny pictures, two frames: does it run?")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    asked = parser.parse_args()
    frames, few, repeats = asked.frames, asked.naive_frames, asked.repeats
    sizes, labels = SIZES, LABELS
    if asked.quick:
        frames, few, repeats, sizes, labels = 2, 1, 1, ((112, 56, 1),), (112, 56, 1)
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        bench = Bench(Path(folder), lambda text: print(f"[render] {text}", file=sys.stderr, flush=True))
        report = {"quick": asked.quick, "machine": machine(bench.python)}
        report["drives"] = [bench.against_naive(size, frames, few, repeats) for size in sizes]
        report["labels"] = bench.labels(labels, min(frames, 12), repeats)
        if asked.ray:
            report["ray"] = bench.over_ray(sizes[0], 4, max(1, frames // 4), repeats)
    report["load_after"] = round(os.getloadavg()[0], 2)
    print(table(report))
    if asked.out:
        write_json(asked.out, report)


if __name__ == "__main__":
    main()
