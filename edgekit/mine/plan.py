"""What mining would cost, from the frames of its drives: told by ``--dry-run``."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.recipe import Plan
from edgekit.models.sizes import sizes_of

NANO = 2_600_000  # parameters, where nothing is known of the teacher
TOKENS = 600  # of a question: picture and prompt 350, the answer's 110 about twice
CPU = 60e9  # FLOP/s of two CPU cores
DETECT_S = 0.04
FRAME_S, FRAME_GB = 0.03, 60e-6  # to decode it three times and store it, at the contract's size


def plan_mining(
    frames: int,
    gold_rows: int,
    teacher: str | None,
    dynamic: bool,
    batch: int,
    detectors: int,
    foreseen: Sequence[str],
) -> Plan:
    """Estimates for a Checkpoint in torch on two CPU cores.

    teacher: None where a port answers; dynamic: a frame may be asked twice; foreseen: notes on what is not there,
    and on what would be refused.
    """
    questions = frames * (2 if dynamic else 1)
    again = " (dynamic: at most two a frame)" if dynamic else ""
    notes = [f"{frames} frames, {questions} questions{again}"]
    if gold_rows:
        questions += gold_rows
        notes.append(f"{gold_rows} more about the gold frames")
    notes += foreseen
    minutes = 0.2 + frames * (FRAME_S + detectors * DETECT_S) / 60
    disk = 0.01 + frames * FRAME_GB
    if detectors:
        notes.append(
            f"{detectors} detector(s), {DETECT_S * 1e3:.0f} ms a frame each: a small one's time on a CPU core"
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
