"""Mining spread over a Ray cluster: each worker opens the teacher once and hears one drive after another.

What a worker hears goes into the run's own logs (edgekit/mine/hearing.py); the command then reads them as a run
that is started again does. So the number of workers changes no byte of what is mined.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgekit.core.cluster import joined
from edgekit.core.errors import UserError
from edgekit.core.progress import bar
from edgekit.core.run import Run, open_input
from edgekit.drives import Drive, open_drives
from edgekit.engine.answerer import Answerer
from edgekit.library import load_library
from edgekit.mine.asking import frame_numbers
from edgekit.mine.config import MineConfig
from edgekit.mine.experts.config import Expert, open_expert
from edgekit.mine.hearing import hear
from edgekit.models.open import open_answerer


class Listener:
    """The actor. teacher: where it lies, as this machine sees it."""

    def __init__(self, recipe: dict, teacher: str | None, state: str, folder: str):
        os.chdir(folder)  # a recipe's paths are relative to where the command was given
        self.config, self.state = MineConfig(**recipe), Path(state)
        place = open_input(teacher) if teacher else None
        config = self.config
        self.teacher: Answerer = open_answerer(
            config.kind, place and place.out, config.endpoint, batch=config.batch
        )
        self.experts: list[Expert] = [open_expert(e) for e in config.experts]
        self.library = load_library(config.library)

    def hear(self, given: str, drive_id: str) -> str | tuple[str, str, str]:
        """Hears a drive of the input ``given``; gives its id, or a refusal's three lines."""
        try:
            found = open_drives(given, self.config.reading)
            drive = next(drive for drive in found if drive.id == drive_id)
            numbers = frame_numbers(len(drive), self.config.every, self.config.frames_per_drive)
            hear(self.config, drive, numbers, self.teacher, self.experts, self.library, self.state)
        except UserError as error:
            return error.what, error.why, error.do
        return drive_id


def heard_by_all(
    config: MineConfig, run: Run, drives: Sequence[Drive], wanted: Sequence[Sequence[int]]
) -> None:
    """Fills the logs of all drives. Raises UserError as ``hear`` does, and where the cluster cannot be joined."""
    count = min(config.workers.ray, len(drives))
    of = {drive.id: str(given.out.absolute()) for given in run.inputs["drives"]
          for drive in open_drives(given.out, config.reading)}  # fmt: skip
    recipe, state = config.model_dump(mode="json"), str(run.state.absolute())
    with joined(count, "mine", run.path) as (ray, _):
        seats = [
            ray.remote(Listener).options(num_cpus=1).remote(recipe, config.teacher, state, os.getcwd())
            for _ in range(count)
        ]
        # The longest drives first: the last one to end is then a short one.
        waiting = sorted(zip(drives, wanted, strict=True), key=lambda pair: len(pair[1]))
        busy: dict = {}
        with bar("drives over the cluster", total=len(drives), unit="drive") as shown:
            while waiting or busy:
                while waiting and seats:
                    seat, (drive, _) = seats.pop(), waiting.pop()
                    busy[seat.hear.remote(of[drive.id], drive.id)] = (seat, drive)
                (done,), _ = ray.wait(list(busy), num_returns=1)
                seat, drive = busy.pop(done)
                try:
                    told = ray.get(done)
                except ray.exceptions.RayError as error:
                    raise UserError(
                        f"mine: a Ray worker was lost over drive {drive.id}",
                        (str(error).strip().splitlines() or [type(error).__name__])[-1][:200],
                        "start the same command again: what was heard is kept",
                    ) from None
                if not isinstance(told, str):
                    raise UserError(*told)
                seats.append(seat)
                shown.update(1)
