"""The station as a whole, on the scripted model of benchmarks/prompts.py: what it finds, and what must not happen."""

import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from edgekit.cli import main
from edgekit.core.errors import UserError
from edgekit.core.files import read_json
from edgekit.core.recipe import REFUSED, build
from edgekit.core.run import digest_tree, start
from edgekit.library import load_library
from edgekit.prompts import PromptsConfig, prompts

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "prompts.py"
SCENES = {"dev": 40, "test": 60, "train": 4}


@pytest.fixture(scope="module")
def bench():
    found = importlib.util.spec_from_file_location("benchmark_of_prompts", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(bench, tmp_path_factory):
    return bench.make_dataset(tmp_path_factory.mktemp("prompts") / "data", 5, scenes=SCENES)


def config_of(data, **more):
    given = {
        "model": str(data), "dataset": str(data), "prompts": "dynamic", "batch": 64, "budget": 4000, "edits": 2,
        "search": {"operators": ["clarify"], "patience": 6},
    }  # fmt: skip
    return build(PromptsConfig, given | more, "test")


def walk(data, model, out, say=None, **more):
    run = start("prompts", config_of(data, **more), "test", out)
    prompts(run.config, run, model, say)
    return run, read_json(run.out / "report.json")


def test_it_finds_the_cures_and_promotes_them(bench, data, tmp_path):
    model = bench.Scripted((bench.DARK, bench.TOLL), noise=0.0)
    run, told = walk(data, model, tmp_path / "run")
    after = " ".join(entry.text for entry in load_library(run.out / "library.yaml").entries)
    assert bench.re.search(bench.DARK.cure, after) and bench.re.search(bench.TOLL.cure, after)
    assert told["changed"] and told["promoted"] == 2 and told["verdict"].startswith("promoted: 2 of 2")
    assert told["promotion"]["after"]["light/f1"] == 1 > told["promotion"]["before"]["light/f1"]
    assert told["tried"] == len(told["tries"]) >= told["accepted"] >= 2
    useless = [row for row in told["tries"] if row.get("mended") and not row["mended"][0]]
    assert useless and all("score" not in row for row in useless), "what mends nothing is left at that"
    spent = told["evaluations"]
    assert model.asked == spent["search"] + spent["promotion"] <= spent["budget"]
    assert {"night", "toll"} <= set(told["promotion"]["held_out"])
    assert told["verdict"] in (run.out / "report.md").read_text()
    assert (run.out / "summary.txt").read_text().strip() == told["verdict"]


def test_what_only_fits_the_searched_split_is_kept_out(bench, tmp_path):
    data = bench.make_dataset(tmp_path / "data", 6, sticker=True, scenes=SCENES)
    model = bench.Scripted((bench.TRAP,), noise=0.0)
    run, told = walk(data, model, tmp_path / "run")
    assert told["accepted"] >= 1 and told["promotion"]["steps"], "the trap must have been walked into"
    assert not told["changed"] and told["promoted"] == 0 and told["verdict"].startswith("no change: ")
    assert load_library(run.out / "library.yaml") == load_library("library")


def test_a_model_without_a_weakness_leaves_the_library_as_it_is(bench, data, tmp_path):
    model = bench.Scripted((), noise=0.0)
    _, told = walk(data, model, tmp_path / "run")
    assert told["verdict"].startswith("no change: no failure") and told["tried"] == 0
    assert told["promotion"] is None and told["evaluations"]["promotion"] == 0


def test_an_edit_that_changes_no_prompt_is_no_try(bench, data, tmp_path):
    model = bench.Scripted((bench.DARK,), noise=0.0)
    # A rule is said where its slice is known, and one prompt for all frames knows nothing.
    _, told = walk(data, model, tmp_path / "run", prompts="default", search={"operators": ["rule"]})
    assert told["tried"] == 0 and told["stopped"] == "no edit was left to try" and told["failures"]


def test_the_search_ends_at_its_budget(bench, data, tmp_path):
    model = bench.Scripted((bench.DARK, bench.TOLL), noise=0.05)
    # At most 240 for the given library, 136 for a try, 1080 kept for the promotion: room for two tries or so.
    _, told = walk(data, model, tmp_path / "run", budget=1560)
    assert told["stopped"].startswith("the budget is spent") and 1 <= told["tried"] <= 4
    assert model.asked <= 1560


def test_a_budget_too_small_for_one_try_is_refused_before_anything_is_asked(bench, data, tmp_path):
    model = bench.Scripted((), noise=0.0)
    with pytest.raises(UserError, match="too small to try anything") as refused:
        walk(data, model, tmp_path / "run", budget=1455)  # 240 + 136 + 1080 = 1456
    assert "1455 evaluations" in refused.value.what and "budget=" in refused.value.do
    assert model.asked == 0


def test_a_dry_run_tells_what_would_be_refused(data, tmp_path, monkeypatch, capsys):
    assert config_of(data).plan().refused == []
    (small,) = config_of(data, budget=1035).plan().refused
    assert small.startswith("prompts: a budget of 1035 evaluations is too small") and "budget=" in small
    port = {"url": "http://127.0.0.1:1/v1", "model": "m", "api_key_env": "A_KEY_OF_THE_TESTS"}
    monkeypatch.delenv("A_KEY_OF_THE_TESTS", raising=False)
    (key,) = config_of(data, writer=port).plan().refused
    assert "A_KEY_OF_THE_TESTS is not set" in key
    assert config_of(data, dataset="runs/render/later").plan().refused == []  # another command may make it

    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"model: {data}\ndataset: package:sample\nbudget: 1600\nheld_out: test\n")
    assert main(["prompts", str(recipe), "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert f"{REFUSED}prompts: no rows in split 'dev' of package:sample" in out and "nothing was run" in out
    assert "no rows in split 'dev'" in err and len(err.splitlines()) == 3
    assert main(["prompts", str(recipe), "split=train", "--dry-run"]) == 0


def test_one_split_cannot_be_both(data):
    with pytest.raises(UserError, match="both 'dev'"):
        config_of(data, split="dev", held_out="dev")


@pytest.mark.parametrize("shared", ["scenes", "images", "images under another name"])
def test_splits_that_share_a_scene_or_an_image_are_refused(bench, data, tmp_path, shared):
    """By the run before anything is asked, and by the dry run."""
    copy, model = shutil.copytree(data, tmp_path / "data"), bench.Scripted((), noise=0.0)
    rows = [json.loads(line) for line in (copy / "test.jsonl").read_text().splitlines()]
    (first, *_) = json.loads((copy / "dev.jsonl").read_text().splitlines()[0])["images"]
    if shared == "scenes":
        rows[0]["scene"] = "dev000"
    elif shared == "images":
        rows[0]["images"] = [first]
    else:
        shutil.copyfile(copy / first, copy / rows[0]["images"][0])
    (copy / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=f"share {shared.split()[0]}"):
        walk(copy, model, tmp_path / "run")
    assert model.asked == 0
    (told,) = config_of(copy).plan().refused
    assert f"share {shared.split()[0]}" in told


class Dies:
    """A scripted model that is killed in the middle of its ``calls``-th batch."""

    def __init__(self, model, calls):
        self.model, self.calls = model, calls
        self.name, self.contract = model.name, model.contract

    def answer(self, images, texts):
        self.calls -= 1
        if not self.calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.model.answer(images, texts)


def reply_of(system, told):
    """A writer that says something new for the first part each time, by what it is shown."""
    part = json.loads(told)["parts"][0]
    text = f"{part['entry']}: in the dark only the lit lamp of a signal shows. Look {len(told)} times."
    return json.dumps({"edits": [{"entry": part["entry"], "text": text}]})


@pytest.mark.parametrize("kind", ["greedy", "gepa"])
def test_a_killed_search_goes_on_to_the_same_end(bench, data, tmp_path, kind):
    if kind == "gepa":
        pytest.importorskip("gepa")
    more = {
        "writer": {"url": "http://127.0.0.1:9/v1", "model": "w"}, "budget": 2600,
        "search": {"kind": kind, "operators": ["clarify", "write"], "patience": 6},
    }  # fmt: skip
    model = bench.Scripted((bench.DARK, bench.TOLL), noise=0.02)
    whole, told = walk(data, model, tmp_path / "whole", reply_of, **more)
    fork = multiprocessing.get_context("fork")
    for calls in (3, 9):
        dying = Dies(bench.Scripted((bench.DARK, bench.TOLL), noise=0.02), calls)
        child = fork.Process(target=walk, args=(data, dying, tmp_path / "killed", reply_of), kwargs=more)
        child.start()
        child.join(120)
        assert child.exitcode == -signal.SIGKILL
    again = bench.Scripted((bench.DARK, bench.TOLL), noise=0.02)
    killed, _ = walk(data, again, tmp_path / "killed", reply_of, **more)
    assert digest_tree(killed.out) == digest_tree(whole.out)
    assert again.asked < model.asked
    if kind == "gepa":
        assert told["search"] == "gepa" and told["tried"] >= 1 and told["stopped"]


@pytest.mark.parametrize("kind", ["greedy", "gepa"])
def test_the_last_line_says_how_many_texts_were_refused_and_why(bench, data, tmp_path, kind):
    if kind == "gepa":
        pytest.importorskip("gepa")
    model = bench.Scripted((bench.DARK, bench.TOLL), noise=0.0)
    more = {
        "writer": {"url": "http://127.0.0.1:9/v1", "model": "w"}, "budget": 2600,
        "search": {"kind": kind, "operators": ["write"], "patience": 6},
    }  # fmt: skip
    run, told = walk(data, model, tmp_path / "run", lambda system, said: "I would rather not.", **more)
    (count,) = told["refused_texts"].values()
    assert told["tried"] == 0 and count >= 1
    last = f"{count} texts of the writer refused, most often: not the JSON that was asked for ({count})"
    assert last in told["verdict"] and last in (run.out / "summary.txt").read_text()


def test_an_edit_over_the_token_budget_is_not_tried(bench, data, tmp_path):
    model = bench.Scripted((bench.DARK, bench.TOLL), noise=0.0)
    _, told = walk(data, model, tmp_path / "run", dynamic={"budget_tokens": 45})
    assert told["failures"] and told["tried"] == 0 and not told["changed"]
    with pytest.raises(UserError, match="budget is too small"):
        walk(data, model, tmp_path / "less", dynamic={"budget_tokens": 20})


@pytest.mark.parametrize("search", ["writer", "gepa"])
def test_a_writer_that_is_shown_the_failures_finds_the_cures(bench, tmp_path, monkeypatch, search):
    if search == "gepa":
        pytest.importorskip("gepa")
    monkeypatch.setattr(bench, "SCENES", SCENES)
    row = bench.once("fix", 1, tmp_path, search)
    assert row["found"] == row["cured"] == [True, True] and row["promoted"] >= 1
    assert "dark found 1 promoted 1" in bench.summary("fix", [row], search)


def test_the_scripted_writer_knows_nothing_that_the_failures_do_not_name(bench):
    red = {"light": "red", "light_kind": "intersection"}
    night = {"tags": ["night"], "right": red, "answered": {"light": "none"}}
    day = night | {"tags": []}

    def text(*mistakes, part="Look."):
        told = {"parts": [{"entry": "light", "text": part}], "mistakes": list(mistakes)}
        return json.loads(bench.written(told))["edits"][0]["text"]

    assert bench.re.search(bench.DARK.cure, text(day, night))
    assert text(day) == text({**night, "answered": "no answer in the form"}) == f"Look. {bench.USELESS}"
    assert text(night, part=text(night)).endswith(bench.USELESS)


@pytest.mark.parametrize("case", ["long", "null"])
def test_the_benchmarks_other_cases(bench, tmp_path, monkeypatch, case):
    monkeypatch.setattr(bench, "SCENES", SCENES)
    row = bench.once(case, 1, tmp_path)
    assert row["wanted"] and row["asked"] >= row["spent"] > 0
    assert bench.summary(case, [row]).startswith(f"greedy {case}")
