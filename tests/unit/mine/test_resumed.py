"""A run that goes on says what was there already, once."""

import pytest

from edgekit.mine import mine
from edgekit.mine import run as story
from tests.unit.mine.test_joined import EXPERT, Eye
from tests.unit.mine.test_mine import AT_ONCE, ColourTeacher, config_of, run_of, write


@pytest.fixture
def drives(tmp_path):
    write(tmp_path / "set", "d1", ["none"] * 10 + ["red"] * 10, scene="s1")
    write(tmp_path / "set", "d2", ["none"] * 13, scene="s2")
    return tmp_path / "set"


def gone_on(tmp_path, config, die_after, capsys):
    """The lines of the second of two runs that tell what was there; the first died, and may say none."""
    broken = run_of(tmp_path, config)
    with pytest.raises(KeyboardInterrupt):
        mine(config, broken, ColourTeacher(die_after=die_after))
    assert "going on" not in capsys.readouterr().err
    again = run_of(tmp_path, config)
    mine(config, again, ColourTeacher())
    assert not any("before" in note for note in again.notes)  # it changes nothing of the result
    return [line for line in capsys.readouterr().err.splitlines() if "going on" in line]


def test_answers_that_were_there_are_told(tmp_path, drives, capsys):
    assert gone_on(tmp_path, config_of(drives), 6, capsys) == [
        "[mine] 24 of 33 frames were answered before: going on"
    ]


def test_second_answers_are_told_apart(tmp_path, drives, capsys):
    config = config_of(drives, prompts="dynamic", dynamic=AT_ONCE)
    assert gone_on(tmp_path, config, 7, capsys) == [
        "[mine] 20 of 33 frames were answered before, 8 of them a second time: going on"
    ]


def test_detections_that_were_there_are_told(tmp_path, drives, capsys, monkeypatch):
    monkeypatch.setattr(story, "open_expert", lambda config: Eye())
    config = config_of(drives, experts=[EXPERT])
    assert gone_on(tmp_path, config, 2, capsys) == [
        "[mine] 8 of 33 frames were answered before, and detectors had looked at 20: going on"
    ]


def test_a_run_that_died_before_the_first_answer_says_nothing(tmp_path, drives, capsys):
    assert gone_on(tmp_path, config_of(drives), 0, capsys) == []
