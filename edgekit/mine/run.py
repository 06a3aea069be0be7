"""The story of mining: ask a teacher about every frame, smooth over time, write a Dataset, measure."""

from __future__ import annotations

from edgekit.core.errors import UserError
from edgekit.core.files import write_json
from edgekit.core.progress import track
from edgekit.core.run import Run
from edgekit.dataset import DatasetWriter, Sample
from edgekit.dataset.answers import AnswerLog
from edgekit.drives import Drive, open_drives
from edgekit.engine.answerer import Answerer
from edgekit.library import compose, load_library
from edgekit.mine.asking import ask_drive, frame_numbers, pictures
from edgekit.mine.config import MineConfig
from edgekit.mine.measure import Mined, measure
from edgekit.mine.rows import marks, split_of
from edgekit.mine.smooth import Window, smooth, spans
from edgekit.models.open import open_answerer

SCHEMA = "edgekit/mining/1"


def mine(config: MineConfig, run: Run, teacher: Answerer | None = None) -> None:
    """Fills ``run.out`` with a Dataset of pseudo-labels and with mining.json.

    teacher: an Answerer of the caller's own, instead of the recipe's. Raises UserError for drives
    or a teacher that cannot be opened, and for frames, truth or telemetry that cannot be read, before
    the first frame is asked.
    """
    # The drives and the prompts, checked before the costly part.
    drives = all_drives(run)
    library, prompt = load_library(config.library), compose(load_library(config.student_library))
    smoothing = config.smoothing.model_dump() if config.smoothing else {}
    causal = smoothing.pop("causal", False)
    window = Window(**smoothing) if config.smoothing else None
    wanted = [frame_numbers(len(drive), config.every, config.frames_per_drive) for drive in drives]
    truths = [drive.truth() or {} for drive in drives]
    for drive, numbers in zip(drives, wanted, strict=True):
        tell_of(drive, numbers, window, run)
    # To decode all frames once more costs little beside asking; to fail late costs what was asked.
    frames = (
        image for drive, numbers in zip(drives, wanted, strict=True) for image in pictures(drive, numbers)
    )
    for _ in track(frames, "checking the frames", sum(map(len, wanted)), "frame"):
        pass

    # The teacher, and a Dataset at its size.
    folder = run.input("teacher") if config.teacher else None
    name = teacher.name if teacher else run.named("teacher") if config.teacher else config.endpoint.model
    teacher = teacher or open_answerer(config.kind, folder, config.endpoint, batch=config.batch)
    run.say(f"{len(drives)} drives, {sum(map(len, wanted))} frames, teacher {teacher.name}")
    writer = DatasetWriter(
        run.out, teacher.contract, made_by="mine", teacher=name,
        asked_with=compose(library).record(), prompt={**prompt.record(), "text": prompt.text},
    )  # fmt: skip

    log, mined = AnswerLog(run.state / "answers.jsonl"), []
    for drive, numbers, truth in zip(drives, wanted, truths, strict=True):
        asked = ask_drive(teacher, drive, numbers, library, config.prompts == "dynamic", config.batch, log)
        raw = [a.answer.seen for a in asked]
        times, speeds = drive.times_s[numbers].tolist(), drive.speeds_mps()
        speeds = [speeds[n] for n in numbers]
        within = window if drive.in_time else None
        smoothed = smooth(raw, times, speeds, within, causal) if within else raw
        reach = spans(times, speeds, within or Window(), causal)

        # Each frame: the label it ends with, and how it came to it.
        for i, (number, image) in enumerate(zip(numbers, pictures(drive, numbers), strict=True)):
            first, last = reach[i]
            sample = Sample.of(
                id=f"{drive.id}/{number:06d}",
                prompt_text=prompt.text,
                label=smoothed[i],
                source="vlm",
                tasks=marks(
                    i - first, asked[first:last], smoothed[i] if within else None,
                    round(times[last - 1] - times[first], 3),
                ),
                images=[writer.image(f"{drive.id}/{number:06d}", image)],
                drive=drive.id,
                scene=drive.scene,
                frame=number,
                t_s=round(times[i], 6),
                speed_mps=None if speeds[i] is None else round(speeds[i], 4),
                tags=list(drive.info.tags),
                prompt=prompt.record(),
                teacher=f"{name} {asked[i].prompt.id}",
            )  # fmt: skip
            writer.add(split_of(drive.scene, config.splits), sample)
        mined.append(Mined(drive.id, drive.scene, raw, smoothed, [truth.get(n) for n in numbers]))
        unparsed = sum(a.answer.label is None for a in asked)
        if unparsed:
            run.note(f"drive {drive.id}: {unparsed} of {len(asked)} answers did not parse: all-unknown")
        stood = sum(a.first is a.answer for a in asked)
        if stood:
            run.note(f"drive {drive.id}: {stood} second answers did not parse: the first ones stand")

    writer.finish()
    report = {"schema": SCHEMA, "teacher": name, **measure(mined, config.resamples, config.seed)}
    write_json(run.out / "mining.json", report)
    tell(run, report)


def all_drives(run: Run) -> list[Drive]:
    """The drives of all inputs. Raises UserError where two have one id."""
    drives: list[Drive] = []
    for given in run.inputs["drives"]:
        drives += open_drives(given.out)
    ids = [drive.id for drive in drives]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise UserError(
            "mine: two drives have one id",
            f"twice: {', '.join(twice)}",
            "give each drive.json an id of its own",
        )
    return drives


def tell_of(drive: Drive, numbers: list[int], window: Window | None, run: Run) -> None:
    """Notes on what is assumed of a drive: the times of a foreign one, the speeds that were not measured;
    and on stills, which no window spans."""
    if drive.foreign:
        rate = (
            "as its container says" if drive.video else "assumed, in the order of the numbers in their names"
        )
        if window and not drive.in_time:
            rate += "; without telemetry nothing says that they follow one another: nothing is smoothed"
            window = None
        run.note(f"drive {drive.id} has no drive.json: {drive.info.fps:g} frames per second, {rate}")
    speeds = drive.speeds_mps()  # read even where no window asks for them: the rows hold them
    unmeasured = sum(speeds[n] is None for n in numbers)
    if window is None or not unmeasured:
        return
    lacks = f"has no measured speed at {unmeasured} of {len(numbers)} frames: their"
    if drive.telemetry is None:
        lacks = "has no telemetry: its"
    run.note(f"drive {drive.id} {lacks} windows take {window.unknown_mps:g} m/s")


def tell(run: Run, report: dict) -> None:
    for task, row in report["tasks"].items():
        erased = f", {row['erased']} of {row['events']} true events erased" if row.get("events") else ""
        run.say(
            f"{task}: {row['changed']} of {row['frames']} frames changed, "
            f"flips {row['flips_raw']} → {row['flips_smoothed']}{erased}"
        )
    truth = report["against_truth"]
    if truth:
        raw, smoothed = (truth[k]["metrics"]["average"] for k in ("raw", "smoothed"))
        run.say(f"Average against truth: raw {raw:.3f}, smoothed {smoothed:.3f} ({truth['frames']} frames)")
