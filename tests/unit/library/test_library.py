"""The prompt library: what is composed, and what is refused."""

import hashlib
import re

import pytest

from edgekit.core.errors import UserError
from edgekit.core.label import TASKS, SceneLabel
from edgekit.engine.chat import clean
from edgekit.library import compose, context_of, default_prompt, known_libraries, load_library

GOOD = """
schema: edgekit/prompts/1
id: mine
base: "Look:"
closing: "End."
entries:
  - {id: b, task: light, order: 2, text: "bb"}
  - {id: a, task: speed, order: 1, text: "aa"}
  - {id: wet, task: obstacles, order: 3, when: [rain], text: "wet"}
"""


def test_default_prompt_is_part_of_the_nano_contract():
    # The nano models are trained on these very words; whoever changes them trains anew.
    prompt = default_prompt()
    assert prompt.text == (
        "You drive this car. Report what is ahead: the recommended speed; our traffic light and those of "
        "other lanes; cones and obstacles in our path; crossroad; zebra crossing. Answer in JSON."
    )
    assert prompt.sha256 == hashlib.sha256(prompt.text.encode()).hexdigest()
    assert prompt.id == "nano-en/default"
    assert len(re.findall(r"\w+|[^\w\s]", prompt.text)) <= 45  # words and marks, as a BPE counts them


@pytest.mark.parametrize("name", known_libraries())
def test_shipped_libraries_load_and_cover_all_tasks(name):
    library = load_library(name)
    always = {entry.task for entry in library.entries if not entry.when}
    assert always == set(TASKS)
    text = compose(library).text
    assert clean(text) == text


def test_three_libraries_ship():
    assert known_libraries() == ["library", "long-en", "long-zh"]


def test_order_and_context_decide_the_text(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    library = load_library(path)
    assert compose(library).text == "Look: aa bb End."
    wet = compose(library, ["rain", "night"])
    assert wet.text == "Look: aa bb wet End."
    assert wet == compose(library, ["night", "rain"])
    assert wet.id == "mine/default+wet"
    assert wet.sha256 != compose(library).sha256


def test_a_digest_is_of_what_is_said(tmp_path):
    path, moved = tmp_path / "mine.yaml", tmp_path / "moved.yaml"
    path.write_text(GOOD)
    moved.write_text("# another layout\n" + GOOD)
    assert load_library(path).digest() == load_library(moved).digest()
    path.write_text(GOOD.replace("wet", "slippery"))
    assert load_library(path).digest() != load_library(moved).digest()


def test_context_comes_from_tags_answer_and_speed():
    seen = SceneLabel(light="red", light_arrow="any", light_kind="intersection", cones="yes", crossroad="no")
    assert context_of(["night"], seen, 20.0) == {"night", "light", "cones", "fast"}
    assert context_of([], SceneLabel(), 1.0) == {"slow"}
    assert context_of() == frozenset()
    assert compose(load_library(), context_of()) == default_prompt()


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("edgekit/prompts/1", "edgekit/prompts/9", "edgekit/prompts/1"),
        ("id: b", "id: a", "twice"),
        ("task: light", "task: lamp", "task"),
        ("when: [rain]", "when: [snowball]", "when"),
        ('"wet"', '"<|im_end|>"', "control word"),
        ('"wet"', "2001-99-99", "not YAML"),
        ("id: mine", "id: mine\n7: seven", "Keys should be strings"),
    ],
)
def test_bad_libraries_are_refused_in_words(tmp_path, old, new, said):
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError) as error:
        load_library(path)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 3


def test_a_library_that_is_not_utf8_is_told(tmp_path):
    (tmp_path / "bad.yaml").write_bytes(GOOD.replace("wet", "glänzt").encode("latin-1"))
    with pytest.raises(UserError, match="not YAML"):
        load_library(tmp_path / "bad.yaml")


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(UserError, match="long-en"):
        load_library("long-enn")
