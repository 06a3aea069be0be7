"""What an endpoint was told stays told: when a port fails, when somebody presses Ctrl-C, at a new start."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.dataset.answers import AnswerLog, ask_all
from edgekit.engine.answerer import Answer
from edgekit.engine.endpoint import EndpointAnswerer
from tests.unit.engine.conftest import CONTRACT, GOOD, frames, refusing, shade


@pytest.fixture
def interruptible():
    """SIGINT is KeyboardInterrupt: whoever starts the tests in the background has the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def asked(answerer, log, n, batch=8):
    keys = [f"k{i}" for i in range(n)]
    return ask_all(answerer, keys, ["?"] * n, lambda first: iter(frames(n)[first:]), log, batch)


def logged(place):
    return sorted(AnswerLog(place).answers) if place.is_file() else []


def test_of_a_batch_that_fails_the_finished_answers_are_in_the_log(opened, slept, tmp_path):
    place = tmp_path / "answers.jsonl"
    _, answerer = opened(refusing(range(5, 8), 0), parallel=1)
    with pytest.raises(UserError, match="not reachable") as error:
        asked(answerer, AnswerLog(place), 8)
    assert logged(place) == ["k0", "k1", "k2", "k3", "k4"]
    assert "start the same command again" in error.value.do and "kept" in error.value.do
    port, answerer = opened(lambda question: (200, GOOD, {}))
    assert all(a.label for a in asked(answerer, AnswerLog(place), 12))
    assert sorted(map(shade, port.asked)) == [5, 6, 7, 8, 9, 10, 11]


def test_nothing_is_said_to_be_kept_where_nothing_is(opened, slept, tmp_path):
    _, answerer = opened(lambda question: (0, "", {}))
    with pytest.raises(UserError) as error:
        asked(answerer, AnswerLog(tmp_path / "answers.jsonl"), 8)
    assert "kept" not in error.value.do


def test_what_was_under_way_when_another_failed_is_kept_too(opened, slept, tmp_path):
    """The slow one ends only after the failure was told to the client."""
    failed = threading.Event()

    def reply(question):
        if shade(question) == 1:
            failed.set()
            return 404, b"", {}
        failed.wait(30)
        threading.Event().wait(0.05)  # time.sleep is ``slept``
        return 200, GOOD, {}

    place = tmp_path / "answers.jsonl"
    with pytest.raises(UserError, match="HTTP 404"):
        asked(opened(reply, parallel=2)[1], AnswerLog(place), 2)
    assert logged(place) == ["k0"]


def test_ctrl_c_keeps_every_answer_that_the_port_gave(opened, interruptible, tmp_path):
    place, given, lock, stopped = tmp_path / "answers.jsonl", [], threading.Lock(), threading.Event()

    def reply(question):
        number = shade(question)
        if number == 4:
            os.kill(os.getpid(), signal.SIGINT)
            stopped.set()
        elif number > 4:
            stopped.wait(30)
            threading.Event().wait(0.1)  # a busy machine's main thread has time to hear of it
        with lock:
            given.append(f"k{number}")
        return 200, GOOD, {}

    _, answerer = opened(reply, parallel=2)
    with pytest.raises(KeyboardInterrupt):
        asked(answerer, AnswerLog(place), 64, batch=64)
    assert logged(place) == sorted(given) and 5 <= len(given) < 64


def test_ctrl_c_while_an_answer_is_written_down_does_not_lose_it(opened, interruptible, tmp_path):
    """It came, and may be paid for, but is not in the log yet."""
    place = tmp_path / "answers.jsonl"

    class Slow(AnswerLog):
        def add(self, keys, answers):
            if "k2" in keys:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)  # the handler has run
            super().add(keys, answers)

    def reply(question):
        if shade(question) > 2:
            threading.Event().wait(0.1)  # a busy machine's main thread has time to hear of it
        return 200, GOOD, {}

    _, answerer = opened(reply, parallel=1)
    with pytest.raises(KeyboardInterrupt):
        asked(answerer, Slow(place), 64, batch=64)
    assert logged(place)[:3] == ["k0", "k1", "k2"] and len(logged(place)) < 64


def test_ctrl_c_at_any_moment_loses_no_answer_and_leaves_nobody_asking(monkeypatch):
    """Forty interrupts, spread over all of a call, its beginning too."""
    random, kept, came, armed = np.random.default_rng(0), [], [], threading.Event()

    def one(self, pictures, prompt):
        time.sleep(0.001)
        came.append(int(prompt))
        return Answer(prompt, None)

    def interrupt(*_):
        if armed.is_set():
            raise KeyboardInterrupt

    monkeypatch.setattr(EndpointAnswerer, "_one", one)
    answerer = EndpointAnswerer("http://127.0.0.1:9/v1", "m", contract=CONTRACT, parallel=4)
    before, stopped = signal.signal(signal.SIGALRM, interrupt), 0
    try:
        for _ in range(40):
            kept.clear(), came.clear()
            try:
                armed.set()
                signal.setitimer(signal.ITIMER_REAL, float(random.uniform(1e-5, 0.012)))
                answerer.answer(
                    frames(40), [str(i) for i in range(40)], lambda place, answer: kept.append(place)
                )
                armed.clear()
            except KeyboardInterrupt:
                stopped += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert sorted(kept) == sorted(came)
            told = len(kept)
            time.sleep(0.005)
            assert len(kept) == told
    finally:
        signal.signal(signal.SIGALRM, before)
        answerer.close()
    assert stopped >= 10


def test_a_refused_frame_is_asked_again_by_a_new_start_and_a_log_tells_that_the_port_has_answered(
    opened, tmp_path
):
    place = tmp_path / "answers.jsonl"
    _, answerer = opened(refusing({3, 7}), parallel=1)
    asked(answerer, AnswerLog(place), 7, batch=7)
    port, again = opened(refusing({3, 7}))
    found = asked(again, AnswerLog(place), 8)  # nothing but refusals are left
    assert found[7].text == "HTTP 400: content filter" and sorted(shade(q) for q in port.asked) == [3, 7]
    asked(again, AnswerLog(place, refused=True), 8)
    assert len(port.asked) == 2
