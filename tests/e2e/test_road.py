"""The quickstart as a newcomer walks it, and what its table must hold."""

from __future__ import annotations

import pytest

from edgekit.core.files import read_json
from edgekit.evaluate.config import Gate
from edgekit.evaluate.gate import missed
from tests.e2e.conftest import walk

pytestmark = [pytest.mark.blender, pytest.mark.onnx]


@pytest.fixture(scope="module")
def steps(walked):
    return read_json(walked.path / "out" / "steps.json")


def pair(steps, row):
    return next(p for p in steps["comparisons"] if p["row"] == row)


def test_it_ends_in_the_table_the_page_and_the_video(walked):
    end = walked.told[walked.told.rindex("1 seed, no claim") :]
    first_cells = [line.split("|")[1].strip() for line in end.splitlines() if line.startswith("| ")]
    assert first_cells == [
        "model",
        "teacher",
        "student before",
        "student distilled",
        "student distilled + AWQ int4",
        "exported bundle",
    ]
    assert (walked.path / "out" / "report.html").is_file() and "report.html" in end
    assert (walked.step("demo") / "out" / "annotated.mp4").is_file() and "annotated.mp4" in end


def test_the_teacher_is_what_its_gate_says(steps):
    assert [text for text in steps["shortfalls"] if text.startswith("teacher")] == []


def test_the_student_learned(steps):
    told = pair(steps, "student distilled")
    assert told["against"] == "student before" and told["scenes"] >= 40
    assert told["average"]["second"] >= 0.80
    assert told["average"]["interval"][0] > 0, "its interval holds 0: nothing was shown"


@pytest.mark.parametrize("step", ["evaluate-teacher", "evaluate-distilled", "evaluate-bundle"])
def test_it_sees(walked, step):
    metrics = read_json(walked.step(step) / "out" / "metrics.json")
    assert missed(Gate(sight=0.2), metrics) == []


def test_four_bits_keep_the_student(steps):
    average = pair(steps, "student distilled + AWQ int4")["average"]
    assert average["second"] >= 0.94 * average["first"]


def test_the_bundle_answers_as_torch_does(steps):
    assert pair(steps, "exported bundle")["average"]["difference"] == 0


def test_mining_knows_ten_drives_raw_and_smoothed(walked):
    told = read_json(walked.step("mine") / "out" / "mining.json")
    assert told["drives"] >= 10 and told["against_truth"]["scenes"] >= 10
    for kind in ("raw", "smoothed"):
        low, high = told["against_truth"][kind]["intervals"]["average"]
        assert low <= told["against_truth"][kind]["metrics"]["average"] <= high


def test_walked_again_it_is_there_at_once(walked):
    again = walk(walked.path)
    assert "already complete" in again.told and again.digest() == walked.digest()
