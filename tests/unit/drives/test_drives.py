"""Drives: what is written comes back; what is malformed is refused in three lines."""

import json

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.core.label import SceneLabel
from edgekit.drives import (
    DriveInfo,
    DriveSet,
    Telemetry,
    encode_video,
    open_drive,
    open_drives,
    pack_drive,
    read_telemetry,
    write_drive,
    write_telemetry,
)

W, H = 64, 48


def picture(number: int) -> np.ndarray:
    """A grey gradient with a red lamp that moves with the frame number."""
    image = np.zeros((H, W, 3), np.uint8)
    image[...] = np.linspace(40, 200, W).astype(np.uint8)[None, :, None]
    image[10:18, 4 + 4 * number : 12 + 4 * number] = (230, 20, 20)
    return image


def telemetry(n: int, fps: float) -> Telemetry:
    t = np.arange(n) / fps
    return Telemetry(t, 2.0 + t, np.zeros(n), np.ones(n))


def truth_rows(n: int, fps: float) -> list[dict]:
    label = SceneLabel(light="red", light_arrow="any", light_kind="intersection").model_dump()
    return [
        {"frame": i, "t_s": i / fps, "label": label, "visible": {"light": i > 0}, "distance_m": 9.5}
        for i in range(n)
    ]


@pytest.fixture
def drive(tmp_path):
    folder = tmp_path / "set" / "drives" / "d1"
    info = DriveInfo(id="d1", fps=5, licence="CC0", scene="s7", seed=7, tags=("night",))
    write_drive(folder, info, (picture(i) for i in range(6)), telemetry(6, 5), truth_rows(6, 5))
    return folder


def test_a_drive_comes_back(drive):
    back = open_drive(drive)
    assert (back.id, back.scene, len(back), back.foreign) == ("d1", "s7", 6, False)
    assert back.info.tags == ("night",)
    np.testing.assert_allclose(back.times_s, np.arange(6) / 5)
    np.testing.assert_allclose(back.speeds_mps(), 2.0 + np.arange(6) / 5, atol=1e-6)
    frames = list(back.frames(start=4))
    assert len(frames) == 2
    assert np.abs(frames[0].astype(int) - picture(4)).mean() < 3
    truth = back.truth()
    assert truth[0].visible == {"speed": True, "light": False, "obstacles": True, "crossroad": True}
    assert truth[3].label.light == "red" and truth[3].more == {"distance_m": 9.5}


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p"])
def test_packed_drive_keeps_colour_telemetry_and_truth(drive, tmp_path, pixels):
    pack_drive(drive, tmp_path / "packed", pixels=pixels)
    packed, original = open_drive(tmp_path / "packed"), open_drive(drive)
    assert packed.video is not None and len(packed) == 6
    assert packed.info == original.info
    assert packed.truth() == original.truth()
    assert packed.speeds_mps() == original.speeds_mps()
    for number, image in enumerate(packed.frames()):
        assert image.shape == (H, W, 3) and image.dtype == np.uint8
        red, green, blue = image[14, 8 + 4 * number].astype(int)
        assert red > 200 and green < 50 and blue < 50  # red stays red: RGB, not BGR
        if pixels == "yuv444p":
            assert np.abs(image.astype(int) - picture(number)).mean() < 4
    assert len(list(packed.frames(start=5))) == 1


def test_browser_video_is_h264_420_tagged_bt709(tmp_path):
    import av

    assert encode_video((picture(i) for i in range(5)), tmp_path / "quick.mp4", 7.5) == 5
    with av.open(str(tmp_path / "quick.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, int(context.colorspace)) == ("h264", "yuv420p", 1)
        assert float(container.streams.video[0].average_rate) == 7.5
    assert not list(tmp_path.glob(".*part"))


def test_odd_sizes_and_no_frames_are_refused(tmp_path):
    with pytest.raises(UserError, match="yuv444p"):
        encode_video([np.zeros((47, 63, 3), np.uint8)], tmp_path / "odd.mp4", 5)
    with pytest.raises(UserError, match="no frames"):
        encode_video([], tmp_path / "none.mp4", 5)
    assert not list(tmp_path.iterdir())


def test_foreign_video_and_foreign_frames(tmp_path, drive):
    video = tmp_path / "my clip.mp4"
    encode_video((picture(i) for i in range(4)), video, 10)
    foreign = open_drive(video)
    assert foreign.foreign and foreign.id == "my-clip" and foreign.info.fps == 10
    assert foreign.speeds_mps() == [None] * 4 and foreign.truth() is None
    assert sum(1 for _ in foreign.frames()) == 4
    folder = open_drive(drive / "frames")
    assert folder.foreign and len(folder) == 6 and folder.speeds_mps() == [None] * 6


def test_foreign_frames_come_in_the_order_in_which_people_count(tmp_path, drive):
    clip = tmp_path / "clip"
    clip.mkdir()
    for number in range(12):
        (clip / f"frame{number}.jpg").write_bytes((drive / "frames" / "000000.jpg").read_bytes())
    assert [path.stem for path in open_drive(clip).files] == [f"frame{n}" for n in range(12)]


@pytest.mark.parametrize("place", ["", "frames"])
def test_images_and_videos_in_one_folder_are_refused(tmp_path, drive, place):
    clip = tmp_path / "clip"
    (clip / place).mkdir(parents=True)
    (clip / place / "a.jpg").write_bytes((drive / "frames" / "000000.jpg").read_bytes())
    for name in ("b.mp4", "c.mp4"):
        encode_video((picture(i) for i in range(2)), clip / name, 10)
        with pytest.raises(UserError, match="1 images, first a.jpg, and . videos, first b.mp4"):
            open_drives(clip)
        with pytest.raises(UserError, match="images and videos"):
            open_drive(clip)


def trimmed(path, target, start_s: float) -> None:
    """The same packets, the first ones cut off by an edit list, as trimming without encoding does."""
    import av

    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        shift = int(start_s / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                out.mux(packet)


def test_a_trimmed_video_has_as_many_frames_as_it_shows(tmp_path):
    import av

    encode_video((picture(i % 12) for i in range(40)), tmp_path / "whole.mp4", 10)
    trimmed(tmp_path / "whole.mp4", tmp_path / "trimmed.mp4", 1.0)
    with av.open(str(tmp_path / "trimmed.mp4")) as container:
        assert container.streams.video[0].frames == 40  # what the header says
    drive = open_drive(tmp_path / "trimmed.mp4")
    assert len(drive) == 30 == sum(1 for _ in drive.frames())


def test_a_set_of_drives(drive):
    root = drive.parent.parent
    assert [d.id for d in DriveSet(root)] == ["d1"]
    assert [d.id for d in open_drives(root)] == ["d1"]
    assert [d.id for d in open_drives(drive)] == ["d1"]
    assert [d.id for d in open_drives(root / "drives")] == ["d1"]  # a folder whose folders are drives
    with pytest.raises(UserError, match="drives/"):
        DriveSet(drive)


def test_a_set_without_drives_or_with_something_beside_them_is_refused(tmp_path, drive):
    (tmp_path / "none" / "drives").mkdir(parents=True)
    with pytest.raises(UserError, match="no drives in it"):
        open_drives(tmp_path / "none")
    encode_video((picture(i) for i in range(2)), drive.parent / "clip.mp4", 10)
    with pytest.raises(UserError, match="first clip.mp4"):
        open_drives(drive.parent)


def test_frames_outside_the_record_have_no_speed(drive):
    lines = (drive / "telemetry.csv").read_text().splitlines()
    (drive / "telemetry.csv").write_text("\n".join(lines[:3]) + "\n")  # up to 0.2 s
    speeds = open_drive(drive).speeds_mps()
    assert speeds[3] == pytest.approx(2.2) and speeds[4] is None  # 0.6 s is near, 0.8 s is beyond 0.7 s


def test_a_gap_in_the_record_has_no_speed():
    record = Telemetry(np.array([0.0, 1.0, 9.0]), np.array([2.0, 4.0, 12.0]), np.zeros(3), np.zeros(3))
    speeds = record.at(np.array([0.0, 0.5, 1.4, 1.6, 5.0, 8.4, 8.6, 9.5, 9.6])).speed_mps
    np.testing.assert_allclose(speeds, [2, 3, 4.4, np.nan, np.nan, np.nan, 11.6, 12, np.nan])
    assert np.isfinite(record.at(np.array([0.5000000001])).speed_mps).all()
    one = Telemetry(*np.array([[5.0], [3.0], [0.0], [0.0]]))
    np.testing.assert_allclose(one.at(np.array([4.4, 4.6, 5.5])).speed_mps, [np.nan, 3, 3])


def test_times_come_back_as_they_were(tmp_path):
    t = 1000 + np.arange(5) / 300
    write_telemetry(tmp_path / "telemetry.csv", Telemetry(t, *np.ones((3, 5))))
    assert (read_telemetry(tmp_path / "telemetry.csv").t_s == t).all()


@pytest.mark.parametrize(
    "body, said",
    [
        ("t_s,yaw_rate_rps\n0,1\n", "no speed_mps; found t_s, yaw_rate_rps"),
        ("t_s,speed_kmh\n0,1\n", "divide speed_kmh by 3.6"),
        ("t_s;speed_mps\n0;1\n0,2;1,5\n", "has semicolons instead"),
        ("t_s\tspeed_mps\n0\t1\n", "has tabs instead"),
        ("t_s,speed_mps,yaw_rate_rps,accel_mps2\n", "empty"),
        ("t_s,speed_mps,yaw_rate_rps,accel_mps2\n0,1,0,0\n0.2,nan,0,0\n", ":3: NaN"),
        ("t_s,speed_mps,yaw_rate_rps,accel_mps2\n0,1,0,0\n1,1,0,0\n0.5,1,0,0\n", ":4: times do not rise"),
        ("t_s,speed_mps,yaw_rate_rps,accel_mps2\n0,fast,0,0\n", ":2: not a row of numbers"),
        ("t_s,speed_mps,yaw_rate_rps,accel_mps2\n0,1\n", ":2: not a row of numbers"),
        ("t_s,speed_mps,yaw_rate_rps,accel_mps2\n0,1,0,0\xe9\n", "not a CSV file in UTF-8"),
        ("t_s,speed_mps,yaw_rate_rps,accel_mps2\n" + "1" * 200_000, "not a CSV file in UTF-8"),
    ],
)
def test_bad_telemetry_is_refused(tmp_path, body, said):
    path = tmp_path / "telemetry.csv"
    path.write_bytes(body.encode("latin-1"))
    with pytest.raises(UserError) as error:
        read_telemetry(path)
    assert said in str(error.value) and len(str(error.value).splitlines()) == 3


def test_bad_drives_are_refused(drive, tmp_path):
    (drive / "frames" / "000002.jpg").rename(drive / "frames" / "000009.jpg")
    with pytest.raises(UserError, match="000002 is missing"):
        open_drive(drive)
    info = json.loads((drive / "drive.json").read_text())
    (drive / "drive.json").write_text(json.dumps(info | {"schema": "edgekit/drive/2"}))
    with pytest.raises(UserError, match="edgekit/drive/1"):
        open_drive(drive)
    (drive / "drive.json").write_text(json.dumps(info | {"id": "../out"}))
    with pytest.raises(UserError, match="id is not valid"):
        open_drive(drive)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="not a readable video"):
        open_drive(tmp_path / "text.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a drive"):
        open_drive(tmp_path / "empty")
    with pytest.raises(UserError, match="(?s)no such drive.*has no 'emty'; did you mean 'empty'"):
        open_drive(tmp_path / "emty")


def test_bad_truth_is_refused(drive):
    (drive / "truth.jsonl").write_text('{"frame": 0, "t_s": 0, "label": {"light": "blue"}}\n')
    with pytest.raises(UserError, match="truth.jsonl:1"):
        open_drive(drive).truth()
    (drive / "truth.jsonl").write_text('{"frame": 0, "t_s": 0, "lab')
    with pytest.raises(UserError, match="truth.jsonl:1"):
        open_drive(drive).truth()


def test_a_video_that_is_a_link_out_of_the_drive_is_refused(drive, tmp_path):
    pack_drive(drive, tmp_path / "packed")
    (tmp_path / "packed" / "video.mp4").rename(tmp_path / "elsewhere.mp4")
    (tmp_path / "packed" / "video.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    with pytest.raises(UserError, match="leads out"):
        open_drive(tmp_path / "packed")


def test_importing_drives_loads_no_video_library():
    import subprocess
    import sys

    code = "import sys, edgekit.drives; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_hidden_files_are_neither_frames_nor_films(tmp_path, drive):
    """macOS leaves ._000001.jpg beside what it copies to a foreign disk."""
    frames = drive / "frames"
    (frames / "._000000.jpg").write_bytes(b"no picture")
    assert len(open_drive(drive)) == len(open_drive(frames)) == 6
    folder = tmp_path / "clips"
    folder.mkdir()
    encode_video((picture(i) for i in range(3)), folder / "one.mp4", 10)
    (folder / "._one.mp4").write_bytes(b"no video")
    assert [d.id for d in open_drives(folder)] == ["one"]


def test_a_film_of_a_plain_name_is_called_after_its_folder(tmp_path):
    for trip in ("trip_a", "trip b"):
        (tmp_path / trip).mkdir()
        encode_video((picture(i) for i in range(3)), tmp_path / trip / "video.mp4", 10)
    named = [open_drives(tmp_path / trip)[0].id for trip in ("trip_a", "trip b")]
    assert named == ["trip_a", "trip-b"]
    film = tmp_path / "trip_a" / "video.mp4"
    assert open_drive(film).id == "trip_a"
    film.rename(film.with_name("monday.mp4"))
    assert open_drive(film.parent).id == "monday"
    encode_video((picture(i) for i in range(3)), film, 10)  # beside another
    assert [d.id for d in open_drives(film.parent)] == ["monday", "video"]


def test_telemetry_of_a_spreadsheet_begins_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "telemetry.csv"
    path.write_text("t_s,speed_mps\n0,1\n0.5,2\n", encoding="utf-8-sig")
    assert read_telemetry(path).speed_mps.tolist() == [1.0, 2.0]


def test_a_folder_for_each_drive(tmp_path):
    for name in ("b", "a"):
        encode_video([np.zeros((56, 112, 3), np.uint8)] * 3, tmp_path / "trips" / name / "front.mp4", 5)
    assert [drive.id for drive in open_drives(tmp_path / "trips")] == ["a", "b"]
    (tmp_path / "trips" / "c").mkdir()
    with pytest.raises(UserError, match="not a drive"):
        open_drives(tmp_path / "trips")
