"""Workers on the machines of a Ray cluster, or on this one: each an actor that holds a blender.Worker.

The launcher keeps its queue, its second try and its time limits; only where a worker lives differs.
Every machine must see the run's folder and the Python environments under the same paths: orders, frames
and labels pass through files. Over NFS mount with ``lookupcache=positive``, or a frame that was asked for
before it was there stays unseen for up to a minute.
"""

import functools
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from edgekit.core.errors import UserError
from edgekit.core.recipe import Config
from edgekit.render.blender import START_TIMEOUT_S, Worker

CONNECT_S = 10.0
GRACE_S = 30.0  # an answer's way back over the network, and a killed process's last breath


class RayWorkers(Config):
    """``workers: {ray: 8}``: over the cluster at $RAY_ADDRESS, or over this machine where that is not set."""

    model_config = ConfigDict(frozen=True)
    ray: int = Field(ge=1, le=4096)  # worker processes, one core each

    def __str__(self) -> str:
        return f"{self.ray} Ray"


def worker_count(workers: int | RayWorkers) -> int:
    return workers.ray if isinstance(workers, RayWorkers) else workers


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
                f"none became free in {START_TIMEOUT_S:.0f} s; {_cpus(ray)}",
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
    """Joins the cluster of $RAY_ADDRESS, or starts one of ``count`` cores on this machine, which then
    listens on the loopback only; gives the function that starts a worker on it.

    Raises UserError where Ray is not installed, not reached, or has fewer cores than ``count``.
    """
    ray, address = _imported(), os.environ.get("RAY_ADDRESS")
    theirs = ray.is_initialized()
    with redirect_stdout(sys.stderr):  # Ray tells of dead workers there, and ours is for the run's path alone
        if not theirs:
            options = {} if address else {"num_cpus": count, "object_store_memory": 80_000_000}
            _join(ray, address=address or "local", log_to_driver=False, logging_level="error", **options)
        try:
            if ray.cluster_resources().get("CPU", 0) < count:
                raise UserError(
                    f"render: {count} Ray workers do not fit",
                    _cpus(ray),
                    "ask for fewer: workers={ray: N}; or add machines",
                )
            with _seen_by_all(log.parent) as shared:
                yield lambda: FarWorker(python, script, log, shared)
        finally:
            if not theirs:
                ray.shutdown()


@contextmanager
def _seen_by_all(folder: Path) -> Iterator[Path]:
    """A file in the run's folder by which a machine shows that it sees the same one."""
    for left in folder.glob(".shared-*"):  # by a run that was killed; it had this folder to itself
        left.unlink()
    shared = folder / f".shared-{secrets.token_hex(8)}"
    shared.touch()
    try:
        yield shared
    finally:
        shared.unlink(missing_ok=True)


def _cpus(ray) -> str:
    return f"the cluster has {ray.cluster_resources().get('CPU', 0):.0f} cores in all"


def _imported():
    """Ray, with its settings made before: it reads them while it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's word for: loopback only
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", _token())  # else Ray leaves one in the home folder
    try:
        import ray
    except ImportError:
        raise UserError(
            "render: ray is not installed",
            "workers={ray: N} spreads the scenes with it",
            "pip install 'edgekit[ray]'; or workers=N for processes of this machine alone",
        ) from None
    return ray


@functools.cache
def _token() -> str:
    return secrets.token_hex(32)


def _join(ray, address: str, **options: Any) -> None:
    """ray.init() without its handler of SIGTERM, which would end a run with Ray's exit code, not ours."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
        ray.init(address=address, include_dashboard=False, **options)
    except (OSError, RuntimeError, ValueError) as error:  # OSError: ConnectionError is one
        raise UserError(
            f"render: no Ray cluster at {address}",
            (str(error).strip().splitlines() or [type(error).__name__])[0],
            "mend RAY_ADDRESS, or unset it to use this machine alone",
        ) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
