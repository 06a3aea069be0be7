"""What a stranger gets from pip: the wheel's contents, and what its metadata promises."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_package_data_is_inside(wheel):
    names = set(wheel.namelist())
    for folder in ("recipes", "prompts"):
        source = [p for p in (ROOT / folder).rglob("*") if p.is_file() and not p.name.startswith(".")]
        assert source
        for path in source:
            assert f"edgekit/data/{path.relative_to(ROOT).as_posix()}" in names
    for name in ("nano-teacher", "sample", "drives"):
        assert f"edgekit/assets/{name}/manifest.json" in names
        assert any(n.startswith(f"edgekit/assets/{name}/out/") for n in names)
    assert any("nano_tokenizer" in n for n in names)


def test_every_file_of_the_package_is_inside_and_nothing_else(wheel):
    files = [p.relative_to(ROOT) for p in (ROOT / "edgekit").rglob("*") if p.is_file()]
    want = {p.as_posix() for p in files if "__pycache__" not in p.parts}
    have = {n for n in wheel.namelist() if n.startswith("edgekit/") and not n.startswith("edgekit/data/")}
    assert have == want


def test_the_wheel_is_small_enough_to_send(wheel):
    assert sum(info.compress_size for info in wheel.infolist()) < 60e6


def test_the_metadata(wheel):
    (name,) = [n for n in wheel.namelist() if n.endswith(".dist-info/METADATA")]
    text = wheel.read(name).decode()
    assert "Requires-Python: >=3.11" in text and "Provides-Extra: vehicle" in text
    for licence in ("LICENSE", "edgekit/render/worker/COPYING"):
        assert any(n.endswith(f".dist-info/licenses/{licence}") for n in wheel.namelist()), licence
    entry = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "edgekit = edgekit.cli:main" in entry


def test_an_installed_wheel_finds_its_recipes(wheel, tmp_path):
    wheel.extractall(tmp_path)
    code = "from edgekit.core.places import shipped, PACKAGE; from edgekit.core.recipe import find_recipe as f; " \
        "print(PACKAGE, shipped('prompts').is_dir(), f('quick', 'render'))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "True" and str(tmp_path / "edgekit" / "data") in done.stdout.split()[2]
