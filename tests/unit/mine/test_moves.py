"""What the car's motion says of a value: its cells, what is counted of them, and how much they weigh."""

import numpy as np
import pytest

from edgekit.mine import moves


def test_cells_tell_how_fast_and_whether_it_brakes():
    times = np.arange(50) / 5
    still, steady = (moves.cells(times, [v] * 50) for v in (0.0, 10.0))
    braking = moves.cells(times, (15 - 1.0 * times).tolist())
    assert len({*still}) == len({*steady}) == 1 and still[0] != steady[0]
    assert steady[0] % 3 == 1 and braking[25] % 3 == 0
    assert moves.cells(times, (5 + 1.0 * times).tolist())[25] % 3 == 2
    assert max(still.max(), steady.max(), moves.cells(times, [90.0] * 50).max()) < moves.CELLS
    assert (moves.cells(times, [-10.0] * 50) == steady).all(), "backing up at the same speed"


def test_a_speed_that_is_not_known_is_in_no_cell_nor_is_what_is_beside_it():
    times = np.arange(20) / 5
    told = moves.cells(times, [10.0] * 10 + [None] + [10.0] * 9)
    assert told[10] == -1 and set(told[:7]) == set(told[14:]) == {moves.cells(times, [10.0] * 20)[0]}
    assert (moves.cells(times, [None] * 20) == -1).all()
    assert moves.cells([0.0], [3.0]).tolist() == [-1] and moves.cells([], []).tolist() == []


def test_speeds_in_steps_of_a_bus_are_no_braking():
    times = np.arange(100) / 10
    steps = np.round((10 + 0.1 * times) / 0.28) * 0.28
    assert set(moves.cells(times, steps.tolist()) % 3) == {1}


def test_what_gold_shows_little_of_says_little():
    seconds = np.zeros((3, moves.CELLS))
    seconds[0, 1], seconds[1, 13] = 200, 200
    seconds[2, 1] = 0.4
    ratio = moves.ratios(seconds)
    assert ratio[0, 1] > 1.5 > 1 > 0.3 > ratio[0, 13] and ratio[1, 13] > 1.5
    assert ratio[2] == pytest.approx(np.ones(moves.CELLS), abs=0.05)
    assert moves.ratios(np.zeros((2, moves.CELLS))) == pytest.approx(np.ones((2, moves.CELLS)))


def test_what_gold_never_shows_says_nothing_however_common_a_value_is():
    seconds = np.zeros((3, moves.CELLS))
    seconds[0, :9], seconds[1, 3:6], seconds[2, 4] = 90, 20, 0.5
    ratio = moves.ratios(seconds)
    assert ratio[:, 9:] == pytest.approx(np.ones((3, moves.CELLS - 9)))
    usual = (seconds.sum(axis=0) + 1) / (seconds.sum() + moves.CELLS)
    assert (ratio * usual).sum(axis=1) == pytest.approx(np.ones(3)), "shares of a value's time"


def test_a_car_that_stands_for_long_says_no_more_than_one_that_stood_for_a_moment():
    ratio = np.full((1, moves.CELLS), 3.0)
    told = []
    for seconds in (1, 10, 600):
        times = np.arange(5 * seconds) / 5
        told.append(np.log(moves.fits(ratio, times, [0.0] * len(times))).sum() / np.log(3))
    assert told == pytest.approx([1 / moves.MOVES_S, moves.MOST_LOOKS, moves.MOST_LOOKS])
    times = np.arange(100) / 5
    both = moves.fits(ratio, times, [0.0] * 50 + [20.0] * 50)  # another cell is another say
    assert np.log(both).sum() / np.log(3) > 2 * moves.MOST_LOOKS - 0.01


def test_motion_says_as_much_in_a_second_at_any_frame_rate():
    ratio = np.ones((2, moves.CELLS))
    ratio[0], ratio[1] = 2.0, 0.5
    found, seconds = [], moves.MOVES_S * moves.MOST_LOOKS / 2
    for fps in (2, 5, 30):
        times = np.arange(int(seconds * fps)) / fps
        found.append(np.log(moves.fits(ratio, times, [5.0] * len(times))).sum(axis=0))
    assert np.allclose(found, found[0]) and found[0] == pytest.approx(
        seconds / moves.MOVES_S * np.log([2.0, 0.5])
    )
    assert (moves.fits(ratio, [0.0, 0.2], [None, None]) == 1).all()
    assert moves.fits(ratio, [0.0, 60.0], [5.0, 5.0])[0].tolist() == [2.0, 0.5], "a look at most"
