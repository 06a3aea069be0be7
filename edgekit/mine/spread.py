"""Mining spread over a Ray cluster: each worker opens the teacher once and hears one drive after another.

What a worker hears goes into the run's own logs (edgekit/mine/hearing.py); the command then reads them as a run
that is started again does. So the number of workers changes no byte of what is mined.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from edgekit.core.cluster import joined
from edgekit.core.errors import UserError
from edgekit.core.progress import bar
from edgekit.core.run import Run, open_input
from edgekit.drives import Drive, open_drive
from edgekit.engine.answerer import Answerer
from edgekit.library import load_library
from edgekit.mine.config import MineConfig
from edgekit.mine.doubt import Doubt
from edgekit.mine.experts.config import Expert, open_expert
from edgekit.mine.frames import frame_numbers
from edgekit.mine.hearing import hear
from edgekit.mine.logs import Logs
from edgekit.models.open import open_answerer


class Listener:
    """The actor. teacher: where it lies, as this machine sees it; shared: a file of the run that it must see."""

    def __init__(self, recipe: dict, teacher: str | None, logs: Logs, folder: str, shared: str):
        self.config, self.logs, self.refused = MineConfig(**recipe), logs, None
        config = self.config
        try:
            for needed in (shared, logs.answers.parent):
                if not os.path.exists(needed):
                    raise UserError(
                        f"mine: machine {socket.gethostname()} of the Ray cluster does not see the run's folders",
                        f"{needed} is not there",
                        "put the run (--out), heard, the drives and the teacher where every machine sees them under "
                        "one path",
                    )
            os.chdir(folder)  # a recipe's paths are relative to where the command was given
            place = open_input(teacher).out if teacher else None
            self.teacher: Answerer = open_answerer(config.kind, place, config.endpoint, batch=config.batch)
            self.experts: list[Expert] = [open_expert(e) for e in config.experts]
            self.library = load_library(config.library)
            self.doubt = Doubt(logs, self.library, config)
        except UserError as error:
            self.refused = (error.what, error.why, error.do)

    def hear(self, root: str, drive_id: str) -> str | tuple[str, str, str]:
        """Hears the drive at ``root``; gives its id, or a refusal's three lines."""
        if self.refused:
            return self.refused
        try:
            drive = open_drive(root, self.config.reading)
            if drive.id != drive_id:
                raise UserError(
                    f"mine: {root} is another drive here", f"{drive.id}, not {drive_id}", "mend the paths"
                )
            numbers = frame_numbers(len(drive), self.config.every, self.config.frames_per_drive)
            hear(self.config, drive, numbers, self.teacher, self.experts, self.library, self.logs, self.doubt)
        except UserError as error:
            return error.what, error.why, error.do
        return drive_id


def heard_by_all(
    config: MineConfig, run: Run, drives: Sequence[Drive], wanted: Sequence[Sequence[int]], logs: Logs
) -> None:
    """Fills the logs of all drives. Raises UserError as ``hear`` does, and where the cluster cannot be joined."""
    count = min(config.workers.ray, len(drives))
    recipe, logs = config.model_dump(mode="json"), logs.absolute()
    with joined(count, "mine", run.path) as (ray, shared):
        told = (recipe, config.teacher, logs, os.getcwd(), str(shared.absolute()))
        seats = [ray.remote(Listener).options(num_cpus=1).remote(*told) for _ in range(count)]
        # The longest drives first: the last one to end is then a short one.
        waiting = sorted(zip(drives, wanted, strict=True), key=lambda pair: len(pair[1]))
        busy: dict = {}
        with bar("drives over the cluster", total=len(drives), unit="drive") as shown:
            while waiting or busy:
                while waiting and seats:
                    seat, (drive, _) = seats.pop(), waiting.pop()
                    busy[seat.hear.remote(str(drive.root.absolute()), drive.id)] = (seat, drive)
                (done,), _ = ray.wait(list(busy), num_returns=1)
                seat, drive = busy.pop(done)
                try:
                    answer = ray.get(done)
                except ray.exceptions.RayError as error:
                    raise UserError(
                        f"mine: a Ray worker was lost over drive {drive.id}",
                        (str(error).strip().splitlines() or [type(error).__name__])[-1][:200],
                        "start the same command again: what was heard is kept",
                    ) from None
                if not isinstance(answer, str):
                    raise UserError(*answer)
                seats.append(seat)
                shown.update(1)
