"""What a second question is made of: telemetry, detections and the camera, in its words and in its picture."""

import numpy as np
import pytest

from edgekit.core.box import Box
from edgekit.dataset import open_dataset
from edgekit.drives import DriveInfo, Telemetry, write_drive
from edgekit.drives.info import CameraInfo
from edgekit.engine.answerer import Answer
from edgekit.library import default_prompt
from edgekit.library.aids import CYAN, MAGENTA
from edgekit.mine import mine
from edgekit.mine import run as story
from tests.unit.mine.test_joined import EXPERT
from tests.unit.mine.test_mine import AT_ONCE, ColourTeacher, config_of, run_of

SIZE = (112, 224)  # height and width of the frames
PLAIN = default_prompt("long-en").text
BLUE = (30, 40, 220)  # of the thing that a detector finds


class Watched(ColourTeacher):
    """Keeps what it was asked the second time: (prompt, pictures). pictures: how many it takes a question."""

    def __init__(self, pictures: int = 1, **slots: str):
        super().__init__()
        self.pictures, self.slots, self.again = pictures, slots, []

    def answer(self, images, prompts):
        shown = [image if isinstance(image, list) else [image] for image in images]
        self.again += [pair for pair in zip(prompts, shown, strict=True) if pair[0] != PLAIN]
        said = super().answer([pictures[0] for pictures in shown], prompts)
        return [Answer(a.text, a.label.model_copy(update=self.slots), a.confidence) for a in said]


class Finds:
    """A detector that finds ``boxes`` wherever a picture's upper left corner is white."""

    def __init__(self, name, boxes):
        self.name, self.boxes, self.sees = name, boxes, frozenset(box.name for box in boxes)

    def detect(self, images):
        return [self.boxes if image[0, 0].min() > 200 else [] for image in images]


def frame(found: bool, box: Box | None = None) -> np.ndarray:
    """A grey picture: with a white corner, and ``box`` in blue, where a detector finds something."""
    image = np.full((*SIZE, 3), 90, np.uint8)
    if found:
        image[:8, :8] = 255
    if box:
        image[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = BLUE
    return image


def asked(tmp_path, frames, teacher, telemetry=None, camera=None, **more):
    """The entries that each frame's last question was composed of, as its row names them."""
    info = DriveInfo(id="d", fps=5, camera=camera or CameraInfo())
    write_drive(tmp_path / "set" / "drives" / "d", info, frames, telemetry)
    given = {"prompts": "dynamic", "library": "long-en", "dynamic": AT_ONCE, "motion": None} | more
    run = run_of(tmp_path, config_of(tmp_path / "set", **given))
    mine(run.config, run, teacher)
    return [row.teacher.removeprefix("colours long-en/") for row in open_dataset(run.out).rows("train")]


def are(image, colour) -> np.ndarray:
    return (image == colour).all(axis=2)


def test_speed_braking_and_turning_choose_what_is_said(tmp_path):
    teacher, n = Watched(), 4
    speed, yaw, accel = [8.0, 8.0, 8.0, 20.0], [0, 0, 0.3, 0], [0, -4.0, 0, 0]
    measured = Telemetry(np.arange(n) / 5, *(np.array(column, float) for column in (speed, yaw, accel)))
    assert asked(tmp_path, [frame(False)] * n, teacher, measured) == [
        "default", "default+braking", "default+light-turning", "default+fast+own-speed"
    ]  # fmt: skip
    assert "at 70 km/h" in teacher.again[-1][0] and len(teacher.again) == 3


@pytest.mark.parametrize("aids", [True, False])
def test_what_a_detector_finds_is_asked_about_and_marked(tmp_path, monkeypatch, aids):
    box = Box("person", 100, 40, 120, 80, 0.9)
    monkeypatch.setattr(story, "open_expert", lambda config: Finds("eye", [box]))
    teacher, frames = Watched(), [frame(False)] * 2 + [frame(True, box)]
    told = asked(tmp_path, frames, teacher, experts=[EXPERT], dynamic=AT_ONCE | {"aids": aids})
    marked = " mark" if aids else ""
    assert told == ["default", "default", f"default+person+detected{marked}"]
    ((prompt, (picture,)),) = teacher.again
    assert "A detector reports in this image: 1 × person." in prompt and ("Magenta" in prompt) == aids
    ring = are(picture, MAGENTA)
    assert ring.any() == aids and not ring[40:80, 100:120].any()
    assert not aids or (ring[30:90, 90:130].sum() == ring.sum())


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_light_that_is_found_is_shown_once_more(tmp_path, monkeypatch, pictures):
    box = Box("light", 60, 10, 68, 26, 0.9)
    monkeypatch.setattr(story, "open_expert", lambda config: Finds("eye", [box]))
    teacher = Watched(pictures)
    told = asked(tmp_path, [frame(False), frame(True, box)], teacher, experts=[EXPERT])
    assert told[0] == "default" and "light-near" in told[1] and told[1].endswith(" crop")
    ((_, shown),) = teacher.again
    assert len(shown) == pictures
    if pictures == 2:
        enlarged = shown[1]
        assert max(enlarged.shape) >= 224 and not are(shown[0], MAGENTA).any()
        middle = enlarged[enlarged.shape[0] // 2, enlarged.shape[1] // 2]
        assert np.abs(middle.astype(int) - BLUE).max() < 30
    else:  # an inset in the lower right corner
        ys, xs = np.nonzero(are(shown[0], MAGENTA))
        assert ys.max() == SIZE[0] - 1 and xs.max() == SIZE[1] - 1 and xs.min() > SIZE[1] / 2


@pytest.mark.parametrize("known", [True, False])
def test_our_path_is_drawn_where_the_cameras_place_is_known(tmp_path, known):
    K = ((100.0, 0.0, 112.0), (0.0, 100.0, 50.0), (0.0, 0.0, 1.0))
    camera = CameraInfo(K=K, height_m=1.4, width=SIZE[1], height=SIZE[0]) if known else CameraInfo()
    teacher = Watched(obstacle="stopped_vehicle")
    (told,) = asked(tmp_path, [frame(False)], teacher, camera=camera)
    assert "stopped-vehicle" in told and told.endswith(" lane") == known
    ((_, (picture,)),) = teacher.again
    ys, xs = np.nonzero(are(picture, CYAN))
    assert (len(xs) > 0) == known
    if known:  # 1.75 m to each side: at 5 m that is 35 pixels from the middle and 28 below the horizon
        low = xs[ys == ys.max()]
        assert ys.max() == pytest.approx(78, abs=2) and ys.min() > 50
        assert low.min() == pytest.approx(77, abs=2) and low.max() == pytest.approx(147, abs=2)


@pytest.mark.parametrize(("away", "lights"), [(1, 1), (40, 2)])
def test_a_light_that_two_detectors_see_is_one_light(tmp_path, monkeypatch, away, lights):
    one = Box("light", 60, 10, 70, 34, 0.9)
    other = one._replace(x0=60 + away, x1=70 + away, score=0.7)
    eyes = {"eye": Finds("eye", [one]), "second": Finds("second", [other])}
    monkeypatch.setattr(story, "open_expert", lambda config: eyes[config.name])
    experts, teacher = [EXPERT, EXPERT | {"name": "second"}], Watched()
    (told,) = asked(tmp_path, [frame(True, one)], teacher, experts=experts)
    assert ("light-many" in told) == (lights == 2)
    assert f"{lights} × traffic light." in teacher.again[0][0]
