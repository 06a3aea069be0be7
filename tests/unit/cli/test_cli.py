"""The grammar, on a station of the test's own."""

import sys
import types
from typing import ClassVar

import pytest
from pydantic import Field

from edgekit import cli
from edgekit.core.errors import GateError, UserError
from edgekit.core.recipe import Config, Plan, refusal


class Place(Config):
    """x, y: in metres."""

    x: float = 0.0
    y: float | None = None


class Sensor(Config):
    kind: str
    at: Place = Field(default_factory=Place)


class ProbeConfig(Config):
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    data: list[str] = []
    number: int = 1
    home: Place = Field(default_factory=lambda: Place(x=3.5))
    away: Place | None = None
    sensors: list[Sensor] = []

    def plan(self):
        told = [refusal(UserError("probe: 99", "it is", "ask another"))] if self.number == 99 else []
        return Plan(0.1, 0.001, 2, ("two minutes a number", *told))


def work(config, run):
    if config.number == 13:
        raise GateError("probe: unlucky", "13 was asked", "ask another")
    if config.number == 0:
        run.note("about to look")
        raise UserError("probe: nothing", "0 was asked", "ask another")
    if config.number == -1:
        import no_such_module_at_all  # noqa: F401
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
    (tmp_path / "there").mkdir()
    data = "data=[nowhere, 'hub:any/model', there, runs/distill/nano]"
    assert cli.main(["probe", "r.yaml", data, "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert "2 input(s) missing: nowhere, runs/distill/nano" in err and len(err.splitlines()) == 3
    for part in (
        "data: runs/distill/nano  (MISSING: nothing is there; edgekit distill nano --out runs/distill/nano makes it)",
        "there  (found",
        "hub:any/model  (fetched from the hub when it runs)",
        "number: 4",
        "nowhere  (MISSING",
        "about 2 minutes",
        "two minutes a number",
        "nothing was run",
    ):
        assert part in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.yaml", "there"]
    assert cli.main(["probe", "r.yaml", "data=[there]", "--dry-run"]) == 0


def test_a_dry_run_of_what_would_be_refused_shows_the_whole_plan_and_ends_so(tmp_path, capsys):
    assert cli.main(["probe", "r.yaml", "number=99", "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert "two minutes a number\n  WOULD BE REFUSED: probe: 99 (it is); ask another\nnothing was run" in out
    assert "refused for 1 reason(s)" in err and "probe: 99" in err and len(err.splitlines()) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


def test_a_dry_road_misses_nothing_that_its_steps_make(tmp_path, capsys):
    steps = """steps:
  - {name: render, recipe: quick}
  - {name: evaluate, recipe: nano, reads: {dataset: render, model: MODEL}}
"""
    for model, code in (("package:nano-teacher", 0), ("render/before", 0), ("runs/distill/x", 2)):
        (tmp_path / "road.yaml").write_text(steps.replace("MODEL", model))
        assert cli.main(["road", "road.yaml", "--dry-run"]) == code, model
    assert "edgekit distill RECIPE --out runs/distill/x makes it" in capsys.readouterr().out


def test_a_verb_alone_lists_recipes_and_keys(capsys):
    assert cli.main(["probe"]) == 0
    text = capsys.readouterr().out
    assert "number = 1" in text
    for keys in (
        "  home:\n    x = 3.5\n    y = None\n",
        "  away = None, or:\n    x = 0.0\n    y = None\n",
        "  sensors = [], a list of:\n    kind = required\n    at:\n      x = 0.0\n",
    ):
        assert keys in text


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["prob", "r.yaml"], 2, "did you mean 'probe'?"),
        (["probe", "r.yaml", "nmber=2"], 2, "did you mean 'number'?"),
        (["probe", "no-such"], 2, "no recipe 'no-such'"),
        (["probe", "r.yaml", "data=[nowhere]"], 2, "no such directory"),
        (["probe", "r.yaml", "number=13"], 3, "unlucky"),
        (["probe", "r.yaml", "--dry-rn"], 2, "did you mean '--dry-run'?"),
        (["probe", "r.yaml", "--force-it=yes"], 2, "no option '--force-it'"),
        (["probe", "r.yaml", "--out"], 2, "argument --out: expected one argument"),
        (["probe", "--dry-run"], 2, "no recipe is named"),
        (["probe", "number=2"], 2, "the first word, 'number=2', changes a key"),
        (["--dry-run", "probe"], 2, "the verb comes first"),
        (["setup", "everything"], 2, "no environment 'everything'"),
        (["setup"], 2, "required: name"),
        (["doctor", "now"], 2, "'now' is one word too many"),
        (["view", "x", "--count", "many"], 2, "invalid int value"),
    ],
)
def test_mistakes(argv, code, says, capsys):
    assert cli.main(argv) == code
    out, err = capsys.readouterr()
    assert says in err and out == "" and "Traceback" not in err
    told = [line for line in err.splitlines() if not line.startswith("[")]
    assert [line[:6] for line in told] == ["error:", "  why:", "  do: "]


@pytest.mark.parametrize("number", [0, -1])
def test_what_is_refused_leaves_no_folder(tmp_path, number, capsys):
    assert cli.main(["probe", "r.yaml", f"number={number}"]) != 0
    assert cli.main(["probe", "r.yaml", f"number={number}", "--out", "o"]) != 0
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


def test_what_is_refused_with_force_gives_the_old_run_back(tmp_path, monkeypatch, capsys):
    assert cli.main(["probe", "r.yaml", "--out", "o"]) == 0
    assert cli.main(["probe", "r.yaml", "number=0", "--out", "o", "--force"]) == 2
    assert "the old run is back at o" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "r.yaml"]
    assert (tmp_path / "o" / "out" / "n.txt").read_text() == "4"
    assert (tmp_path / "o" / "manifest.json").is_file()


def test_a_missed_gate_keeps_its_folder(tmp_path):
    assert cli.main(["probe", "r.yaml", "number=13", "--out", "o"]) == 3
    assert (tmp_path / "o" / "log.jsonl").is_file()


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


def test_doctor_says_beside_a_fit_which_inputs_are_not_there(tmp_path, monkeypatch, capsys):
    from edgekit import doctor

    missing = "fits; its input runs/export/nano is not there yet"
    lines = {line.split()[0]: line for line in doctor.fits(1e6, 1e6)}
    assert lines["demo/nano-live"].endswith(missing) and lines["mine/nano"].endswith("fits")
    assert lines["export/qwen2_5_vl_7b"].endswith(
        "fits; its inputs runs/quantize/qwen2_5_vl_7b, runs/render/nano-gate are not there yet"
    )
    (tmp_path / "runs" / "export" / "nano").mkdir(parents=True)
    assert {line.split()[0]: line for line in doctor.fits(1e6, 1e6)}["demo/nano-live"].endswith("fits")
