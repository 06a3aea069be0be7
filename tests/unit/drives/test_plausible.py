"""km/h by mistake, impossible values, units: refused with the hint; what is driven passes."""

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import UserError
from edgekit.drives import DriveInfo, Reading, Telemetry, open_drive, write_drive, write_telemetry
from edgekit.drives.plausible import check, findings, seconds, slope_of
from edgekit.drives.telemetry import Record, Series

KMH = "divide it by 3.6"


def city(seconds_: int = 300, rate: float = 20.0, seed: int = 0, noise: float = 0.0):
    """A made town drive: pieces of steady acceleration between -3 and 2 m/s², 0 to 14 m/s; turns at 3 m/s²."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds_ * rate)) / rate
    accel = np.repeat(random.uniform(-3, 2, seconds_ // 4 + 1), int(4 * rate))[: len(t)]
    speed = np.empty(len(t))
    v = 8.0
    for i, a in enumerate(accel):
        new = float(np.clip(v + a / rate, 0.0, 14.0))
        accel[i], v = (new - v) * rate, new
        speed[i] = v
    turning = (t % 40) < 5
    yaw = np.where(turning & (speed > 2), 3.0 / np.maximum(speed, 4.0), 0.0)
    accel = accel + noise * random.standard_normal(len(t))
    return t, speed, yaw, accel


def record(t, speed, yaw=None, accel=None) -> Record:
    series = {"speed_mps": Series(t, speed)}
    if yaw is not None:
        series["yaw_rate_rps"] = Series(t, yaw)
    if accel is not None:
        series["accel_mps2"] = Series(t, accel)
    return Record(series, "telemetry.csv")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_what_is_driven_passes(seed, noise):
    assert findings(record(*city(seed=seed, noise=noise))) == []
    t, speed, yaw, accel = city(seed=seed)
    assert findings(record(t, speed)) == []
    assert findings(record(t[::20], speed[::20], yaw[::20], accel[::20])) == []  # 1 Hz, as GPS


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_kmh_is_seen_by_the_acceleration(seed, noise):
    t, speed, yaw, accel = city(seed=seed, noise=noise)
    slope = slope_of(seconds(Series(t, 3.6 * speed)), Series(t, accel))
    assert slope == pytest.approx(3.6, rel=0.15)
    with pytest.raises(UserError, match="km/h by mistake") as error:
        check(record(t, 3.6 * speed, None, accel))
    assert KMH in str(error.value) and len(str(error.value).splitlines()) == 3


def gentle(amp: float, grade: float = 0.0):
    """A made drive of at most 19 m/s that accelerates by ``amp`` m/s² at most. grade: the hills' share of what the
    accelerometer feels, m/s²."""
    random = np.random.default_rng(1)
    t = np.arange(0, 300, 0.05)
    speed = np.clip(9 + np.cumsum(np.repeat(random.uniform(-amp, amp, 75), 80)) / 20, 0, 19)
    hills = grade * np.repeat(random.standard_normal(30), 200)
    return t, speed, np.gradient(speed, t) + hills + 0.1 * random.standard_normal(len(t))


@pytest.mark.parametrize("amp", [0.25, 0.35, 0.5])
def test_kmh_of_a_gentle_drive_below_70_is_seen_by_the_acceleration(amp):
    t, speed, accel = gentle(amp)
    assert findings(record(t, 3.6 * speed)) == [] and 3.6 * speed.max() < 70  # nothing else tells
    assert findings(record(t, speed, None, accel)) == []
    with pytest.raises(UserError, match=r"(?s)km/h by mistake.*divide it by 3\.6"):
        check(record(t, 3.6 * speed, None, accel))


@pytest.mark.parametrize("amp, grade", [(0.1, 0.0), (0.3, 0.5), (0.1, 0.5)])
def test_where_the_driver_hardly_accelerates_or_hills_drown_it_there_is_no_verdict(amp, grade):
    t, speed, accel = gentle(amp, grade)
    for factor in (1.0, 2.237, 3.6):
        assert slope_of(seconds(Series(t, factor * speed)), Series(t, accel)) is None


def test_miles_an_hour_are_seen_too():
    t, speed, yaw, accel = city()
    with pytest.raises(UserError, match=r"(?s)miles an hour.*0\.44704"):
        check(record(t, speed / 0.44704, yaw, accel))


def test_kmh_is_seen_without_an_imu():
    t, speed, *_ = city()
    with pytest.raises(UserError, match=r"(?s)gains or loses more than 6 m/s within a second.*3\.6"):
        check(record(t, 3.6 * speed))


def legs(*driven: tuple[float, float], accel: float = 1.0, rate: float = 5.0):
    """A made record: for each (top m/s, metres) a leg that gains and loses ``accel``, and 8 s of standing."""
    speed = [np.zeros(int(8 * rate))]
    for top, metres in driven:
        ramp = np.arange(0, top, accel / rate)
        held = np.full(max(int((metres / top - top / accel) * rate), 1), top)
        speed += [ramp, held, ramp[::-1], np.zeros(int(8 * rate))]
    speed = np.concatenate(speed)
    return record(np.arange(len(speed)) / rate, speed)


TOWN = [(8.0, 200), (12.0, 350), (13.5, 500), (10.0, 300), (5.0, 60), (11.0, 420), (13.0, 450)]


def in_kmh(given: Record) -> Record:
    t, speed = given.series["speed_mps"]
    return record(t, 3.6 * speed)


def test_kmh_of_a_gentle_drive_is_seen_by_what_lies_between_its_stops():
    assert findings(legs(*TOWN)) == []
    ((why, do),) = findings(in_kmh(legs(*TOWN)))  # nothing else tells
    assert "of 7 times from one standstill to the next" in why and "5 times" in why and KMH in do


@pytest.mark.parametrize(
    "driven",
    [
        [(33.0, 25_000)] * 4,  # from one rest or toll to the next
        [(36.0, 20_000), *[(4.0, 60)] * 12, *[(9.0, 300)] * 6, (36.0, 20_000)],  # a motorway with a jam
        [(25.0, 1200)] * 8,  # lights on a road of 90 km/h
        [(32.0, 6000)] * 5,  # a country road, driven fast
        [(32.0, 1800)] * 2,  # twice may happen
        [(32.0, 1800), (12.0, 400)] * 3 + [(12.0, 400)],  # among slower ones, too
    ],
)
def test_what_is_driven_between_stops_passes(driven):
    assert findings(legs(*driven)) == []


def test_a_gap_between_two_stops_tells_nothing_of_the_way():
    t, speed = in_kmh(legs(*TOWN)).series["speed_mps"]
    kept = np.ones(len(t), bool)
    for at in np.flatnonzero((speed[1:] > 20) & (speed[:-1] <= 20)):
        kept[at : at + 25] = False  # 5 s of each
    assert findings(record(t[kept], speed[kept])) == []


@pytest.mark.parametrize("top, told", [(36.0, False), (37.0, True)])
def test_a_top_speed_over_130_kmh_is_told(top, told):
    notes = check(legs((top, 10_000)))
    assert [note[:44] for note in notes] == ["telemetry.csv: at most 37.0 m/s (133 km/h); "] * told


def test_kmh_is_seen_by_the_turns():
    """A steady 12 m/s through bends of 3 m/s²: only speed times yaw rate tells."""
    t = np.arange(0, 60, 0.05)
    yaw = np.where((t % 20) < 5, 3.0 / 12, 0.0)
    assert findings(record(t, np.full(len(t), 12.0), yaw)) == []
    with pytest.raises(UserError, match=r"(?s)speed times yaw rate is above 9.*3\.6"):
        check(record(t, np.full(len(t), 3.6 * 12), yaw))


@pytest.mark.parametrize(
    "speed, yaw, said",
    [
        (34 * 3.6, 0.0, "a speed of 122.4 m/s"),
        (-30.0, 0.0, "a speed of -30.0 m/s"),
        (5.0, 20.0, "degrees a second"),
    ],
)
def test_impossible_values_are_refused(speed, yaw, said):
    t = np.arange(0, 20, 0.1)
    with pytest.raises(UserError, match=said):
        check(record(t, np.full(len(t), speed), np.full(len(t), yaw)))


def test_an_emergency_stop_and_a_noisy_sample_pass():
    t = np.arange(0, 120, 0.05)
    speed = np.clip(20 - 9 * np.clip(t - 60, 0, None), 0, None)
    speed[500] = 45.0
    assert findings(record(t, speed)) == []


def test_it_can_be_told_to_go_on_and_says_so():
    t, speed, *_ = city()
    note, top = check(record(t, 3.6 * speed), refuse=False)
    assert "is taken as it is" in note and "m/s within a second" in note
    assert top.startswith("telemetry.csv: at most 50.4 m/s (181 km/h)")


def test_a_drive_in_kmh_is_refused_when_its_telemetry_is_read(tmp_path):
    t, speed, yaw, accel = city(60, rate=5)
    frames = (np.zeros((8, 8, 3), np.uint8) for _ in range(300))
    write_drive(tmp_path / "d", DriveInfo(id="d", fps=5), frames, Telemetry(t, 3.6 * speed, yaw, accel))
    drive = open_drive(tmp_path / "d")
    for _ in range(2):  # it stays refused
        with pytest.raises(UserError, match=r"telemetry\.csv: not plausible"):
            drive.speeds_mps()
    trusted = open_drive(tmp_path / "d", Reading(plausible=False))
    assert trusted.speeds_mps()[7] == pytest.approx(3.6 * speed[7], rel=1e-4)
    assert any("is taken as it is" in note for note in trusted.notes)
    write_telemetry(tmp_path / "d" / "telemetry.csv", Telemetry(t, speed, yaw, accel))
    assert open_drive(tmp_path / "d").notes == []


@pytest.mark.skipif("EDGEKIT_REAL_DATA" not in os.environ, reason="EDGEKIT_REAL_DATA is not set")
def test_a_real_cars_speed_passes_and_in_kmh_does_not():
    folder = Path(os.environ["EDGEKIT_REAL_DATA"]) / "real/speed_mit/CAN_speed"
    t, speed = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("t", "value"))
    assert findings(record(t, speed[:, 0])) == []
    assert KMH in findings(record(t, 3.6 * speed[:, 0]))[0][1]
