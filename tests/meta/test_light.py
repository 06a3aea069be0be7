"""What must stay light: the help, every config, and the engine of a vehicle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.cli import VERBS, built

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "transformers", "peft", "accelerate", "llmcompressor", "compressed_tensors", "diffusers", "vllm",
    "bpy", "onnx", "onnxscript", "onnxruntime", "cv2", "av", "fastapi", "uvicorn", "openai", "ray", "matplotlib",
    "libsumo", "sumolib", "mcap", "pyarrow", "rerun", "gepa",
}  # fmt: skip


def imported(*command: str) -> set[str]:
    """Top names of the modules that a Python command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_the_measure_sees_an_import():
    assert "sqlite3" in imported("-c", "import sqlite3.dbapi2")


def test_help_imports_nothing_heavy():
    assert not HEAVY & imported("-m", "edgekit", "--help")
    assert not HEAVY & imported("-m", "edgekit", "--version")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if built(verb)])
def test_a_station_is_light_until_it_runs(verb):
    name = f"{verb.title()}Config"
    code = f"import edgekit.{verb} as p; from edgekit.{verb}.config import {name}; assert p.{name} is {name}"
    assert not HEAVY & imported("-c", code)


def test_doctor_imports_nothing_heavy():
    assert not HEAVY & imported("-m", "edgekit", "doctor")


def test_a_vehicle_needs_neither_torch_nor_transformers():
    # The Bundle's answerer with every module of torch's world shut out.
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft', 'accelerate', 'onnx', 'llmcompressor'):\n"
        "    sys.modules[name] = None\n"
        "import edgekit.engine.bundle, edgekit.engine.slots, edgekit.engine.pixels, edgekit.demo.run"
    )
    assert not (HEAVY - {"onnxruntime", "cv2", "av", "fastapi", "uvicorn"}) & imported("-c", code)
