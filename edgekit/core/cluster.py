"""A Ray cluster to spread work over: the one of $RAY_ADDRESS, or one of this machine's own cores.

Every machine must see the run's folder and the Python environments under the same paths: orders and what comes
of them pass through files. Over NFS mount with ``lookupcache=positive``, or a file that was asked for before it
was there stays unseen for up to a minute.
"""

import functools
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, Field

from edgekit.core.errors import UserError
from edgekit.core.recipe import Config

CONNECT_S = 10.0


class RayWorkers(Config):
    """``workers: {ray: 8}``: over the cluster at $RAY_ADDRESS, or over this machine where that is not set."""

    model_config = ConfigDict(frozen=True)
    ray: int = Field(ge=1, le=4096)  # worker processes, one core each

    def __str__(self) -> str:
        return f"{self.ray} Ray"


def worker_count(workers: int | RayWorkers) -> int:
    return workers.ray if isinstance(workers, RayWorkers) else workers


@contextmanager
def joined(count: int, verb: str, log_folder: Path) -> Iterator[tuple[ModuleType, Path]]:
    """Joins the cluster of $RAY_ADDRESS, or starts one of ``count`` cores on this machine, which then
    listens on the loopback only; gives Ray and a file in ``log_folder`` that every machine must see.

    Raises UserError where Ray is not installed, not reached, or has fewer cores than ``count``.
    """
    ray, address = _imported(verb), os.environ.get("RAY_ADDRESS")
    theirs = ray.is_initialized()
    with redirect_stdout(sys.stderr):  # Ray tells of dead workers there, and ours is for the run's path alone
        if not theirs:
            options = {} if address else {"num_cpus": count, "object_store_memory": 80_000_000}
            _join(ray, verb, address or "local", log_to_driver=False, logging_level="error", **options)
        try:
            if ray.cluster_resources().get("CPU", 0) < count:
                raise UserError(
                    f"{verb}: {count} Ray workers do not fit",
                    cores_of(ray),
                    "ask for fewer: workers={ray: N}; or add machines",
                )
            with _seen_by_all(log_folder) as shared:
                yield ray, shared
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


def cores_of(ray) -> str:
    return f"the cluster has {ray.cluster_resources().get('CPU', 0):.0f} cores in all"


def _imported(verb: str):
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
            f"{verb}: ray is not installed",
            "workers={ray: N} spreads the work with it",
            "pip install 'edgekit[ray]'; or workers=N for processes of this machine alone",
        ) from None
    return ray


@functools.cache
def _token() -> str:
    return secrets.token_hex(32)


def _join(ray, verb: str, address: str, **options: Any) -> None:
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
            f"{verb}: no Ray cluster at {address}",
            (str(error).strip().splitlines() or [type(error).__name__])[0],
            "mend RAY_ADDRESS, or unset it to use this machine alone",
        ) from None
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
