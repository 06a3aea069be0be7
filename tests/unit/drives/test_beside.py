"""What stands beside a film or frames, or is said of them: drive.json, tags, telemetry, a map's words."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from edgekit.core.errors import UserError
from edgekit.drives import DriveInfo, Reading, encode_video, open_drive, open_drives, write_drive
from edgekit.library import WORDS
from edgekit.library.context import TAGS


def film(path, n: int = 4, fps: float = 2):
    encode_video((np.full((48, 64, 3), 20 * i, np.uint8) for i in range(n)), path, fps)
    return path


def said(folder, **more) -> None:
    (folder / "drive.json").write_text(json.dumps({"schema": "edgekit/drive/1", **more}))


def test_tags_of_the_reading_are_said_of_every_drive_that_it_reads(tmp_path):
    info = DriveInfo(id="a", fps=2, tags=("night", "mine"))
    write_drive(tmp_path / "drives" / "a", info, [np.zeros((8, 8, 3), np.uint8)])
    film(tmp_path / "drives" / "b" / "clip.mp4")
    read = open_drives(tmp_path, Reading(tags=["rain", "night"]))
    assert [drive.info.tags for drive in read] == [("night", "mine", "rain"), ("rain", "night")]
    assert [drive.info.tags for drive in open_drives(tmp_path)] == [("night", "mine"), ()]


@pytest.mark.parametrize("tag, near", [("nite", "night"), ("school zone", "school_zone"), ("braking", "no tag of a scene")])
def test_a_tag_that_no_scene_has_is_refused_with_the_nearest(tag, near):
    with pytest.raises(ValidationError, match=near):
        Reading(tags=["rain", tag])
    assert set(TAGS) < set(WORDS) and {"fog", "tunnel"} <= set(TAGS)


@pytest.mark.parametrize("name", ["video.mp4", "VID_0042.MP4"])
def test_a_drive_json_beside_one_film_speaks_for_it(tmp_path, name):
    film(tmp_path / "clip.mp4", fps=2).rename(tmp_path / name)
    K = [[60, 0, 32], [0, 60, 24], [0, 0, 1]]
    said(tmp_path, id="monday", fps=2, scene="oslo", tags=["snow"], camera={"K": K, "height_m": 1.4})
    drive = open_drive(tmp_path)
    assert (drive.id, drive.scene, drive.info.tags, drive.foreign) == ("monday", "oslo", ("snow",), False)
    assert drive.info.camera.height_m == 1.4 and drive.info.camera.K[0] == (60, 0, 32)
    assert sum(1 for _ in drive.frames()) == 4 and drive.notes == []


def test_a_drive_json_beside_two_films_does_not_say_which_it_means(tmp_path):
    film(tmp_path / "a.mp4"), film(tmp_path / "b.mp4")
    said(tmp_path, id="monday", fps=2)
    with pytest.raises(UserError, match="without frames.*\n.*2 videos of other names"):
        open_drive(tmp_path)
