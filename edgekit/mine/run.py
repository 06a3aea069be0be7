"""The story of mining: ask a teacher about every frame; time, motion and detectors correct it; write a Dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from edgekit.core.files import write_json, write_jsonl
from edgekit.core.run import Run
from edgekit.drives import Drive
from edgekit.engine.answerer import Answerer
from edgekit.engine.refusal import was_refused
from edgekit.library import first_prompt, load_library, selector_of
from edgekit.mine.config import MineConfig
from edgekit.mine.doubt import Doubt, short, unheard
from edgekit.mine.experts.config import open_expert
from edgekit.mine.gold import asked_gold, chain_of, reliability_of
from edgekit.mine.hearing import Heard, hear, heard_before, never_found
from edgekit.mine.keeping import kept
from edgekit.mine.logs import Logs, logs_of
from edgekit.mine.motion import load_rules
from edgekit.mine.spread import heard_by_all
from edgekit.mine.story import Story
from edgekit.mine.whole import Refused, opened, require_apart, require_whole, whole
from edgekit.mine.writing import write_rows
from edgekit.models.open import open_answerer

SCHEMA = "edgekit/mining/2"


def mine(config: MineConfig, run: Run, teacher: Answerer | None = None) -> None:
    """Fills ``run.out`` with a Dataset of pseudo-labels, review.jsonl and mining.json.

    teacher: an Answerer of the caller's own, instead of the recipe's. Raises UserError for drives, detectors or
    a teacher that cannot be opened, and for frames, truth or telemetry that cannot be read (all drives' in one),
    before the first frame is asked.
    """
    with logs_of(config, run, teacher.name if teacher else None) as logs:
        _mine(config, run, teacher, logs)


def _mine(config: MineConfig, run: Run, teacher: Answerer | None, logs: Logs) -> None:
    # The drives and the prompts, checked before the costly part.
    refused: list[Refused] = []
    drives = all_drives(run, refused)
    library = load_library(config.library)
    rules = load_rules(config.motion.rules, config.motion.off) if config.motion else []
    if config.prompts == "dynamic":
        selector_of(library, config.dynamic)  # what it refuses is refused before anything is asked
    experts = [open_expert(expert) for expert in config.experts]
    every = whole(drives, config.every, config.frames_per_drive, refused)
    if not every or not config.leave_out_broken:
        require_whole(refused, len(every) + len(refused), config.leave_out_broken)
    left_out = [one.record() for one in refused]
    for one in left_out:
        run.note(f"drive {one['drive']} is left out: {one['why']}")
    for drive, numbers in every:
        tell_of(drive, numbers, config, run)
        for note in drive.footage.damage():
            run.note(f"drive {drive.id}: {note}")
    drives, wanted = [drive for drive, _ in every], [numbers for _, numbers in every]

    # The teacher, and what it and the detectors say.
    folder = run.input("teacher") if config.teacher else None
    name = teacher.name if teacher else run.named("teacher") if config.teacher else config.endpoint.model
    teacher = teacher or open_answerer(config.kind, folder, config.endpoint, batch=config.batch)
    run.say(f"{len(drives)} drives, {sum(map(len, wanted))} frames, teacher {teacher.name}")
    if before := heard_before(config, drives, wanted, library, logs):
        run.say(before)
    doubt = Doubt(logs, library, config)
    doubt()
    gold = asked_gold(config, run, teacher, library, logs, doubt)
    reliability = reliability_of(config, run, gold, experts) if experts else None
    chain = chain_of(run, gold) if config.chain and gold else None
    if config.workers:
        heard_by_all(config, run, drives, wanted, logs)

    # Nothing heard is held: it is read from its log again, so that a fleet takes the memory of one drive.
    def heard_of(drive: Drive, numbers: range, again: bool = True) -> Heard:
        return hear(config, drive, numbers, teacher, experts, library, logs, doubt, again)

    by_others = bool(config.workers)
    told = [tell_of_answers(drive, heard_of(drive, numbers, by_others), run) for drive, numbers in every]
    answers, lost = sum(one.answers for one in told), sum(one.lost for one in told)
    if answers and answers == lost:  # of a run that is too short for Doubt
        raise unheard(answers, next((one.first for one in told if one.first), ""))
    for note in never_found(config, experts, every, logs):
        run.note(note)

    # The rows: each frame's label, and how it came to it.
    def stories() -> Iterator[Story]:
        for drive, numbers in every:
            asked, said, _ = heard_of(drive, numbers)
            yield Story(drive, numbers, drive.truth() or {}, asked, said, config, rules, reliability, chain)

    places, report = [range(len(numbers)) for numbers in wanted], {}
    if config.keep:
        places, report["kept"], left = kept(stories(), config.keep, sum(map(len, wanted)))
        write_jsonl(run.out / "left-out.jsonl", left)
    report |= write_rows(config, run, stories(), places, teacher.contract, name)
    gone = {"left_out": left_out} if config.leave_out_broken else {}
    report = {"schema": SCHEMA, "teacher": name, **gone, **report}
    write_json(run.out / "mining.json", report)
    tell(run, report)


def all_drives(run: Run, refused: list[Refused]) -> list[Drive]:
    """The drives of all inputs; those that do not open join ``refused``. Raises UserError where two have one id."""
    drives: list[Drive] = []
    for given in run.inputs["drives"]:
        drives += opened(given.out, run.config.reading, refused)
    require_apart(drives)
    return drives


def tell_of(drive: Drive, numbers: list[int], config: MineConfig, run: Run) -> None:
    """Notes on what is assumed of a drive: what its reader says, the speeds that were not measured; and on stills,
    which no window spans."""
    window = config.smoothing
    if drive.foreign:
        said = "as reading.fps says" if config.reading.fps else "assumed"
        rate = f"{said}, in the order of the numbers in their names" if drive.files else "as its file says"
        if window and not drive.in_time:
            rate += "; without telemetry or reading.fps nothing says that they follow one another: nothing is smoothed"
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


class Parsed(NamedTuple):
    """Of one drive: its answers, those that did not parse, and what the first one said, in short."""

    answers: int
    lost: int
    first: str


def tell_of_answers(drive: Drive, heard: Heard, run: Run) -> Parsed:
    asked = heard.asked
    lost = sum(a.answer.label is None for a in asked)
    if lost:
        refused = [a.answer for a in asked if was_refused(a.answer)]
        why = ""
        if refused:
            why = f"; {len(refused)} of them the server refused ({short(refused[0].text)})"
        run.note(f"drive {drive.id}: {lost} of {len(asked)} answers did not parse: all-unknown{why}")
    # By the prompt: answers alike are one object, and a second one often says what the first did.
    opening = first_prompt(heard.selector.library, run.config.dynamic).sha256 if heard.selector else ""
    stood = sum(a.first is not None and a.prompt.sha256 == opening for a in asked)
    if stood:
        run.note(f"drive {drive.id}: {stood} second answers did not parse: the first ones stand")
    if heard.selector and heard.selector.drops:
        dropped = ", ".join(f"{name} {n}×" for name, n in heard.selector.drops.most_common(5))
        run.note(f"drive {drive.id}: the token budget left out: {dropped}")
    return Parsed(len(asked), lost, short(asked[0].answer.text) if asked else "")


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
