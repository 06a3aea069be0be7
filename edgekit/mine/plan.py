"""What mining would cost, from the frames of its drives: told by ``--dry-run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.core.errors import UserError
from edgekit.core.places import asset
from edgekit.core.recipe import Plan
from edgekit.dataset.sample import SPLITS
from edgekit.drives import open_drives
from edgekit.drives.config import Reading
from edgekit.mine.frames import frame_numbers
from edgekit.models.sizes import sizes_of

UNTOLD = 1000  # frames of an input that is not there yet
NANO = 2_600_000  # parameters, where nothing is known of the teacher
TOKENS = 600  # of a question: picture and prompt 350, the answer's 110 about twice
CPU = 60e9  # FLOP/s of two CPU cores
DETECT_S = 0.04
FRAME_S, FRAME_GB = 0.03, 60e-6  # to decode it three times and store it, at the contract's size


def plan_mining(
    drives: Sequence[str],
    teacher: str | None,
    every: int,
    frames_per_drive: int | None,
    dynamic: bool,
    batch: int,
    reading: Reading | None = None,
    detectors: Sequence[str] = (),
    gold: str | None = None,
) -> Plan:
    """Estimates for a Checkpoint in torch on two CPU cores, and which drives mining would refuse. Headers, telemetry
    and truth are read for that; a frame is decoded only where a film's reader must, to count.

    teacher: None where a port answers; dynamic: a frame may be asked twice.
    """
    frames, notes = 0, []
    for given in drives:
        ships = given.startswith("package:")
        try:
            found = open_drives(_place(given), reading)
        except (UserError, OSError) as error:
            why = error.why if isinstance(error, UserError) else str(error)
            # What is not there yet another command may make.
            refused = not ships and Path(given).exists()
            told = _refused(error) if refused else f"{given}: not counted ({why})"
            notes.append(f"{told}; taken as {UNTOLD} frames")
            frames += UNTOLD
            continue
        for drive in found:
            length = UNTOLD
            try:
                # What ships has truth of every frame, and needs no look at its film and telemetry.
                length = len((ships and drive.truth()) or drive)
                if not ships:
                    _ = drive.truth(), drive.telemetry
            except (UserError, OSError) as error:
                notes.append(_refused(error))
            frames += len(frame_numbers(length, every, frames_per_drive))
    questions = frames * (2 if dynamic else 1)
    again = " (dynamic: at most two a frame)" if dynamic else ""
    notes.insert(0, f"{frames} frames, {questions} questions{again}")
    if gold and (rows := _rows(_place(gold))):
        questions += rows
        notes.insert(1, f"{rows} more about the gold frames")
    minutes = 0.2 + frames * (FRAME_S + len(detectors) * DETECT_S) / 60
    disk = 0.01 + frames * FRAME_GB
    notes += [f"NOT HERE: the detector {file}" for file in detectors if file and not Path(file).is_file()]
    if detectors:
        notes.append(
            f"{len(detectors)} detector(s), {DETECT_S * 1e3:.0f} ms a frame each: a small one's time on a CPU core"
        )
    if teacher is None:
        notes.append("memory and time without the port's own: how fast it answers is not known here")
        return Plan(0.5, round(disk, 2), round(minutes, 1), tuple(notes))
    sizes, known = sizes_of(teacher)
    parameters = sizes.all if sizes else NANO
    # Of each frame in a batch: keys and values of about 450 tokens, and 110 rows of logits.
    image = 0.3e9 if parameters > 1e9 else 0.03e9
    notes += [
        f"{parameters / 1e9:.3g} B parameters ({known if sizes else f'{known}: a nano is taken'})",
        f"time: {TOKENS} tokens a question × 2 FLOP a parameter, two CPU cores at 60 GFLOP/s",
        "an estimate from these sizes, not a measurement",
    ]
    return Plan(
        memory_gb=round((4 * parameters + batch * image + 1.2e9) / 1e9, 1),
        disk_gb=round(disk, 2),
        minutes=round(minutes + 2 * parameters * TOKENS * questions / CPU / 60, 1),
        notes=tuple(notes),
    )


def _place(given: str) -> Path:
    """A run's out/, or the folder itself; unlike an input that is opened, it is not digested."""
    folder = asset(given.removeprefix("package:")) if given.startswith("package:") else Path(given)
    return folder / "out" if (folder / "manifest.json").is_file() else folder


def _rows(dataset: Path) -> int:
    """Rows of a Dataset by its lines; 0 where it is not there yet."""
    return sum(
        sum(1 for _ in file.open("rb")) for split in SPLITS if (file := dataset / f"{split}.jsonl").is_file()
    )


def _refused(error: UserError | OSError) -> str:
    told = f"{error.what} ({error.why}); {error.do}" if isinstance(error, UserError) else str(error)
    return f"WOULD BE REFUSED: {told}"
