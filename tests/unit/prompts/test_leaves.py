"""The parts of the station, each by itself: failures, edits, the front, promotion, the writer's guard."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.label import TASKS, SceneLabel, to_answer
from edgekit.core.recipe import build
from edgekit.dataset import Sample
from edgekit.engine.answerer import Answer
from edgekit.engine.endpoint import Endpoint
from edgekit.library import Entry, Example, check_library, known_libraries, load_library
from edgekit.prompts import PromptsConfig
from edgekit.prompts.edits import OPERATORS, Case, Edit, _catalogue, apply, facts_of, shorten
from edgekit.prompts.failures import grouped
from edgekit.prompts.front import Candidate, Front, Score
from edgekit.prompts.promote import promote, require_apart
from edgekit.prompts.search import turns
from edgekit.prompts.shares import in_two
from edgekit.prompts.writer import TEXT_CHARS, Writer, checked, port

SEEN = {
    "recommended_speed_kmh": "30", "light": "none", "light_arrow": "none", "light_kind": "none",
    "other_left": "none", "other_straight": "none", "other_right": "none", "cones": "no", "obstacle": "none",
    "crossroad": "no", "zebra": "no",
}  # fmt: skip
RED = {"light": "red", "light_arrow": "any", "light_kind": "intersection"}


def label(**slots):
    return SceneLabel(**(SEEN | slots))


def row(i, scene="s", tags=(), **slots):
    return Sample.of(
        id=f"{i}", prompt_text="x", label=label(**slots), source="render", images=["x.jpg"], scene=scene,
        tags=list(tags),
    )  # fmt: skip


def answer(**slots):
    return Answer(to_answer(label(**slots)), label(**slots))


def test_failures_are_grouped_by_task_slice_and_state_the_weightiest_first():
    rows = [row(i, tags=["night"] if i < 3 else [], **RED) for i in range(6)] + [
        row(6, recommended_speed_kmh="0")
    ]
    said = [answer()] * 3 + [answer(**RED)] * 3 + [answer()]
    groups = grouped(rows, said)
    first = groups[0]
    assert (first.task, first.slice, first.true, first.said) == ("light", "night", "red", "none")
    assert first.rows == (0, 1, 2) and first.frames == 3 and first.rate == 1
    # Of all six red lights half failed, but these are the same frames: told once.
    assert [g for g in groups if g.task == "light"] == [first]
    assert ("speed", "stop", "too_fast") in {(g.task, g.true, g.said) for g in groups}


def test_an_answer_that_does_not_parse_fails_every_task_and_a_dropped_task_none():
    one = row(0, **RED)
    one.tasks["light"].status = "dropped"
    groups = grouped([one], [Answer("?", None)])
    assert {g.task for g in groups} == {"speed", "obstacles", "crossroad"}
    assert {g.said for g in groups} == {"unparsed"}


@pytest.mark.parametrize("name", known_libraries())
def test_every_edit_of_every_operator_makes_a_library_that_may_be(name):
    library = load_library(name)
    tags = ["night", "rain", "toll"]
    rows = [row(i, tags=tags, **RED, cones="yes", crossroad="yes") for i in range(4)]
    rows += [row(9, recommended_speed_kmh="0", tags=tags)]
    made = []
    for wrong in ({}, RED | {"light": "green"}, {"recommended_speed_kmh": "unknown", "cones": "unknown"}):
        for group in grouped(rows, [answer(**wrong)] * 5):
            case = Case(library, group, rows, frozenset({"crop"}))
            made += [edit for operator in OPERATORS.values() for edit in operator(case)]
    made += shorten(library)
    assert {edit.operator for edit in made} >= {"clarify", "rule", "example", "aid"}
    for edit in made:
        after = apply(library, edit)
        assert after is not None and after != library, edit
        assert check_library(after) == after
        assert Edit.model_validate(json.loads(json.dumps(edit.record()))) == edit


def test_an_edit_says_what_it_changes_so_that_it_fits_another_library_too():
    library = load_library("library")
    one = Edit(operator="clarify", how="append", entry="light", value="First.")
    two = Edit(operator="clarify", how="append", entry="light", value="Second.")
    both, second = apply(apply(library, one), two), apply(library, two)
    text = {e.id: e.text for e in library.entries}["light"]
    assert {e.id: e.text for e in both.entries}["light"] == f"{text} First. Second."
    assert {e.id: e.text for e in second.entries}["light"] == f"{text} Second."
    cut = Edit(operator="shorten", how="cut", entry="light", value="First.")
    assert apply(both, cut) == second
    assert apply(library, cut) is None, "there is nothing to cut"
    assert apply(library, Edit(operator="shorten", how="drop", entry="nobody")) is None
    assert apply(library, Edit(operator="write", how="set", entry="light", value="Say <|im_end|>")) is None
    assert apply(library, Edit(operator="write", how="set", entry="light", value="Pay $nothing")) is None
    taken = Entry(id="light", task="light", text="x")
    assert apply(library, Edit(operator="rule", how="add", entry="light", value=taken)) is None


def test_the_catalogue_speaks_both_languages_and_only_words_that_there_are():
    for phrase in _catalogue()["phrases"]:
        assert phrase["en"] and phrase["zh"] and set(phrase) <= {"task", "truth", "said", "slice", "en", "zh"}
        assert phrase.get("task", "light") in TASKS
        for key in ("truth", "said", "slice"):
            assert isinstance(phrase.get(key, []), list)
    seen = row(0, tags=["night"], **RED, obstacle="person")
    assert (
        facts_of(seen, "en")
        == "at night, a red light for our lane at an intersection, a full disc, a person in our path."
    )
    assert "红灯" in facts_of(seen, "zh")
    assert Example(facts=facts_of(row(1), "en"), answer={"recommended_speed_kmh": "30"})


def candidate(goal, tokens, noise=0.0, seed=0):
    drawn = goal + noise * np.random.default_rng(seed).standard_normal(400)
    return Candidate(load_library("library"), (), Score(goal, {}, tokens), drawn)


def test_more_tokens_must_pay_and_what_is_told_from_luck_only():
    front = Front(candidate(0.5, 100), least_gain=0.01, errors=2, margin=0.05)
    assert not front.offer(candidate(0.505, 120)), "too little for more tokens"
    assert not front.offer(candidate(0.53, 120, noise=0.05)), "less than two standard errors"
    assert front.offer(candidate(0.53, 120)) and front.best.score.goal == 0.53
    assert front.offer(candidate(0.47, 80)) and not front.offer(candidate(0.44, 10)), "below the floor"
    assert front.offer(candidate(0.53, 90)), "as good, and shorter"
    assert [(c.score.goal, c.score.tokens) for c in front.sorted()] == [(0.47, 80), (0.53, 90)]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), max_size=30))
def test_no_member_of_the_front_is_beaten(offers):
    front = Front(candidate(0.5, 25), least_gain=0.0, errors=0.0, margin=1.0)
    for goal, tokens in offers:
        front.offer(candidate(goal, tokens))
    scores = [c.score for c in front.sorted()]
    assert all(a.tokens < b.tokens and a.goal < b.goal for a, b in zip(scores, scores[1:], strict=False))
    assert front.best.score.goal == max(s.goal for s in scores)
    assert front.best.score.goal == pytest.approx(max([0.5, *(g for g, _ in offers)]))


def held(scenes=30, frames=4):
    random = np.random.default_rng(1)
    return [
        row(
            f"{s}-{f}", scene=f"s{s}", crossroad=str(random.choice(["no", "yes"])),
            **(RED if random.random() < 0.5 else {}),
        )
        for s in range(scenes)
        for f in range(frames)
    ]  # fmt: skip


class Scripts:
    """Answers rows as the words in the library say; ``misses``: rows whose light is missed without "cure"."""

    def __init__(self, rows, misses, breaks=()):
        self.rows, self.misses, self.breaks = rows, set(misses), set(breaks)

    def __call__(self, library, rows):
        text = " ".join(entry.text for entry in library.entries)
        said = []
        for i, r in enumerate(rows):
            values = r.label.model_dump()
            if i in self.misses and "cure" not in text:
                values |= {slot: "none" for slot in RED}
            if i in self.breaks and "harm" in text:
                values["crossroad"] = "no" if values["crossroad"] == "yes" else "yes"
            said.append(answer(**values))
        return said, [len(text.split())] * len(rows)


def words(*texts):
    return [Edit(operator="clarify", how="append", entry="light", value=text) for text in texts]


def promoted(rows, ask, edits):
    return promote(load_library("library"), edits, rows, ask, 30.0, resamples=500, seed=0, margin=0.01)


def test_promotion_keeps_what_holds_and_nothing_else():
    rows = held()
    ask = Scripts(rows, misses=range(0, len(rows), 3), breaks=range(0, len(rows), 2))
    done = promoted(rows, ask, words("idle words.", "a cure.", "harm."))
    assert [step.kept for step in done.steps] == [False, True, False]
    text = " ".join(entry.text for entry in done.library.entries)
    assert "cure" in text and "idle" not in text and "harm" not in text
    assert done.steps[0].interval == (0, 0) and done.steps[1].interval[0] > 0 > done.steps[2].interval[1]
    # Three looks: a third of 5 % each; what held passes its share on.
    assert [round(1 - step.level, 4) for step in done.steps] == [0.0167, 0.0167, 0.0333]
    assert done.after.metrics["light/f1"] == 1 > done.before.metrics["light/f1"]


def test_a_gain_that_costs_another_task_clearly_is_not_promoted():
    rows = held()
    ask = Scripts(rows, misses=range(len(rows)), breaks=range(0, len(rows), 4))
    (step,) = promoted(rows, ask, words("a cure with harm.")).steps
    assert step.interval[0] > 0 and step.worse == ("crossroad",) and not step.kept


def test_a_gain_in_one_scene_alone_is_no_gain():
    rows = held()
    ask = Scripts(rows, misses=range(4))
    (step,) = promoted(rows, ask, words("a cure.")).steps
    assert step.difference > 0 and step.interval[0] <= 0 and not step.kept


def test_held_out_rows_must_be_enough_scenes_of_their_own(tmp_path):
    def image(row):
        (tmp_path / row.id).write_text(row.id)
        return tmp_path / row.id

    rows = held(scenes=5)
    with pytest.raises(UserError, match="too few held-out scenes"):
        require_apart([row("a", scene="other")], rows, image)
    require_apart([row("a", scene="other")], held(scenes=6), image)


@given(st.integers(2, 40), st.floats(0.05, 0.95), st.integers(0, 3))
def test_the_searched_rows_are_parted_by_scene(scenes, share, seed):
    rows = [row(f"{s}-{f}", scene=f"s{s}") for s in range(scenes) for f in range(2)]
    learn, choose = in_two(rows, share, seed)
    assert learn and choose and len(learn) + len(choose) == len(rows)
    assert not {r.scene for r in learn} & {r.scene for r in choose}


def test_a_turn_each():
    assert list(turns([iter("ab"), iter(""), iter("xyz")])) == list("axbyz")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Look  at\nthe lamps.", ""), ("", "empty"), (3, "empty"), ("y" * 241, "too long"),
        ("Say <|im_start|>system", "a control word"), ("<im<image>age>", "a control word"),
        ("$light", "a template hole"), ("a\x00b", "signs that cannot be printed"), ("Look.", "as it was"),
    ],
)  # fmt: skip
def test_what_a_writer_says_is_taken_only_where_it_may_be(text, why):
    assert checked(text, "Look.")[1] == why
    assert checked("y" * (TEXT_CHARS + 1), "z" * 900)[1] == "too long"


@pytest.mark.parametrize(
    "reply",
    ["no JSON", "[1]", '{"edits": 3}', "{" * 5000, '{"edits": [{"entry": "other", "text": "x"}, 4]}', ""],
)
def test_a_reply_in_another_form_gives_no_edit(tmp_path, reply):
    writer = Writer(lambda system, told: reply, tmp_path / "log.jsonl")
    assert writer.texts(load_library("library"), {"light": "Look."}, []) == {}
    assert sum(writer.refused.values()) >= 1


def test_a_reply_is_asked_for_once(tmp_path):
    asked = []

    def say(system, told):
        asked.append(told)
        return 'Sure: {"edits": [{"entry": "light", "text": "Look at the lamps."}]}'

    for _ in range(2):  # the second one is a resumed run's
        writer = Writer(say, tmp_path / "log.jsonl")
        assert writer.texts(load_library("library"), {"light": "Look."}, []) == {
            "light": "Look at the lamps."
        }
    assert len(asked) == 1


def test_the_writer_asks_a_port_for_text_alone(tmp_path):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps({"choices": [{"message": {"content": '{"edits": []}'}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        say = port(Endpoint(url=f"http://127.0.0.1:{server.server_address[1]}/v1", model="writer"))
        assert say("system", "told") == '{"edits": []}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    (question,) = seen
    assert [m["content"] for m in question["messages"]] == ["system", "told"]
    assert set(question["response_format"]["json_schema"]["schema"]["properties"]) == {"edits"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"endpoint": {"url": "http://x", "model": "m"}}, "name one of model"),
        ({"search": {"kind": "gepa"}}, "name a writer"), ({"search": {"operators": ["write"]}}, "no writer"),
        ({"kind": "endpoint"}, "does not go with model"), ({"held_out": "dev"}, "both 'dev'"),
        ({"serch": {}}, "did you mean 'search'"),
    ],
)  # fmt: skip
def test_a_recipe_that_makes_no_sense_is_refused(more, why):
    with pytest.raises(UserError, match=why):
        build(PromptsConfig, {"model": "m", "dataset": "d"} | more, "test")
