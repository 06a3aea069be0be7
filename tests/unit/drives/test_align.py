"""Telemetry at the frames' times: measured, filled in and marked, or NaN."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.drives import Reading, Telemetry
from edgekit.drives.align import align

NUMBERS = st.floats(-100, 100)


@st.composite
def records(draw):
    """(times, values): 1 to 30 rows, steps of 10 ms to 4 s."""
    steps = draw(st.lists(st.integers(10, 4000), min_size=0, max_size=29))
    times = draw(st.integers(-5000, 5000)) / 1000 + np.concatenate([[0], np.cumsum(steps)]) / 1000
    return times, np.array(draw(st.lists(NUMBERS, min_size=len(times), max_size=len(times))))


@given(
    records(), st.lists(st.integers(-10_000, 130_000), max_size=40), st.integers(0, 20), st.integers(0, 40)
)
def test_each_time_is_measured_filled_in_or_nan(record, times_ms, tolerance, gap):
    (t, v), times = record, np.array(times_ms, float) / 1000 + 0.0004  # never on an edge of the tolerance
    tolerance, gap = tolerance / 10, gap / 10 + 0.0002
    values, filled = align(t, v, times, tolerance, gap)
    assert values.shape == filled.shape == times.shape and filled.dtype == bool
    for time, value, marked in zip(times, values, filled, strict=True):
        near = np.abs(t - time).min() <= tolerance
        below, above = t[t <= time], t[t >= time]
        between = len(below) and len(above) and above[0] - below[-1] <= gap
        assert np.isfinite(value) == bool(near or between)
        assert marked == bool(between and not near)
        if np.isfinite(value):
            sides = [v[t <= time][-1:], v[t >= time][:1]]
            ends = np.concatenate(sides)
            assert ends.min() - 1e-9 <= value <= ends.max() + 1e-9


@given(records(), NUMBERS, st.floats(-3, 3), st.integers(-1000, 1000))
def test_a_line_is_reproduced_and_the_clocks_zero_does_not_matter(record, level, slope, shift):
    t, _ = record
    times = np.linspace(t[0], t[-1], 25)
    values, _ = align(t, level + slope * t, times, 10.0, 10.0)
    np.testing.assert_allclose(values, level + slope * times, atol=1e-6)
    again, _ = align(t + shift, level + slope * t, times + shift, 10.0, 10.0)
    np.testing.assert_allclose(again, values, atol=1e-6)


def test_no_rows_measure_nothing():
    values, filled = align(np.empty(0), np.empty(0), np.arange(3.0), 1.0, 1.0)
    assert np.isnan(values).all() and not filled.any()


def test_a_gap_is_filled_up_to_the_limit_and_marked():
    rows = Telemetry(np.array([0.0, 1.0, 2.5, 9.0]), np.array([1.0, 2.0, 5.0, 0.0]), *np.zeros((2, 4)))
    at = np.array([0.2, 1.0, 1.75, 2.2, 5.0, 9.3])
    found = rows.at(at, Reading(tolerance_s=0.4, gap_s=2.0))
    np.testing.assert_allclose(found.speed_mps, [1.2, 2, 3.5, 4.4, np.nan, 0])
    assert found.interpolated.tolist() == [False, False, True, False, False, False]
    strict = rows.at(at, Reading(tolerance_s=0.4, gap_s=0))
    assert np.isnan(strict.speed_mps[2]) and not strict.interpolated.any()


def test_quantities_have_gaps_of_their_own():
    nan = np.nan
    rows = Telemetry(np.arange(5.0), np.arange(5.0), np.array([0, nan, 0.2, nan, nan]), np.full(5, nan))
    found = rows.at(np.array([0.0, 1.0, 3.0]), Reading(tolerance_s=0.1, gap_s=2.0))
    np.testing.assert_allclose(found.speed_mps, [0, 1, 3])
    np.testing.assert_allclose(found.yaw_rate_rps, [0, 0.1, nan])
    assert np.isnan(found.accel_mps2).all() and found.interpolated.tolist() == [False, True, False]


def test_each_quantity_has_a_mask_of_its_own():
    nan = np.nan
    rows = Telemetry(np.arange(5.0), np.arange(5.0), np.array([0, nan, 0.2, nan, nan]), np.full(5, nan))
    found = rows.at(np.array([0.0, 1.0, 2.0]), Reading(tolerance_s=0.4, gap_s=2.0))
    assert (
        found.filled["yaw_rate_rps"].tolist() == [False, True, False] and not found.filled["speed_mps"].any()
    )
    np.testing.assert_array_equal(found.measured("speed_mps"), [0, 1, 2])
    np.testing.assert_array_equal(found.measured("yaw_rate_rps"), [0, nan, 0.2])
    np.testing.assert_allclose(found.yaw_rate_rps, [0, 0.1, 0.2])
    np.testing.assert_array_equal(rows.measured("speed_mps"), rows.speed_mps)  # as it was read
