"""The grammar, on a station of the test's own."""

import sys
import types
from typing import ClassVar

import pytest

from edgekit import cli
from edgekit.core.errors import GateError
from edgekit.core.recipe import Config, Plan


class ProbeConfig(Config):
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    data: list[str] = []
    number: int = 1

    def plan(self):
        return Plan(0.1, 0.001, 2, ("two minutes a number",))


def work(config, run):
    if config.number == 13:
        raise GateError("probe: unlucky", "13 was asked", "ask another")
    (run.out / "n.txt").write_text(str(config.number))
    run.say("working")


@pytest.fixture(autouse=True)
def probe(tmp_path, monkeypatch):
    """A verb ``probe`` whose recipe is r.yaml in an empty folder."""
    config, run = types.ModuleType("edgekit.probe.config"), types.ModuleType("edgekit.probe.run")
    config.ProbeConfig, run.probe = ProbeConfig, work
    monkeypatch.setitem(sys.modules, "edgekit.probe", types.ModuleType("edgekit.probe"))
    monkeypatch.setitem(sys.modules, "edgekit.probe.config", config)
    monkeypatch.setitem(sys.modules, "edgekit.probe.run", run)
    monkeypatch.setitem(cli.VERBS, "probe", "a station of the tests")
    before = cli.built
    monkeypatch.setattr(cli, "built", lambda verb: verb == "probe" or before(verb))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text("number: 4\n")


def test_a_run_prints_its_path_on_stdout_and_words_on_stderr(tmp_path, capsys):
    assert cli.main(["probe", "r.yaml"]) == 0
    out, err = capsys.readouterr()
    path = tmp_path / out.strip()
    assert (path / "manifest.json").is_file() and (path / "out" / "n.txt").read_text() == "4"
    assert out.count("\n") == 1 and "[probe] working" in err and "digest" in err


def test_again_is_already_complete_and_force_runs_anew(tmp_path, capsys):
    cli.main(["probe", "r.yaml", "--out", "o"])
    assert cli.main(["probe", "r.yaml", "--out", "o"]) == 0
    assert "already complete" in capsys.readouterr().err
    assert cli.main(["probe", "--force", "r.yaml", "--out", "o"]) == 0
    assert "moved the old run" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("o.old")]


def test_options_and_overrides_stand_in_any_order(tmp_path):
    assert cli.main(["probe", "--out", "o", "r.yaml", "number=7"]) == 0
    assert (tmp_path / "o" / "out" / "n.txt").read_text() == "7"
    assert cli.main(["probe", "r.yaml", "--out", "p", "number=8", "--debug"]) == 0
    assert (tmp_path / "p" / "out" / "n.txt").read_text() == "8"


def test_a_dry_run_spends_nothing_and_tells_what_is_missing(tmp_path, capsys):
    assert cli.main(["probe", "r.yaml", "data=[nowhere, 'hub:any/model']", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for part in (
        "hub:any/model  (fetched from the hub when it runs)",
        "number: 4",
        "nowhere  (MISSING",
        "about 2 minutes",
        "two minutes a number",
        "nothing was run",
    ):
        assert part in out
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


def test_a_verb_alone_lists_recipes_and_keys(capsys):
    assert cli.main(["probe"]) == 0
    assert "number = 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["prob", "r.yaml"], 2, "did you mean 'probe'?"),
        (["probe", "r.yaml", "nmber=2"], 2, "did you mean 'number'?"),
        (["probe", "no-such"], 2, "no recipe 'no-such'"),
        (["probe", "r.yaml", "data=[nowhere]"], 2, "no such directory"),
        (["probe", "r.yaml", "number=13"], 3, "unlucky"),
        (["probe", "r.yaml", "--no-such-option"], 2, "unrecognized arguments"),
        (["setup", "everything"], 2, "invalid choice"),
    ],
)
def test_mistakes(argv, code, says, capsys):
    assert cli.main(argv) == code
    out, err = capsys.readouterr()
    assert says in err and out == "" and "Traceback" not in err


def test_help_draws_the_road_in_order(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    here = [text.index(f"\n  {verb} ") for verb in cli.VERBS if cli.built(verb)]
    assert here == sorted(here) and "mine" in text and "─▶ Dataset ──" in text


def test_a_plan_that_does_not_fit_the_disk_stops_before_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ProbeConfig, "plan", lambda self: Plan(0.1, 1e9, 1))
    assert cli.main(["probe", "r.yaml"]) == 2
    assert "not enough disk" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_a_plan_beyond_the_memory_is_said(monkeypatch, capsys):
    monkeypatch.setattr(ProbeConfig, "plan", lambda self: Plan(1e6, 0.0, 1))
    assert cli.main(["probe", "r.yaml"]) == 0
    assert "the plan asks for 1000000.0 GB of memory" in capsys.readouterr().err


def test_doctor_names_the_command_that_mends(monkeypatch, capsys):
    from edgekit import doctor

    monkeypatch.setitem(doctor.MAIN, "train", ("no_such_module_at_all",))
    monkeypatch.setenv("EDGEKIT_ENVS", "nowhere-at-all")
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "pip install 'edgekit[train]'" in text and "-> edgekit setup blender" in text
