"""The ego vehicle: its case is the one asked for, and its facts agree with what then happens."""

import math
import random
from collections import Counter
from dataclasses import dataclass
from itertools import islice

import pytest

from edgekit.core.errors import UserError
from edgekit.render.traffic.crossroads import crossroads
from edgekit.render.traffic.ego import smooth, stride, windows
from edgekit.render.traffic.facts import facts_of
from edgekit.render.traffic.geometry import heading, wrap
from edgekit.render.traffic.motion import Step, Vehicle
from edgekit.render.traffic.track import front, tracks


@dataclass(frozen=True)
class Window:
    case: str
    vehicle: str
    frames: tuple


def looked_at(run, frames=9, count=30, fps=5.0):
    """Some smooth windows of every case that the run holds, with the facts of their frames."""
    (traffic, steps), rng, found = run, random.Random(3), []
    layout, held, every = traffic.layout, tracks(run[0].layout, run[1]), stride(fps, run[0].demand.step_s)
    for case, starts in windows(layout, steps, held, ("car",), every, frames, grain=2).items():
        rng.shuffle(starts)
        smooth_ones = (
            (name, start) for name, start in starts if smooth(held[name], steps, start, (frames - 1) * every)
        )
        for name, start in list(islice(smooth_ones, count // 4)):
            at = range(start, start + (frames - 1) * every + 1, every)
            found.append(Window(case, name, tuple(facts_of(layout, steps, held[name], k) for k in at)))
    return found


def test_every_case_is_found(a_run):
    found = Counter(w.case for w in looked_at(a_run))
    turns = 0 if a_run[0].layout.name == "toll" else 7
    assert found == Counter({"approach": 7, "stopped": 7, "turning": turns, "clear": 7})


def test_only_the_asked_kinds_are_looked_from(builtin_run):
    traffic, steps = builtin_run
    held = tracks(traffic.layout, steps)
    found = windows(traffic.layout, steps, held, ("truck", "bus"), grain=5)
    kinds = {held[name].at(start).kind for starts in found.values() for name, start in starts}
    assert kinds == {"truck", "bus"}


def test_the_middle_frame_is_in_the_case(a_run):
    layout, steps = a_run[0].layout, a_run[1]
    for window in looked_at(a_run):
        facts = window.frames[4]
        (vehicle,) = [v for v in steps[facts.step].vehicles if v.id == window.vehicle]
        link = layout.link.get(vehicle.lane)
        ahead = [
            layout.stop_line_m(line.lane, *front(vehicle))
            for line in layout.stop_lines
            if line.lane == vehicle.lane
        ]
        if window.case == "approach":
            assert facts.stop_line_m <= 50 and vehicle.speed_mps > 1
        elif window.case == "stopped":
            assert ahead[0] <= 15 and vehicle.speed_mps < 0.1
            assert steps[facts.step].lights[facts.light][facts.index] == "r"
        elif window.case == "turning":
            assert link.turn in ("left", "right")
        else:
            assert all(m > 50 for m in ahead) and not (link and layout.junction[link.junction].crossroad)


def test_positions_speeds_and_yaw_rates_agree(a_run):
    for window in looked_at(a_run):
        for a, b in zip(window.frames, window.frames[1:], strict=False):
            dt, moved = b.t_s - a.t_s, math.dist((a.x, a.y), (b.x, b.y))
            assert dt == pytest.approx(0.2)
            assert moved / dt == pytest.approx((a.speed_mps + b.speed_mps) / 2, abs=1.0)
            turned = wrap(b.yaw - a.yaw) / dt
            # the mean of two rates is the turn between them, but for what they did meanwhile
            assert turned == pytest.approx((a.yaw_rate_rps + b.yaw_rate_rps) / 2, abs=0.25)
            assert -8 < b.accel_mps2 < 5 and abs(b.yaw_rate_rps) < 1.5


def test_the_governing_letter_is_that_of_the_link_then_taken(a_run):
    """Held against the lanes that the simulator then reports, not against the way that facts worked out."""
    layout, steps = a_run[0].layout, a_run[1]
    checked = Counter()
    for window in looked_at(a_run, count=40):
        facts = window.frames[0]
        if facts.link is None:
            continue
        lanes = [v.lane for step in steps[facts.step :] for v in step.vehicles if v.id == window.vehicle]
        while lanes[0] in layout.link:  # what it is under already is not ahead
            lanes.pop(0)
        taken = next(
            x for x in lanes if x in layout.link and layout.junction[layout.link[x].junction].crossroad
        )
        assert facts.link == taken and facts.turn == layout.link[taken].turn
        signal = layout.link[taken].signal
        checked[facts.light] += 1
        if signal is None:
            assert (facts.light, facts.index, facts.state) == (None, None, None)
        else:
            assert (facts.light, facts.index) == (signal.light, signal.index)
            assert facts.state == steps[facts.step].lights[signal.light][signal.index]
        assert facts.junction == layout.link[taken].junction
        assert facts.junction_kind == layout.junction[facts.junction].kind
    assert sum(checked.values()) > 10


def test_nobody_with_a_red_letter_passes_its_stop_line(a_run):
    passed = 0
    for window in looked_at(a_run, frames=40, count=12):
        for a, b in zip(window.frames, window.frames[1:], strict=False):
            if a.link and b.on_link == a.link:
                passed += 1
                assert a.state != "r" or a.stop_line_m > 0  # it turned green between two frames
                now = b.step - a.step
                letters = (
                    {a_run[1][a.step + k].lights[a.light][a.index] for k in range(now + 1)}
                    if a.light
                    else {"-"}
                )
                assert letters != {"r"}
    assert passed > 0


def test_the_stop_line_comes_nearer_by_what_is_driven(a_run):
    for window in looked_at(a_run):
        for a, b in zip(window.frames, window.frames[1:], strict=False):
            if a.link and a.link == b.link and a.lane == b.lane:
                driven = (a.speed_mps + b.speed_mps) / 2 * (b.t_s - a.t_s)
                assert a.stop_line_m - b.stop_line_m == pytest.approx(driven, abs=0.35)
                assert b.stop_line_m >= -1e-9


def test_gaps_are_those_between_bumpers(a_run):
    steps, held = a_run[1], 0
    for window in looked_at(a_run, frames=1, count=40):
        (facts,) = window.frames
        me = next(v for v in steps[facts.step].vehicles if v.id == window.vehicle)
        same = [v for v in steps[facts.step].vehicles if v.lane == me.lane and v.id != me.id]
        x, y = front(me)  # a bicycle beside it may have its middle ahead and its front behind
        (ax, ay), fronts = heading(me.yaw), {v.id: front(v) for v in same}
        past = {name: (fx - x) * ax + (fy - y) * ay for name, (fx, fy) in fronts.items()}
        ahead = [v for v in same if past[v.id] > 0]
        if ahead and not facts.on_link:
            nearest = min(past[v.id] - v.length for v in ahead)
            assert facts.gap_m == pytest.approx(max(0.0, nearest), abs=0.6)
            assert facts.leader in {v.id for v in ahead}
            held += 1
    assert held > 3


def straight_run(lanes, t=0.1, state="r" * 20):
    """A car that goes through (lane, x, y, yaw) one step after another."""
    cars = [Vehicle("a", "car", x, y, yaw, 10.0, 0.0, lane, 4.0, 1.8) for lane, x, y, yaw in lanes]
    return [Step(k * t, (car,), (), {"x": state}) for k, car in enumerate(cars)]


def test_facts_of_a_car_that_comes_from_the_south():
    layout = crossroads()
    places = [("s_in_1", 4.95, y, 0.0) for y in (-40.0, -30.0, -20.0)]
    own = layout.link["s_straight_1"].signal.index
    state = "".join("G" if k == own else "r" for k in range(20))
    steps = straight_run(
        [*places, ("s_straight_1", 4.95, -10.0, 0.0), ("n_out_1", 4.95, 30.0, 0.0)], state=state
    )
    track = tracks(layout, steps)["a"]
    facts = facts_of(layout, steps, track, 0)
    assert (facts.link, facts.turn, facts.junction_kind) == ("s_straight_1", "straight", "x")
    assert facts.stop_line_m == pytest.approx(22)  # front at -38, line at -16
    assert facts.crossing_m == pytest.approx(23)  # from -15 on
    assert facts.others == {"left": "r", "right": "r", "straight": "r"} and facts.state == "G"
    assert facts.crossing == "s_crossing" and facts.leader is None
    assert facts.limit_kmh == 50 and facts.gap_m is None and facts.on_link is None
    under = facts_of(layout, steps, track, 3)
    assert under.on_link == "s_straight_1" and under.link is None
    assert under.crossing_m == pytest.approx(19)  # the far one begins at y = 11, its front is at -8
    assert facts_of(layout, steps, track, 4).crossing_m is None


def test_a_lane_change_and_a_link_within_one_step_do_not_hide_the_way():
    layout = crossroads()
    steps = straight_run(
        [("s_in_1", 4.95, -60.0, 0.0), ("s_in_2", 1.65, -50.0, 0.0), ("n_out_2", 1.65, 20.0, 0.0)]
    )
    track = tracks(layout, steps)["a"]
    for step, distance in ((0, 42), (1, 32)):
        facts = facts_of(layout, steps, track, step)
        assert facts.link == "s_straight_2" and facts.stop_line_m == pytest.approx(distance)


def test_a_way_that_the_record_does_not_tell_is_not_told():
    layout = crossroads()
    steps = straight_run([("s_in_1", 4.95, -60.0, 0.0), ("s_in_1", 4.95, -59.0, 0.0)])
    assert facts_of(layout, steps, tracks(layout, steps)["a"], 0).link is None
    assert not any(windows(layout, steps, tracks(layout, steps), ("car",)).values())


def test_frames_fall_on_steps():
    assert stride(5, 0.1) == 2 and stride(10, 0.1) == 1 and stride(2, 0.25) == 2
    for fps in (30, 4, 20):
        with pytest.raises(UserError, match="do not fall on the steps") as caught:
            stride(fps, 0.1)
        assert stride(fps, float(caught.value.do.split()[-1])) >= 1
