"""Answers and the pictures that they are about: a Dataset made anew at the same place takes only what it should."""

from __future__ import annotations

import json

import pytest

from edgekit.core.errors import UserError
from edgekit.dataset import open_dataset
from edgekit.review import ReviewConfig, review
from edgekit.review.queue import Review, place_of_answers
from tests.unit.review.test_answers import GREEN, ZEBRA
from tests.unit.review.test_page import LIGHT


def standing(opened):
    return {(c.id, c.task): c.slots for c in opened.answers.given()}


def test_answers_follow_the_picture_into_a_dataset_made_anew(dataset, tmp_path, capsys):
    Review(str(dataset)).answer([GREEN, ZEBRA])
    first = Review(str(dataset)).digest
    rows = (dataset / "train.jsonl").read_text()  # made anew: the same pictures, another teacher
    (dataset / "train.jsonl").write_text(rows.replace('"teacher": "colours"', '"teacher": "other"'))
    picture = dataset / "images/d/000007.jpg"  # and one id that another frame has now
    was = picture.read_bytes()
    picture.write_bytes((dataset / "images/d/000001.jpg").read_bytes())

    opened = Review(str(dataset))
    assert opened.digest != first
    assert standing(opened) == {("d/000005", "light"): GREEN.slots}
    assert [c.id for c in opened.answers.set_aside] == ["d/000007"]
    assert opened.progress()["done"] == 1
    assert opened.slots("d/000007", "crossroad") != ZEBRA.slots
    review(ReviewConfig(what=str(dataset), apply=True, out=tmp_path / "new"))
    told = capsys.readouterr().err
    assert "1 answers are about other pictures" in told and "--old-answers" in told
    assert "1 answers were given on another making" in told
    marks = {row.id: row.tasks for row in open_dataset(tmp_path / "new").rows("train")}
    assert marks["d/000007"]["crossroad"].source == "smoothed"

    review(ReviewConfig(what=str(dataset), apply=True, out=tmp_path / "all", old_answers=True))
    assert "1 answers about other pictures, or untold ones, count by row id" in capsys.readouterr().err
    marks = {row.id: row.tasks for row in open_dataset(tmp_path / "all").rows("train")}
    assert marks["d/000007"]["crossroad"].source == "human"
    picture.write_bytes(was)
    assert len(standing(Review(str(dataset)))) == 2  # set aside, never lost


def test_answers_on_the_same_dataset_need_no_words(dataset, tmp_path, capsys):
    Review(str(dataset)).answer([GREEN])
    review(ReviewConfig(what=str(dataset), apply=True, out=tmp_path / "new"))
    assert "other pictures" not in (told := capsys.readouterr().err) and "another making" not in told


def test_an_answer_that_does_not_tell_its_picture_is_set_aside(dataset, tmp_path):
    path = place_of_answers(str(dataset), dataset)
    path.parent.mkdir()
    old = {k: v for k, v in GREEN._asdict().items() if k not in ("dataset", "image")}
    path.write_text(json.dumps(old) + "\n")
    assert standing(Review(str(dataset))) == {}
    with pytest.raises(UserError) as told:
        review(ReviewConfig(what=str(dataset), apply=True, out=tmp_path / "new"))
    assert "1 about others" in told.value.why and "--old-answers" in str(told.value)
    assert len(standing(Review(str(dataset), old_answers=True))) == 1


def test_an_answer_withdrawn_on_another_picture_withdraws_none_here(dataset):
    picture = dataset / "images/d/000005.jpg"
    was = picture.read_bytes()
    Review(str(dataset)).answer([GREEN])
    picture.write_bytes((dataset / "images/d/000001.jpg").read_bytes())
    other = Review(str(dataset))
    other.answer([GREEN._replace(slots=LIGHT)])
    other.answers.undo("ann")
    assert other.answers.undo("ann") is None  # what is set aside is not withdrawn either
    picture.write_bytes(was)
    assert standing(Review(str(dataset))) == {("d/000005", "light"): GREEN.slots}
