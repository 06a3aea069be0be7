"""SceneLabel: three lossless views of one closed vocabulary."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekit.core.errors import UserError
from edgekit.core.label import (
    SLOTS,
    TASK_OF,
    SceneLabel,
    answer_pieces,
    coherent,
    from_text,
    json_schema,
    parse_answer,
    snap_speed,
    to_answer,
    to_text,
)

raw_values = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()})
labels = raw_values.map(coherent)


@given(labels)
def test_the_answer_comes_back(label):
    assert parse_answer(to_answer(label)) == label
    assert parse_answer(f"Sure!\n```json\n{to_answer(label)}\n```") == label


@given(labels)
def test_the_four_lines_come_back(label):
    assert len(to_text(label).splitlines()) == 4
    assert from_text(to_text(label)) == label


@given(labels)
def test_pieces_and_values_make_the_answer(label):
    pieces, values = answer_pieces(), [getattr(label, slot) for slot in SLOTS]
    glued = "".join(p + v for p, v in zip(pieces, [*values, ""], strict=True))
    assert glued == to_answer(label)


@given(raw_values)
def test_the_invariant_is_enforced_by_the_type_and_mended_by_coherent(values):
    light, follow = values["light"], (values["light_arrow"], values["light_kind"])
    valid = follow == (light, light) if light in ("none", "unknown") else "none" not in follow
    if valid:
        assert SceneLabel(**values) == coherent(values)
    else:
        with pytest.raises(ValidationError):
            SceneLabel(**values)
    mended = coherent(values)
    assert mended.light == light
    assert all(getattr(mended, s) == values[s] for s in SLOTS if s not in ("light_arrow", "light_kind"))


@pytest.mark.parametrize(
    "change", [{"light": "blue"}, {"weather": "rain"}, {"cones": ""}, {"recommended_speed_kmh": "47"}]
)
def test_words_outside_the_vocabulary_are_refused(change):
    with pytest.raises(ValidationError):
        SceneLabel(**change)


def test_a_label_is_frozen():
    with pytest.raises(ValidationError):
        SceneLabel().light = "red"


def test_an_answer_that_lacks_a_slot_or_has_a_foreign_word_does_not_parse():
    whole = json.loads(to_answer(SceneLabel()))
    lacking = {k: v for k, v in whole.items() if k != "zebra"}
    for bad in (
        lacking,
        {**whole, "extra": "no"},
        {**whole, "light": "blue"},
        {**whole, "light": ["red"]},
        [],
    ):
        assert parse_answer(json.dumps(bad)) is None
    assert parse_answer("") is None and parse_answer("} {") is None and parse_answer('{"light":') is None


@pytest.mark.parametrize("text", ["", "Recommended Speed: 5 km/h", "a\nb\nc\nd"])
def test_broken_lines_are_a_user_error(text):
    with pytest.raises(UserError):
        from_text(text)


@given(st.floats(-50, 300))
def test_snapping_takes_the_nearest_five_ties_down(kmh):
    snapped, inside = int(snap_speed(kmh)), min(max(kmh, 0), 120)
    assert str(snapped) in SLOTS["recommended_speed_kmh"]
    assert -2.5 <= snapped - inside < 2.5 or snapped - inside == -2.5


def test_snapping_ties():
    assert [snap_speed(v) for v in (2.5, 2.51, 7.5, 117.5, 119)] == ["0", "5", "5", "115", "120"]


def test_the_schema_is_the_vocabulary():
    schema = json_schema()
    assert {k: tuple(v["enum"]) for k, v in schema["properties"].items()} == SLOTS
    assert set(TASK_OF) == set(SLOTS)


def test_an_answer_nested_without_end_does_not_parse():
    assert parse_answer('{"light":' + "[" * 100_000 + "}") is None
