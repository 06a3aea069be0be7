"""EDGEKIT_REQUIRE: where a machine must be able to run a test, skipping it is failing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

@pytest.mark.blender
def test_skips_itself():
    pytest.skip("no bpy")

@pytest.mark.blender
@pytest.mark.skipif(True, reason="never")
def test_is_skipped():
    pass

@pytest.mark.gpu
def test_may_be_skipped():
    pytest.skip("no gpu")

@pytest.mark.blender
def test_passes():
    pass
"""


@pytest.mark.parametrize(
    ("required", "code", "says"),
    [
        ("", 0, "blender: 1 passed, 2 skipped"),
        ("onnx", 0, "onnx: none ran"),  # named files are no whole run; the lack is only told
        ("blender", 1, "blender: 1 passed, 1 failed, 1 error"),
    ],
)
def test_a_required_skip_is_a_failure(tmp_path, required, code, says):
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_them.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)],
        env={**os.environ, "EDGEKIT_REQUIRE": required}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code and says in done.stdout, done.stdout[-2000:]
    assert "gpu: 1 skipped" in done.stdout


def test_a_whole_run_without_a_required_kind_fails(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "tests" / "test_them.py").write_text("def test_passes(): pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\nmarkers = blender: x\n")
    for required, code in (("", 0), ("blender", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "pytest"],
            cwd=tmp_path, env={**os.environ, "EDGEKIT_REQUIRE": required}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout
