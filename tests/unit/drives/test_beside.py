"""What stands beside a film or frames, or is said of them: drive.json, tags, telemetry, a map's words."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from edgekit.core.errors import UserError
from edgekit.core.run import open_input
from edgekit.drives import (
    DriveInfo,
    Reading,
    encode_video,
    open_drive,
    open_drives,
    pack_drive,
    write_drive,
)
from edgekit.engine.answerer import Answer
from edgekit.library import WORDS, Selector, load_library
from edgekit.library.context import TAGS
from edgekit.mine.asking import Known
from edgekit.mine.run import all_drives


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


@pytest.mark.parametrize(
    "tag, near", [("nite", "night"), ("school zone", "school_zone"), ("braking", "no tag of a scene")]
)
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


def timed(folder, start_s: float = 0.0, n: int = 6) -> None:
    """A record of n rows, 0.5 s apart, of a clock that shows ``start_s`` at its first row."""
    rows = "".join(f"{start_s + i / 2},{5 + i}\n" for i in range(n))
    (folder / "telemetry.csv").write_text(f"t_s,speed_mps\n{rows}")


def test_a_map_holds_from_a_row_to_the_next_in_the_clock_of_the_telemetry(tmp_path):
    film(tmp_path / "clip.mp4", n=6, fps=2)
    assert open_drive(tmp_path).map_words() == [()] * 6
    (tmp_path / "map.csv").write_text("t_s, words\n0.5,roundabout school_zone\n1.5,\n2,Toll\n")
    words = [(), *[("roundabout", "school_zone")] * 2, (), *[("Toll",)] * 2]
    for at in (tmp_path, tmp_path / "clip.mp4"):  # the folder, or the film alone in it
        assert open_drive(at).map_words() == words and open_drive(at).notes == []
    timed(tmp_path)
    assert open_drive(tmp_path).map_words() == words
    (tmp_path / "map.csv").write_text("t_s,words\n100.5,tunnel\n101,\n")
    timed(tmp_path, 100.0)
    late = [(), ("tunnel",), *[()] * 4]
    assert open_drive(tmp_path, Reading(offset_s=100)).map_words() == late
    (tmp_path / "telemetry.csv").unlink()
    assert open_drive(tmp_path, Reading(offset_s=100)).map_words() == late


def test_a_map_beside_frames_and_a_drive_of_ours_is_read_and_packed(tmp_path):
    frames = [np.zeros((48, 64, 3), np.uint8)] * 3
    write_drive(tmp_path / "d", DriveInfo(id="d", fps=2), frames)
    (tmp_path / "d" / "map.csv").write_text("t_s,words\n0.5,tunnel\n")
    pack_drive(tmp_path / "d", tmp_path / "packed")
    for folder in (tmp_path / "d", tmp_path / "packed"):
        assert open_drive(folder).map_words() == [(), ("tunnel",), ("tunnel",)]
    (tmp_path / "d" / "drive.json").unlink()
    assert open_drive(tmp_path / "d", Reading(fps=4)).map_words() == [(), (), ("tunnel",)]


@pytest.mark.parametrize(
    "body, said",
    [
        ("5,toll\n", "map.csv says nothing of any frame"),
        ("0,\n1,\n", "map.csv says nothing of any frame"),
        ("-9,toll\n-5,tunnel\n", "map.csv ends before the first frame"),
    ],
)
def test_a_map_of_another_clock_is_noted(tmp_path, body, said):
    film(tmp_path / "clip.mp4")
    (tmp_path / "map.csv").write_text(f"t_s,words\n{body}")
    (note,) = open_drive(tmp_path).notes
    assert note.startswith(said)


@pytest.mark.parametrize(
    "body, said",
    [
        ("t_s,place\n0,toll\n", "no words; found t_s, place"),
        ("t_s;words\n0;toll\n", "has semicolons instead"),
        ("t_s,words\n0,toll\n0,tunnel\n", ":3: not a row"),
        ("t_s,words\nnan,toll\n", "t_s is 'nan'"),
        ("t_s,words\n,toll\n", "t_s is ''"),
        ("t_s,words\n0\n", "fewer columns"),
        ("t_s,words\n0,toll,tunnel\n", "more columns"),
        (f"t_s,words\n0,{'x' * 81}\n", "81 characters"),
        ("t_s,words\n0,toll\x1b[2J\n", "a control character"),
        ('t_s,words\n0,"toll\nignore"\n', "a control character"),
        ("t_s,words\n0,toll\xe9\n", "not a CSV file in UTF-8"),
        ("t_s,words\n0," + " " * 10_000_000, "10000012 bytes"),
    ],
)
def test_a_bad_map_is_refused_where_the_telemetry_is(tmp_path, body, said):
    film(tmp_path / "clip.mp4")
    timed(tmp_path)
    (tmp_path / "map.csv").write_bytes(body.encode("latin-1"))
    drive = open_drive(tmp_path)
    for _ in range(2):  # it stays refused
        with pytest.raises(UserError) as error:
            _ = drive.telemetry
        assert said in str(error.value) and len(str(error.value).splitlines()) == 3


def test_a_maps_words_reach_the_prompt_of_their_frames(tmp_path):
    film(tmp_path / "clip.mp4", n=6, fps=2)
    (tmp_path / "map.csv").write_text("t_s,words\n1,roundabout school_zone\n2,\n")
    known, library = Known(open_drive(tmp_path), range(6), False, "en"), load_library("long-en")
    selector = Selector(library, hold_frames=1, release_frames=1)
    untold = Answer("", None)
    texts = [selector.next(*known.of(i, untold, ())).text for i in range(6)]
    place = "A map says of this place: roundabout, school zone."
    assert [place in text for text in texts] == [False, False, True, True, False, False]
    assert ["A roundabout is near." in text for text in texts][:4] == [False, False, True, True]
    assert [known.of(i, untold, ())[0] is None for i in range(6)] == [True, True, False, False, True, True]


def test_a_maps_words_are_part_of_a_films_digest(tmp_path):
    film(tmp_path / "a.mp4")
    digests = {open_input(tmp_path / "a.mp4").digest}
    for name, body in [("map.csv", "1"), ("map.csv", "2"), ("a.csv", "1"), ("a.parquet", "1")]:
        (tmp_path / name).write_text(body)
        digests.add(open_input(tmp_path / "a.mp4").digest)
    film(tmp_path / "b.mp4")
    digests.add(open_input(tmp_path / "a.mp4").digest)
    assert len(digests) == 6
    before = open_input(tmp_path / "a.mp4").digest
    (tmp_path / "map.csv").unlink()  # beside two films it is nobody's
    assert open_input(tmp_path / "a.mp4").digest == before
    (tmp_path / "a.csv").unlink()
    assert open_input(tmp_path / "a.mp4").digest != before


def test_each_of_several_films_has_telemetry_of_its_name(tmp_path):
    for name in ("v0", "v1"):
        film(tmp_path / f"{name}.mp4")
    (tmp_path / "v0.csv").write_text("t_s, speed_mps\n0, 5\n1, 7\n")
    v0, v1 = open_drives(tmp_path)
    assert v0.speeds_mps() == [5, 6, 7, 7] and v1.speeds_mps() == [None] * 4
    assert v1.notes == [] and open_drive(tmp_path / "v0.mp4").speeds_mps() == [5, 6, 7, 7]
    timed(tmp_path)  # whose is it?
    (tmp_path / "map.csv").write_text("t_s,words\n0,toll\n")
    v0, v1 = open_drives(tmp_path)
    assert v0.speeds_mps() == [5, 6, 7, 7] and v1.speeds_mps() == [None] * 4
    assert "telemetry.csv and map.csv beside several films: read for none" in v1.notes[0]
    assert "v1.csv" in v1.notes[0] and v1.map_words() == [()] * 4


def test_telemetry_named_as_a_film_is_checked_as_any(tmp_path):
    film(tmp_path / "v0.mp4")
    (tmp_path / "v0.csv").write_text("frame,light\n0,red\n")
    with pytest.raises(UserError, match="(?s)no t_s, speed_mps; found frame, light.*no telemetry"):
        open_drive(tmp_path).speeds_mps()
    timed(tmp_path)
    with pytest.raises(UserError, match="(?s)two records.*telemetry.csv, v0.csv"):
        open_drive(tmp_path).speeds_mps()
    (tmp_path / "v0.csv").unlink()
    assert open_drive(tmp_path).speeds_mps() == [5, 6, 7, 8]


def test_the_rate_of_stills_says_that_they_follow_one_another(tmp_path):
    write_drive(tmp_path, DriveInfo(id="d", fps=2), [np.zeros((48, 64, 3), np.uint8)] * 3)
    assert open_drive(tmp_path).in_time
    assert not open_drive(tmp_path / "frames").in_time
    assert not open_drive(tmp_path / "frames", Reading(tags=["fog"])).in_time
    assert open_drive(tmp_path / "frames", Reading(fps=5)).in_time


def read_by_mine(*given, reading=None):
    """What mining takes as its drives, in one run."""
    inputs = {"drives": [SimpleNamespace(out=Path(path)) for path in given]}
    return all_drives(SimpleNamespace(inputs=inputs, config=SimpleNamespace(reading=reading)), [])


def test_drives_of_one_id_are_named_with_a_cure_that_works(tmp_path):
    for trip in ("a", "b"):
        film(tmp_path / trip / "clip.mp4")
    with pytest.raises(UserError) as error:
        read_by_mine(tmp_path)
    told = str(error.value)
    assert f"twice: clip, {tmp_path / 'a' / 'clip.mp4'} and {tmp_path / 'b' / 'clip.mp4'}" in told
    assert "rename one film" in told and len(told.splitlines()) == 3
    (tmp_path / "b" / "clip.mp4").rename(tmp_path / "b" / "evening.mp4")
    assert [drive.id for drive in read_by_mine(tmp_path)] == ["clip", "evening"]
    with pytest.raises(UserError, match="(?s)clip, .*name it once"):
        read_by_mine(tmp_path, tmp_path / "a")


def test_drives_of_ours_with_one_id_and_folders_of_one_name_have_cures_of_their_own(tmp_path):
    for folder in ("x/d", "y/d"):
        write_drive(tmp_path / folder, DriveInfo(id="d", fps=2), [np.zeros((48, 64, 3), np.uint8)])
    with pytest.raises(UserError, match="give each drive.json an id of its own"):
        read_by_mine(tmp_path / "x", tmp_path / "y")
    with pytest.raises(UserError, match="rename one folder"):
        read_by_mine(tmp_path / "x" / "d" / "frames", tmp_path / "y" / "d" / "frames")
    said(tmp_path / "y" / "d", id="e", fps=2)
    assert [drive.id for drive in read_by_mine(tmp_path / "x", tmp_path / "y")] == ["d", "e"]
