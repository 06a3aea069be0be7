"""What detectors and a gold set make of the rows: whose word counts, where their boxes lie, who is asked first."""

from itertools import product

import numpy as np
import pytest

from edgekit.core.box import Box
from edgekit.core.contract import Contract
from edgekit.core.files import read_json, read_jsonl
from edgekit.core.label import SceneLabel
from edgekit.dataset import DatasetWriter, Sample, TaskMark, open_dataset
from edgekit.drives import DriveInfo, write_drive
from edgekit.engine.answerer import Answer
from edgekit.mine import mine
from edgekit.mine import run as story
from tests.unit.mine.test_dynamic import Finds
from tests.unit.mine.test_joined import EXPERT, rows_of
from tests.unit.mine.test_mine import RGB, ColourTeacher, config_of, label, run_of

CONTRACT = Contract(width=112, height=56)


class Cones(ColourTeacher):
    """Sees cones where the picture is green, and nothing else of note."""

    def answer(self, images, prompts):
        said = super().answer(images, prompts)
        return [Answer(a.text, scene(cones=a.label.light == "green"), {"cones": 0.75}) for a in said]


CONE = Box("cone", 2.0, 4.0, 12.0, 24.0, 0.9)


def scene(cones: bool = False, **slots: str) -> SceneLabel:
    return label("none").model_copy(update={"cones": "yes" if cones else "no"} | slots)


def picture(colour: str = "none", found: bool = False, size: tuple[int, int] = (56, 112)) -> np.ndarray:
    """The teacher goes by the colour, the detector by the corner."""
    image = np.full((*size, 3), RGB[colour], np.uint8)
    if found:
        image[:8, :8] = 255
    return image


def gold_of(tmp_path, rows, dropped: str = "") -> str:
    """A gold Dataset of (picture, truth, tags); dropped: a task that nobody can tell in it."""
    writer = DatasetWriter(tmp_path / "gold", CONTRACT)
    for n, (image, truth, tags) in enumerate(rows):
        row = Sample.of(
            id=f"g{n}", prompt_text="?", source="human", scene=f"g{n}", label=truth, tags=tags,
            images=[writer.image(f"g{n}", image)],
        )  # fmt: skip
        if dropped:
            row.tasks[dropped] = TaskMark(source="human", status="dropped")
        writer.add("test", row)
    writer.finish()
    return str(tmp_path / "gold")


@pytest.fixture
def mined(tmp_path, monkeypatch):
    """Mines drives (id → frames, tags) with one detector; gives the run."""

    def run_it(drives, box, teacher=None, **more):
        for name, (frames, tags) in drives.items():
            info = DriveInfo(id=name, fps=5, scene=name, tags=tags)
            write_drive(tmp_path / "set" / "drives" / name, info, frames)
        monkeypatch.setattr(story, "open_expert", lambda config: Finds("eye", [box]))
        given = {"experts": [EXPERT], "smoothing": None, "motion": None} | more
        run = run_of(tmp_path, config_of(tmp_path / "set", **given))
        mine(run.config, run, teacher or Cones())
        return run

    return run_it


def test_boxes_lie_where_the_rows_own_picture_has_them(mined):
    """The drive's frames are twice as wide as the stored ones, and three times as high."""
    run = mined({"d": ([picture(found=True, size=(168, 224))], ())}, CONE)
    row = rows_of(run)["d/000000"]
    assert open_dataset(run.out).image(row).shape == (56, 112, 3)
    (step,) = (s for s in row.tasks["obstacles"].history if s["step"] == "expert")
    assert step["boxes"] == [{"name": "cone", "x0": 1, "y0": 1.3, "x1": 6, "y1": 8, "score": 0.9}]


def test_the_most_disputed_label_is_asked_about_first(mined):
    """The detector sees none of the lights. Of red the teacher is sure, of green less, and it comes first."""
    light = Box("light", 2.0, 4.0, 12.0, 24.0, 0.9)
    run = mined({"d": ([picture("red"), picture("green")], ())}, light, ColourTeacher())
    queue = list(read_jsonl(run.out / "review.jsonl"))
    assert [(entry["id"], entry["task"]) for entry in queue] == [
        ("d/000001", "light"), ("d/000000", "light")
    ]  # fmt: skip
    assert 1 > queue[0]["priority"] > queue[1]["priority"] > 0


@pytest.mark.parametrize(("margin", "cones", "status"), [(0.2, "yes", "changed"), (0.99, "no", "review")])
def test_who_is_to_overrule_must_be_surer_by_the_margin(tmp_path, mined, margin, cones, status):
    """A few gold frames: on each the detector is right and the teacher wrong, and that is not much to go by."""
    gold = gold_of(tmp_path, [(picture(found=True), scene(cones=True), [])] * 4)
    run = mined({"d": ([picture(found=True)], ())}, CONE, gold=gold, fusion={"margin": margin})
    row = rows_of(run)["d/000000"]
    assert (row.label.cones, row.tasks["obstacles"].status) == (cones, status)


@pytest.mark.parametrize(("centre", "obstacle"), [(0.5, "none"), (0.2, "person")])
def test_a_person_is_in_the_way_where_the_recipe_says_the_way_is(tmp_path, mined, centre, obstacle):
    """Their feet are at a fifth of the width. On the gold frames such a person is one whom we must stop for."""
    person = Box("person", 16.0, 20.0, 28.0, 45.0, 0.9)
    gold = gold_of(tmp_path, [(picture(found=True), scene(obstacle="person"), [])] * 30)
    fusion = {"corridor": {"centre": centre}}
    run = mined({"d": ([picture(found=True), picture()], ())}, person, gold=gold, fusion=fusion)
    assert [row.label.obstacle for row in rows_of(run).values()] == [obstacle, "none"]


def test_nobody_is_judged_by_a_gold_task_that_nobody_can_tell(tmp_path, mined):
    """Its label has values all the same: here the reverse of what the detector finds."""
    rows = [(picture(found=True), scene(cones=False), [])] * 30
    run = mined({"d": ([picture(found=True)], ())}, CONE, gold=gold_of(tmp_path, rows, dropped="obstacles"))
    judged = {row["task"] for row in read_json(run.out / "reliability.json")["counts"]}
    assert judged == {"speed", "light", "crossroad"}


def test_a_detector_that_is_right_by_day_is_not_believed_at_night(tmp_path, mined):
    """Gold: the teacher is right half of the time; the detector always by day, never at night."""
    rows = [
        (picture("green" if told else "none", found), scene(cones=found == (tag == "clear")), [tag])
        for tag, found, told in product(["clear", "night"], [False, True], [False, True])
    ]
    drives = {"day": ([picture(found=True)], ("clear",)), "dark": ([picture(found=True)], ("night",))}
    run = mined(drives, CONE, gold=gold_of(tmp_path, rows * 8))
    found = {row.drive: (row.label.cones, row.tasks["obstacles"].status) for row in rows_of(run).values()}
    assert found == {"day": ("yes", "changed"), "dark": ("no", "kept")}
