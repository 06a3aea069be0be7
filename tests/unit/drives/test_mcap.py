"""MCAP: cameras of three encodings, motion of several schemas, damage, and memory that stays flat."""

import tracemalloc

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.drives import Reading, encode_video, open_drive, open_drives
from tests.unit.drives.bags import (
    Recorder,
    imu,
    jpeg,
    json_image,
    number_in,
    odometry,
    picture,
    stamp,
    twist,
)

ROS_IMAGE, FOX = "sensor_msgs/msg/CompressedImage", "foxglove.CompressedImage"
ODOMETRY, TWIST, IMU = "nav_msgs/msg/Odometry", "geometry_msgs/msg/TwistStamped", "sensor_msgs/msg/Imu"
LATE_S = 0.04  # a camera's message is logged after the picture is taken


def frame_times(n: int = 20) -> np.ndarray:
    """Seconds; the shutter is not even."""
    return np.cumsum(np.where(np.arange(n) % 3 == 0, 0.1, 0.12))


def record(path, images: str = ROS_IMAGE, motion=(ODOMETRY, IMU), n: int = 20, **options):
    """Frames at ``frame_times``; speed 5 + t, yaw rate 0.1 t, acceleration 1; stamps say when it was."""
    rows = []
    for i, t in enumerate(frame_times(n).tolist()):
        if images == ROS_IMAGE:
            message = picture(t, jpeg(i))
        elif images == FOX:
            when = stamp(t)
            message = {"timestamp": {"seconds": when.sec, "nanos": when.nanosec}, "data": jpeg(i)}
        else:
            message = json_image(t, jpeg(i))
        rows.append((t + LATE_S, "/camera", images, message))
    for t in np.arange(0, frame_times(n)[-1] + 0.5, 0.02).tolist():
        if ODOMETRY in motion:
            rows.append((t, "/odom", ODOMETRY, odometry(t, 5 + t, 0.1 * t)))
        if TWIST in motion:
            rows.append((t, "/twist", TWIST, twist(t, 5 + t, 0.1 * t)))
        if IMU in motion:
            rows.append((t + 0.003, "/imu", IMU, imu(t + 0.003, 0.1 * (t + 0.003), (1, 0, 9.81))))
        if "json:" in motion:
            rows.append((t, "/can", "json:", {"speed_mps": 5 + t, "yaw_rate_rps": 0.1 * t, "accel_mps2": 1}))
    with Recorder(path, **options) as out:
        for t, topic, schema, message in sorted(rows, key=lambda row: row[0]):
            out.add(topic, schema, t, message)
    return path


def check_motion(drive, accel: bool = True):
    """Against the formulas of ``record``, at the frames' stamps and not at their log times."""
    t = frame_times(len(drive))
    np.testing.assert_allclose(drive.times_s, t - t[0], atol=1e-6)
    np.testing.assert_allclose(drive.telemetry.speed_mps, 5 + t, atol=1e-5)
    np.testing.assert_allclose(drive.telemetry.yaw_rate_rps, 0.1 * t, atol=1e-5)
    if accel:
        np.testing.assert_allclose(drive.telemetry.accel_mps2, 1.0)
    assert not drive.telemetry.interpolated.any()


@pytest.mark.parametrize("images", [ROS_IMAGE, FOX, f"json:{FOX}"])
@pytest.mark.parametrize("motion", [(ODOMETRY, IMU), (TWIST, IMU), ("json:",)])
def test_frames_and_motion_come_back(tmp_path, images, motion):
    drive = open_drive(record(tmp_path / "a drive.mcap", images, motion))
    assert (drive.id, len(drive), drive.foreign, drive.in_time) == ("a-drive", 20, True, True)
    assert [number_in(image) for image in drive.frames()] == list(range(20))
    assert [number_in(image) for image in drive.frames(start=13)] == list(range(13, 20))
    assert list(drive.frames(start=20)) == []
    assert (drive.info.camera.width, drive.info.camera.height) == (64, 48)
    assert drive.info.fps == pytest.approx(1 / 0.12, rel=1e-3)
    check_motion(drive)
    assert drive.notes == (["yaw_rate_rps is taken from /imu, not from " + {
        ODOMETRY: "/odom", TWIST: "/twist"}[motion[0]]] if IMU in motion else [])  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [{"chunk_size": 2000}, {"use_chunking": False}, {"use_statistics": False}, {"repeat_channels": False}],
)
def test_every_layout_of_a_file_reads_alike(tmp_path, options):
    drive = open_drive(record(tmp_path / "x.mcap", **options))
    assert [number_in(image) for image in drive.frames(start=7)] == list(range(7, 20))
    check_motion(drive)


def refusal(path, **reading) -> str:
    with pytest.raises(UserError) as error:
        open_drive(path, Reading(**reading))
    assert len(str(error.value).splitlines()) == 3
    return str(error.value)


def two_cameras(path):
    with Recorder(path) as out:
        for i, t in enumerate(frame_times(6).tolist()):
            out.add("/left", ROS_IMAGE, t, picture(t, jpeg(i)))
            out.add("/right", ROS_IMAGE, t, picture(t, jpeg(30 - i)))
            out.add("/odom", ODOMETRY, t, odometry(t, 5.0))
    return path


def test_of_two_cameras_one_must_be_named(tmp_path):
    path = two_cameras(tmp_path / "x.mcap")
    said = refusal(path)
    assert "2 cameras" in said and "/left (sensor_msgs/msg/CompressedImage)" in said and "/right" in said
    right = open_drive(path, Reading(camera="/right"))
    assert [number_in(image) for image in right.frames()] == [30, 29, 28, 27, 26, 25]
    assert "did you mean '/right'" in refusal(path, camera="/rihgt")
    assert "holds nav_msgs/msg/Odometry" in refusal(path, camera="/odom")


def test_a_file_without_a_camera_lists_what_it_holds(tmp_path):
    with Recorder(tmp_path / "x.mcap") as out:
        out.add("/odom", ODOMETRY, 0.0, odometry(0.0, 5.0))
    assert "no camera" in refusal(tmp_path / "x.mcap") and "/odom" in refusal(tmp_path / "x.mcap")
    (tmp_path / "text.mcap").write_text("no MCAP at all")
    assert "no MCAP that can be read" in refusal(tmp_path / "text.mcap")
    (tmp_path / "none.mcap").write_bytes(b"")
    assert "no MCAP that can be read" in refusal(tmp_path / "none.mcap")


def test_the_speed_of_several_topics_is_told_and_can_be_chosen(tmp_path):
    path = tmp_path / "x.mcap"
    with Recorder(path) as out:
        for i, t in enumerate(frame_times(9).tolist()):
            out.add("/camera", ROS_IMAGE, t, picture(t, jpeg(i)))
            out.add("/odom", ODOMETRY, t, odometry(t, 5.0))
            out.add("/wheels", ODOMETRY, t, odometry(t, 6.0))
    drive = open_drive(path)
    assert set(drive.speeds_mps()) == {5.0}
    assert "speed_mps is taken from /odom, not from /wheels (reading.speed takes another)" in drive.notes
    assert set(open_drive(path, Reading(speed="/wheels")).speeds_mps()) == {6.0}
    assert "topics with a speed: /odom" in refusal(path, speed="/camera")


def test_without_motion_a_recording_still_opens(tmp_path):
    path = record(tmp_path / "x.mcap", motion=())
    drive = open_drive(path)
    assert drive.telemetry is None and drive.speeds_mps() == [None] * 20 and drive.in_time
    assert drive.notes == []
    t = frame_times(20)
    lines = [f"{x - t[0]:.4f},{5 + x:.4f}" for x in t]
    (tmp_path / "telemetry.csv").write_text("t_s,speed_mps\n" + "\n".join(lines) + "\n")
    beside = open_drive(path)
    np.testing.assert_allclose(beside.telemetry.speed_mps, 5 + t, atol=1e-3)
    assert "telemetry.csv has no yaw_rate_rps and no accel_mps2" in beside.notes


def test_an_imu_that_lies_on_its_side_is_not_taken(tmp_path):
    path = tmp_path / "x.mcap"
    with Recorder(path) as out:
        for i, t in enumerate(frame_times(9).tolist()):
            out.add("/camera", ROS_IMAGE, t, picture(t, jpeg(i)))
            out.add("/odom", TWIST, t, twist(t, 5.0))
            out.add("/imu", IMU, t, imu(t, 0.4, (0.1, -9.8, 0.3)))
    drive = open_drive(path)
    assert np.isnan(drive.telemetry.yaw_rate_rps).all() and np.isnan(drive.telemetry.accel_mps2).all()
    assert any("/imu is not mounted with z up (gravity is on y)" in note for note in drive.notes)
    assert set(drive.speeds_mps()) == {5.0}


@pytest.mark.parametrize("fault", ["none", "some", "back", "leap", "apart"])
def test_stamps_that_do_not_serve_give_way_to_the_log(tmp_path, fault):
    """Frame i is logged at i/10 s; the speed's messages, at 5 + log time, carry no stamps."""
    path, n = tmp_path / "x.mcap", 40
    stamps: list[float | None] = [i / 10 for i in range(n)]
    if fault == "none":
        stamps = [None] * n
    elif fault == "some":
        stamps[7] = None
    elif fault == "back":
        stamps[20:] = [s - 100 for s in stamps[20:]]
    elif fault == "leap":
        stamps[20:] = [s + 3600 for s in stamps[20:]]
    elif fault == "apart":
        stamps = [s + 900 for s in stamps]
    with Recorder(path) as out:
        for i in range(n):
            out.add("/camera", ROS_IMAGE, i / 10, picture(stamps[i], jpeg(i)))
            out.add("/can", "json:", i / 10, {"speed_mps": 5 + i / 10})
    drive = open_drive(path)
    np.testing.assert_allclose(drive.times_s, np.arange(n) / 10, atol=1e-6)
    np.testing.assert_allclose(drive.telemetry.speed_mps, 5 + np.arange(n) / 10, atol=1e-5)
    said = {"none": None, "some": "1 messages carry none", "back": "fall back by 99.90 s",
            "leap": "leap by 3600.10 s", "apart": "stand 900.00 s apart"}[fault]  # fmt: skip
    told = [note for note in drive.notes if "stamps in the messages are not used" in note]
    assert len(told) == (said is not None) and (said is None or said in told[0])


def test_stamps_of_one_far_clock_are_kept(tmp_path):
    """Played again at half the rate: the log runs slow, the stamps are right, and all topics have them."""
    path = tmp_path / "x.mcap"
    with Recorder(path) as out:
        for i in range(30):
            out.add("/camera", ROS_IMAGE, i / 5, picture(i / 10, jpeg(i)))
            out.add("/odom", ODOMETRY, i / 5 + 0.001, odometry(i / 10, 5 + i / 10))
    drive = open_drive(path, Reading(tolerance_s=0.1))
    np.testing.assert_allclose(drive.times_s, np.arange(30) / 10, atol=1e-6)
    np.testing.assert_allclose(drive.telemetry.speed_mps, 5 + np.arange(30) / 10, atol=1e-5)


def test_a_repeated_picture_is_left_out_and_told(tmp_path):
    path = tmp_path / "x.mcap"
    with Recorder(path) as out:
        for i, t in enumerate([0.0, 0.1, 0.1, 0.2, 0.3]):
            out.add("/camera", ROS_IMAGE, t, picture(t, jpeg(i)))
    drive = open_drive(path)
    np.testing.assert_allclose(drive.times_s, [0, 0.1, 0.2, 0.3], atol=1e-6)
    assert [number_in(image) for image in drive.frames(start=1)] == [1, 3, 4]
    assert "/camera: 1 of 5 times do not rise and are left out" in drive.notes


def test_a_file_cut_short_keeps_what_stands_before_the_cut(tmp_path):
    path = record(tmp_path / "x.mcap", chunk_size=4000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    drive = open_drive(path)
    assert 5 < len(drive) < 20
    assert [number_in(image) for image in drive.frames(start=3)] == list(range(3, len(drive)))
    assert any("x.mcap is cut short or damaged after" in note for note in drive.notes)
    np.testing.assert_allclose(drive.telemetry.speed_mps, 5 + frame_times(20)[: len(drive)], atol=1e-5)


def test_a_damaged_chunk_is_left_out_and_its_frames_are_counted(tmp_path):
    path = record(tmp_path / "x.mcap", motion=(), chunk_size=4000)
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(bytes(data))
    drive = open_drive(path)
    assert 10 < len(drive) < 20
    seen = [number_in(image) for image in drive.frames()]
    assert len(seen) == len(drive) and seen == sorted(seen) and seen[-1] == 19
    assert f"{20 - len(drive)} of 20 messages of /camera are lost" in drive.notes
    assert any("a chunk of x.mcap is damaged" in note for note in drive.notes)


def test_a_message_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "x.mcap"
    with Recorder(path) as out:
        for i in range(5):
            data = b"no image" if i == 3 else jpeg(i)
            out.add("/camera", ROS_IMAGE, i / 10, picture(i / 10, data))
    drive = open_drive(path)
    loads = list(drive.loads())
    assert number_in(loads[4]()) == 4  # what is not called for is not decoded
    with pytest.raises(UserError, match="message 3 of /camera"):
        list(drive.frames())


def test_a_chunk_larger_than_stated_is_refused_and_never_unpacked(tmp_path):
    import mcap.records as records
    import zstandard
    from mcap.data_stream import RecordBuilder

    from edgekit.drives.mcap import MAX_CHUNK

    bomb = zstandard.ZstdCompressor().compress(bytes(64 << 20))
    for claimed, said in [(MAX_CHUNK + 1, "too large"), (1000, "no MCAP that can be read")]:
        out = RecordBuilder()
        out.write(b"\x89MCAP0\r\n")
        records.Header("", "").write(out)
        records.Chunk("zstd", bomb, 1, 0, 0, claimed).write(out)
        path = tmp_path / f"{claimed}.mcap"
        path.write_bytes(out.end())
        tracemalloc.start()
        try:
            assert said in refusal(path)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("indexed", [True, False])
def test_memory_is_that_of_a_chunk_and_not_of_the_file(tmp_path, indexed):
    path, frames, pad = tmp_path / "x.mcap", 300, 100_000
    with Recorder(path, chunk_size=1 << 20, **({} if indexed else {"repeat_channels": False})) as out:
        for i in range(frames):
            out.add("/camera", ROS_IMAGE, i / 10, picture(i / 10, jpeg(i, pad)))
            out.add("/odom", ODOMETRY, i / 10, odometry(i / 10, 5.0))
    open_drive(path)  # what a first import takes is none of it
    tracemalloc.start()
    try:
        drive = open_drive(path)
        assert sum(1 for _ in drive.frames()) == frames
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < frames * pad / 4


def test_the_parts_of_a_ros2_bag_are_drives_of_one_scene(tmp_path):
    bag = tmp_path / "monday"
    bag.mkdir()
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information:\n")
    for part in range(2):
        record(bag / f"monday_{part}.mcap")
    drives = open_drives(bag)
    assert [(drive.id, drive.scene) for drive in drives] == [("monday_0", "monday"), ("monday_1", "monday")]


def test_telemetry_in_mcap_beside_a_video(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    encode_video((np.full((48, 64, 3), 99, np.uint8) for _ in range(20)), folder / "video.mp4", 10)
    with Recorder(folder / "telemetry.mcap") as out:
        for i in range(100):
            out.add("/odom", ODOMETRY, i / 50, odometry(i / 50, 5 + i / 50))
    (drive,) = open_drives(folder)
    np.testing.assert_allclose(drive.telemetry.speed_mps, 5 + np.arange(20) / 10, atol=1e-5)
    assert "telemetry.mcap: its first row is taken to be at the first frame" in drive.notes
    late = open_drive(folder, Reading(offset_s=0.5))
    np.testing.assert_allclose(late.telemetry.speed_mps[:10], 5.5 + np.arange(10) / 10, atol=1e-5)
