"""Every way a command can end."""

import errno
import os
import signal
import sys

import pytest

from edgekit.core.errors import GateError, UserError
from edgekit.core.guard import EXTRAS, guarded


def ends(error, debug=False):
    def work():
        raise error

    return guarded(work, debug)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UserError("what", "why", "do"), 2, ["error: what", "  why: why", "  do:  do"]),
        (GateError("what", "why", "do"), 3, ["error: what", "  why: why", "  do:  do"]),
        (KeyboardInterrupt(), 130, ["edgekit: stopped; run the same command again to resume"]),
        (SystemExit(143), 143, ["edgekit: stopped; run the same command again to resume"]),
        (SystemExit(0), 0, []),
        (ZeroDivisionError("by zero"), 1, ["error: ZeroDivisionError: by zero", None, None]),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/x"),
            2,
            ["error: the disk is full: out/x", None, None],
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "out/x"),
            2,
            ["error: not allowed: out/x", "  why: Permission denied", None],
        ),
    ],
)
def test_exit_codes_and_words(error, code, says, capsys):
    assert ends(error) == code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == len(says)
    assert all(want in (None, have) for want, have in zip(says, lines, strict=True))


def test_work_that_ends_well_is_zero(capsys):
    assert guarded(lambda: None) == 0 and capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [UserError("a", "b", "c"), ValueError("x")])
def test_debug_shows_the_traceback(error, capsys):
    ends(error, debug=True)
    assert "Traceback" in capsys.readouterr().err
    ends(error)
    assert "Traceback" not in capsys.readouterr().err


def test_a_missing_package_names_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(EXTRAS, "no_such_module_at_all", "train")
    assert (
        ends(ModuleNotFoundError("No module named 'no_such_module_at_all.x'", name="no_such_module_at_all.x"))
        == 2
    )
    assert "pip install 'edgekit[train]'" in capsys.readouterr().err


def test_a_module_of_a_side_environment_names_its_setup(capsys):
    assert ends(ModuleNotFoundError("No module named 'bpy'", name="bpy")) == 2
    assert "edgekit setup blender" in capsys.readouterr().err


def test_a_missing_module_of_our_own_is_our_fault(capsys):
    assert ends(ModuleNotFoundError("No module named 'edgekit.gone'", name="edgekit.gone")) == 1
    capsys.readouterr()


def test_every_extra_that_is_named_exists():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to a process there")
def test_sigterm_stops_the_work_and_the_handler_goes_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert guarded(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "stopped" in capsys.readouterr().err
