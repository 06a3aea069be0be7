"""How fast mining asks, what memory a long drive takes, how time grows with drives: benchmarks/mine.py --throughput.

asking:  frames a second of the batched route (open_answerer, a Checkpoint in torch) against transformers' own
         generate, one frame a call, greedy, to the answer's end; the same model, pictures and prompt. Rounds in turn.
memory:  the peak of resident memory of mining a synthetic drive with a teacher that always says the same, above
         what was held before; a process of its own for each length (Linux). The longest once more with a teacher that
         is never twice as sure, so that no two answers are alike.
drives:  CPU-seconds a drive of the same, and the peak, for one, two, four drives of ten minutes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.label import SLOTS, SceneLabel, to_answer
from edgekit.core.places import asset
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.drives import DriveInfo, Telemetry, encode_video, open_drives, write_telemetry
from edgekit.drives.info import write_info
from edgekit.engine.answerer import Answer

WANTED = 2.5  # times one generate call a frame, on a CPU
FRAMES, ROUNDS, WARM_UP, BATCH = 16, 5, 1, 16
SIZE, FPS = (112, 56), 5.0  # of the synthetic drives
COPIES, MINUTES = (1, 2, 4), 10  # drives, and how long each
SAYS = SceneLabel(recommended_speed_kmh="50", light="none", light_arrow="none", light_kind="none", cones="no",
                  obstacle="none", crossroad="no", zebra="no")  # fmt: skip


class Constant:
    """A teacher that looks at nothing: what is left is mining itself."""

    name, contract = "constant", Contract(width=SIZE[0], height=SIZE[1])

    def answer(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[Answer]:
        return [Answer(to_answer(SAYS), SAYS) for _ in images]


class Wavering(Constant):
    """Says the same, and is differently sure of each slot each time."""

    def __init__(self) -> None:
        self.drawn = np.random.default_rng(0)

    def answer(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[Answer]:
        return [
            Answer(
                to_answer(SAYS), SAYS, dict(zip(SLOTS, self.drawn.uniform(0.5, 1, len(SLOTS)), strict=True))
            )
            for _ in images
        ]


TEACHERS = {"constant": Constant, "wavering": Wavering}


def folder_of(where: str) -> Path:
    return asset(where.removeprefix("package:")) / "out" if where.startswith("package:") else Path(where)


def asking(teacher: str, drives: str, say) -> dict[str, Any]:
    """Frames a second of both ways, round by round."""
    import torch

    from edgekit.engine.chat import prompt_ids
    from edgekit.engine.pixels import pixel_values
    from edgekit.library import default_prompt
    from edgekit.models.answerer import TorchAnswerer
    from edgekit.models.open import open_answerer

    answerer = open_answerer("torch", folder_of(teacher), batch=BATCH)
    assert isinstance(answerer, TorchAnswerer)
    text, frames = default_prompt().text, []
    for drive in open_drives(folder_of(drives)):
        frames += [image for image, _ in zip(drive.frames(), range(2), strict=False)]
    frames = frames[:FRAMES]
    ids = prompt_ids(text, answerer.contract, answerer.tokenizer)
    end = answerer.tokenizer.token_to_id("<|im_end|>")
    longest = len(answerer.tokenizer.encode(to_answer(SAYS)).ids) + 16

    def batched() -> None:
        answerer.answer(frames, [text] * len(frames))

    @torch.no_grad()
    def one_by_one() -> None:
        for image in frames:
            pixels, grid = pixel_values([image], answerer.contract)
            answerer.model.generate(
                input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                pixel_values=torch.from_numpy(pixels).to(answerer.model.dtype),
                image_grid_thw=torch.from_numpy(grid), do_sample=False, max_new_tokens=longest,
                eos_token_id=end, pad_token_id=end,
            )  # fmt: skip

    took: dict[str, list[float]] = {"batched": [], "generate": []}
    ways = [("batched", batched), ("generate", one_by_one)]
    for number in range(WARM_UP + ROUNDS):
        say(f"asking: round {number + 1} of {WARM_UP + ROUNDS}")
        for name, way in ways if number % 2 == 0 else ways[::-1]:
            began = time.perf_counter()
            way()
            if number >= WARM_UP:
                took[name].append(time.perf_counter() - began)
    ratios = [b / a for a, b in zip(took["batched"], took["generate"], strict=True)]
    per_s = {name: spread([len(frames) / s for s in seconds]) for name, seconds in took.items()}
    return {"teacher": answerer.name, "frames": len(frames), "threads": torch.get_num_threads(),
            "frames_per_s": per_s, "ratio": spread(ratios)}  # fmt: skip


def spread(values: list[float]) -> dict[str, float]:
    named = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 3) for name, value in named.items()} | {"repeats": len(values)}


def synthetic(folder: Path, name: str, frames: int) -> None:
    """A drive of a bar that moves over grey, at 5 frames a second and 10 m/s."""

    def pictures() -> Iterator[np.ndarray]:
        for number in range(frames):
            image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
            image[:, number % SIZE[0]] = 200
            yield image

    folder.mkdir(parents=True)
    encode_video(pictures(), folder / "video.mp4", FPS)
    t = np.arange(frames) / FPS
    write_telemetry(
        folder / "telemetry.csv", Telemetry(t, np.full(frames, 10.0), np.zeros(frames), np.zeros(frames))
    )
    write_info(folder / "drive.json", DriveInfo(id=name, fps=FPS))


def mined(drives: int, frames: int, teacher: str = "constant") -> dict[str, Any]:
    """CPU-seconds and peak memory (MB) of mining so many drives; to be called in a process of its own."""
    from edgekit.mine import MineConfig
    from edgekit.mine.run import mine

    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as held:
        root = Path(held)
        for number in range(drives):
            name = f"d{number:03d}"
            synthetic(root / "set" / "drives" / name, name, frames)
        raw = {"drives": [str(root / "set")], "teacher": str(root / "set"), "kind": "torch", "batch": 64}
        run = start("mine", build(MineConfig, raw, "benchmark"), "benchmark", root / "run")
        before = memory_mb(anew=True)
        began = time.process_time()  # not the clock: another program on the machine would count
        mine(run.config, run, TEACHERS[teacher]())
        took = time.process_time() - began
        return {
            "drives": drives,
            "frames": frames,
            "teacher": teacher,
            "seconds": round(took, 2),
            "peak_mb": round(memory_mb() - before, 1),
        }


def memory_mb(anew: bool = False) -> float:
    """The peak of resident memory since the last call with ``anew``; with it, what is held now."""
    if sys.platform != "linux":
        return float("nan")
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def apart(drives: int, frames: int, teacher: str = "constant") -> dict[str, Any]:
    """``mined`` in a fresh process."""
    command = [sys.executable, __file__, str(drives), str(frames), teacher]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"mining {drives} drives of {frames} frames failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def throughput(teacher: str, drives: str, hours: Sequence[float], say) -> dict[str, Any]:
    report: dict[str, Any] = {"load": round(os.getloadavg()[0], 2), "asking": asking(teacher, drives, say)}
    report["long"], report["many"] = [], []
    for length, one in [(length, "constant") for length in hours] + [(max(hours), "wavering")]:
        say(f"a drive of {length:g} hours, {one} teacher")
        report["long"].append({"hours": length, **apart(1, round(length * 3600 * FPS), one)})
    for number in COPIES:
        say(f"{number} drives of {MINUTES} minutes")
        report["many"].append(apart(number, round(MINUTES * 60 * FPS)))
    return report


def told(report: dict[str, Any]) -> str:
    """The report for people, in Markdown."""
    one = report["asking"]
    ratio, per_s = one["ratio"], one["frames_per_s"]
    lines = [
        f"Asking {one['teacher']}, {one['frames']} frames a round, {one['threads']} threads, load {report['load']}: "
        f"batched {per_s['batched']['median']:.1f} frames/s, one generate call a frame "
        f"{per_s['generate']['median']:.1f}: {ratio['median']:.2f} times ({ratio['min']:.2f} to {ratio['max']:.2f}, "
        f"{ratio['repeats']} rounds) [wanted on a CPU: at least {WANTED:g}: "
        f"{'met' if ratio['median'] >= WANTED else 'NOT met'}]",
        "", "| drive | teacher | frames | cpu-s | frames a cpu-s | peak MB above the start | bytes a frame |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in report["long"]:
        lines.append(
            f"| {row['hours']:g} h | {row['teacher']} | {row['frames']} | {row['seconds']:.1f} | "
            f"{row['frames'] / row['seconds']:.0f} | {row['peak_mb']:.0f} | "
            f"{row['peak_mb'] * 1048576 / row['frames']:.0f} |"
        )
    lines += ["", f"| drives of {MINUTES} minutes | cpu-s | cpu-s a drive | peak MB |", "|---|---|---|---|"]
    for row in report["many"]:
        lines.append(
            f"| {row['drives']} | {row['seconds']:.2f} | {row['seconds'] / row['drives']:.2f} | {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(mined(*map(int, sys.argv[1:3]), *sys.argv[3:])))
