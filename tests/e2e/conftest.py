"""The road of `make quickstart`, walked once: what it makes is what the end-to-end tests stand on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.core.environments import python_of
from edgekit.core.errors import UserError
from edgekit.core.files import read_json


class Walked:
    """A walked road: its run directory, what it told, and its steps' runs by name."""

    def __init__(self, path: Path, told: str):
        self.path, self.told = path, told

    def step(self, name: str) -> Path:
        return self.path / "steps" / name

    def digest(self) -> str:
        return read_json(self.path / "manifest.json")["digest"]


def walk(path: Path) -> Walked:
    command = [sys.executable, "-m", "edgekit", "road", "nano", "--out", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return Walked(path, done.stderr)


@pytest.fixture(scope="session")
def walked(tmp_path_factory) -> Walked:
    """Skips where Blender's environment is missing: the road begins with drawing."""
    try:
        python_of("blender")
    except UserError as error:
        pytest.skip(str(error))
    return walk(tmp_path_factory.mktemp("walked") / "road")
