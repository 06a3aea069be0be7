"""human.jsonl, the queue, and a new Dataset in which the person's word stands."""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, TASKS, parse_answer
from edgekit.core.run import digest_tree
from edgekit.dataset import open_dataset
from edgekit.dataset.queue import Entry, around, read_queue
from edgekit.review import ReviewConfig, review
from edgekit.review.apply import apply
from edgekit.review.config import add_options, config_of
from edgekit.review.human import Answers, Correction, check_slots
from edgekit.review.queue import Review, place_of_answers, queue_of
from tests.unit.review.conftest import STRAY, write_dataset, write_queue
from tests.unit.review.test_page import LIGHT

GREEN = Correction("d/000005", "light", LIGHT | {"light": "green"}, "ann", 1.0)
ZEBRA = Correction("d/000007", "crossroad", {"crossroad": "yes", "zebra": "yes"}, "ann", 2.0)


# --- the log --------------------------------------------------------------------------------------

KEYS = st.sampled_from([("a", "crossroad"), ("a", "speed"), ("b", "crossroad")])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.tuples(KEYS, st.integers(0, 2)), st.just("undo")), max_size=25))
def test_reading_the_log_again_gives_what_was_there(tmp_path_factory, moves):
    path = tmp_path_factory.mktemp("log") / "human.jsonl"
    answers, model = Answers(path), []
    for move in moves:
        if move == "undo":
            gone = answers.undo("x")
            assert (gone[:2] if gone else None) == (model.pop()[0] if model else None)
            continue
        (row, task), value = move
        slots = {slot: SLOTS[slot][value] for slot in TASKS[task]}
        answers.add([Correction(row, task, slots, "x", 0.0)])
        model.append(((row, task), slots))
    wanted = {key: slots for key, slots in model}
    for log in (answers, Answers(path)):
        assert {(c.id, c.task): c.slots for c in log.given()} == wanted
        assert all(log.newest(*key).slots == slots for key, slots in wanted.items())


def test_a_torn_line_is_dropped_and_the_next_answer_stands_on_its_own_line(tmp_path):
    path = tmp_path / "human.jsonl"
    Answers(path).add([GREEN])
    with open(path, "ab") as file:
        file.write(b'{"id": "d/000006", "task": "sp')
    answers = Answers(path)
    assert [c.id for c in answers.given()] == ["d/000005"]
    answers.add([ZEBRA])
    assert [c.id for c in Answers(path).given()] == ["d/000005", "d/000007"]


def test_a_line_that_is_no_answer_is_told_with_its_number(tmp_path):
    path = tmp_path / "human.jsonl"
    Answers(path).add([GREEN])
    path.write_text(path.read_text() + json.dumps(GREEN._asdict() | {"slots": {"light": "red"}}) + "\n")
    with pytest.raises(UserError, match="human.jsonl:2"):
        Answers(path)


def test_slots_that_no_label_can_say_are_not_written(tmp_path):
    answers = Answers(tmp_path / "deep" / "human.jsonl")
    with pytest.raises(ValueError, match="light_arrow=none"):
        answers.add([ZEBRA, GREEN._replace(slots=LIGHT | {"light": "none"})])
    assert not answers.path.exists() and answers.given() == []
    with pytest.raises(ValueError, match="no task"):
        check_slots("lights", {})


# --- the queue ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=60), st.data())
def test_a_strip_holds_its_moment_and_rises(gaps, data):
    times = [sum(gaps[:i]) for i in range(len(gaps))]
    own = data.draw(st.integers(0, len(times) - 1))
    strip = around(times, own)
    assert own in strip and strip == sorted(set(strip))
    assert len(strip) == min(9, len(times))


def test_a_strip_reaches_two_seconds_either_way():
    times = [n / 10 for n in range(200)]
    assert around(times, 100) == [80, 85, 90, 95, 100, 105, 110, 115, 120]
    assert around([0.0, 5.0, 10.0, 15.0, 20.0], 2, count=3) == [1, 2, 3]
    assert around(times, 0)[0] == 0 and len(around(times, 0)) == 9


def test_a_queue_is_read_as_it_was_written_the_most_pressing_first(tmp_path):
    entries = [Entry(id="b", task="light", priority=0.2), Entry(id="a", task="speed", priority=0.9, why="?")]
    write_queue(tmp_path, entries)
    assert read_queue(tmp_path) == entries[::-1]
    assert read_queue(tmp_path / "nowhere") is None
    for broken, why in (('{"id": "a", "task": "sped"}', "task 'sped'"), ('{"id": "a"}', "Field required")):
        (tmp_path / "review.jsonl").write_text(broken + "\n")
        with pytest.raises(UserError, match=why):
            read_queue(tmp_path)


def test_without_a_queue_what_is_marked_review_is_asked(tmp_path):
    opened = Review(str(write_dataset(tmp_path / "plain", queue=False)))
    assert opened.made_here
    assert [(e.id, e.task) for e in opened.entries] == [
        ("d/000005", "light"), ("d/000006", "speed"), ("d/000007", "crossroad")
    ]  # fmt: skip
    assert opened.entries[0].why == "vlm green, smoothed red, motion red, expert green, fused red"
    assert opened.entries[0].priority == 0.45 and len(opened.entries[0].strip) == 9
    assert queue_of([]) == []


def test_a_queue_of_other_rows_is_refused(dataset):
    write_queue(dataset, [Entry(id="e/000001", task="light")])
    with pytest.raises(UserError, match="does not hold"):
        Review(str(dataset))


def test_answers_lie_outside_what_is_digested(tmp_path):
    run = tmp_path / "run"
    write_dataset(run / "out")
    (run / "manifest.json").write_text("{}")
    assert place_of_answers(str(run), run / "out") == run / "review" / "human.jsonl"
    assert place_of_answers("x", tmp_path / "data") == tmp_path / "data-review" / "human.jsonl"
    assert place_of_answers("package:sample", tmp_path / "p/out").parts[:2] == ("runs", "review")


# --- applying ---------------------------------------------------------------------------------------


def test_a_persons_word_wins_and_the_rest_stays(dataset, tmp_path):
    data = open_dataset(dataset)
    kept = Correction("d/000006", "speed", {"recommended_speed_kmh": "0"}, "ann", 3.0)
    done = apply(data, [GREEN, ZEBRA, kept], tmp_path / "new", parents=[{"digest": "x"}])
    assert done == (12, 3, 2, 0, [])
    before, after = ({r.id: r for r in d.rows("train")} for d in (data, open_dataset(tmp_path / "new")))
    row = after["d/000005"]
    assert row.label.light == "green" and parse_answer(row.messages[1]["content"]) == row.label
    assert row.messages[0] == before["d/000005"].messages[0]
    mark = row.tasks["light"]
    assert (mark.source, mark.status, mark.confidence) == ("human", "changed", 1.0)
    assert mark.history[:-1] == before["d/000005"].tasks["light"].history
    assert mark.history[-1] == {
        "step": "human", "value": "green", "slots": GREEN.slots, "confidence": 1.0, "by": "ann", "t": 1.0
    }  # fmt: skip
    assert row.tasks["speed"] == before["d/000005"].tasks["speed"]
    assert (
        after["d/000006"].tasks["speed"].status == "kept"
        and after["d/000006"].tasks["speed"].source == "human"
    )
    assert after["d/000000"] == before["d/000000"]
    info = open_dataset(tmp_path / "new").info
    assert (info["teacher"], info["parents"]) == ("colours", [{"digest": "x"}])
    assert info["counts"]["train"]["labels"]["light"]["green"] == 5
    for name in ("d/000000", "d/000005"):
        assert (tmp_path / f"new/images/{name}.jpg").read_bytes() == (
            dataset / f"images/{name}.jpg"
        ).read_bytes()


def test_applying_twice_is_the_same(dataset, tmp_path):
    given = [GREEN, ZEBRA]
    apply(open_dataset(dataset), given, tmp_path / "once", parents=["p"])
    apply(open_dataset(tmp_path / "once"), given, tmp_path / "twice", parents=["p"])
    assert digest_tree(tmp_path / "once") == digest_tree(tmp_path / "twice")
    apply(open_dataset(dataset), given, tmp_path / "once", parents=["p"])  # the same work in the same place
    assert digest_tree(tmp_path / "once") == digest_tree(tmp_path / "twice")


def test_what_a_person_could_not_tell_either_is_dropped(dataset, tmp_path):
    nothing = [Correction("d/000005", t, dict.fromkeys(TASKS[t], "unknown"), "ann", 1.0) for t in TASKS]
    half = Correction("d/000006", "crossroad", {"crossroad": "unknown", "zebra": "no"}, "ann", 2.0)
    done = apply(open_dataset(dataset), [*nothing, half], tmp_path / "once", parents=["p"])
    assert (done.answered, done.changed, done.dropped) == (5, 5, 4)
    rows = {row.id: row for row in open_dataset(tmp_path / "once").rows("train")}
    marks = rows["d/000005"].tasks.values()
    assert {(m.source, m.status) for m in marks} == {("human", "dropped")}
    assert rows["d/000006"].tasks["crossroad"].status == "changed"
    done = apply(open_dataset(tmp_path / "once"), [*nothing, half], tmp_path / "twice", parents=["p"])
    assert digest_tree(tmp_path / "once") == digest_tree(tmp_path / "twice")
    assert (done.changed, done.dropped) == (0, 4)


ROOT = Path(__file__).parents[3]
KILLED = """
import os, signal, sys
from pathlib import Path
from edgekit.dataset import DatasetWriter, open_dataset
from edgekit.review.apply import apply
from tests.unit.review.test_answers import GREEN
add = DatasetWriter.add
def die(writer, split, row):
    add(writer, split, row)
    if row.id.endswith("7"):
        os.kill(os.getpid(), signal.SIGKILL)
DatasetWriter.add = die
apply(open_dataset(sys.argv[1]), [GREEN], Path(sys.argv[2]), parents=["p"])
"""


def test_an_apply_that_was_killed_is_begun_anew(dataset, tmp_path):
    data, out = open_dataset(dataset), tmp_path / "new"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(dataset), str(out)], capture_output=True, cwd=ROOT
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(out.rglob("*.jpg"))) == 8 and not (out / "info.json").exists()
    (out / "images/stray.jpg").write_bytes(b"of another Dataset, say")
    apply(data, [GREEN, ZEBRA], out, parents=["p"])  # a person answered more since
    apply(data, [GREEN, ZEBRA], tmp_path / "whole", parents=["p"])
    assert digest_tree(out) == digest_tree(tmp_path / "whole")
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert not (out / ".applying").exists() and not (out / "images/stray.jpg").exists()
    with pytest.raises(UserError, match="holds something"):  # whole now: other work does not write over it
        apply(data, [GREEN], out, parents=["q"])


def test_a_changed_mind_is_another_step(dataset, tmp_path):
    apply(open_dataset(dataset), [GREEN], tmp_path / "once")
    apply(open_dataset(tmp_path / "once"), [GREEN._replace(slots=LIGHT, t=9.0)], tmp_path / "twice")
    row = open_dataset(tmp_path / "twice").rows("train")[STRAY]
    assert [s["value"] for s in row.tasks["light"].history if s["step"] == "human"] == ["green", "red"]
    assert row.label.light == "red" and row.tasks["light"].status == "changed"


def test_the_last_answer_counts_and_foreign_ones_are_told(dataset, tmp_path):
    data, stranger = open_dataset(dataset), GREEN._replace(id="other/000001")
    done = apply(data, [GREEN, GREEN._replace(slots=LIGHT), stranger], tmp_path / "new")
    assert (done.answered, done.changed, done.unknown) == (1, 0, ["other/000001"])
    with pytest.raises(UserError, match="no answer is of this Dataset"):
        apply(data, [stranger], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_holds_something_else_is_not_written(dataset, tmp_path):
    data = open_dataset(dataset)
    for place in ("full", "mined"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "mine.txt").write_text("x")
        with pytest.raises(UserError, match="holds something"):
            apply(data, [GREEN], tmp_path / place, parents=["p"])
    with pytest.raises(UserError, match="holds something"):
        apply(data, [GREEN], tmp_path / "full" / "mine.txt")


def test_an_image_path_that_leads_out_is_refused(dataset, tmp_path):
    path = dataset / "train.jsonl"
    path.write_text(path.read_text().replace("images/d/000003.jpg", "../../secret.jpg"))
    with pytest.raises(UserError, match="refused"):
        apply(open_dataset(dataset), [GREEN], tmp_path / "new")


# --- the command ------------------------------------------------------------------------------------


def words(*given):
    tool = argparse.ArgumentParser()
    add_options(tool)
    return config_of(tool.parse_args(list(given)))


def test_the_words_of_the_command(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGEKIT_TOKEN", raising=False)
    assert (words("run").port, words("run").host, words("run").token) == (8765, "127.0.0.1", None)
    assert words("run", "--apply", "--out", "new").out.name == "new"
    assert words("run", "--old-answers").old_answers and not words("run").old_answers
    monkeypatch.setenv("EDGEKIT_TOKEN", "abc")
    assert words("run").token == "abc" and words("run", "--token", "x").token == "x"
    for typed, why in (
        (("run", "--apply"), "--out"),
        (("run", "--apply", "--export", "cvat", "--out", "x"), "one at a time"),
        (("run", "--import", "cvat"), "--file"),
        (("run", "--port", "99999"), "less than or equal to 65535"),
    ):
        with pytest.raises(UserError) as told:
            words(*typed)
        assert why in str(told.value)


def test_apply_as_a_command_names_its_parents_and_what_is_left_behind(dataset, tmp_path, capsys):
    with pytest.raises(UserError, match="nothing to apply"):
        review(ReviewConfig(what=str(dataset), apply=True, out=tmp_path / "new"))
    Review(str(dataset)).answer([GREEN])
    assert review(ReviewConfig(what=str(dataset), apply=True, out=tmp_path / "new")) == tmp_path / "new"
    info = open_dataset(tmp_path / "new").info
    assert (
        info["parents"] == [{"digest": digest_tree(dataset, foreign=True)}]
        and len(info["answers_sha256"]) == 64
    )
    told = capsys.readouterr().err
    assert "1 answers" in told and "not review.jsonl" in told
    review(ReviewConfig(what=str(dataset), apply=True, out=tmp_path / "new"))  # again: the same


def test_nothing_to_review_is_told(dataset):
    write_queue(dataset, [])
    with pytest.raises(UserError, match="nothing is asked"):
        review(ReviewConfig(what=str(dataset)))


def test_the_command_serves_until_it_is_stopped(dataset):
    code = "import sys; from edgekit.review import *; print(review(ReviewConfig(what=sys.argv[1], port=0, by='ann')))"
    command = [sys.executable, "-c", code, str(dataset)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        told = ""
        while not (url := re.search(r"http://127\.0\.0\.1:\d+/", told)):
            told += (line := first.stderr.readline())
            assert line, told
        for _ in range(100):  # the port is bound when it is told; it listens a moment later
            try:
                assert httpx.get(url[0] + "queue.json").json()["total"] == 3
                break
            except httpx.ConnectError:
                continue
        body = {"id": "d/000005", "task": "light", "slots": LIGHT}
        assert httpx.post(url[0] + "answer", json=body).status_code == 200
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 0, err
    assert out.strip() == str(place_of_answers(str(dataset), dataset))
    assert "1 of 3 answered" in err and "Traceback" not in err
