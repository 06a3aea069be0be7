"""Clocks that leap, fall back, or do not cover the same time: noted or refused, never silent."""

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.drives import DriveInfo, Reading, Telemetry, encode_video, open_drive, write_drive
from edgekit.drives.clocks import leaps, rising


def drive_with(tmp_path, t: np.ndarray, speed: np.ndarray, seconds: int = 20, **reading):
    """2 frames a second for ``seconds``, and this telemetry."""
    frames = (np.zeros((8, 8, 3), np.uint8) for _ in range(2 * seconds))
    telemetry = Telemetry(t, speed, *np.zeros((2, len(t))))
    write_drive(tmp_path / "d", DriveInfo(id="d", fps=2), frames, telemetry)
    return open_drive(tmp_path / "d", Reading(**reading))


def test_a_leap_forward_is_told_and_nothing_is_filled_in(tmp_path):
    t = np.arange(200) / 10.0
    drive = drive_with(tmp_path, np.where(t > 9.95, t + 3600, t), np.full(200, 7.0))
    speeds = drive.speeds_mps()
    assert speeds[:21] == [7.0] * 21 and speeds[22:] == [None] * 18
    told = [
        note for note in drive.notes if "speed_mps of telemetry.csv: the clock leaps forward 1 times" in note
    ]
    assert len(told) == 1 and "3600.1 s after 9.90 s" in told[0]


def test_a_clock_that_is_set_back_is_refused(tmp_path):
    t = np.arange(200) / 10.0
    with pytest.raises(UserError, match="times do not rise"):
        drive_with(tmp_path, np.where(t > 9.95, t - 5, t), np.full(200, 7.0)).speeds_mps()


def test_another_clock_is_told_and_can_be_set_right(tmp_path):
    t = 1_700_000_000 + np.arange(200) / 10.0
    drive = drive_with(tmp_path, t, 3 + np.arange(200) / 20)
    assert drive.speeds_mps() == [None] * 40
    assert any("another clock; set reading.offset_s" in note for note in drive.notes)
    right = open_drive(tmp_path / "d", Reading(offset_s=1_700_000_000))
    np.testing.assert_allclose(right.speeds_mps(), 3 + np.arange(40) / 4, atol=1e-4)
    np.testing.assert_allclose(right.telemetry.t_s, np.arange(40) / 2)
    assert right.notes == []


@pytest.mark.parametrize("unit, parts", [("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)])
def test_times_in_a_finer_unit_are_refused_with_the_guess(tmp_path, unit, parts):
    t = (1_700_000_000 + np.arange(100) / 5) * parts  # since 1970, 5 rows a second
    with pytest.raises(UserError, match=f"(?s){unit} by mistake.*divide its times by {parts:.0f}"):
        drive_with(tmp_path, t, np.full(100, 7.0)).speeds_mps()


@pytest.mark.parametrize(
    "t",
    [
        np.arange(20_000) * 1.0,  # a whole morning's record beside a clip of 20 s, a row a second
        np.arange(10) * 4.0,  # rows that stand far apart
    ],
)
def test_long_and_slow_records_in_seconds_pass(tmp_path, t):
    assert drive_with(tmp_path, t, np.full(len(t), 7.0)).speeds_mps()[0] == 7.0


@pytest.mark.parametrize("share, told", [(1.0, 0), (0.97, 0), (0.7, 1), (1.4, 1)])
def test_a_video_that_runs_longer_or_shorter_than_the_telemetry_is_told(tmp_path, share, told):
    n = round(600 * share)
    drive = drive_with(tmp_path, np.arange(n) / 10.0, np.full(n, 7.0), seconds=60)
    assert sum("one of the clocks runs fast" in note for note in drive.notes) == told == len(drive.notes)


def test_a_leap_in_the_cameras_times_is_told(tmp_path):
    times = np.where(np.arange(20) < 10, 0, 100) + np.arange(20) / 10
    encode_video((np.zeros((48, 64, 3), np.uint8) for _ in times), tmp_path / "clip.mp4", 10, times_s=times)
    drive = open_drive(tmp_path / "clip.mp4")
    np.testing.assert_allclose(drive.times_s, times, atol=1e-4)
    assert any("the frames: the clock leaps forward 1 times (100.1 s after 0.90 s)" in n for n in drive.notes)


def test_slow_records_do_not_leap():
    assert leaps(np.arange(5) * 30.0, "x") == [] and leaps(np.zeros(1), "x") == []


def test_what_does_not_rise_is_left_out_and_what_falls_back_far_is_refused():
    kept, notes = rising(np.array([0.0, 1, 1, 2, 3]), "x")
    assert kept.tolist() == [True, True, False, True, True]
    assert notes == ["x: 1 of 5 times do not rise and are left out"]
    late = np.arange(1000) / 10
    late[500] -= 0.15  # one message out of its order
    assert rising(late, "x")[0].sum() == 999
    late[500] -= 10
    with pytest.raises(UserError, match="by 10.050 s at entry 500"):
        rising(late, "x")
    with pytest.raises(UserError, match="falls back"):
        rising(np.concatenate([np.arange(100) / 10, np.arange(100) / 10]), "x")
    with pytest.raises(UserError, match="falls back"):
        rising(np.arange(100) / 10 - 0.3 * (np.arange(100) % 3 == 2), "x")
    assert rising(np.empty(0), "x")[0].tolist() == []


def test_the_tolerance_and_the_gap_are_those_that_are_set(tmp_path):
    t = np.array([0.0, 1, 2, 6, 7, 20])
    free = drive_with(tmp_path, t, 2 * t).telemetry  # within 0.5 s of a row, and gaps of up to 2 s
    assert free.interpolated.sum() == 0 and np.isnan(free.speed_mps[6:12]).tolist() == [True] * 5 + [False]
    set_ = open_drive(tmp_path / "d", Reading(tolerance_s=0.1, gap_s=4)).telemetry
    assert set_.interpolated[:16].tolist() == [i % 2 == 1 or 4 < i < 12 for i in range(15)] + [False]
    np.testing.assert_allclose(set_.speed_mps[:15], np.arange(15.0))
    assert np.isnan(set_.speed_mps[15:]).all()
