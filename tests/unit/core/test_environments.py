"""Side environments: where they lie, when one is whole, what a failure is told as."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from edgekit.core import environments
from edgekit.core.environments import build, contents, install, pip_settings, place, vllm_cpu
from edgekit.core.errors import UserError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_ENVS", str(tmp_path / "side"))


def stamp(name: str, **changes) -> None:
    python = place.interpreter(name)
    python.parent.mkdir(parents=True)
    python.touch()
    text = {"schema": place.SCHEMA, "digest": contents.wanted(name).digest(), **changes}
    place.stamp_of(name).write_text(json.dumps(text))


def test_the_default_place_is_beside_the_interpreter(monkeypatch):
    monkeypatch.delenv("EDGEKIT_ENVS")
    assert environments.folder_of("serve").as_posix() == f"{sys.prefix}/side/serve"


def test_python_of_a_whole_environment():
    stamp("blender")
    assert environments.python_of("blender") == environments.folder_of("blender") / "bin" / "python"


def test_python_of_what_is_missing_incomplete_or_of_other_pins():
    with pytest.raises(UserError, match="there is none") as error:
        environments.python_of("serve")
    assert error.value.do == "run: edgekit setup serve"
    stamp("blender", digest="0" * 64)
    with pytest.raises(UserError, match="other versions"):
        environments.python_of("blender")
    place.stamp_of("blender").unlink()
    with pytest.raises(UserError, match="not complete"):
        environments.python_of("blender")


def test_an_unknown_name_is_answered_with_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'serve'"):
        environments.setup("serv")


def test_a_whole_environment_is_left_as_it_is(monkeypatch):
    stamp("blender")
    monkeypatch.setattr(build, "install", lambda *_: pytest.fail("installed again"))
    assert environments.setup("blender") == place.interpreter("blender")


def test_too_little_disk_is_told_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(build, "_base_python", lambda want: sys.executable)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": 10_000_000})())
    with pytest.raises(UserError, match="not enough disk") as error:
        environments.setup("blender")
    assert "EDGEKIT_ENVS" in error.value.do and "--out" not in error.value.do
    assert not environments.folder_of("blender").exists()


def test_a_python_without_wheels_is_refused(monkeypatch):
    monkeypatch.setattr(build.sys, "version_info", type("V", (), {"minor": 9}))
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="wheels for Python 3.11;") as error:
        build._base_python(contents.BLENDER)
    assert "python3.11" in error.value.do


def test_a_fitting_python_on_the_path_is_taken(monkeypatch):
    monkeypatch.setattr(build.sys, "version_info", type("V", (), {"minor": 20}))
    monkeypatch.setattr(build.shutil, "which", lambda name: f"/opt/{name}" if name == "python3.11" else None)
    assert build._base_python(contents.SERVE_CPU) == "/opt/python3.11"


def test_a_folder_that_is_no_environment_is_not_touched():
    folder = environments.folder_of("blender")
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("ten years")
    with pytest.raises(UserError, match="no virtual environment"):
        build._clear(folder)
    assert (folder / "thesis.tex").read_text() == "ten years"


def stand_in(want, monkeypatch):
    """Another list of contents, and a venv without pip (which takes seconds to put in)."""
    monkeypatch.setattr(build, "wanted", lambda name: want)
    monkeypatch.setattr(place, "wanted", lambda name: want)
    monkeypatch.setattr(build, "_venv", lambda base, folder: venv.create(folder, symlinks=True))


def test_a_killed_setup_is_made_anew(monkeypatch):
    """The first one dies while packages are written; the second starts from an empty venv."""
    want = contents.Wanted("blender", ("pip",), (11, 99), 1, "import sys")
    stand_in(want, monkeypatch)
    folder = environments.folder_of("blender")

    def killed(want, python, log):
        (folder / "half-a-package").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "install", killed)
    with pytest.raises(KeyboardInterrupt):
        environments.setup("blender")
    with pytest.raises(UserError, match="not complete"):
        environments.python_of("blender")
    monkeypatch.setattr(build, "install", lambda *_: None)
    environments.setup("blender")
    assert not (folder / "half-a-package").exists()
    assert subprocess.run([environments.python_of("blender"), "-c", "import sys"]).returncode == 0


def test_packages_that_do_not_import_are_not_stamped(monkeypatch):
    want = contents.Wanted("blender", ("pip",), (11, 99), 1, "import no_such_module_at_all")
    stand_in(want, monkeypatch)
    monkeypatch.setattr(build, "install", lambda *_: None)
    with pytest.raises(UserError, match="No module named 'no_such_module_at_all'"):
        environments.setup("blender")
    assert not place.stamp_of("blender").exists()


def test_a_missing_system_library_names_the_packages():
    output = "ImportError: libSM.so.6: cannot open shared object file: No such file or directory\n"
    error = build._check_error(contents.BLENDER, output)
    assert "libSM.so.6" in error.why and "apt-get install libx11-6 " in error.do and "libgl1" in error.do


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("error: failed to write: No space left on device (os error 28)", "the disk is full"),
        ("Caused by: dns error: failed to lookup address information", "cannot be reached"),
        (
            "WARNING: Retrying: NewConnectionError('Failed to establish a new connection')",
            "cannot be reached",
        ),
        ("invalid peer certificate: UnknownIssuer", "certificate"),
        ("ERROR: Package 'bpy' requires a different Python: 3.9.1 not in '==3.11.*'", "this Python"),
        ("ERROR: No matching distribution found for bpy==5.0.1", "not on the index"),
        ("  × No solution found when resolving dependencies:", "not on the index"),
        ("HTTP status client error (401 Unauthorized) for url", "credentials"),
        ("Traceback:\nValueError: odd", "ValueError: odd"),
        ("", "nothing was printed"),
    ],
)
def test_failures_are_told_in_words(output, why):
    assert why in install.explain(output)[0]


LISTING = """\
:env:.cert='/etc/ca.crt'
:env:.find-links='/wheels'
global.extra-index-url='https://a.example/simple https://b.example/simple'
global.find-links='/old'
global.index-url='https://mirror.example/simple'
install.no_build_isolation='\\none\\ntwo'
list.format='columns'
"""


def test_pips_settings_reach_uv():
    settings = pip_settings.parse(LISTING)
    assert settings["find-links"] == ["/wheels"]  # the environment is stronger than a file
    assert settings["no-build-isolation"] == ["one", "two"]
    made = pip_settings.as_uv(settings, {"PATH": "/bin", "UV_INDEX": "https://mine.example"})
    assert made == {
        "PATH": "/bin",
        "UV_INDEX": "https://mine.example",  # what is set for uv itself stays
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_FIND_LINKS": "/wheels",
        "SSL_CERT_FILE": "/etc/ca.crt",
    }


NOWHERE = "error: No solution found"


def run_install(tmp_path, monkeypatch, codes, *outputs, want=contents.SERVE_CPU):
    """Runs install() with tools that end with ``codes`` and say ``outputs`` (the last one over and over), one
    after another; returns their commands."""
    seen, left, said = [], list(codes), [*outputs] or [NOWHERE]

    def tee(command, environment, log):
        overrides = next((a for b, a in zip(command, command[1:], strict=False) if b == "--override"), None)
        seen.append((command, open(overrides).read() if overrides else ""))
        return left.pop(0), said.pop(0) if len(said) > 1 else said[0]

    monkeypatch.setattr(install, "_tee", tee)
    monkeypatch.setattr(install, "_find_uv", lambda: "/bin/uv")
    monkeypatch.setattr(install, "pip_settings", dict)
    install.install(want, tmp_path / "python", tmp_path / "log")
    return seen


def test_uv_first_then_pip_then_pytorchs_index(tmp_path, monkeypatch):
    seen = run_install(tmp_path, monkeypatch, [1, 1, 1, 0])
    assert [command[0] for command, _ in seen] == ["/bin/uv", str(tmp_path / "python")] * 2
    assert "triton ; sys_platform == 'never'" in seen[0][1]
    assert contents.TORCH_CPU_INDEX not in seen[0][0] and contents.TORCH_CPU_INDEX in seen[2][0]


def test_a_full_disk_is_not_tried_again(tmp_path, monkeypatch):
    full = "No space left on device"
    with pytest.raises(UserError, match="the disk is full"):
        run_install(tmp_path, monkeypatch, [1], full)


@pytest.mark.parametrize("before", [1, 2, 3])
def test_a_full_disk_is_told_whichever_attempt_says_it(tmp_path, monkeypatch, before):
    with pytest.raises(UserError, match="the disk is full"):
        run_install(tmp_path, monkeypatch, [1] * (before + 1), *[NOWHERE] * before, "No space left on device")


def test_a_log_that_finds_no_room_stops_nothing(capfd):
    said = install._tee([sys.executable, "-c", "print('hello')"], {}, Path("/dev/full"))
    assert said == (0, "hello\n")
    assert "[setup] hello" in capfd.readouterr().err


def test_the_main_environments_failure_names_make_setup(tmp_path, monkeypatch):
    main = contents.Wanted("main", ("pip",), (11, 99), 1, "")
    with pytest.raises(UserError, match="^make setup: the packages could not"):
        run_install(tmp_path, monkeypatch, [1, 1], want=main)


def test_the_users_packages_stay_out_of_a_side_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("THEIRS", "1")
    assert environments.clean_environ().get("PYTHONPATH") is None
    assert environments.clean_environ()["THEIRS"] == "1"


def test_an_unreachable_index_gets_pip_but_no_second_index(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be reached"):
        run_install(tmp_path, monkeypatch, [1, 1], "dns error")


def test_when_nothing_manages_it_is_told_with_the_log(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="could not be installed") as error:
        run_install(tmp_path, monkeypatch, [1, 1, 1, 1])
    assert str(tmp_path / "log") in error.value.do


def looks(monkeypatch, *lines):
    done = subprocess.CompletedProcess([], 0, "\n".join(lines) + "\n", "")
    monkeypatch.setattr(vllm_cpu.subprocess, "run", lambda *a, **k: done)


def test_the_workaround_writes_what_is_missing_and_only_that(tmp_path, monkeypatch):
    looks(monkeypatch, str(tmp_path), "0.32.0", "-", "-")
    monkeypatch.setattr(vllm_cpu, "_torchvision_fails", lambda python: True)
    assert len(vllm_cpu.mend(tmp_path)) == 2
    assert "Name: vllm\n" in (tmp_path / "vllm-0.32.0+cpu.dist-info" / "METADATA").read_text()
    shim = Path(vllm_cpu.__file__).with_name("torchvision_ops.py").read_text()
    assert (tmp_path / "_edgekit_torchvision_ops.py").read_text() == shim
    looks(monkeypatch, str(tmp_path), "0.32.0", "0.32.0+cpu", "edgekit")
    monkeypatch.setattr(vllm_cpu, "_torchvision_fails", lambda python: False)
    assert vllm_cpu.mend(tmp_path) == []


@pytest.mark.parametrize("lines", [("0.33.0", "-", "-"), ("0.32.0", "0.32.0", "uv")])
def test_the_workaround_says_when_it_is_out_of_date(tmp_path, monkeypatch, lines):
    looks(monkeypatch, str(tmp_path), *lines)
    with pytest.raises(UserError, match="out of date"):
        vllm_cpu.mend(tmp_path)
    assert not list(tmp_path.iterdir())
