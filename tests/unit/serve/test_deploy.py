"""deploy/ says what the code does: the same pins, the same flags."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.core.environments import contents
from edgekit.serve.config import Vllm
from edgekit.serve.vllm_process import command

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


@pytest.mark.parametrize(
    ("name", "want"),
    [("serve-cuda", contents.SERVE_CUDA), ("serve-cpu", contents.SERVE_CPU), ("blender", contents.BLENDER)],
)
def test_the_pins_are_those_of_setup(name, want):
    lines = (DEPLOY / f"requirements-{name}.txt").read_text().splitlines()
    assert tuple(line for line in lines if not line.startswith("#")) == want.requirements


def pairs(line: list[str]) -> dict[str, str]:
    flags = dict(zip(line[::2], line[1::2], strict=True))
    return {k: json.loads(v) if v.startswith("{") else v for k, v in flags.items()}


def test_the_script_uses_the_stations_flags(tmp_path):
    echo = tmp_path / "vllm"
    echo.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n')
    echo.chmod(0o755)
    done = subprocess.run(
        [DEPLOY / "vllm.sh", tmp_path], env={**os.environ, "VLLM": str(echo)}, capture_output=True, text=True
    )
    script = pairs(done.stdout.splitlines()[2:])
    (tmp_path / "config.json").write_text('{"dtype": "auto"}')
    station = pairs(command(echo, tmp_path, tmp_path / "s", "edgekit", Vllm(max_num_seqs=32), gpu=True)[3:])
    assert (script.pop("--host"), script.pop("--port")) == ("127.0.0.1", "8000")
    station.pop("--uds")
    assert script == station


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not there")
def test_systemd_reads_the_unit(tmp_path):
    unit = tmp_path / "edgekit-serve.service"
    text = (DEPLOY / unit.name).read_text().replace("/srv/edgekit/.venv/bin/edgekit", "/bin/true")
    unit.write_text(text.replace("User=edgekit", "User=root"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
