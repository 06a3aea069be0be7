import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, TASKS, SceneLabel, coherent
from edgekit.dataset import DatasetWriter, Sample, TaskMark, open_dataset
from edgekit.drives import DriveInfo, Telemetry, write_drive
from edgekit.view import view
from edgekit.view.sheet import PAPER, WIDTH, of_dataset, spread, summary

RED = np.broadcast_to(np.uint8([200, 10, 10]), (56, 84, 3))


@pytest.fixture
def dataset(tmp_path):
    writer = DatasetWriter(tmp_path / "data", Contract(width=84, height=56))
    for number in range(6):
        image = writer.image(f"f{number}", np.ascontiguousarray(RED))
        row = Sample.of(
            prompt_text="?",
            label=SceneLabel(),
            source="render",
            id=f"f{number}",
            images=[image],
            scene=str(number),
        )
        writer.add("train", row)
    writer.finish()
    return tmp_path / "data"


def test_a_sheet_of_a_dataset_shows_its_pictures_and_text(dataset, tmp_path):
    (path,) = view(str(dataset), tmp_path / "out", None, 5)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[1] == 4 * (WIDTH + 4)  # five pictures: a row of four, and one more
    assert np.abs(sheet[20, 20].astype(int) - RED[0, 0]).max() < 12
    below = sheet[WIDTH * 56 // 84 + 2 : WIDTH * 56 // 84 + 40, :WIDTH]
    assert (below == PAPER).all(-1).any() and below.max() > 200  # paper with ink on it
    assert (sheet[sheet.shape[0] // 2 + 20 :, 2 * WIDTH :] == 0).all()


def test_the_text_holds_every_slot():
    label = SceneLabel(
        recommended_speed_kmh="35", light="red", light_arrow="left", light_kind="toll", other_left="green",
        other_straight="off", other_right="yellow", cones="yes", obstacle="debris", crossroad="no", zebra="yes",
    )  # fmt: skip
    words = " ".join(summary(label)).replace("/", " ").split()
    assert all(value in words for value in label.model_dump().values())


def width_of(line):
    return 3 + ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(line)


def test_every_line_fits_its_card_whatever_the_values():
    widest = {slot: max(values, key=width_of) for slot, values in SLOTS.items()}
    for light in SLOTS["light"]:
        for line in summary(coherent({**widest, "light": light})):
            assert width_of(line) <= WIDTH, line


def test_the_first_line_fits_where_nothing_could_be_seen(tmp_path):
    writer = DatasetWriter(tmp_path, Contract(width=84, height=56))
    image = writer.image("s001234", np.ascontiguousarray(RED))
    marks = {task: TaskMark(source="render", status="dropped") for task in TASKS}
    facts = {"id": "s001234/000012", "images": [image], "scene": "s001234", "tasks": marks}
    writer.add("train", Sample.of(prompt_text="?", label=SceneLabel(), source="render", **facts))
    writer.finish()
    ((_, lines),) = of_dataset(open_dataset(tmp_path), "train", 1)
    assert "not scored: " in lines[0]
    assert max(map(width_of, lines)) <= WIDTH


def test_a_drive_gives_a_sheet_and_a_clip(tmp_path):
    from edgekit.drives.video import decode

    telemetry = Telemetry(*(np.arange(4.0) for _ in range(4)))
    write_drive(tmp_path / "d", DriveInfo(id="d", fps=5), [np.ascontiguousarray(RED)] * 4, telemetry)
    sheet, clip = view(str(tmp_path / "d"), tmp_path / "out")
    assert (sheet.suffix, clip.suffix) == (".png", ".mp4")
    frames = list(decode(clip))
    assert len(frames) == 4 and np.abs(frames[2][20, 20].astype(int) - RED[0, 0]).max() < 25


def test_what_is_nothing_is_refused(dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    for bad in (str(tmp_path / "empty"), str(tmp_path / "gone")):
        with pytest.raises(UserError):
            view(bad, tmp_path / "out")
    with pytest.raises(UserError, match="no rows"):
        view(str(dataset), tmp_path / "out", "test")
    with pytest.raises(UserError, match="at least 1"):
        view(str(dataset), tmp_path / "out", None, 0)


def test_spread():
    assert [spread(5, 9), spread(9, 3), spread(0, 3), spread(1, 1)] == [[0, 1, 2, 3, 4], [0, 4, 8], [], [0]]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path, dataset):
    (tmp_path / "v.png").write_text("")
    with pytest.raises(UserError, match="a file is there"):
        view(str(dataset), tmp_path / "v.png")
