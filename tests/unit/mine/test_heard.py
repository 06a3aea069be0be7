"""What was answered is kept beyond a run, and found again by what was asked, of whom, about which pictures."""

from functools import partial

import pytest

from edgekit.core.alone import alone
from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl
from edgekit.engine.answerer import Answer
from edgekit.mine import logs, mine
from tests.unit.mine.test_mine import ColourTeacher, config_of, drives, run_of, write  # noqa: F401

FRAMES = 33  # of the two drives


def asked(tmp_path, drives, name, **more):  # noqa: F811
    """How many questions a run of its own asked, and its rows."""
    teacher = ColourTeacher()
    config = config_of(drives, heard=str(tmp_path / "heard"), **more)
    run = run_of(tmp_path, config, name)
    mine(config, run, teacher)
    run.finish()
    return len(teacher.prompts), list(read_jsonl(run.out / "train.jsonl"))


def test_another_window_asks_nothing_twice(tmp_path, drives):  # noqa: F811
    first, rows = asked(tmp_path, drives, "a")
    assert first == FRAMES
    again, others = asked(tmp_path, drives, "b", smoothing={"distance_m": 20}, motion=None)
    assert again == 0
    told = [[row["tasks"][t]["history"][0] for t in row["tasks"]] for row in rows]
    assert told == [[row["tasks"][t]["history"][0] for t in row["tasks"]] for row in others]


def test_one_more_drive_is_all_that_is_asked(tmp_path, drives):  # noqa: F811
    asked(tmp_path, drives, "a")
    write(drives, "d3", ["none", "red", "red"], scene="s3")
    assert asked(tmp_path, drives, "b")[0] == 3


def test_other_pictures_under_an_old_id_are_asked_about(tmp_path, drives):  # noqa: F811
    asked(tmp_path, drives, "a")
    for place in (drives / "drives" / "d2").rglob("*"):
        if place.is_file():
            place.unlink()
    write(drives, "d2", ["red"] * 13, scene="s2")
    again, rows = asked(tmp_path, drives, "b")
    assert again == 13
    assert {row["label"]["light"] for row in rows if row["drive"] == "d2"} == {"red"}


def test_another_teacher_or_question_is_asked(tmp_path, drives, monkeypatch):  # noqa: F811
    asked(tmp_path, drives, "a")
    assert asked(tmp_path, drives, "b", batch=5)[0] == FRAMES, "a model's numbers depend on its batch"
    assert asked(tmp_path, drives, "c", library="long-en")[0] == FRAMES
    monkeypatch.setattr(ColourTeacher, "name", "others")
    assert asked(tmp_path, drives, "d")[0] == FRAMES


def test_a_moved_lane_is_asked_about_again(tmp_path, drives):  # noqa: F811
    """A second question may draw what the telemetry says: its answers are of that telemetry."""
    dynamic = {"prompts": "dynamic", "library": "long-en"}
    first, _ = asked(tmp_path, drives, "a", **dynamic)
    assert first > FRAMES
    assert asked(tmp_path, drives, "b", **dynamic, smoothing=None)[0] == 0
    table = drives / "drives" / "d1" / "telemetry.csv"
    table.write_text(table.read_text().replace(",5,", ",6,"))
    again, _ = asked(tmp_path, drives, "c", **dynamic)
    assert 20 <= again < first  # of d1 every frame, of d2 none


def test_a_file_is_no_place_to_keep_answers(tmp_path, drives):  # noqa: F811
    (tmp_path / "heard").write_text("")
    with pytest.raises(UserError, match="is no folder to keep answers in"):
        asked(tmp_path, drives, "a")


def test_what_another_prompt_met_stops_no_run(tmp_path, drives):  # noqa: F811
    class Mute(ColourTeacher):
        def answer(self, images, prompts):
            self.prompts += prompts
            return [Answer("no idea", None) for _ in images]

    for times in (1, 2):  # once is enough: what it said is there
        teacher = Mute()
        config = config_of(drives, heard=str(tmp_path / "heard"))
        with pytest.raises(UserError, match="none of 32 answers parsed"):
            mine(config, run_of(tmp_path, config, f"mute{times}"), teacher)
        assert len(teacher.prompts) == (32 if times == 1 else 0)
    assert asked(tmp_path, drives, "told", library="long-en")[0] == FRAMES


def test_two_runs_at_once_are_told_which_folder_they_share(tmp_path, drives, monkeypatch):  # noqa: F811
    monkeypatch.setattr(logs, "alone", partial(alone, patience_s=0.1))
    (tmp_path / "heard").mkdir()
    with alone(tmp_path / "heard"), pytest.raises(UserError, match="keeps answers in") as error:
        asked(tmp_path, drives, "a")
    assert "another heard" in error.value.do
