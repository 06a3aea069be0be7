"""Workers on the machines of a Ray cluster, or on this one: each an actor that holds a blender.Worker.

The launcher keeps its queue, its second try and its time limits; only where a worker lives differs.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgekit.core.cluster import cores_of, joined
from edgekit.core.errors import UserError
from edgekit.render.blender import START_TIMEOUT_S, Worker

GRACE_S = 30.0  # an answer's way back over the network, and a killed process's last breath


class Seat:
    """The actor: one worker process on whatever machine Ray chose."""

    def missing(self, paths: list[str]) -> tuple[str, list[str]]:
        """(this machine's name, those of ``paths`` that it does not see)"""
        return socket.gethostname(), [path for path in paths if not os.path.exists(path)]

    def start(self, python: str, script: str, log: str) -> None:
        self._worker = Worker(python, Path(script), Path(log))

    def send(self, order: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # receive() tells
            self._worker.send(order)

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        return self._worker.receive(timeout_s)

    def why_silent(self, timeout_s: float) -> str:
        return self._worker.why_silent(timeout_s)

    def stop(self) -> None:
        self._worker.stop()


class FarWorker:
    """What blender.Worker is, for a worker in a Seat."""

    def __init__(self, python: str, script: Path, log: Path, shared: Path):
        """shared: a file in the run's folder that the Seat must see. Raises UserError where it does not,
        or where Ray finds no core for it."""
        import ray

        self._ray, self.frames = ray, 0
        self._actor = ray.remote(Seat).options(num_cpus=1).remote()
        needed = [str(Path(path).absolute()) for path in (shared, python, script)]
        try:
            asked = self._actor.missing.remote(needed)
            machine, missing = ray.get(asked, timeout=START_TIMEOUT_S)
        except ray.exceptions.GetTimeoutError:
            ray.kill(self._actor)
            raise UserError(
                "render: Ray gave no core to a worker",
                f"none became free in {START_TIMEOUT_S:.0f} s; {cores_of(ray)}",
                "wait for the cluster's other work to end, or ask for fewer: workers={ray: N}",
            ) from None
        except ray.exceptions.RayActorError as error:  # edgekit is not there, or not the same
            raise UserError(
                "render: a Ray worker cannot start",
                str(error).strip().splitlines()[-1],
                "install the same edgekit on every machine of the cluster",
            ) from None
        if missing:
            ray.kill(self._actor)
            seen = "the run's folder" if missing[0] == needed[0] else missing[0]
            raise UserError(
                f"render: machine {machine} of the Ray cluster does not see {seen}",
                f"{missing[0]} is not there",
                "put the run (--out) and the Python environments where every machine sees them under one path",
            )
        ray.get(self._actor.start.remote(needed[1], needed[2], str(log.absolute())))

    def send(self, order: dict[str, Any]) -> None:
        paths = {key: os.path.abspath(order[key]) for key in ("spec", "out")}
        self._actor.send.remote({**order, **paths})  # an actor does what it is asked in that order

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        return self._ask(self._actor.receive.remote(timeout_s), timeout_s)

    def why_silent(self, timeout_s: float) -> str:
        return self._ask(self._actor.why_silent.remote(timeout_s), 0.0) or "its Ray worker or machine is gone"

    def stop(self) -> None:
        """The process first, as its actor's death would only ask it to end."""
        self._ask(self._actor.stop.remote(), 0.0)
        self._ray.kill(self._actor)

    def _ask(self, answer, timeout_s: float) -> Any:
        with suppress(self._ray.exceptions.RayActorError, self._ray.exceptions.GetTimeoutError):
            return self._ray.get(answer, timeout=timeout_s + GRACE_S)
        return None


@contextmanager
def cluster(count: int, python: str, script: Path, log: Path) -> Iterator[Callable[[], FarWorker]]:
    """The function that starts a worker on a Ray cluster. Raises UserError as edgekit.core.cluster.joined does."""
    with joined(count, "render", log.parent) as (_, shared):
        yield lambda: FarWorker(python, script, log, shared)
