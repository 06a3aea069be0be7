"""Folders of arrays, as comma2k19 lays them out, and telemetry in Parquet."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.drives import encode_video, open_drive, open_drives, read_telemetry

BOOT_S = 46_408.5


def save(folder: Path, t: np.ndarray, value: np.ndarray, ending: str = ".npy") -> None:
    folder.mkdir(parents=True)
    for name, array in (("t", t), ("value", value)):
        with open(folder / f"{name}{ending}", "wb") as file:
            np.save(file, array, allow_pickle=False)


def clip(folder: Path, n: int = 40, name: str = "video.mp4") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    encode_video((np.full((48, 64, 3), 4 * i, np.uint8) for i in range(n)), folder / name, 20)


def segment(folder: Path, real_layout: bool = True) -> Path:
    """2 s at 20 frames a second; speed 10 + t, turning right at 0.2 rad/s; frames from BOOT_S + 1."""
    clip(folder)
    t = BOOT_S + np.arange(350) / 100
    ending = "" if real_layout else ".npy"
    speed = "processed_log/CAN/speed" if real_layout else "CAN_speed"
    save(folder / speed, t, (10 + t - BOOT_S)[:, None], ending)
    save(folder / "processed_log/IMU/gyro", t, np.tile([0.0, 0.0, 0.2], (350, 1)), ending)
    save(folder / "processed_log/IMU/accelerometer", t, np.tile([1.0, 0.0, 9.8], (350, 1)), ending)
    (folder / "global_pose").mkdir()
    with open(folder / "global_pose" / f"frame_times{ending}", "wb") as file:
        np.save(file, BOOT_S + 1 + np.arange(40) / 20, allow_pickle=False)
    return folder


@pytest.mark.parametrize("real_layout", [True, False])
def test_arrays_meet_the_frames_in_their_one_clock(tmp_path, real_layout):
    drive = open_drive(segment(tmp_path / "route|2018" / "40", real_layout))
    assert (drive.id, drive.scene, len(drive), drive.foreign) == ("route-2018-40", "route-2018", 40, True)
    np.testing.assert_allclose(drive.times_s, np.arange(40) / 20, atol=1e-9)
    np.testing.assert_allclose(drive.telemetry.speed_mps, 11 + np.arange(40) / 20, atol=1e-6)
    np.testing.assert_allclose(drive.telemetry.yaw_rate_rps, -0.2)  # left is positive
    np.testing.assert_allclose(drive.telemetry.accel_mps2, 1.0)
    assert drive.notes == []


def test_segments_of_a_route_are_drives_of_one_scene(tmp_path):
    for number in ("3", "4"):
        segment(tmp_path / "route" / number)
        shutil.copyfile(
            Path(__file__).parents[3] / "docs/rendered.jpg", tmp_path / "route" / number / "preview.jpg"
        )
    drives = open_drives(tmp_path / "route")
    assert [(drive.id, drive.scene) for drive in drives] == [("route-3", "route"), ("route-4", "route")]
    assert [drive.id for drive in open_drives(tmp_path / "route" / "4")] == ["route-4"]


def test_without_times_of_the_frames_the_record_begins_with_the_first(tmp_path):
    segment(tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "global_pose")
    drive = open_drive(tmp_path / "a")
    np.testing.assert_allclose(drive.telemetry.speed_mps, 10 + np.arange(40) / 20, atol=1e-6)
    assert "a: its first row is taken to be at the first frame" in drive.notes


def test_more_times_than_frames_are_told_and_fewer_are_refused(tmp_path):
    folder = segment(tmp_path / "a")
    clip(folder, 35)
    drive = open_drive(folder)
    assert len(drive) == 35 and "video.mp4 has 35 frames for 40 times: the first 35 are taken" in drive.notes
    clip(folder, 45)
    with pytest.raises(UserError, match="45 frames, and 40 times"):
        open_drive(folder)


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_is_ever_unpickled(tmp_path):
    folder, trace = segment(tmp_path / "a"), tmp_path / "trace"
    trap = np.array([Trap(trace)], dtype=object)
    np.save(folder / "processed_log/CAN/speed/value.npy", trap, allow_pickle=True)
    with pytest.raises(UserError, match="not an array of numbers"):
        open_drive(folder).speeds_mps()
    assert not trace.exists()


def test_arrays_that_are_none_are_refused(tmp_path):
    folder = segment(tmp_path / "a")
    value = folder / "processed_log/CAN/speed/value"
    np.save(value.with_suffix(".npy"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not an array of numbers"):
        open_drive(folder).speeds_mps()
    np.save(value.with_suffix(".npy"), np.zeros(7))
    with pytest.raises(UserError, match=r"t has the shape \(350,\), value \(7, 1\)"):
        open_drive(folder).speeds_mps()
    value.with_suffix(".npy").unlink()
    value.unlink()
    with pytest.raises(UserError, match="missing"):
        open_drive(folder).speeds_mps()
    clip(folder, name="second.mp4")
    with pytest.raises(UserError, match="arrays and 2 videos"):
        open_drive(folder)


@pytest.mark.parametrize("shape", [(10**15,), (10**15, 10**15), (-1,), (351,)])
def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path, shape):
    folder = segment(tmp_path / "a")
    with open(folder / "processed_log/CAN/speed/value.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        file.write(bytes(350 * 8))
    with pytest.raises(UserError, match="not an array of numbers") as error:
        open_drive(folder).speeds_mps()
    assert "2800 bytes follow" in str(error.value) and len(str(error.value).splitlines()) == 3


def test_an_array_of_too_many_numbers_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("edgekit.drives.arrays.MAX_NUMBERS", 349)
    with pytest.raises(UserError, match="too long"):
        open_drive(segment(tmp_path / "a")).speeds_mps()


def test_values_that_are_no_numbers_are_left_out_and_told(tmp_path):
    folder = segment(tmp_path / "a")
    speed = 10 + np.arange(350) / 100
    speed[150] = np.nan
    np.save(folder / "processed_log/CAN/speed/value.npy", speed)
    drive = open_drive(folder)
    assert np.isfinite(drive.telemetry.speed_mps).all()
    assert "processed_log/CAN/speed: 1 of 350 values are no numbers: left out" in drive.notes


@pytest.mark.skipif("EDGEKIT_REAL_DATA" not in os.environ, reason="EDGEKIT_REAL_DATA is not set")
def test_a_real_cars_speed_meets_a_video(tmp_path):
    """The real CAN bus beside a made video of as many frames as its real camera took."""
    real = Path(os.environ["EDGEKIT_REAL_DATA"]) / "real/speed_mit"
    for name in ("CAN_speed", "global_pose"):
        (tmp_path / "real").mkdir(exist_ok=True)
        (tmp_path / "real" / name).symlink_to(real / name)
    encode_video((np.zeros((16, 16, 3), np.uint8) for _ in range(1200)), tmp_path / "real/video.mp4", 20)
    drive = open_drive(tmp_path / "real")
    speeds = np.array(drive.speeds_mps(), float)
    assert len(speeds) == 1200 and np.isfinite(speeds).all() and not drive.telemetry.interpolated.any()
    velocity = np.load(real / "global_pose/frame_velocities.npy", allow_pickle=False)
    # Another sensor of the same car: the pose's velocity; wheels and GNSS agree within some percent.
    apart = np.abs(speeds - np.linalg.norm(velocity, axis=1))
    print("real CAN speed against the pose:", apart.mean(), apart.max())
    assert apart.mean() < 0.05 * speeds.mean()
    assert drive.notes == ["real has no yaw_rate_rps", "real has no accel_mps2"]


def parquet(path: Path, **columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=64)
    return path


def test_parquet_reads_as_csv_does(tmp_path):
    t = np.arange(300) / 10
    path = parquet(
        tmp_path / "telemetry.parquet", other=["x"] * 300, speed_mps=(5 + t).astype(np.float32), t_s=t
    )
    rows = read_telemetry(path)
    np.testing.assert_allclose(rows.speed_mps, 5 + t, rtol=1e-6)
    assert (rows.t_s == t).all() and np.isnan(rows.yaw_rate_rps).all()
    encode_video((np.zeros((48, 64, 3), np.uint8) for _ in range(20)), tmp_path / "clip.mp4", 10)
    drive = open_drive(tmp_path)
    np.testing.assert_allclose(drive.telemetry.speed_mps, 5 + np.arange(20) / 10, rtol=1e-6)
    (tmp_path / "telemetry.csv").write_text("t_s,speed_mps\n0,1\n1,1\n")
    with pytest.raises(UserError, match="two records of one drive"):
        open_drive(tmp_path).speeds_mps()


def test_a_null_of_parquet_was_not_measured_and_a_timestamp_is_a_time(tmp_path):
    pa = pytest.importorskip("pyarrow")
    when = pa.array([0, 1_500_000, 2_000_000], pa.timestamp("us"))
    path = parquet(
        tmp_path / "t.parquet", t_s=when, speed_mps=[1.0, 2.0, 3.0], accel_mps2=pa.array([0.5, None, 0.7])
    )
    rows = read_telemetry(path)
    np.testing.assert_allclose(rows.t_s, [0, 1.5, 2])
    np.testing.assert_allclose(rows.accel_mps2, [0.5, np.nan, 0.7])


@pytest.mark.parametrize(
    "columns, said",
    [
        ({"t_s": [0.0, 1.0], "speed_kmh": [1.0, 2.0]}, "divide speed_kmh by 3.6"),
        ({"t_s": [0.0, 1.0], "speed_mps": ["fast", "slow"]}, "not a Parquet file of numbers"),
        ({"t_s": [0.0, 1.0], "speed_mps": [1.0, float("nan")]}, "NaN or infinite"),
        ({"t_s": [0.0, None], "speed_mps": [1.0, 2.0]}, "a row without a time"),
        ({"t_s": [0.0, 1.0, 1.0], "speed_mps": [1.0, 2.0, 3.0]}, ":2: times do not rise"),
        ({"t_s": [], "speed_mps": []}, "empty"),
    ],
)
def test_bad_parquet_is_refused(tmp_path, columns, said):
    with pytest.raises(UserError) as error:
        read_telemetry(parquet(tmp_path / "t.parquet", **columns))
    assert said in str(error.value) and len(str(error.value).splitlines()) == 3


def test_what_is_no_parquet_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_text("t_s,speed_mps\n0,1\n")
    with pytest.raises(UserError, match="not a Parquet file"):
        read_telemetry(tmp_path / "t.parquet")
