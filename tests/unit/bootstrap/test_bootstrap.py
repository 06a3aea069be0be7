"""The bare-Python part: what it says on an old Python, and that it installs once."""

import ast
import shutil
import subprocess
import sys
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


def fake_venv(venv):
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()


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
    with pytest.raises(UserError, match="not enough disk"):
        bootstrap.setup()
    assert not (checkout[0] / ".venv").exists()
