"""The endpoint against a port of the test's own: repair, several pictures, refusals, back-pressure, bounds."""

import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, SceneLabel, parse_answer
from edgekit.engine.endpoint import MAX_REPLY, MOST_REFUSED, Endpoint, EndpointAnswerer
from edgekit.engine.pressure import Gate
from edgekit.engine.refusal import was_refused
from edgekit.engine.repair import fault, repair_text
from tests.unit.engine.conftest import GOOD, decoded, frames, refusing


def by_turn(*said):
    """Replies with ``said[turn]``: 0 to the question itself, 1 after one answer of ours is in it."""
    return lambda question: (200, said[(len(question["messages"]) - 2) // 2], {})


# --- repair -------------------------------------------------------------------------------------


def test_a_broken_answer_is_asked_for_once_more_with_what_was_wrong(opened):
    port, answerer = opened(by_turn(GOOD.replace('"yes"', '"maybe"'), "Sorry. " + GOOD))
    (answer,) = answerer.answer(frames(), ["What is ahead?"])
    assert answer.label == SceneLabel(cones="yes") and answer.passes == 2 and answer.text == "Sorry. " + GOOD
    first, second = port.asked
    assert second["messages"][:2] == first["messages"]  # the conversation goes on, image and all
    assert second["response_format"] == first["response_format"]
    said, ask = second["messages"][2:]
    assert said["role"] == "assistant" and '"maybe"' in said["content"]
    assert (
        ask["role"] == "user" and 'cones cannot be "maybe": it is one of no, yes, unknown' in ask["content"]
    )


def test_after_one_repair_it_abstains(opened):
    port, answerer = opened(by_turn("I see cones.", "Really."))
    (answer,) = answerer.answer(frames(), ["?"])
    assert (answer.label, answer.text, answer.passes) == (None, "I see cones.", 2)
    assert len(port.asked) == 2 and answer.seen == SceneLabel()


def test_a_whole_answer_is_not_asked_for_again(opened):
    port, answerer = opened(by_turn(GOOD))
    (answer,) = answerer.answer(frames(), ["?"])
    assert answer.passes == 1 and len(port.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_port_of_one_turn_means_no_repair(opened, status):
    turn = lambda question: (status if len(question["messages"]) > 2 else 200, "no JSON", {})  # noqa: E731
    port, answerer = opened(turn)
    (answer,) = answerer.answer(frames(), ["?"])
    assert (answer.label, answer.text, answer.passes) == (None, "no JSON", 1) and len(port.asked) == 2


def test_a_port_that_breaks_down_in_the_repair_is_told(opened, slept):
    turn = lambda question: (500 if len(question["messages"]) > 2 else 200, "no JSON", {})  # noqa: E731
    with pytest.raises(UserError, match="HTTP 500"):
        opened(turn)[1].answer(frames(), ["?"])


def test_what_a_model_said_goes_back_without_control_words_and_half_characters(opened):
    port, answerer = opened(by_turn("<|im_end|><image>\ud800" + "x" * 9000, GOOD))
    (answer,) = answerer.answer(frames(), ["?"])
    said = port.asked[1]["messages"][2]["content"]
    assert answer.label is not None and said.startswith("?xxx") and len(said) <= 2000


def test_an_empty_answer_is_repaired_too(opened):
    port, answerer = opened(by_turn("", GOOD))
    assert answerer.answer(frames(), ["?"])[0].passes == 2
    assert port.asked[1]["messages"][2]["content"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("I see.", "no JSON object"),
        ('{"light":', "breaks off"),
        ("{light}", "not valid JSON"),
        (GOOD[:-1] + ',"x":"y"}', 'no field "x"'),
        (GOOD.replace('"cones":"yes",', ""), "missing: cones"),
        (GOOD.replace('"light":"unknown"', '"light":"amber"'), 'light cannot be "amber"'),
        (GOOD.replace('"recommended_speed_kmh":"unknown"', '"recommended_speed_kmh":42'), "cannot be 42"),
        ("[" * 5000 + "{}" + "]" * 5000, "missing"),
    ],
)
def test_a_fault_is_named(text, said):
    assert parse_answer(text) is None and said in fault(text)
    assert fault(text) in repair_text(text) and all(slot in repair_text(text) for slot in SLOTS)


@given(st.text(max_size=60) | st.sampled_from(sorted(SLOTS)).map(lambda s: GOOD.replace(s, "x")))
def test_any_text_that_does_not_parse_has_a_fault(text):
    if parse_answer(text) is None:
        assert fault(text) and len(fault(text)) < 400


def test_a_writer_asks_in_words_alone_with_a_schema_of_its_own(opened):
    port, answerer = opened(lambda question: (200, '{"a":1}', {}))
    asked, schema = [{"role": "user", "content": "Write."}], {"type": "object"}
    assert answerer.chat(asked, schema=schema, name="edits", max_tokens=2000) == '{"a":1}'
    (question,) = port.asked
    assert question["messages"] == asked and question["max_tokens"] == 2000
    assert question["response_format"]["json_schema"] == {"name": "edits", "strict": True, "schema": schema}


# --- several pictures ---------------------------------------------------------------------------


def test_a_question_may_hold_a_frame_and_crops(opened):
    port, answerer = opened(by_turn(GOOD), pictures=3)
    crop, huge = np.full((60, 20, 3), 7, np.uint8), np.full((400, 100, 3), 9, np.uint8)
    plain, shown = answerer.answer([frames()[0], [frames()[0], crop, huge]], ["one", "three"])
    assert plain.label and shown.label
    questions = {q["messages"][1]["content"][-1]["text"]: q for q in port.asked}
    assert [p.shape for p in decoded(questions["one"])] == [(56, 112, 3)]
    first, second, third = decoded(questions["three"])
    assert first.shape == (56, 112, 3)
    assert np.array_equal(second, crop)  # at its full resolution
    assert third.shape[0] * third.shape[1] <= 56 * 112 and third.shape[0] == pytest.approx(
        4 * third.shape[1], abs=3
    )


def test_more_pictures_than_the_recipe_allows_are_not_sent(opened):
    port, answerer = opened(by_turn(GOOD))
    with pytest.raises(ValueError, match="2 pictures"):
        answerer.answer([[frames()[0], frames()[0]]], ["?"])
    with pytest.raises(ValueError, match="1 images and 2 prompts"):
        answerer.answer(frames(), ["?", "?"])
    assert not port.asked
    assert Endpoint(url="http://x", model="m").pictures == answerer.pictures == 1


# --- refusals -----------------------------------------------------------------------------------

ODD = [b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"[]", b'{"choices": [{"message": null}]}']


@pytest.mark.parametrize("status", [400, 413, 422])
def test_one_refused_frame_is_an_abstention(opened, status):
    port, answerer = opened(refusing({0, 5}, status), parallel=1)  # the very first one too
    answers = answerer.answer(frames(8), ["?"] * 8)
    assert [a.label is None for a in answers] == [i in (0, 5) for i in range(8)]
    assert answers[5].text == f"HTTP {status}: content filter" and answers[5].passes == 0
    assert [was_refused(a) for a in answers] == [a.label is None for a in answers]
    assert len(port.asked) == 8
    (alone,) = answerer.answer(frames(1), ["?"])  # it has answered before
    assert alone.text == f"HTTP {status}: content filter"


@pytest.mark.parametrize("body", ODD)
def test_one_reply_that_is_no_completion_is_an_abstention(opened, body):
    answers = opened(refusing({2}, 200, body))[1].answer(frames(4), ["?"] * 4)
    assert [a.label is None for a in answers] == [False, False, True, False]
    assert answers[2].text.startswith("HTTP 200: not a chat completion") and was_refused(answers[2])
    with pytest.raises(UserError, match="not a chat completion"):
        opened(lambda question: (200, body, {}))[1].answer(frames(4), ["?"] * 4)


def test_a_reply_without_content_is_asked_for_once_more_and_its_refusal_is_shown(opened):
    body = b'{"choices": [{"message": {"content": null, "refusal": "I cannot look at this."}}]}'
    port, answerer = opened(refusing({1}, 200, body))
    first, second = answerer.answer(frames(2), ["?"] * 2)
    assert first.label and (second.label, second.text) == (None, "I cannot look at this.")
    assert len(port.asked) == 3 and not was_refused(second)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_port_that_never_answered_is_an_error(opened, status):
    port, answerer = opened(refusing(range(6), status))
    with pytest.raises(UserError, match=f"HTTP {status}") as error:
        answerer.answer(frames(6), ["?"] * 6)
    assert error.value.why == "content filter" and len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_what_is_about_the_port_ends_the_run_as_before(opened, slept, status):
    with pytest.raises(UserError, match=f"HTTP {status}"):
        opened(refusing({3}, status))[1].answer(frames(8), ["?"] * 8)


def test_a_port_that_refuses_everything_from_some_frame_on_is_an_error(opened):
    n = MOST_REFUSED + 2
    _, answerer = opened(refusing(range(1, n)), parallel=1)
    answerer.answer(frames(MOST_REFUSED + 1), ["?"] * (MOST_REFUSED + 1))
    with pytest.raises(UserError, match=f"after {MOST_REFUSED} such in a row"):
        answerer.answer(frames(n)[-1:], ["?"])
    answerer.answer(frames(1), ["?"])
    assert was_refused(answerer.answer(frames(2)[1:], ["?"])[0])


def test_what_a_model_says_is_no_refusal(opened):
    (answer,) = opened(by_turn("HTTP 400: what?", "HTTP 400: what?"))[1].answer(frames(), ["?"])
    assert answer.label is None and not was_refused(answer)


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["ключ", "two words", "line\n", "café", "tab\t"])
def test_a_key_that_no_header_can_carry_is_told_without_showing_it(monkeypatch, value):
    monkeypatch.setenv("EDGEKIT_TEST_KEY", value)
    with pytest.raises(UserError, match="EDGEKIT_TEST_KEY") as error:
        EndpointAnswerer.of(Endpoint(url="http://127.0.0.1:9/v1", model="m", api_key_env="EDGEKIT_TEST_KEY"))
    assert len(str(error.value).splitlines()) == 3 and value.strip() not in str(error.value)


# --- back-pressure ------------------------------------------------------------------------------


def test_no_more_questions_are_under_way_than_allowed(opened):
    def slow(question):
        time.sleep(0.01)
        return 200, GOOD, {}

    port, answerer = opened(slow, parallel=3)
    assert len(answerer.answer(frames(12), ["?"] * 12)) == 12
    assert port.most <= 3 and len(port.asked) == 12


def test_a_port_may_say_how_long_to_wait(opened, slept):
    replies = iter([(429, "", {"Retry-After": "7"}), (503, "", {"Retry-After": "9999"}), (200, GOOD, {})])
    _, answerer = opened(lambda question: next(replies))
    assert answerer.answer(frames(), ["?"])[0].label is not None
    assert slept == [7.0, 30.0]


def test_the_first_failure_takes_back_what_waits(opened, slept):
    port, answerer = opened(lambda question: (404, "", {}), parallel=2)
    with pytest.raises(UserError, match="HTTP 404"):
        answerer.answer(frames(50), ["?"] * 50)
    assert len(port.asked) < 25


def test_a_reply_without_end_is_not_read_to_its_end(opened):
    _, answerer = opened(lambda question: (200, b"x" * (MAX_REPLY + 10), {}))
    with pytest.raises(UserError, match="bytes"):
        answerer.answer(frames(), ["?"])


def test_a_content_that_is_no_text_is_told(opened):
    body = json.dumps({"choices": [{"message": {"content": ["a"]}}]}).encode()
    with pytest.raises(UserError, match="not a chat completion"):
        opened(lambda question: (200, body, {}))[1].answer(frames(), ["?"])


@pytest.mark.parametrize("status", [429, 502, 503, 504, 0])
def test_fewer_are_under_way_at_a_port_that_was_busy(opened, slept, status):
    """Eight at once are refused, asked again and answered: 8 halved thrice is 1, and 8 good answers make it 4 (after
    1, 3 and 6 of them), two of the next eight 5. So no more than 5 of those eight are ever there at once; a client
    that takes no notice sends all eight, for which each of them is held a while."""
    together, full, lock = threading.Barrier(8), threading.Event(), threading.Lock()
    arrived, inside, most = 0, 0, 0

    def reply(question):
        nonlocal arrived, inside, most
        with lock:
            arrived += 1
            turn = arrived
        if turn <= 8:
            together.wait(30)
            return status, b"", {}
        if turn <= 16:
            return 200, GOOD, {}
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == 8:
                full.set()
        full.wait(0.2)
        with lock:
            inside -= 1
        return 200, GOOD, {}

    port, answerer = opened(reply, parallel=8)
    assert all(a.label for a in answerer.answer(frames(16), ["?"] * 16))
    assert len(port.asked) == 24 and 1 <= most <= 5


@given(st.integers(1, 16), st.lists(st.booleans(), max_size=80))
def test_the_gate_stays_between_one_and_its_most(most, news):
    gate = Gate(most)
    for good in news:
        before = gate.room
        gate.fine() if good else gate.busy()
        assert 1 <= gate.room <= most
        assert gate.room in ((before, before + 1) if good else (max(before // 2, 1),))


def test_the_gate_opens_again_after_good_answers():
    gate = Gate(4)
    gate.busy()
    gate.busy()
    assert gate.room == 1
    for _ in range(1 + 2 + 3):
        gate.fine()
    assert gate.room == 4
