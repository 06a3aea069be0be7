"""The bare-Python part: what it says on an old Python, and that it installs once."""

import ast
import errno
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from edgekit import bootstrap
from edgekit.core.environments import install as installing
from edgekit.core.errors import UserError

SOURCE = Path(bootstrap.__file__)


def test_an_old_python_can_read_it_and_is_told():
    ast.parse(SOURCE.read_text(), feature_version=(3, 6))
    code = "import sys; sys.version_info = (3, 8, 10); from edgekit.bootstrap import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    what, why, do = done.stderr.splitlines()
    assert "too old" in what and "it is 3.8" in why and "3.11" in do


def test_it_runs_on_a_python_with_nothing_installed():
    # -S leaves site-packages out, -I everything else of the user's.
    code = f"import sys; sys.path.insert(0, {str(SOURCE.parents[1])!r}); import edgekit.bootstrap as b\n" \
        "from edgekit.core.environments import contents, install"  # fmt: skip
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a made-up pyproject and an installer that only writes down what it was asked."""
    (tmp_path / "edgekit").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(bootstrap, "__file__", str(tmp_path / "edgekit" / "bootstrap.py"))
    asked = []
    monkeypatch.setattr(installing, "install", lambda want, python, log: asked.append((want, python)))
    monkeypatch.setattr(bootstrap, "make_venv", lambda venv: fake_venv(venv))
    return tmp_path, asked


def fake_venv(venv, pip=True):
    """Cleared and made; its interpreter knows no more than whether there is pip."""
    shutil.rmtree(venv, ignore_errors=True)
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(f"#!/bin/sh\nexit {0 if pip else 1}\n")
    (venv / "bin" / "python").chmod(0o755)


def test_it_installs_once_and_again_where_the_pins_change(checkout):
    root, asked = checkout
    assert "ready after" in bootstrap.setup()
    assert "already there" in bootstrap.setup() and len(asked) == 1
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert "ready after" in bootstrap.setup() and len(asked) == 2
    want, python = asked[0]
    assert (
        want.requirements[:2] == ("-e", f"{root}[road,test]") and python == root / ".venv" / "bin" / "python"
    )


def test_a_failed_installation_leaves_no_stamp(checkout, monkeypatch):
    root, asked = checkout
    bootstrap.setup()
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    def fails(*_):
        raise UserError(
            "the packages could not be installed", "the index cannot be reached", "check the network"
        )

    monkeypatch.setattr(installing, "install", fails)
    for _ in range(2):
        with pytest.raises(UserError):
            bootstrap.setup()
    assert not (root / ".venv" / "edgekit-main.json").exists()


@pytest.mark.parametrize("pip", [True, False])
def test_a_venv_that_was_stopped_before_it_had_pip_is_made_again(checkout, pip):
    venv = checkout[0] / ".venv"
    fake_venv(venv, pip)
    (venv / "package").touch()
    assert "ready after" in bootstrap.setup()
    assert (venv / "package").exists() == pip
    assert "already there" in bootstrap.setup()


def test_a_half_made_venv_is_made_whole(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    venv.create(tmp_path / ".venv", symlinks=True)  # as far as one that was stopped comes: no pip yet
    assert not bootstrap.has_pip(python)
    bootstrap.make_venv(tmp_path / ".venv")
    assert bootstrap.has_pip(python)


def test_a_disk_that_fills_up_on_the_way_is_told_in_three_lines(monkeypatch, capsys):
    def fails(number):
        raise OSError(number, "it failed", "/there")

    monkeypatch.setattr(bootstrap, "setup", lambda: fails(errno.ENOSPC))
    assert bootstrap.main() == 2
    what, why, do = capsys.readouterr().err.splitlines()
    assert "the disk is full: /there" in what and "no space" in why and "free some" in do
    monkeypatch.setattr(bootstrap, "setup", lambda: fails(errno.EIO))
    with pytest.raises(OSError, match="it failed"):
        bootstrap.main()


def test_the_cpu_build_of_torch_is_asked_for_where_there_is_no_card(checkout, monkeypatch):
    from edgekit.core.environments import contents

    for card, want in ((False, True), (True, False)):
        monkeypatch.setattr(contents, "has_nvidia", lambda card=card: card)
        shutil.rmtree(checkout[0] / ".venv", ignore_errors=True)
        bootstrap.setup()
        asked, _ = checkout[1][-1]
        assert ("torch==2.13.0+cpu" in asked.requirements) == (want and sys.platform == "linux")
        assert (contents.TORCH_CPU_INDEX in asked.indexes) == (want and sys.platform == "linux")


def test_a_full_disk_is_told_before_anything_is_made(checkout, monkeypatch):
    monkeypatch.setattr(bootstrap, "DISK_BYTES", 10**18)
    with pytest.raises(UserError, match="not enough disk") as error:
        bootstrap.setup()
    assert "--out" not in str(error.value)
    assert not (checkout[0] / ".venv").exists()
