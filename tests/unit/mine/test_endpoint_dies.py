"""Mining with a port that dies, refuses a frame, or never answers in the schema: what was answered is kept."""

import json
import threading

import numpy as np
import pytest
import yaml

from edgekit.cli import main
from edgekit.core.label import SceneLabel, to_answer
from edgekit.dataset import open_dataset
from edgekit.dataset.answers import AnswerLog
from edgekit.engine.answerer import Answer
from edgekit.mine.doubt import ENOUGH
from edgekit.mine.logs import logs_of
from tests.unit.engine.conftest import FILTERED, Port, decoded
from tests.unit.mine.test_mine import RGB, config_of, label, run_of, write
from tests.unit.mine.test_plan import refusals


def colour(question):
    image = decoded(question)[0]
    middle = image[image.shape[0] // 2, image.shape[1] // 2].astype(int)
    return min(RGB, key=lambda c: np.abs(middle - RGB[c]).sum())


def sees(question):
    return 200, to_answer(label(colour(question))), {}


def filters(question):
    """Refuses black frames."""
    return (400, FILTERED, {}) if colour(question) == "blank" else sees(question)


def prose(question):
    return 200, "I see a nice road.", {}


class Dying:
    """Answers ``left`` questions as ``reply`` does, and hangs up on all others."""

    def __init__(self, reply, left):
        self.reply, self.left, self.lock = reply, left, threading.Lock()

    def __call__(self, question):
        with self.lock:
            self.left -= 1
            if self.left < 0:
                return 0, "", {}
        return self.reply(question)


@pytest.fixture
def port():
    """A function: reply -> a Port that answers so."""
    made = []

    def start(reply):
        one = Port(reply)
        thread = threading.Thread(target=one.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        made.append((one, thread))
        return one

    yield start
    for one, thread in made:
        one.shutdown()
        one.server_close()
        thread.join()


@pytest.fixture
def drives(tmp_path):
    write(tmp_path / "set", "d1", ["none"] * 10 + ["blank"] + ["red"] * 9, scene="s1", tags=("night",))
    write(tmp_path / "set", "d2", ["none"] * 6 + ["green"] * 7, scene="s2")
    return tmp_path / "set"


def mine(tmp_path, drives, port, name, **more):
    """``edgekit mine`` whole; gives its exit code."""
    endpoint = {"url": port.url, "model": "m", "parallel": 3, "tries": 1, "width": 112, "height": 56}
    raw = {"drives": [str(drives)], "kind": "endpoint", "endpoint": endpoint, "resamples": 100, **more}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(raw))
    return main(["mine", str(recipe), "--out", str(tmp_path / name)])


def digest(tmp_path, name):
    return json.loads((tmp_path / name / "manifest.json").read_text())["digest"]


def logged(tmp_path, name):
    return {
        key: answer
        for log in (tmp_path / name / "state" / "answers").glob("*.jsonl")
        for key, answer in AnswerLog(log, refused=True).answers.items()
    }


@pytest.mark.parametrize("prompts, alive", [("default", 13), ("default", 25), ("dynamic", 29)])
def test_a_port_that_dies_loses_nothing_and_a_restart_asks_only_the_rest(
    tmp_path, drives, port, capsys, prompts, alive
):
    whole, dying, other = port(filters), port(Dying(filters, alive)), port(filters)
    assert mine(tmp_path, drives, whole, "whole", prompts=prompts) == 0
    capsys.readouterr()
    assert mine(tmp_path, drives, dying, "broken", prompts=prompts) == 2
    told = capsys.readouterr().err
    assert (
        "not reachable" in told and "start the same command again" in told and "was answered is kept" in told
    )
    assert len(logged(tmp_path, "broken")) == alive
    assert mine(tmp_path, drives, other, "broken", prompts=prompts) == 0
    assert len(other.asked) == len(whole.asked) - alive + 1  # the refused frame once more
    assert digest(tmp_path, "broken") == digest(tmp_path, "whole")


def test_a_port_that_dies_at_another_drive_is_told_with_what_is_kept(tmp_path, drives, port, capsys):
    assert mine(tmp_path, drives, port(Dying(filters, 20)), "run") == 2  # all of d1, and nothing of d2
    assert "was answered is kept" in capsys.readouterr().err and len(logged(tmp_path, "run")) == 20


def test_a_refused_frame_is_unknown_told_and_asked_about_once(tmp_path, drives, port, capsys):
    filtering = port(filters)
    assert mine(tmp_path, drives, filtering, "run", smoothing=None) == 0
    assert len(filtering.asked) == 33
    rows = {row.id: row for row in open_dataset(tmp_path / "run" / "out").rows("train")}
    assert len(rows) == 33 and rows["d1/000010"].label == SceneLabel()
    assert rows["d1/000011"].label == label("red")
    (note,) = json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"]
    assert note == (
        "drive d1: 1 of 20 answers did not parse: all-unknown; 1 of them the server refused "
        "(HTTP 400: content filter)"
    )


@pytest.mark.parametrize("heard", [False, True])
def test_what_a_server_that_was_set_up_wrong_refused_is_asked_again(tmp_path, port, capsys, heard):
    """It begins to refuse every picture: the first 32 in a row pass for bad pictures, then it is an error."""
    drives = tmp_path / "set"
    write(drives, "d1", ["none"] * 30 + ["red"] * 30)
    kept = {"heard": str(tmp_path / "heard")} if heard else {}
    assert mine(tmp_path, drives, port(sees), "whole", smoothing=None) == 0
    left = iter(range(10))
    wrong = port(lambda question: sees(question) if next(left, None) is not None else (400, FILTERED, {}))
    for _ in range(2):  # the second time nothing but refusals come
        assert mine(tmp_path, drives, wrong, "broken", smoothing=None, **kept) == 2
        assert "in a row" in capsys.readouterr().err
    assert mine(tmp_path, drives, port(sees), "broken", smoothing=None, **kept) == 0
    assert digest(tmp_path, "broken") == digest(tmp_path, "whole")


def test_a_port_that_refuses_everything_is_an_error(tmp_path, drives, port, capsys):
    assert mine(tmp_path, drives, port(lambda question: (400, FILTERED, {})), "run") == 2
    told = capsys.readouterr().err
    assert "HTTP 400" in told and "why: content filter" in told and "kept" not in told
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_never_answers_in_the_schema_is_stopped_early(tmp_path, drives, port, capsys):
    for name in ("d3", "d4", "d5"):
        write(drives, name, ["none"] * 20, scene=name)
    talker = port(prose)
    assert mine(tmp_path, drives, talker, "run") == 2
    heard = len(logged(tmp_path, "run"))
    told = capsys.readouterr().err
    assert ENOUGH <= heard < ENOUGH + 8 and len(talker.asked) == 2 * heard  # over d1, d2: batches of 8
    assert f"none of {heard} answers parsed" in told and "said: I see a nice road." in told
    assert "was answered is kept" not in told
    assert mine(tmp_path, drives, talker, "run") == 2  # the same command again asks nothing more
    assert len(talker.asked) == 2 * heard
    assert f"none of {heard} answers parsed" in capsys.readouterr().err


def test_a_teacher_that_abstains_often_goes_on(tmp_path, port):
    write(tmp_path / "set", "d1", ["blank"] * (ENOUGH - 2) + ["red"] + ["blank"] * 40)
    often = lambda question: prose(question) if colour(question) == "blank" else sees(question)  # noqa: E731
    talker = port(Dying(often, 2 * (ENOUGH - 2) + 1))
    assert mine(tmp_path, tmp_path / "set", talker, "run") == 2
    assert any(answer.label for answer in logged(tmp_path, "run").values())
    assert mine(tmp_path, tmp_path / "set", port(often), "run") == 0  # what the first process heard counts


def test_answers_about_gold_are_kept_when_the_run_is_refused(tmp_path, drives):
    run = run_of(tmp_path, config_of(drives))
    with logs_of(run.config, run) as logs:
        AnswerLog(logs.answers_of_gold).add(["g/000000?"], [Answer("", label("red"))])
    run.withdraw()
    assert logs.answers_of_gold.is_file()


def test_a_key_that_is_not_set_is_told_by_the_plan(drives, monkeypatch):
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "m", "api_key_env": "EDGEKIT_TEST_KEY"}
    config = config_of(drives, teacher=None, kind="endpoint", endpoint=endpoint)
    monkeypatch.delenv("EDGEKIT_TEST_KEY", raising=False)
    (told,) = refusals(config)
    assert "EDGEKIT_TEST_KEY is not set" in told
    monkeypatch.setenv("EDGEKIT_TEST_KEY", "secret")
    assert not refusals(config)
