"""What the shipped long libraries say: enough, the same in both languages, at a cost that is known."""

import re

import pytest

from edgekit.core.label import SLOTS, TASKS
from edgekit.library import (
    WORDS,
    compose,
    context_of,
    default_prompt,
    known_libraries,
    load_library,
    probe_prompt,
    tokens_of,
)
from edgekit.models.tokenizer import nano_tokenizer

# The default compositions; students and teachers were asked with these very bytes.
PINNED = {
    "library": "4c694763382b64b8d9d1b79d7bab67c6b572ff0617f56093196026c6d1c9b2d9",
    "long-en": "15a7f3a06084bf82bf90ac21e5157e29a1e069205106c46ddeeba75368774e99",
    "long-zh": "ce1fa39a5344a7ac74f3de76f2863eba8c163f007341198560443f6d7f3f2157",
}
KINDS = {
    "many_lights", "arrow", "toll", "roundabout", "zebra", "cones", "barrier", "stopped_vehicle", "cyclist", "debris",
    "person", "night", "dusk", "rain", "fog", "snow", "low_sun", "glare", "tunnel", "school_zone", "light_off",
    "crossing_light", "queue", "fast", "dirt", "near_crossroad", "motorway", "roadworks", "turning", "braking",
}  # fmt: skip
LONG = ("long-en", "long-zh")


@pytest.fixture(params=LONG)
def library(request):
    return load_library(request.param)


def pieces(text):
    """The least tokens that a vocabulary can give which merges within words and runs of signs only."""
    return len(re.findall(r"[A-Za-z]+|\d|[^\W\d_]+|(?:[^\w\s]|_)+", text))


def test_default_compositions_are_pinned():
    assert {name: default_prompt(name).sha256 for name in known_libraries()} == PINNED


def test_every_scene_kind_has_an_entry_of_its_own(library):
    assert len(library.entries) >= 25
    named = {word for entry in library.entries for item in entry.when for word in item.split("+")}
    assert named >= KINDS and "nothing" in named
    plain = compose(library).id
    # "Arrow" alone says that a light is there: a word that no source gives alone still brings something.
    assert all(compose(library, [kind]).id != plain for kind in KINDS - {"dusk"})
    for task in TASKS:
        assert sum(task in entry.tasks for entry in library.entries) >= 8
    assert {"crop", "mark", "lane"} <= {entry.aid for entry in library.entries}
    assert sum(len(entry.examples) for entry in library.entries) >= 6


def test_both_languages_have_the_same_entries():
    english, chinese = map(load_library, LONG)
    shape = lambda e: e.model_dump(exclude={"text", "examples"})  # noqa: E731
    assert [shape(e) for e in english.entries] == [shape(e) for e in chinese.entries]
    for ours, theirs in zip(english.entries, chinese.entries, strict=True):
        assert set(ours.holes) == set(theirs.holes), ours.id
        assert [e.label() for e in ours.examples] == [e.label() for e in theirs.examples], ours.id
        assert re.search("[\u4e00-\u9fff]", theirs.text) and not re.search("[\u4e00-\u9fff]", ours.text)


def test_numbers_agree_between_the_languages():
    english, chinese = map(load_library, LONG)
    for ours, theirs in zip(english.entries, chinese.entries, strict=True):
        for number in re.findall(r"\d+(?:\.\d+)?", theirs.text):
            assert number in ours.text, f"{theirs.id}: {number}"


def test_every_slot_and_word_that_is_named_is_in_the_vocabulary(library):
    words = {value for values in SLOTS.values() for value in values} | set(SLOTS)
    snake = {w for entry in library.entries for w in re.findall(r"(?<![$\w])[a-z]+(?:_[a-z]+)+", entry.text)}
    assert snake and snake <= words


def test_every_word_that_may_be_known_has_a_meaning_and_most_a_use():
    used = {w for e in load_library("long-en").entries for item in e.when for w in item.split("+")}
    assert used <= set(WORDS)
    # clear and cloudy ask for nothing special; they are known so that a tag of a drive is no stranger.
    assert set(WORDS) - used == {"clear", "cloudy"}


@pytest.mark.parametrize("name", known_libraries())
def test_the_estimate_lies_between_the_pieces_and_the_nano_tokenizer(name):
    # Pieces are the floor of any vocabulary of this kind; the nano's 2,048 ids merge far less than Qwen's 151,643.
    tokenizer, library = nano_tokenizer(), load_library(name)
    texts = [compose(library).text, probe_prompt(library).text, *(entry.text for entry in library.entries)]
    for text in texts:
        nano = len(tokenizer.encode(text, add_special_tokens=False).ids)
        assert pieces(text) <= tokens_of(text)
        if name != "library":  # the nano's vocabulary was fitted on the short one
            assert tokens_of(text) <= nano


def test_the_short_prompt_costs_the_nano_what_the_estimate_says():
    text = default_prompt().text
    nano = len(nano_tokenizer().encode(text, add_special_tokens=False).ids)
    assert abs(tokens_of(text) - nano) <= 4


def test_costs_of_the_long_libraries(library):
    # Told in the README of nobody: an entry is a paragraph, not a page.
    assert max(tokens_of(entry.text) for entry in library.entries) <= 260
    assert all(entry.tokens >= tokens_of(entry.text) for entry in library.entries)
    busy = context_of(
        ["night", "rain"], speed_mps=10.0, detections=["light", "light", "person", "zebra", "cone"]
    )
    assert tokens_of(compose(library, busy).text) <= 2500
