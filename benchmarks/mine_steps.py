"""Scenes with truth, their labels after each step of mining, and what is left wrong: see benchmarks/mine.py."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgekit.core.label import TASKS, SceneLabel
from edgekit.core.places import asset
from edgekit.core.recipe import build
from edgekit.dataset.bootstrap import draw, interval, intervals
from edgekit.dataset.score import DETECTED, LIGHT_STATES, counts, median_kmh, score, state
from edgekit.drives import FrameTruth, open_drives
from edgekit.mine import motion
from edgekit.mine.chain import Chain, decode, learn
from edgekit.mine.config import Lasting, Smoothing
from edgekit.mine.corrupt import episodes
from edgekit.mine.experts.fusion import fuse
from edgekit.mine.experts.reliability import Reliability, judge
from edgekit.mine.experts.see import Said
from edgekit.mine.habits import GoldDrive
from edgekit.mine.measure import events
from edgekit.mine.smooth import OTHERS, Window, Windows, by_task, smooth, spans
from edgekit.mine.story import windows_of

GOLD_EVERY = 5
TOLERANCE_KMH = 5
# What the simulated expert sees of what is there, and claims of what is not, per frame.
EXPERT = {"recall": 0.85, "state_right": 0.95, "false_alarms": 0.03, "mean_s": 0.8, "in_episodes": 0.5}
VARIANTS: dict[str, tuple[str, ...]] = {
    "raw": (),
    "smoothed": ("smooth",),
    "chained": ("smooth", "chain"),
    "motion": ("smooth", "chain", "motion"),
    "fused": ("smooth", "chain", "motion", "fuse"),
    "without smoothing": ("chain", "motion", "fuse"),
    "without the chain": ("smooth", "motion", "fuse"),
    "without motion": ("smooth", "chain", "fuse"),
    "chain deaf to motion": ("smooth", "deaf chain", "motion", "fuse"),
    "all deaf to motion": ("smooth", "deaf chain", "fuse"),
    "smoothing and motion": ("smooth", "motion"),
    "chain alone": ("chain",),
    "motion alone": ("motion",),
    "expert alone": ("fuse",),
}
STEPS = ("raw", "smoothed", "chained", "motion", "fused")
MINED = windows_of(Smoothing())[OTHERS]  # what mining takes unless a recipe says otherwise
WINDOWS: dict[str, Windows] = {
    "speed-sized, 20 m": MINED,
    "speed-sized, 10 m": Window(distance_m=10.0),
    "speed-sized, lights 10 m, others 20 m": {"light": Window(distance_m=10.0), "": MINED},
    "fixed 0.6 s": Window(t_min_s=0.6, t_max_s=0.6),
    "fixed 1 s": Window(t_min_s=1.0, t_max_s=1.0),
    "fixed 2 s": Window(t_min_s=2.0, t_max_s=2.0),
    "fixed 3 s": Window(t_min_s=3.0, t_max_s=3.0),
}


class Scene(NamedTuple):
    """One drive: n times (s), speeds (m/s), accelerations (m/s²), yaw rates (rad/s), and the truth of each frame."""

    id: str
    tags: tuple[str, ...]
    times: list[float]
    motion: tuple[list, list, list]
    truth: list[FrameTruth]

    @property
    def labels(self) -> list[SceneLabel]:
        return [frame.label for frame in self.truth]


class Made(NamedTuple):
    """Labels of one scene after some steps; aside: tasks of each frame that a person is asked about."""

    labels: list[SceneLabel]
    aside: list[set[str]]


Fuser = Callable[[Scene, Made, list[dict[str, float]], list[Said], Reliability], Made]


def rendered(where: str) -> list[Scene]:
    """The drives of a run or a folder that hold truth of every frame."""
    out = []
    for drive in open_drives(asset(where[8:]) / "out" if where.startswith("package:") else where):
        truth = drive.truth() or {}
        if sorted(truth) != list(range(len(drive))):
            raise SystemExit(f"{drive.id}: no truth of every frame; nothing to compare with")
        told = drive.telemetry
        how = tuple(getattr(told, name).tolist() for name in ("speed_mps", "accel_mps2", "yaw_rate_rps"))
        frames = [truth[k] for k in sorted(truth)]
        out.append(Scene(drive.scene, tuple(drive.info.tags), drive.times_s.tolist(), how, frames))
    return out


def simulated(scenes: int, frames: int, seed: int) -> list[Scene]:
    """Drives of render's traffic at 5 frames a second, not drawn."""
    from edgekit.render.config import RenderConfig
    from edgekit.render.labels import truth_of
    from edgekit.render.spec import camera_of, sample_scene

    recipe = {
        "scenes": scenes, "seed": seed, "mode": "drive", "frames_per_scene": frames, "fps": 5.0, "runs": 4,
        "layouts": {"crossroads": 0.4, "x": 0.3, "t": 0.3},
    }  # fmt: skip
    config, out = build(RenderConfig, recipe, "benchmark"), []
    for number in range(scenes):
        spec = sample_scene(config, seed + number, town=False)
        how = tuple([f[k] for f in spec["frames"]] for k in ("speed_mps", "accel_mps2", "yaw_rate_rps"))
        truth = []
        for frame in spec["frames"]:
            row = truth_of(spec, frame, camera_of(spec, frame))
            label = SceneLabel(**row["label"])
            truth.append(FrameTruth(frame["index"], frame["t_s"], label, row["visible"]))
        tags = tuple(spec["conditions"]["tags"])
        out.append(Scene(spec["scene"], tags, [f["t_s"] for f in spec["frames"]], how, truth))
    return out


def simulated_expert(scene: Scene, seed: int) -> list[Said]:
    """What a detector of lights and cones with the errors of EXPERT says of each frame, before any truth of gold."""
    random, times = np.random.default_rng([seed, 7]), np.asarray(scene.times)
    lost = (1 - EXPERT["recall"]) * EXPERT["in_episodes"]  # share of the time in which nothing is seen
    gone = episodes(times, 60 * lost / EXPERT["mean_s"], EXPERT["mean_s"], random)
    single = (1 - EXPERT["recall"] - lost) / (1 - lost)
    out = []
    for frame, blind in zip(scene.truth, gone, strict=True):
        opinions = {}
        for slot, absent in (("light", "none"), ("cones", "no")):
            true = getattr(frame.label, slot)
            if true == "unknown":
                continue
            if true == absent:
                sees = random.random() < EXPERT["false_alarms"]
                value = "yes" if slot == "cones" else str(random.choice(LIGHT_STATES[1:]))
            else:
                sees, value = not blind and random.random() >= single, true
                if slot == "light" and random.random() >= EXPERT["state_right"]:
                    value = str(random.choice([v for v in LIGHT_STATES[1:] if v != true]))
            right = sees and value == true
            sure = float(random.beta(8, 2) if right else random.beta(5, 4))
            opinions[slot] = (value, sure) if sees else (absent, 0.5)
        out.append(Said("simulated expert", opinions))
    return out


def fused(
    scene: Scene, made: Made, sure: list[dict[str, float]], said: list[Said], worth: Reliability
) -> Made:
    """edgekit's fusion, frame by frame."""
    labels, aside = [], []
    for label, confidence, one, before in zip(made.labels, sure, said, made.aside, strict=True):
        result = fuse(label, confidence, one, worth, scene.tags)
        labels.append(result.label)
        aside.append(before | {task for task, status in result.status.items() if status == "review"})
    return Made(labels, aside)


def corrected(
    scene: Scene,
    raw: list[SceneLabel],
    steps: Sequence[str],
    rules: list[motion.Rule],
    chain: Chain | None,
) -> tuple[Made, list[dict[str, float]]]:
    """The labels after smoothing, the chain and rules of motion where asked for, and each task's confidence."""
    speeds, accels, yaws = scene.motion
    labels, aside = raw, [set() for _ in raw]
    sure = [dict.fromkeys(TASKS, 1.0) for _ in raw]
    if "smooth" in steps:
        labels = smooth(labels, scene.times, speeds, MINED)
    if chain and {"chain", "deaf chain"} & set(steps):
        heard = chain if "chain" in steps else deaf(chain)
        labels, _ = decode(heard, raw, labels, scene.times, speeds, Lasting().sure)
    if "motion" in steps:
        known = motion.facts(scene.times, speeds, accels, yaws, labels)
        labels, fired = motion.apply(labels, known, rules)
        for i, log in enumerate(fired):
            for one in log:
                sure[i][one.task] *= one.factor
                if one.action == "review":
                    aside[i].add(one.task)
    return Made(labels, aside), sure


def deaf(chain: Chain) -> Chain:
    """The chain to which the car's own motion says nothing, but how long the road takes."""
    quiet = {slot: replace(its, moves=np.ones_like(its.moves)) for slot, its in chain.slots.items()}
    return replace(chain, slots=quiet)


def variants(
    scenes: list[Scene],
    raws: list[list[SceneLabel]],
    seed: int,
    rules: list[motion.Rule],
    fuser: Fuser = fused,
) -> dict[str, list[Made]]:
    """Per variant the labels of each scene; the voices' worth is measured on the gold scenes of this seed."""
    said = [simulated_expert(scene, seed * 10_007 + n) for n, scene in enumerate(scenes)]
    out, before = {}, {}
    shown = [
        GoldDrive(scenes[n].times, scenes[n].motion[0], scenes[n].labels, raws[n]) for n in gold(len(scenes))
    ]
    chain = learn(shown) if shown else None
    for name, steps in VARIANTS.items():
        alone = tuple(step for step in steps if step != "fuse")
        if alone not in before:
            before[alone] = [corrected(*pair, alone, rules, chain) for pair in zip(scenes, raws, strict=True)]
        both = before[alone]
        if "fuse" in steps:
            judged = []
            for n in gold(len(scenes)):
                (made, sure), tags = both[n], scenes[n].tags
                for frame, label, c, one in zip(scenes[n].truth, made.labels, sure, said[n], strict=True):
                    judged += judge(frame.label, label, "vlm", tags, c)
                    judged += judge(frame.label, one, one.by, tags)
            worth = Reliability(judged)
            out[name] = [
                fuser(s, made, sure, one, worth)
                for s, (made, sure), one in zip(scenes, both, said, strict=True)
            ]
        else:
            out[name] = [made for made, _ in both]
    return out


def gold(scenes: int) -> range:
    return range(0, scenes, GOLD_EVERY) if scenes >= GOLD_EVERY else range(0)


def wrong(true: SceneLabel, said: SceneLabel, task: str) -> bool:
    """Whether a told state is an error."""
    a, b = state(true, task), state(said, task)
    if b == "unknown" or a == b:
        return False
    return task != "speed" or abs(int(a) - int(b)) > TOLERANCE_KMH


def tallies(scene: Scene, made: Made) -> dict[str, np.ndarray]:
    """Per task: frames, wrong, untold, wrong and set aside, right and set aside; of frames whose truth is seen."""
    out = {}
    for task in TASKS:
        row = np.zeros(5)
        for frame, label, aside in zip(scene.truth, made.labels, made.aside, strict=True):
            if frame.visible[task] and state(frame.label, task) != "unknown":
                bad = wrong(frame.label, label, task)
                off = task in aside
                row += [1, bad, state(label, task) == "unknown", bad and off, off and not bad]
        out[task] = row
    return out


def event_tally(scene: Scene, made: dict[str, list[SceneLabel]], windows: Windows) -> dict[str, np.ndarray]:
    """long, short → per step of ``made`` events, found raw, erased and rescued against raw: (steps, 4)."""
    out = {kind: np.zeros((len(made), 4)) for kind in ("long", "short")}
    for task in DETECTED:
        window = by_task(windows)[task]
        widths = [last - first for first, last in spans(scene.times, scene.motion[0], window)]
        for first, last, what in events(scene.truth, task):
            kind = "long" if 2 * (last - first) > widths[(first + last) // 2] else "short"
            found = [any(state(x, task) == what for x in labels[first:last]) for labels in made.values()]
            out[kind] += [[1, found[0], found[0] and not f, f and not found[0]] for f in found]
    return out


def removed(sums: np.ndarray, base: np.ndarray, seed: int) -> dict[str, Any]:
    """Of (scenes,) wrong labels after and before: the share that is gone, and its interval."""
    share = 1 - sums.sum() / max(base.sum(), 1)
    weights = draw(len(sums), 1000, seed)
    low_high = interval(1 - weights @ sums / np.maximum(weights @ base, 1)) if len(sums) > 1 else None
    return {"value": round(float(share), 4), "interval": low_high}


def level(
    scenes: list[Scene], raws: list[list[list[SceneLabel]]], rules, fuser: Fuser = fused
) -> dict[str, Any]:
    """All variants on labels of each seed: ``raws[seed][scene]``."""
    scored = [n for n in range(len(scenes)) if n not in gold(len(scenes))]
    made = [variants(scenes, each, seed, rules, fuser) for seed, each in enumerate(raws)]
    median = median_kmh([x for n in scored for x in scenes[n].labels])
    truths = [x for _ in raws for n in scored for x in scenes[n].labels]
    masks = {t: [f.visible[t] for _ in raws for n in scored for f in scenes[n].truth] for t in TASKS}
    names = [scenes[n].id for _ in raws for n in scored for _ in scenes[n].truth]
    rows: dict[str, Any] = {}
    base = None
    for name in VARIANTS:
        by_scene = {t: np.zeros((len(scored), 5)) for t in TASKS}
        for each in made:
            for at, n in enumerate(scored):
                for task, row in tallies(scenes[n], each[name][n]).items():
                    by_scene[task][at] += row
        by_scene["all"] = sum(by_scene.values())
        base = base or by_scene
        said = [x for each in made for n in scored for x in each[name][n].labels]
        metrics = score(truths, masks, said, median)
        keys = [f"{t}/f1" for t in DETECTED] + ["average", "speed/smape"]
        spread = intervals(counts(truths, masks, said, median), names)
        rows[name] = {
            "metrics": {k: round(metrics[k], 4) for k in keys},
            "intervals": {k: spread[k] for k in keys if k in spread},
            "tasks": {t: dict(zip(("frames", "wrong", "untold", "wrong_aside", "right_aside"),
                                  map(int, v.sum(axis=0)), strict=True)) for t, v in by_scene.items()},
            "removed": {t: removed(v[:, 1], base[t][:, 1], 0) for t, v in by_scene.items()},
            "removed_or_aside": {t: removed(v[:, 1] - v[:, 3], base[t][:, 1], 0) for t, v in by_scene.items()},
        }  # fmt: skip
    return {
        "steps": rows,
        "events": event_rows(scenes, scored, made),
        "windows": window_rows(scenes, scored, raws),
    }


def event_rows(scenes, scored, made) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for each in made:
        for n in scored:
            found = event_tally(scenes[n], {s: each[s][n].labels for s in STEPS}, MINED)
            for kind, table_ in found.items():
                out[kind] = out.get(kind, 0) + table_
    words = ("events", "found_raw", "erased", "rescued")
    return {
        kind: {s: dict(zip(words, map(int, row), strict=True)) for s, row in zip(STEPS, total, strict=True)}
        for kind, total in out.items()
    }


def window_rows(scenes, scored, raws) -> dict[str, Any]:
    """Smoothing alone by window: errors removed, against the speed-sized one (paired), and true events erased: of
    those that the raw labels name, and of the truth's own when it is smoothed itself."""
    wrongs, by_task_wrong, out = {}, {}, {}
    for name, window in {"raw": None, **WINDOWS}.items():
        by_scene, gone, pure = np.zeros(len(scored)), np.zeros(4), np.zeros(4)
        left = dict.fromkeys(TASKS, 0.0)
        for at, n in enumerate(scored):
            scene = scenes[n]
            for each in raws:
                labels = smooth(each[n], scene.times, scene.motion[0], window) if window else each[n]
                rows = tallies(scene, Made(labels, [set() for _ in labels]))
                by_scene[at] += sum(row[1] for row in rows.values())
                for task, row in rows.items():
                    left[task] += row[1]
                if window:
                    found = event_tally(scene, {"raw": each[n], "after": labels}, window)
                    gone += found["long"][1] + found["short"][1]
            if window:
                own = smooth(scene.labels, scene.times, scene.motion[0], window)
                found = event_tally(scene, {"truth": scene.labels, "after": own}, window)
                pure += found["long"][1] + found["short"][1]
        wrongs[name], by_task_wrong[name] = by_scene, left
        if window:
            weights, first = draw(len(scored), 1000, 0), wrongs[next(iter(WINDOWS))]
            whole = np.maximum(weights @ wrongs["raw"], 1)
            out[name] = {
                "removed": removed(by_scene, wrongs["raw"], 0),
                "tasks": {t: round(1 - left[t] / max(by_task_wrong["raw"][t], 1), 4) for t in TASKS},
                "against_speed_sized": interval(weights @ (first - by_scene) / whole),
                "events_erased": round(float(gone[2] / max(gone[1], 1)), 4),
                "truth_events_erased": round(float(pure[2] / max(pure[1], 1)), 4),
            }  # fmt: skip
    return out


def teacher_labels(where: str, drives: str) -> tuple[str, list[list[SceneLabel]]]:
    """What a real teacher says of each frame of ``drives``."""
    from edgekit.library import default_prompt
    from edgekit.models.open import open_answerer

    folder = asset(where[8:]) / "out" if where.startswith("package:") else Path(where)
    teacher, out = open_answerer("auto", folder), []
    for drive in open_drives(asset(drives[8:]) / "out" if drives.startswith("package:") else drives):
        frames = list(drive.frames())
        out.append([a.seen for a in teacher.answer(frames, [default_prompt().text] * len(frames))])
    return teacher.name, out
