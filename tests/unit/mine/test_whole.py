"""Drives that cannot be read, among others that can: all are told at once, or left out and listed."""

import json
import shutil

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.dataset import open_dataset
from edgekit.drives import encode_video, open_drives
from edgekit.mine import mine
from edgekit.mine import whole as module
from tests.unit.mine.test_mine import ColourTeacher, config_of, run_of, write

BROKEN = {
    "telemetry": "telemetry/telemetry.csv:3: times do not rise",
    "truth": "truth/truth.jsonl:1",
    "frame": "drive frame: frame 2 cannot be read: frame/frames/000002.jpg",
    "opens": "opens/drive.json",
}


@pytest.fixture
def mixed(tmp_path):
    """Six drives: two that are whole and one of each that is not."""
    root = tmp_path / "set"
    for name in ("a", *BROKEN, "z"):
        write(root, name, ["none"] * 4)
    place = root / "drives"
    (place / "telemetry" / "telemetry.csv").write_text("t_s,speed_mps\n0,5\n0,5\n")
    (place / "truth" / "truth.jsonl").write_text("torn")
    (place / "frame" / "frames" / "000002.jpg").write_text("torn")
    (place / "opens" / "drive.json").write_text("torn")
    return root


def test_all_that_cannot_be_read_is_told_in_one_error_before_the_first_question(tmp_path, mixed):
    run, teacher = run_of(tmp_path, config_of(mixed)), ColourTeacher()
    with pytest.raises(UserError) as error:
        mine(run.config, run, teacher)
    assert teacher.batches == 0 and len(str(error.value).splitlines()) == 3
    assert error.value.what == "mine: 4 of 6 drives cannot be read"
    for name in ("telemetry.csv:3", "truth.jsonl:1", "drive frame: frame 2", "opens/drive.json"):
        assert error.value.why.count(name) == 1
    assert "leave_out_broken=true" in error.value.do


def test_what_cannot_be_read_is_left_out_noted_and_listed(tmp_path, mixed):
    digests = []
    for place in ("here", "there"):
        root = shutil.copytree(mixed, tmp_path / place / "set")
        run = run_of(tmp_path, config_of(root, leave_out_broken=True), f"run-{place}")
        mine(run.config, run, ColourTeacher())
        digests.append(run.finish())
    assert digests[0] == digests[1], "where the drives lie changes no byte"
    rows = open_dataset(run.out).rows("train")
    assert {row.drive for row in rows} == {"a", "z"} and len(rows) == 8
    listed = json.loads((run.out / "mining.json").read_text())["left_out"]
    assert [one["drive"] for one in listed] == ["drives/opens", "telemetry", "truth", "frame"]
    for one in listed:
        assert BROKEN[one["drive"].removeprefix("drives/")] in one["why"] and str(tmp_path) not in one["why"]
        assert f"drive {one['drive']} is left out: {one['why']}" in run.notes


def test_why_a_film_is_left_out_names_no_place_of_this_machine(tmp_path, monkeypatch):
    """What stands in mining.json is part of the run's digest."""
    for name in "av":
        write(tmp_path, name, ["none"] * 4)
    (tmp_path / "drives").rename(tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "v" / "frames")
    (tmp_path / "d" / "v" / "video.mp4").write_bytes(b"junk")
    monkeypatch.chdir(tmp_path)
    for number, root in enumerate(("d", str(tmp_path / "d"))):
        run = run_of(tmp_path, config_of(root, leave_out_broken=True), f"run-{number}")
        mine(run.config, run, ColourTeacher())
        (one,) = json.loads((run.out / "mining.json").read_text())["left_out"]
        assert one["why"].startswith("v/video.mp4: not a readable video: Invalid data found")


def test_where_nothing_is_broken_nothing_is_left_out(tmp_path):
    write(tmp_path / "set", "d", ["none"] * 4)
    for leave, listed in ((True, []), (False, None)):
        run = run_of(tmp_path, config_of(tmp_path / "set", leave_out_broken=leave), f"run-{leave}")
        mine(run.config, run, ColourTeacher())
        assert json.loads((run.out / "mining.json").read_text()).get("left_out") == listed


def test_where_no_drive_is_left_it_is_an_error(tmp_path, mixed):
    for name in "az":
        shutil.rmtree(mixed / "drives" / name)
    run = run_of(tmp_path, config_of(mixed, leave_out_broken=True))
    with pytest.raises(UserError, match="4 of 4 drives cannot be read") as error:
        mine(run.config, run, ColourTeacher())
    assert "leave_out_broken" not in error.value.do  # it is on


def test_a_film_that_does_not_open_is_one_of_them_and_a_double_stays_an_error(tmp_path):
    films = tmp_path / "films"
    for name in "abc":
        encode_video([np.full((56, 112, 3), 90, np.uint8)] * 3, films / f"{name}.mp4", 5)
    (films / "b.mp4").write_bytes(b"torn")
    closed = []
    assert [drive.id for drive in open_drives(films, closed=closed)] == ["a", "c"]
    assert [(place.name, "b.mp4" in error.what) for place, error in closed] == [("b.mp4", True)]
    with pytest.raises(UserError, match="b.mp4"):
        open_drives(films)

    config = config_of(films, leave_out_broken=True)
    run = run_of(tmp_path, config)
    mine(config, run, ColourTeacher())
    assert json.loads((run.out / "mining.json").read_text())["left_out"][0]["drive"] == "b.mp4"
    twice = config.model_copy(update={"drives": [str(films), str(films / "a.mp4")]})
    run = run_of(tmp_path, twice, "twice")
    with pytest.raises(UserError, match="twice: a"):
        mine(twice, run, ColourTeacher())


def test_one_alone_keeps_its_own_words_and_of_many_the_first_are_named(tmp_path):
    def refused(n):
        return module.Refused(f"d{n}", tmp_path, UserError(f"d{n}: broken", f"byte {n}", "mend it"))

    with pytest.raises(UserError) as one:
        module.require_whole([refused(1)], 5)
    assert (one.value.what, one.value.why) == ("d1: broken", "byte 1") and "mend it; or" in one.value.do
    with pytest.raises(UserError) as many:
        module.require_whole([refused(n) for n in range(27)], 30)
    assert many.value.what == "mine: 27 of 30 drives cannot be read"
    assert many.value.why.count(": broken") == 20 and many.value.why.endswith("; and 7 more")
    assert many.value.do.count("mend it") == 1
    module.require_whole([], 3)
