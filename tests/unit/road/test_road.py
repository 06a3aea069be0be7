"""Walking: each step in a process of its own; stopping, resuming, and the page at the end."""

import re
import signal
import sys
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json, write_jsonl
from edgekit.core.label import TASKS, SceneLabel
from edgekit.core.recipe import build, load_recipe
from edgekit.core.run import start
from edgekit.dataset import DatasetWriter, Sample
from edgekit.dataset.score import score
from edgekit.road import run as road_run
from edgekit.road.config import RoadConfig
from edgekit.road.report import CLAIM
from edgekit.road.steps import Step, kind_of, resolve

LABEL = SceneLabel(
    recommended_speed_kmh="30", light="red", light_arrow="any", light_kind="intersection", other_left="none",
    other_straight="none", other_right="none", cones="no", obstacle="none", crossroad="yes", zebra="no",
)  # fmt: skip
BLIND = SceneLabel()


@pytest.fixture
def dataset(tmp_path):
    writer = DatasetWriter(tmp_path / "data", Contract(width=84, height=56))
    for number in range(10):
        image = writer.image(f"f{number}", np.full((56, 84, 3), 20 * number, np.uint8))
        facts = {"id": f"f{number}", "images": [image], "scene": str(number)}
        writer.add("test", Sample.of(prompt_text="?", label=LABEL, source="render", **facts))
    writer.finish()
    return tmp_path / "data"


def pretend(step, path):
    """An evaluate step without a model: a seeing one where the step says so, else a blind one."""
    config = load_recipe(kind_of(step.verb), path / "recipe.yaml")
    run = start("evaluate", config, step.name, path)
    said = BLIND if "blind" in step.name else LABEL
    rows = [
        {"id": f"f{n}", "scene": str(n), "tags": [], "truth": LABEL.model_dump(),
         "counted": dict.fromkeys(TASKS, True), "label": said.model_dump(), "text": ""}
        for n in range(10)
    ]  # fmt: skip
    write_jsonl(run.out / "predictions.jsonl", rows)
    write_json(
        run.out / "metrics.json",
        {
            "overall": score([LABEL] * 10, None, [said] * 10),
            "controls": None,
            "lights": {"red": {said.light: 10}},
        },
    )
    write_json(run.out / "timing.json", {"answers_per_s": 3.0, "peak_memory_mb": 100, "disk_mb": 2})
    write_jsonl(run.out / "curves.jsonl", [{"step": 1, "ce": 2.0}, {"step": 2, "ce": 1.0, "note": "x"}])
    run.note("pretended")
    run.finish()


def road_of(dataset, **more):
    steps = [
        {"name": name, "verb": "evaluate", "recipe": "nano", "row": name,
         "reads": {"model": str(dataset), "dataset": str(dataset)}}
        for name in ("blind", "seeing")
    ]  # fmt: skip
    steps[1] |= {"against": "blind", "set": {"seed": 1}}  # else both would be one run
    return build(RoadConfig, {"steps": steps, **more}, "here")


def test_a_walk_ends_in_a_table_with_shortfalls_first(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(road_run, "walk", pretend)
    config = road_of(dataset, gates={"blind": {"average": 0.5}, "seeing": {"average": 0.1}})
    run = start("road", config, "r", tmp_path / "road")
    road_run.road(config, run)
    told = capsys.readouterr().err
    last = told[told.index("SHORTFALL") :]
    assert last.index("blind: average 0.000 < 0.5") < last.index(CLAIM) < last.index("| model")
    assert "SHORTFALL seeing" not in last and (run.out / "summary.txt").read_text() == last
    pair = "seeing against blind: Average +0.667, 95 % [+0.667, +0.667] over 10 scenes"
    assert pair in last[last.index("| seeing") :]
    assert "lights right, blind: red 0/10" in last and "lights right, seeing: red 10/10" in last
    page = (run.out / "report.html").read_text()
    for part in (
        CLAIM,
        pair,
        "Shortfall: blind: average",
        "pretended",
        "data:image/jpeg;base64,",
        "ce: 2 to 1",
        "<script",
    ):
        assert (part in page) == (part != "<script"), part
    steps = read_json(run.out / "steps.json")
    assert set(steps["steps"]) == {"blind", "seeing"} and steps["metrics"]["blind"]["average"] == 0
    assert (
        read_json(tmp_path / "road" / "steps" / "seeing" / "manifest.json")["digest"]
        == steps["steps"]["seeing"]
    )


def test_complete_steps_are_passed_at_once(dataset, tmp_path, monkeypatch, capsys):
    walked = []

    def dies_at_the_second(step, path):
        if walked == ["blind"]:
            walked.append("died")
            raise KeyboardInterrupt
        walked.append(step.name)
        pretend(step, path)

    monkeypatch.setattr(road_run, "walk", dies_at_the_second)
    config = road_of(dataset)
    with pytest.raises(KeyboardInterrupt):
        road_run.road(config, start("road", config, "r", tmp_path / "road"))
    run = start("road", config, "r", tmp_path / "road")
    road_run.road(config, run)
    assert walked == ["blind", "died", "seeing"]
    assert "1/2 blind: already complete" in capsys.readouterr().err
    assert run.finish() and run.complete


def test_a_road_that_differs_in_its_last_step_goes_on_from_the_others(dataset, tmp_path, monkeypatch):
    walked = []
    monkeypatch.setattr(road_run, "walk", lambda step, path: (walked.append(step.name), pretend(step, path)))
    monkeypatch.chdir(tmp_path)
    for split in ("test", "dev"):
        config = road_of(dataset)
        config.steps[1].set["split"] = split
        config = build(RoadConfig, config.model_dump(mode="json"), "here")
        road_run.road(config, start("road", config, "r"))
    assert walked == ["blind", "seeing", "seeing"]
    assert len(list((tmp_path / "runs" / "road").iterdir())) == 2
    step = resolve(config.steps[1], {})  # as the same recipe and changes on the command line
    assert start("evaluate", step, "nano").complete
    assert len(list((tmp_path / "runs" / "evaluate").iterdir())) == 3


@pytest.mark.parametrize("out", [Path("runs", "road", "x"), Path("elsewhere")])
def test_a_road_with_a_place_of_its_own_holds_its_steps(dataset, tmp_path, monkeypatch, out):
    monkeypatch.setattr(road_run, "walk", pretend)
    monkeypatch.chdir(tmp_path)
    config = road_of(dataset)
    road_run.road(config, start("road", config, "r", out))
    assert {p.name for p in (out / "steps").iterdir()} == {"blind", "seeing"}
    assert not (tmp_path / "runs" / "evaluate").exists()


def test_force_walks_every_step_again(dataset, tmp_path, monkeypatch):
    walked = []
    monkeypatch.setattr(road_run, "walk", lambda step, path: (walked.append(step.name), pretend(step, path)))
    monkeypatch.chdir(tmp_path)
    config = road_of(dataset)
    for force in (False, True):
        road_run.road(config, start("road", config, "r", force=force))
    assert walked == ["blind", "seeing"] * 2
    assert len(list((tmp_path / "runs" / "evaluate").glob("nano-*.old-*"))) == 2


def test_the_digest_of_a_road_has_no_clock_in_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(road_run, "walk", pretend)
    config, digests = road_of(dataset), set()
    for name in ("one", "two"):
        run = start("road", config, "r", tmp_path / name)
        road_run.road(config, run)
        digests.add(run.finish())
    assert len(digests) == 1


def test_a_step_that_fails_keeps_its_exit_code(tmp_path):
    (tmp_path / "recipe.yaml").write_text("model: nowhere-at-all\ndataset: nowhere-at-all\n")
    with pytest.raises(UserError) as caught:
        road_run.walk(Step(name="x", verb="evaluate", recipe="r"), tmp_path)
    assert caught.value.exit_code == 2 and "exit code 2" in caught.value.why


@pytest.mark.parametrize(
    ("death", "says"), [(signal.SIGKILL, "memory was used up"), (signal.SIGSEGV, "signal 11")]
)
def test_a_step_that_is_killed_is_told(tmp_path, monkeypatch, death, says):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nkill -{death.value} $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(UserError) as caught:
        road_run.walk(Step(name="x", verb="evaluate", recipe="r"), tmp_path)
    assert caught.value.exit_code == 1 and says in caught.value.why


@pytest.mark.parametrize("code", [130, 143])
def test_a_step_that_was_stopped_stops_the_road(tmp_path, monkeypatch, code):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nexit {code}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(KeyboardInterrupt):
        road_run.walk(Step(name="x", verb="evaluate", recipe="r"), tmp_path)


@pytest.mark.parametrize("placed", [True, False])
@pytest.mark.parametrize("first", ["blind", "seeing"])
def test_a_step_that_is_refused_leaves_no_folder_and_a_walk_that_got_nowhere_none(
    dataset, tmp_path, monkeypatch, first, placed
):
    """``first``: the step that is refused; what was walked before it stays."""

    def walk(step, path):
        if step.name == first:
            raise UserError("refused", "it is a test", "nothing")
        pretend(step, path)

    monkeypatch.setattr(road_run, "walk", walk)
    monkeypatch.chdir(tmp_path)
    run = start("road", config := road_of(dataset), "r", Path("here") if placed else None)
    with pytest.raises(UserError, match="refused"):
        road_run.road(config, run)
    run.withdraw()  # as the command line does
    held = Path("here/steps") if placed else Path("runs/evaluate")
    assert run.path.exists() == (first == "seeing")
    assert len(list(held.iterdir()) if held.is_dir() else []) == (first == "seeing")


def test_force_gives_a_refused_step_its_old_run_back(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(road_run, "walk", pretend)
    monkeypatch.chdir(tmp_path)
    config = road_of(dataset)
    road_run.road(config, start("road", config, "r"))

    def refuse(step, path):
        raise UserError("refused", "it is a test", "nothing")

    monkeypatch.setattr(road_run, "walk", refuse)
    with pytest.raises(UserError, match="refused"):
        road_run.road(config, start("road", config, "r", force=True))
    runs = list((tmp_path / "runs" / "evaluate").iterdir())
    assert len(runs) == 2 and all((path / "manifest.json").is_file() for path in runs)
    assert not any(".old-" in path.name for path in runs)


@pytest.mark.parametrize("placed", [True, False])
def test_the_page_says_when_and_what_and_leads_to_the_steps_pages_and_the_film(
    dataset, tmp_path, monkeypatch, placed
):
    def with_pages(step, path):
        pretend(step, path)
        if step.name == "seeing":
            for name in ("report.html", "watch.html", "annotated.mp4"):
                (path / "out" / name).write_text("x")

    monkeypatch.setattr(road_run, "walk", with_pages)
    monkeypatch.chdir(tmp_path)
    run = start("road", config := road_of(dataset), "my <road>", Path("a b") if placed else None)
    before = datetime.now(UTC).replace(second=0, microsecond=0)
    road_run.road(config, run)
    page = (run.out / "report.html").read_text()
    about = re.search(r"<p class=soft>recipe my &lt;road&gt;, run (.+), (\S+ \S+) UTC, edgekit \d", page)
    assert about[1] == escape(run.path.name)
    assert before <= datetime.strptime(about[2], "%Y-%m-%d %H:%M").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert f"model: {dataset}<br>dataset: {dataset}" in page and "<td>evaluate nano</td>" in page
    found = re.findall(r"<(a|video) (?:href|src)='([^']+)'", page)
    assert [(tag, Path(unquote(at)).name) for tag, at in found] == [
        ("a", "report.html"), ("a", "watch.html"), ("video" if placed else "a", "annotated.mp4")
    ]  # fmt: skip
    for _, at in found:
        assert not at.startswith("/") and (run.out / unquote(at)).resolve().is_file()
