"""Smoothing: its window by hand, and what must hold for every sequence."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, TASKS, UNKNOWN, SceneLabel, coherent
from edgekit.mine.smooth import Window, by_task, majority, median_speed, smooth, smooth_one, spans

labels = st.fixed_dictionaries({slot: st.sampled_from(values) for slot, values in SLOTS.items()}).map(
    coherent
)
speeds = st.one_of(st.none(), st.floats(0, 40))
drives = st.lists(st.tuples(labels, speeds), min_size=1, max_size=25)
quick = settings(max_examples=30, deadline=None)


def light(colour: str) -> SceneLabel:
    return coherent({"light": colour, "light_arrow": "any", "light_kind": "intersection"})


def colours(seen: list[SceneLabel]) -> list[str]:
    return [label.light for label in seen]


@pytest.mark.parametrize(
    "speed, half",
    [(0.0, 1.5), (1.0, 1.5), (5.0, 1.0), (10.0, 0.5), (-10.0, 0.5), (40.0, 0.125), (100.0, 0.1), (None, 0.5)],
)
def test_half_width_by_hand(speed, half):
    assert Window().half_width_s(speed) == pytest.approx(half)


def test_spans_hold_the_centre_and_the_ends_are_cut():
    times = [i / 5 for i in range(10)]
    assert spans(times, [10.0] * 10, Window())[5] == (3, 8)  # ±0.5 s at 5 frames a second: ±2
    assert spans(times, [10.0] * 10, Window(), causal=True)[5] == (3, 6)
    assert spans(times, [10.0] * 10, Window())[0] == (0, 3)
    assert spans(times, [100.0] * 10, Window())[5] == (5, 6)
    # a frame exactly on the edge is in, whatever floating point says of 0.1 · 3
    assert spans([0.1 * i for i in range(7)], [50 / 3] * 7, Window())[3] == (0, 7)


def test_strict_majority_and_unknown_votes():
    assert majority(["red", "red", "green"], "green") == "red"
    assert majority(["red", "green"], "green") == "green"  # half is no majority
    assert majority(["red", "unknown", "unknown"], "unknown") == "red"
    assert majority(["unknown"], "unknown") == "unknown"
    assert median_speed(["10", "40", "unknown", "50"], "10") == "40"
    assert median_speed(["10", "40"], "40") == "10"  # ties go down, to a value that was said
    assert median_speed(["unknown"], "unknown") == "unknown"


def test_arrow_and_kind_follow_the_winning_light():
    straight = coherent({"light": "red", "light_arrow": "straight", "light_kind": "intersection"})
    left = coherent({"light": "green", "light_arrow": "left", "light_kind": "toll"})
    out = smooth([straight, left, straight], [0.0, 0.2, 0.4], [5.0] * 3)
    assert out[1] == straight
    gone = smooth([light("none"), left, light("none")], [0.0, 0.2, 0.4], [5.0] * 3)[1]
    assert (gone.light, gone.light_arrow, gone.light_kind) == ("none", "none", "none")


def test_the_nearest_light_gives_arrow_and_kind_where_they_are_torn():
    crossing, toll = (
        coherent({"light": "red", "light_arrow": "any", "light_kind": k}) for k in ("crossing", "toll")
    )
    for seen, own in ([crossing, light("none"), toll], 1), ([crossing, UNKNOWN, light("none"), toll], 2):
        out = smooth_one(seen, own)  # as near on both sides: the earlier one
        assert (out.light, out.light_kind) == ("red", "crossing")


@quick
@given(labels, st.lists(speeds, min_size=1, max_size=25), st.booleans())
def test_a_constant_sequence_is_unchanged(label, v, causal):
    n = len(v)
    assert smooth([label] * n, [i / 5 for i in range(n)], v, causal=causal) == [label] * n


@quick
@given(labels, labels, st.integers(3, 16), st.floats(0, 3))
def test_one_frames_glitch_is_removed_at_slow_speed(steady, glitch, at, v):
    seen = [steady] * 20
    seen[at] = glitch
    out = smooth(seen, [i / 5 for i in range(20)], [v] * 20)
    for slot in SLOTS:
        # where the steady label abstains the glitch is the only vote, and wins
        if getattr(steady, slot) != "unknown" and slot not in ("light_arrow", "light_kind"):
            assert getattr(out[at], slot) == getattr(steady, slot)


@quick
@given(drives, st.booleans())
def test_no_value_comes_from_outside_the_window(drive, causal):
    seen, v = [d[0] for d in drive], [d[1] for d in drive]
    times = [i / 7 for i in range(len(seen))]
    found = spans(times, v, Window(), causal)
    for (first, last), label in zip(found, smooth(seen, times, v, causal=causal), strict=True):
        for slot in SLOTS:
            assert getattr(label, slot) in {getattr(x, slot) for x in seen[first:last]}


@quick
@given(st.integers(1, 15), st.floats(1, 20), st.sampled_from(["red", "green", "off", "yellow"]))
def test_an_event_shorter_than_half_the_window_dies(length, v, colour):
    fps, n = 5, 60
    times = [i / fps for i in range(n)]
    seen = [light("none")] * n
    seen[25 : 25 + length] = [light(colour)] * length
    first, last = spans(times, [v] * n, Window())[30]
    out = colours(smooth(seen, times, [v] * n))
    if 2 * length < last - first:
        assert set(out) == {"none"}
    else:  # one that fills a window's majority survives, at its own place
        assert out[25 + length // 2] == colour


@quick
@given(drives, st.lists(st.integers(0, 40), max_size=10))
def test_unknown_frames_do_not_vote(drive, places):
    """Frames that abstain, put at times within the drive, change no one else's label."""
    seen, v = [d[0] for d in drive], [d[1] for d in drive]
    times = [i / 5 for i in range(len(seen))]
    plain = smooth(seen, times, v)
    rows = sorted(
        [(t, 0, label, speed) for t, label, speed in zip(times, seen, v, strict=True)]
        + [(p / 5 + 0.03, 1, UNKNOWN, 5.0) for p in set(places)],
        key=lambda row: row[:2],
    )
    mixed = smooth([r[2] for r in rows], [r[0] for r in rows], [r[3] for r in rows])
    assert [m for m, r in zip(mixed, rows, strict=True) if r[1] == 0] == plain


@quick
@given(drives, st.integers(0, 24), st.lists(labels, min_size=25, max_size=25))
def test_causal_never_looks_ahead(drive, at, other):
    seen, v = [d[0] for d in drive], [d[1] for d in drive]
    times = [i / 5 for i in range(len(seen))]
    at = min(at, len(seen) - 1)
    changed = seen[: at + 1] + other[: len(seen) - at - 1]
    before, after = (smooth(x, times, v, causal=True) for x in (seen, changed))
    assert before[: at + 1] == after[: at + 1]


@quick
@given(drives)
def test_tasks_are_smoothed_apart(drive):
    """What one task's slots say has no bearing on another task's result."""
    seen, v = [d[0] for d in drive], [d[1] for d in drive]
    times = [i / 5 for i in range(len(seen))]
    whole = smooth(seen, times, v)
    for slots in TASKS.values():
        alone = [coherent({s: getattr(label, s) for s in slots}) for label in seen]
        for a, b in zip(smooth(alone, times, v), whole, strict=True):
            assert all(getattr(a, s) == getattr(b, s) for s in slots)


@quick
@given(drives, st.booleans())
def test_a_window_for_each_task_is_that_window_alone(drive, causal):
    seen, v = [d[0] for d in drive], [d[1] for d in drive]
    times = [i / 5 for i in range(len(seen))]
    long, short = Window(distance_m=30.0, t_max_s=6.0), Window(t_min_s=0.4, t_max_s=0.4)
    mixed = smooth(seen, times, v, {"light": short, "": long}, causal)
    apart = {task: smooth(seen, times, v, short if task == "light" else long, causal) for task in TASKS}
    for i, label in enumerate(mixed):
        for task, slots in TASKS.items():
            assert all(getattr(label, s) == getattr(apart[task][i], s) for s in slots)


def test_tasks_without_a_window_take_the_default():
    assert by_task({"light": Window(distance_m=5)})["speed"] == Window()
    assert by_task(Window(distance_m=5)) == dict.fromkeys(TASKS, Window(distance_m=5))


def test_a_window_for_no_task_is_refused():
    with pytest.raises(UserError, match="did you mean 'light'"):
        by_task({"lights": Window()})
