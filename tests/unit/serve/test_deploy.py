"""deploy/ says what the code does: the same pins, the same flags."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekit.core.environments import contents
from edgekit.core.errors import EdgekitError, UserError
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


def script(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """vllm.sh with a vllm that writes its arguments, a line each."""
    echo = folder / "vllm"
    echo.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n')
    echo.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k not in ("HOST", "PORT", "NAME", "DTYPE", "VLLM_API_KEY")}
    return subprocess.run(
        [DEPLOY / "vllm.sh", folder],
        env=kept | {"VLLM": str(echo)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "float32"}, "float32"),
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "float32", "quantization_config": {"bits": 4}}, "auto"),
        ({}, "auto"),
    ],
)
def test_the_script_uses_the_stations_flags(tmp_path, config, dtype):
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = pairs(script(tmp_path).stdout.splitlines()[2:])
    station = pairs(
        command(Path("vllm"), tmp_path, tmp_path / "s", "edgekit", Vllm(max_num_seqs=32), gpu=True)[3:]
    )
    assert told["--dtype"] == dtype
    assert (told.pop("--host"), told.pop("--port")) == ("127.0.0.1", "8000")
    station.pop("--uds")
    assert told == station


def test_the_script_lets_others_in_only_with_a_key(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    refused = script(tmp_path, HOST="0.0.0.0")
    assert refused.returncode == 2 and not refused.stdout
    assert "VLLM_API_KEY" in refused.stderr and len(refused.stderr.splitlines()) == 3
    let_in = pairs(
        script(tmp_path, HOST="0.0.0.0", VLLM_API_KEY="k", DTYPE="float16").stdout.splitlines()[2:]
    )
    assert (let_in["--host"], let_in["--dtype"]) == ("0.0.0.0", "float16")


def test_the_script_wants_a_checkpoint(tmp_path):
    done = script(tmp_path)
    assert done.returncode == 2 and "config.json" in done.stderr and len(done.stderr.splitlines()) == 3


def test_the_unit_starts_again_what_a_restart_can_mend():
    """A back end that ended leaves with 1; what the user must change leaves with 2, and stays down."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((DEPLOY / "edgekit-serve.service").read_text())
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == str(UserError.exit_code) != str(EdgekitError.exit_code)
    # A fixed --out holds one identity: with another model at the same path it would refuse for ever.
    assert "--out" not in service["ExecStart"]
    assert service["ReadWritePaths"] == f"{service['WorkingDirectory']}/runs"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not there")
def test_systemd_reads_the_unit(tmp_path):
    unit = tmp_path / "edgekit-serve.service"
    text = (DEPLOY / unit.name).read_text().replace("/srv/edgekit/.venv/bin/edgekit", "/bin/true")
    unit.write_text(text.replace("User=edgekit", "User=root"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
