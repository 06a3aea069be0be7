import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, TASKS, SceneLabel, coherent
from edgekit.dataset import DatasetWriter, Sample, TaskMark, open_dataset
from edgekit.drives import DriveInfo, Telemetry, write_drive
from edgekit.view import view
from edgekit.view.caption import DIM, GREY, LIGHTS, PAPER, font, lines_of
from edgekit.view.pick import pick, say, spread
from edgekit.view.sheet import GAP, rows_of
from edgekit.view.tile import WIDTH, dataset_tiles

WALL = np.broadcast_to(np.uint8([90, 60, 120]), (56, 84, 3))
SEEN = SceneLabel(
    recommended_speed_kmh="20", light="red", light_arrow="left", light_kind="intersection", other_left="none",
    other_straight="green", other_right="none", cones="yes", obstacle="barrier", crossroad="yes", zebra="yes",
)  # fmt: skip
SCALE = WIDTH / 84


def write_dataset(folder, splits, dropped=(), things=None, label=SEEN):
    """Rows f0, f1 ... in the order of ``splits``; things: what truth.jsonl says of every frame."""
    writer = DatasetWriter(folder, Contract(width=84, height=56), classes={"zebra": 3})
    truths = []
    for number, split in enumerate(splits):
        image = writer.image(f"f{number}", np.ascontiguousarray(WALL))
        marks = {t: TaskMark(source="render", status="dropped" if t in dropped else "kept") for t in TASKS}
        hidden = {slot: "unknown" for task in dropped for slot in TASKS[task]}
        facts = {"id": f"f{number}", "images": [image], "scene": str(number), "tasks": marks}
        row = SceneLabel(**label.model_dump() | hidden)
        writer.add(split, Sample.of(prompt_text="?", label=row, source="render", **facts))
        truths.append({"id": f"f{number}", "label": label.model_dump(), **(things or {})})
    writer.finish()
    if things is not None:
        (folder / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in truths))
    return folder


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "data", ["train"] * 4 + ["test"] * 2)


def test_a_sheet_of_a_dataset_shows_its_pictures_and_text(dataset, tmp_path):
    (path,) = view(str(dataset), tmp_path / "out", None, 5)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[1] == 4 * (WIDTH + GAP)  # five pictures: a row of four, and one more
    assert np.abs(sheet[20, 20].astype(int) - WALL[0, 0]).max() < 12
    below = sheet[WIDTH * 56 // 84 + 2 : WIDTH * 56 // 84 + 60, :WIDTH]
    assert (below == PAPER).all(-1).any() and below.max() > 200  # paper with ink on it
    assert (sheet[sheet.shape[0] // 2 + 20 :, 2 * WIDTH :] == 0).all()


def test_it_says_how_many_of_how_many(dataset, tmp_path, capsys):
    view(str(dataset), tmp_path / "out", None, 5)
    assert "5 of 6 frames, spread evenly; --all" in capsys.readouterr().err
    view(str(dataset), tmp_path / "out")
    assert "all 6 frames" in capsys.readouterr().err
    view(str(dataset), tmp_path / "out", None, 2, start=3)
    assert "2 of 6 frames, 3 to 4;" in capsys.readouterr().err
    view(str(dataset), tmp_path / "out", "test", 1)
    assert "1 of 2 frames" in capsys.readouterr().err


def test_all_frames_go_on_as_many_sheets_as_it_takes(dataset, tmp_path):
    paths = view(str(dataset), tmp_path / "out", None, 4, everything=True)
    assert [path.name[-8:] for path in paths] == ["-001.png", "-002.png"]
    widths = [Image.open(path).width // (WIDTH + GAP) for path in paths]
    assert widths == [4, 2]


def test_without_a_split_all_of_them_are_shown(dataset):
    data = open_dataset(dataset)
    assert [split for split, _ in rows_of(data, None)] == ["train"] * 4 + ["test"] * 2
    assert [row.id for _, row in rows_of(data, "test")] == ["f4", "f5"]


def test_picking():
    assert [spread(5, 9), spread(9, 3), spread(0, 3), spread(1, 1)] == [[0, 1, 2, 3, 4], [0, 4, 8], [], [0]]
    assert pick(9, 3, None, False) == [0, 4, 8]
    assert pick(9, 3, 5, False) == [5, 6, 7] and pick(9, 3, 8, False) == [8]
    assert pick(4, 3, None, True) == [0, 1, 2, 3] and pick(4, 1, 2, True) == [2, 3]
    for start, everything in ((9, False), (9, True), (-1, False)):
        with pytest.raises(UserError, match="--from"):
            pick(9, 3, start, everything)


def card_of(folder, index=0):
    data = open_dataset(folder)
    tile = list(dataset_tiles(data, rows_of(data, None)))[index]
    return tile, np.asarray(tile.card()).astype(int)


def head(governs, state, box):
    return {"class": "head", "attributes": {"governs": governs, "state": state}, "box_visible": box}


def has(pixels, colour):
    return np.abs(pixels - np.array(colour)).max(-1).min() == 0


def test_boxes_stand_around_what_they_name(tmp_path):
    things = [
        head(True, "red", [20, 10, 24, 20]),
        head(False, "green", [60, 10, 64, 20]),
        {"class": "cone", "attributes": {}, "box_visible": [40, 40, 44, 50]},
        {"class": "person", "attributes": {"on_road": True}, "box_visible": [70, 30, 74, 50]},
        {"class": "truck", "attributes": {"left": True, "right": True}, "box_visible": None},
    ]
    _, card = card_of(write_dataset(tmp_path, ["train"], things={"things": things}))
    for (u0, v0, u1, v1), colour in (
        ([20, 10, 24, 20], LIGHTS["red"]), ([60, 10, 64, 20], (190, 190, 190)), ([40, 40, 44, 50], (255, 150, 50)),
    ):  # fmt: skip
        left, right, top, bottom = (round(edge * SCALE) for edge in (u0, u1, v0, v1))
        inside = card[top:bottom, left:right]
        around = card[top - 4 : bottom + 5, left - 4 : right + 5]
        assert has(around, colour) and not has(inside, colour)
        assert np.abs(inside - WALL[0, 0]).max() < 12  # what is marked stays to be seen
    picture = card[: WIDTH * 56 // 84]
    assert not has(picture, LIGHTS["green"])  # the head of another lane: no state is claimed for it
    assert not has(picture[150:], (255, 80, 200))  # the person is not the label's obstacle: a barrier is


@pytest.mark.parametrize(
    ("obstacle", "kind", "facts"),
    [
        ("person", "person", {"on_road": True}), ("cyclist", "bicycle", {}),
        ("stopped_vehicle", "car", {"left": True, "right": True}), ("barrier", "barrier", {}), ("debris", "debris", {}),
    ],
)  # fmt: skip
def test_the_obstacle_of_the_label_is_marked_and_no_other(tmp_path, obstacle, kind, facts):
    thing = {"class": kind, "attributes": facts, "box_visible": [30, 30, 44, 44]}
    label = SceneLabel(**SEEN.model_dump() | {"obstacle": obstacle})
    _, card = card_of(write_dataset(tmp_path / "a", ["train"], things={"things": [thing]}, label=label))
    assert has(card[: WIDTH * 56 // 84], (255, 80, 200))
    bystander = thing | {
        "class": "person" if kind == "car" else "car",
        "attributes": {"left": True, "right": False},
    }
    _, card = card_of(write_dataset(tmp_path / "b", ["train"], things={"things": [bystander]}, label=label))
    assert not has(card[: WIDTH * 56 // 84], (255, 80, 200))


def test_a_parked_bicycle_is_no_cyclist(tmp_path):
    label = SceneLabel(**SEEN.model_dump() | {"obstacle": "cyclist"})
    thing = {"class": "bicycle", "attributes": {"parked": True}, "box_visible": [30, 30, 44, 44]}
    _, card = card_of(write_dataset(tmp_path, ["train"], things={"things": [thing]}, label=label))
    assert not has(card[: WIDTH * 56 // 84], (255, 80, 200))


def test_a_truth_without_things_shows_its_boxes(tmp_path):
    boxes = [
        {"class": "head", "box": [20.0, 10.0, 24.0, 20.0]},
        {"class": "barrier", "box": [40, 30, 60, 50]},
    ]
    _, card = card_of(write_dataset(tmp_path, ["train"], things={"boxes": boxes}))
    picture = card[: WIDTH * 56 // 84]
    assert has(picture[:, :220], LIGHTS["red"]) and has(picture[:, 200:], (255, 80, 200))


def test_the_zebra_ahead_is_outlined_and_not_the_other(tmp_path):
    ids = np.full((56, 84), 1000, np.uint16)
    for u in range(10, 50, 8):
        ids[30:36, u : u + 4] = 3002
    ids[5:9, 60:80] = 3001
    folder = write_dataset(tmp_path, ["train"], things={"things": [], "facts": {"crossing": 2}})
    (folder / "ids").mkdir()
    Image.fromarray(ids).save(folder / "ids" / "f0.png")
    tile, card = card_of(folder)
    assert set(tile.zebra) == {(10, 30), (46, 30), (46, 36), (10, 36)}
    assert has(card[: WIDTH * 56 // 84], (90, 220, 255))


def test_dropped_tasks_stand_in_grey_with_what_is_true(tmp_path):
    tile, _ = card_of(write_dataset(tmp_path, ["train"], dropped=("light", "speed"), things={"things": []}))
    pieces = {text: colour for line in lines_of(tile.label, tile.dropped) for text, colour in line}
    assert pieces["(red light, arrow left)"] == pieces["(20 km/h recommended)"] == GREY
    assert pieces["(other lanes: straight green)"] == GREY
    assert pieces["cones, barrier"] not in (GREY, DIM)
    tile, _ = card_of(write_dataset(tmp_path / "mined", ["train"], dropped=("light",)))  # no truth beside it
    assert ("(light unknown)", GREY) in lines_of(tile.label, tile.dropped)[0]


def test_the_text_holds_every_slot():
    label = SceneLabel(
        recommended_speed_kmh="35", light="red", light_arrow="left", light_kind="toll", other_left="green",
        other_straight="off", other_right="yellow", cones="yes", obstacle="debris", crossroad="no", zebra="yes",
    )  # fmt: skip
    lines = [[text for text, _ in line] for line in lines_of(label)]
    assert lines == [
        ["35 km/h recommended", "red light, arrow left, toll"],
        ["other lanes: left green, straight off, right yellow"],
        ["cones, debris", "no crossroad, zebra"],
    ]


def test_no_two_labels_read_alike():
    """Each slot's every value, the others as they are: another text."""
    texts = {}
    for slot, values in SLOTS.items():
        for value in values:
            label = coherent({**SEEN.model_dump(), slot: value})
            text = str([[text for text, _ in line] for line in lines_of(label)])
            assert texts.setdefault(text, label) == label


def width_of(pieces):
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    return 5 + sum(int(draw.textlength(text, font=font())) + 14 for text, _ in pieces) - 14


def test_every_line_fits_its_card_whatever_the_values():
    word = ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength
    widest = {slot: max(values, key=lambda value: word(value, font=font())) for slot, values in SLOTS.items()}
    for light in SLOTS["light"]:
        for line in lines_of(coherent({**widest, "light": light}), TASKS):
            assert width_of(line) <= WIDTH - 4, line


def drive(folder, truth=None):
    telemetry = Telemetry(*(np.arange(4.0) for _ in range(4)))
    info = DriveInfo(id=folder.name, fps=5)
    write_drive(folder, info, [np.ascontiguousarray(WALL)] * 4, telemetry)
    if truth:
        (folder / "truth.jsonl").write_text("".join(json.dumps(row) + "\n" for row in truth))
    return folder


def test_a_drive_gives_a_sheet_and_a_clip(tmp_path, capsys):
    from edgekit.drives.video import decode

    sheet, clip = view(str(drive(tmp_path / "d")), tmp_path / "out")
    assert (sheet.suffix, clip.suffix) == (".png", ".mp4") and "all 4 frames" in capsys.readouterr().err
    frames = list(decode(clip))
    assert len(frames) == 4 and np.abs(frames[2][20, 20].astype(int) - WALL[0, 0]).max() < 25


def test_a_clip_shows_boxes_words_and_the_speed(tmp_path):
    from edgekit.view.clip import PLOT, across, pictures

    things = {"things": [head(True, "red", [20, 10, 24, 20])], "visible": {"light": False}}
    rows = [
        # the other lanes' line makes a caption taller: frames must not differ in size
        {"frame": n, "t_s": n / 5, "label": (SEEN if n else SceneLabel()).model_dump(), **things}
        for n in range(4)
    ]
    from edgekit.drives import open_drives

    (opened,) = open_drives(drive(tmp_path / "d", rows))
    frames = list(pictures(opened, {}))
    assert len({frame.shape for frame in frames}) == 1 and frames[0].shape[0] % 2 == 0
    around = frames[2][
        round(10 * SCALE) - 4 : round(10 * SCALE), round(20 * SCALE) : round(24 * SCALE)
    ].astype(int)
    assert has(around, LIGHTS["red"])
    assert has(
        frames[2][-PLOT - 16 : -PLOT].astype(int), (255, 150, 50)
    )  # the last line stands clear of the strip
    strip = frames[2][-PLOT:].astype(int)
    assert (strip[:, across(2, 4)] > 200).all()  # the cursor
    other = frames[3][-PLOT:].astype(int)
    assert not (other[:, across(2, 4)] > 200).all()


def test_what_is_nothing_is_refused(dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    for bad in (str(tmp_path / "empty"), str(tmp_path / "gone")):
        with pytest.raises(UserError):
            view(bad, tmp_path / "out")
    with pytest.raises(UserError, match="no rows"):
        view(str(dataset), tmp_path / "out", "dev")
    with pytest.raises(UserError, match="at least 1"):
        view(str(dataset), tmp_path / "out", None, 0)


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path, dataset):
    (tmp_path / "v.png").write_text("")
    with pytest.raises(UserError, match="a file is there"):
        view(str(dataset), tmp_path / "v.png")


def test_frames_that_only_the_dataset_has_are_shown_though_its_drives_are_shorter(tmp_path, capsys):
    folder = write_dataset(tmp_path / "run", ["train"] * 8)
    drive(folder / "drives" / "d")  # 4 frames
    (sheet,) = view(str(folder), tmp_path / "out", None, 2, start=6)
    said = capsys.readouterr().err
    assert sheet.suffix == ".png" and "2 of 8 frames, 6 to 7" in said
    assert "d: 4 frames, none from number 6 on" in said
    with pytest.raises(UserError, match="--from 6") as caught:  # of a drive alone it is a mistake
        view(str(folder / "drives" / "d"), tmp_path / "out", None, 2, start=6)
    assert "0 to 3" in caught.value.do


def test_how_to_see_the_others_is_told_where_it_would_help(capsys):
    told = {}
    for start, chosen in ((None, [0, 4, 8]), (2, [2, 3]), (6, [6, 7, 8])):
        say("d", chosen, 9, start)
        told[start] = "--all" in capsys.readouterr().err
    assert told == {None: True, 2: True, 6: False}
