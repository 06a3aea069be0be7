"""The story of mining: ask a teacher about every frame; time, motion and detectors correct it; write a Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import write_json, write_jsonl
from edgekit.core.progress import track
from edgekit.core.run import Run
from edgekit.dataset import DatasetWriter, Sample
from edgekit.dataset.queue import Entry, around, write_queue
from edgekit.drives import Drive, open_drives
from edgekit.engine.answerer import Answerer
from edgekit.library import compose, load_library
from edgekit.mine.asking import Asked, selector_of
from edgekit.mine.config import MineConfig
from edgekit.mine.experts.config import open_expert
from edgekit.mine.frames import frame_numbers, pictures
from edgekit.mine.gold import asked_gold, chain_of, reliability_of
from edgekit.mine.hearing import Heard, hear, heard_before
from edgekit.mine.keeping import kept
from edgekit.mine.measure import measure
from edgekit.mine.motion import load_rules
from edgekit.mine.rows import placed, split_of
from edgekit.mine.select.quota import disagreement
from edgekit.mine.spread import heard_by_all
from edgekit.mine.story import Story
from edgekit.models.open import open_answerer

SCHEMA = "edgekit/mining/2"


def mine(config: MineConfig, run: Run, teacher: Answerer | None = None) -> None:
    """Fills ``run.out`` with a Dataset of pseudo-labels, review.jsonl and mining.json.

    teacher: an Answerer of the caller's own, instead of the recipe's. Raises UserError for drives, detectors or
    a teacher that cannot be opened, and for frames, truth or telemetry that cannot be read, before the first frame
    is asked.
    """
    # The drives and the prompts, checked before the costly part.
    drives = all_drives(run)
    library = load_library(config.library)
    rules = load_rules(config.motion.rules, config.motion.off) if config.motion else []
    if config.prompts == "dynamic":
        selector_of(library, config.dynamic)  # a budget that is too small is refused before anything is asked
    wanted = [frame_numbers(len(drive), config.every, config.frames_per_drive) for drive in drives]
    truths = [drive.truth() or {} for drive in drives]
    for drive, numbers in zip(drives, wanted, strict=True):
        tell_of(drive, numbers, config, run)
    experts = [open_expert(expert) for expert in config.experts]
    # To decode all frames once more costs little beside asking; to fail late costs what was asked.
    frames = (
        image for drive, numbers in zip(drives, wanted, strict=True) for image in pictures(drive, numbers)
    )
    for _ in track(frames, "checking the frames", sum(map(len, wanted)), "frame"):
        pass

    # The teacher, and what it and the detectors say.
    folder = run.input("teacher") if config.teacher else None
    name = teacher.name if teacher else run.named("teacher") if config.teacher else config.endpoint.model
    teacher = teacher or open_answerer(config.kind, folder, config.endpoint, batch=config.batch)
    run.say(f"{len(drives)} drives, {sum(map(len, wanted))} frames, teacher {teacher.name}")
    if before := heard_before(drives, wanted, library, run.state):
        run.say(before)
    gold = asked_gold(config, run, teacher, library)
    reliability = reliability_of(config, run, gold, experts) if experts else None
    chain = chain_of(run, gold) if config.chain and gold else None
    if config.workers:
        heard_by_all(config, run, drives, wanted)
    stories = []
    for drive, numbers, truth in zip(drives, wanted, truths, strict=True):
        heard = hear(config, drive, numbers, teacher, experts, library, run.state)
        stories.append(
            Story(drive, numbers, truth, heard.asked, heard.said, config, rules, reliability, chain)
        )
        tell_of_answers(drive, heard, run)

    unheard([one for story in stories for one in story.asked])

    # The rows: each frame's label, and how it came to it.
    places, report = [list(range(len(story.numbers))) for story in stories], {}
    if config.keep:
        places, report["kept"], left = kept(stories, config.keep)
        write_jsonl(run.out / "left-out.jsonl", left)
    write_rows(config, run, stories, places, teacher.contract, name)
    measured = measure([story.mined() for story in stories], config.resamples, config.seed)
    report = {"schema": SCHEMA, "teacher": name, **report, "rules": fired(stories), **measured}
    write_json(run.out / "mining.json", report)
    tell(run, report)


def write_rows(
    config: MineConfig, run: Run, stories: Sequence[Story], places: Sequence[Sequence[int]],
    contract: Contract, teacher: str,
) -> None:  # fmt: skip
    """The Dataset and the queue of what a person should look at."""
    prompt, asked_with = compose(load_library(config.student_library)), compose(load_library(config.library))
    writer = DatasetWriter(
        run.out, contract, made_by="mine", teacher=teacher,
        asked_with=asked_with.record(), prompt={**prompt.record(), "text": prompt.text},
    )  # fmt: skip
    queue: list[Entry] = []
    for story, stay in zip(stories, places, strict=True):
        drive, numbers = story.drive, [story.numbers[i] for i in stay]
        times = [story.times_s[i] for i in stay]
        for k, (i, image) in enumerate(zip(stay, pictures(drive, numbers), strict=True)):
            label, marks = story.row(i)
            marks = placed(marks, image.shape[:2], (contract.height, contract.width))
            speed = story.speeds[i]
            sample = Sample.of(
                id=story.id(i),
                prompt_text=prompt.text,
                label=label,
                source="vlm",
                tasks=marks,
                images=[writer.image(story.id(i), image)],
                drive=drive.id,
                scene=drive.scene,
                frame=story.numbers[i],
                t_s=round(story.times_s[i], 6),
                speed_mps=None if speed is None else round(speed, 4),
                tags=list(drive.info.tags),
                prompt=prompt.record(),
                teacher=f"{teacher} {story.asked[i].prompt.id}",
            )  # fmt: skip
            writer.add(split_of(drive.scene, config.splits), sample)
            for task in (task for task, mark in marks.items() if mark.status == "review"):
                strip = [story.id(stay[j]) for j in around(times, k)]
                mark = marks[task]
                queue.append(
                    Entry(
                        id=sample.id, task=task, why=story.why(i, task),
                        priority=disagreement({task: mark}), strip=strip, history=mark.history,
                    )
                )  # fmt: skip
    writer.finish()
    write_queue(run.out, queue)
    if queue:
        run.say(f"{len(queue)} labels wait for a person: edgekit review {run.path}")


def all_drives(run: Run) -> list[Drive]:
    """The drives of all inputs. Raises UserError where two have one id."""
    drives: list[Drive] = []
    for given in run.inputs["drives"]:
        drives += open_drives(given.out, run.config.reading)
    ids = [drive.id for drive in drives]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise UserError(
            "mine: two drives have one id",
            f"twice: {', '.join(twice)}",
            "give each drive.json an id of its own",
        )
    return drives


def tell_of(drive: Drive, numbers: list[int], config: MineConfig, run: Run) -> None:
    """Notes on what is assumed of a drive: what its reader says, the speeds that were not measured; and on stills,
    which no window spans."""
    window = config.smoothing
    if drive.foreign:
        rate = "assumed, in the order of the numbers in their names" if drive.files else "as its file says"
        if window and not drive.in_time:
            rate += "; without telemetry nothing says that they follow one another: nothing is smoothed"
            window = None
        run.note(f"drive {drive.id} has no drive.json: {drive.info.fps:g} frames per second, {rate}")
    speeds = drive.speeds_mps()  # read even where no window asks for them: the rows hold them
    for note in drive.notes:
        run.note(f"drive {drive.id}: {note}")
    unmeasured = sum(speeds[n] is None for n in numbers)
    if window is None or not unmeasured:
        return
    lacks = f"has no measured speed at {unmeasured} of {len(numbers)} frames: their"
    if drive.telemetry is None:
        lacks = "has no telemetry: its"
    run.note(f"drive {drive.id} {lacks} windows take {window.unknown_mps:g} m/s")


def tell_of_answers(drive: Drive, heard: Heard, run: Run) -> None:
    asked = heard.asked
    lost = [a.answer.text for a in asked if a.answer.label is None]
    if lost:
        run.note(f"drive {drive.id}: {len(lost)} of {len(asked)} answers did not parse: all-unknown")
    stood = sum(a.first is a.answer for a in asked)
    if stood:
        run.note(f"drive {drive.id}: {stood} second answers did not parse: the first ones stand")
    if heard.selector and heard.selector.drops:
        dropped = ", ".join(f"{name} {n}×" for name, n in heard.selector.drops.most_common(5))
        run.note(f"drive {drive.id}: the token budget left out: {dropped}")


def unheard(asked: Sequence[Asked]) -> None:
    """Raises UserError where no answer at all parsed: the Dataset would tell nothing."""
    if asked and all(one.answer.label is None for one in asked):
        said = " ".join(asked[0].answer.text.split())[:120] or "nothing"
        raise UserError(
            f"mine: none of {len(asked)} answers parsed",
            f"the first one said: {said}",
            "check that the model answers with JSON in the label's schema, and start anew with another --out",
        )


def fired(stories: Sequence[Story]) -> dict[str, dict[str, Any]]:
    """How often each rule of motion spoke."""
    out: dict[str, dict[str, Any]] = {}
    for story in stories:
        for frame in story.fired:
            for one in frame:
                row = out.setdefault(one.rule, {"task": one.task, "action": one.action, "frames": 0})
                row["frames"] += 1
    return dict(sorted(out.items()))


def tell(run: Run, report: dict[str, Any]) -> None:
    """For each task: what every step changed, the flips before and after, and the true events that were erased."""
    *_, last = report["steps"]
    for task, row in report["tasks"].items():
        changed = ", ".join(f"{step} changed {n}" for step, n in row["changed"].items())
        erased = ""
        if row.get("events") and last != "raw":
            erased = f", {row['erased'][last]} of {row['events']} true events erased, {row['rescued'][last]} rescued"
        flips = f"flips {row['flips']['raw']} → {row['flips'][last]}"
        run.say(f"{task}: of {row['frames']} frames {changed or 'none changed'}; {flips}{erased}")
    if rules := report["rules"]:
        run.say("rules of motion: " + ", ".join(f"{name} {row['frames']}" for name, row in rules.items()))
    if keep := report.get("kept"):
        run.say(f"{keep['taken']} of {keep['rows']} frames kept; {keep['repeats']} repeats")
        for name, row in keep["slices"].items():
            if row.get("short"):
                run.note(
                    f"quota {name!r}: {row['taken']} of {row['wanted']} rows, {row['found']} frames show it"
                )
    if truth := report["against_truth"]:
        told = ", ".join(f"{step} {truth[step]['metrics']['average']:.3f}" for step in report["steps"])
        run.say(f"Average against truth: {told} ({truth['frames']} frames)")
