"""A run: its identity, its digest, resuming, and what it refuses to read."""

import json
from typing import ClassVar

import pytest

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.core.recipe import Config, load_recipe
from edgekit.core.run import digest_tree, open_input, start


class ProbeConfig(Config):
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    data: list[str] = []
    number: int = 1


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def made(tmp_path, name="source", text="hello", number=1):
    run = start("probe", ProbeConfig(number=number), "r", tmp_path / name)
    (run.out / "a.txt").write_text(text)
    run.finish()
    return run


def test_a_run_from_start_to_manifest(tmp_path):
    run = start("probe", ProbeConfig(), "r")
    assert run.path.parts[:2] == ("runs", "probe") and run.path.name.startswith("r-") and not run.complete
    (run.out / "a.txt").write_text("hello")
    (run.state / "half").write_text("x")
    run.note("a stand-in")
    digest = run.finish()
    manifest = read_json(run.path / "manifest.json")
    assert run.complete and manifest["digest"] == digest == digest_tree(run.out)
    assert manifest["notes"] == ["a stand-in"] and not (run.path / "state").exists()
    assert [row["event"] for row in read_jsonl(run.path / "log.jsonl")] == ["start", "say", "complete"]
    assert load_recipe(ProbeConfig, run.path / "recipe.yaml") == ProbeConfig()


def test_the_same_recipe_on_the_same_inputs_is_the_same_directory(tmp_path):
    run = start("probe", ProbeConfig(), "r")
    (run.state / "half").write_text("kept")
    again = start("probe", ProbeConfig(), "r")
    assert again.path == run.path and (again.state / "half").read_text() == "kept"
    assert start("probe", ProbeConfig(number=2), "r").path != run.path


def test_inputs_count_by_content_not_by_place(tmp_path):
    source = made(tmp_path)
    one = start("probe", ProbeConfig(data=[str(source.path)]), "r")
    source.path.rename(tmp_path / "moved")
    same = start("probe", ProbeConfig(data=[str(tmp_path / "moved")]), "r")
    other = start("probe", ProbeConfig(data=[str(made(tmp_path, "other", "else").path)]), "r")
    assert one.path == same.path != other.path


def test_the_digest_leaves_out_clocks_and_media_only(tmp_path):
    run = made(tmp_path)
    before = digest_tree(run.out)
    for name in ("timing.json", "film.mp4", "report.html", "sub/film.webm", ".hidden"):
        path = run.out / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("now")
        assert digest_tree(run.out) == before, name
    (run.out / "sub" / "b.txt").write_text("x")
    moved = digest_tree(run.out)
    (run.out / "sub" / "b.txt").rename(run.out / "sub" / "c.txt")
    assert len({before, moved, digest_tree(run.out)}) == 3


def test_force_moves_the_old_run_aside(tmp_path):
    old = made(tmp_path)
    new = start("probe", ProbeConfig(), "r", old.path, force=True)
    assert new.path == old.path and not new.complete
    aside = [p for p in tmp_path.iterdir() if p.name.startswith("source.old-")]
    assert len(aside) == 1 and (aside[0] / "out" / "a.txt").read_text() == "hello"


def test_force_twice_in_a_second_keeps_both(tmp_path):
    made(tmp_path)
    start("probe", ProbeConfig(), "r", tmp_path / "source", force=True)
    start("probe", ProbeConfig(), "r", tmp_path / "source", force=True)
    assert len([p for p in tmp_path.iterdir() if p.name.startswith("source.old-")]) == 2


def test_another_runs_directory_is_refused(tmp_path):
    made(tmp_path)
    with pytest.raises(UserError, match="holds another run"):
        start("probe", ProbeConfig(number=2), "r", tmp_path / "source")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a run directory"):
        start("probe", ProbeConfig(), "r", tmp_path / "mine")


def test_inputs_that_are_not_there_or_not_whole_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        start("probe", ProbeConfig(data=["nowhere"]), "r")
    half = start("probe", ProbeConfig(), "r", tmp_path / "half")
    with pytest.raises(UserError, match="not complete"):
        open_input(half.path)
    with pytest.raises(UserError, match="does not ship"):
        open_input("package:no-such-thing")


def test_a_manifest_of_another_schema_is_refused(tmp_path):
    run = made(tmp_path)
    manifest = read_json(run.path / "manifest.json") | {"schema": "edgekit/run/9"}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="edgekit/run/9"):
        open_input(run.path)


def test_a_foreign_folder_is_recorded_as_foreign(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x").write_text("x")
    run = start(
        "probe", ProbeConfig(data=[str(tmp_path / "theirs"), str(made(tmp_path).path)]), "r", tmp_path / "o"
    )
    run.finish()
    foreign, own = read_json(run.path / "manifest.json")["inputs"]["data"]
    assert (foreign["origin"], own["origin"]) == ("foreign", "run") and own["manifest"]
    assert run.input("data") == tmp_path / "theirs"
