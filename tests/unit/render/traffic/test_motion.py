"""Traffic, SUMO's and the built-in one: physically sound, obedient, and the same for a seed."""

import math
import random
import sys
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.render.traffic import sumo
from edgekit.render.traffic.builtin import COMFORT_MPS2, GAP_M, HEADWAY_S, BuiltinTraffic, idm
from edgekit.render.traffic.geometry import heading, inside, project, wrap, yaw_between
from edgekit.render.traffic.motion import SIZES, Demand, arrivals
from edgekit.render.traffic.track import front

SHORT = Demand(duration_s=20, warm_up_s=20, vehicles_per_hour=1500)


def pairs(steps):
    """(step before, step, vehicle before, vehicle) of every vehicle that is in two steps running."""
    for a, b in zip(steps, steps[1:], strict=False):
        before = {vehicle.id: vehicle for vehicle in a.vehicles}
        for vehicle in b.vehicles:
            if vehicle.id in before:
                yield a, b, before[vehicle.id], vehicle


def test_there_is_traffic(a_run):
    traffic, steps = a_run
    assert len(steps) == traffic.demand.step_count and steps[0].t_s == 0
    assert steps[-1].t_s == pytest.approx(traffic.demand.duration_s - traffic.demand.step_s)
    kinds = Counter(v.kind for step in steps for v in step.vehicles)
    assert kinds["car"] > 0.5 * sum(kinds.values()) and {"truck", "bus"} <= set(kinds)
    if traffic.layout.crossings:
        assert any(step.people for step in steps)
    for vehicle in steps[-1].vehicles:
        assert (vehicle.length, vehicle.width) in SIZES[vehicle.kind]


def test_a_step_is_speed_times_time(a_run):
    """The centre of a long vehicle cuts corners; cars are told from SUMO's corners by the share."""
    traffic, steps = a_run
    dt = traffic.demand.step_s
    away = sorted(
        abs(math.dist((a.x, a.y), (b.x, b.y)) / dt - b.speed_mps)
        for _, _, a, b in pairs(steps)
        if b.kind == "car"
    )
    assert away[int(0.98 * len(away))] < 0.6 and away[int(0.8 * len(away))] < 0.05


def test_acceleration_is_that_of_the_speed(a_run):
    traffic, steps = a_run
    for _, _, a, b in pairs(steps):
        assert b.accel_mps2 == pytest.approx((b.speed_mps - a.speed_mps) / traffic.demand.step_s, abs=1e-4)


def test_who_moves_moves_where_it_looks(a_run):
    _, steps = a_run
    off = [
        abs(wrap(yaw_between((a.x, a.y), (b.x, b.y)) - b.yaw))
        for _, _, a, b in pairs(steps)
        if b.kind == "car" and b.speed_mps > 3
    ]
    assert sorted(off)[int(0.98 * len(off))] < 0.15 and max(off) < 0.9


def test_fronts_are_on_the_lane_that_is_said(a_run):
    traffic, steps = a_run
    for step in steps[::20]:
        for vehicle in step.vehicles:
            piece = traffic.layout.piece(vehicle.lane)
            # half a lane aside while it changes over
            assert abs(project(piece.points, *front(vehicle))[1]) < piece.width_m / 2 + 0.6


def test_nobody_passes_a_red_light(a_run):
    traffic, steps = a_run
    entered = Counter()
    for _, step, a, b in pairs(steps):
        if a.lane in traffic.layout.lane and b.lane in traffic.layout.link:
            link = traffic.layout.link[b.lane]
            if link.signal:
                entered[step.lights[link.signal.light][link.signal.index]] += 1
    assert entered["r"] == 0 and entered["G"] + entered["g"] > 20


def test_people_cross_on_their_green_and_are_on_foot(builtin_run):
    traffic, steps = builtin_run
    layout, begun = traffic.layout, 0
    for a, b in zip(steps, steps[1:], strict=False):
        before = {p.id: p for p in a.people}
        for person in b.people:
            assert person.speed_mps < 2.5
            old = before.get(person.id)
            for crossing in layout.crossings:
                s, left = project(crossing.points, person.x, person.y)
                if old and abs(left) < 2 and 0.1 < s < 0.5 and project(crossing.points, old.x, old.y)[0] < s:
                    begun += 1
                    assert b.lights["x"][crossing.signal.index] == "G" or s > 0.15
    assert begun > 3


def corners(v):
    ahead = heading(v.yaw)
    return [
        (v.x + i * ahead[0] * v.length / 2 + j * ahead[1] * v.width / 2,
         v.y + i * ahead[1] * v.length / 2 - j * ahead[0] * v.width / 2)
        for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))
    ]  # fmt: skip


def test_no_two_vehicles_are_in_one_place(builtin_run):
    for step in builtin_run[1][::2]:
        for a, b in combinations(step.vehicles, 2):
            if math.dist((a.x, a.y), (b.x, b.y)) < 13:
                assert not any(inside(corners(a), *p) for p in corners(b)), (step.t_s, a.id, b.id)
                assert not any(inside(corners(b), *p) for p in corners(a))


def test_indicators_and_brakes(a_crossroad_run):
    traffic, steps = a_crossroad_run
    blinks = Counter()
    for step in steps:
        for vehicle in step.vehicles:
            link = traffic.layout.link.get(vehicle.lane)
            if link and link.turn in ("left", "right"):
                blinks[link.turn, "left" if vehicle.left else "right" if vehicle.right else ""] += 1
    for turn, wrong in (("left", "right"), ("right", "left")):
        assert blinks[turn, turn] > 20 * blinks[turn, wrong] and blinks[turn, turn] > blinks[turn, ""]
    hard = [v.brake for step in steps for v in step.vehicles if v.accel_mps2 < -1.2]
    assert hard and sum(hard) > 0.95 * len(hard)


def digest(steps):
    return [repr(step) for step in steps]


def test_the_built_in_traffic_of_a_seed():
    steps = digest(BuiltinTraffic(SHORT, 1).steps())
    assert steps == digest(BuiltinTraffic(SHORT, 1).steps()) != digest(BuiltinTraffic(SHORT, 2).steps())


@pytest.mark.sumo
def test_sumos_traffic_of_a_seed():
    pytest.importorskip("libsumo")
    traffic = sumo.SumoTraffic("x", SHORT, 1)
    steps = digest(traffic.steps())
    assert steps == digest(traffic.steps()) == digest(sumo.SumoTraffic("x", SHORT, 1).steps())
    assert steps != digest(sumo.SumoTraffic("x", SHORT, 2).steps())


@pytest.mark.sumo
def test_one_simulation_at_a_time_and_it_is_always_closed():
    pytest.importorskip("libsumo")
    first = sumo.SumoTraffic("x", SHORT, 1)
    running = first.steps()
    next(running)
    with pytest.raises(RuntimeError, match="one simulation"):
        next(first.steps())
    running.close()
    with pytest.raises(KeyError):  # a reader that stumbles
        for _ in first.steps():
            raise KeyError
    import libsumo

    assert not libsumo.simulation.isLoaded()
    assert len(list(first.steps())) == SHORT.step_count
    assert not libsumo.simulation.isLoaded()


@pytest.mark.sumo
def test_a_network_that_sumo_cannot_run(tmp_path):
    pytest.importorskip("libsumo")
    from edgekit.render.traffic.net import NETS

    broken = tmp_path / "broken.net.xml"
    broken.write_text((NETS / "t.net.xml").read_text().replace('foes="', 'fows="'))
    with pytest.raises(UserError) as caught:
        list(sumo.SumoTraffic(broken, SHORT, 1).steps())
    assert len(str(caught.value).splitlines()) == 3
    assert list(sumo.SumoTraffic("t", SHORT, 1).steps())  # and the next one runs


def test_without_libsumo(monkeypatch):
    monkeypatch.setitem(sys.modules, "libsumo", None)
    with pytest.raises(UserError, match="libsumo is not installed"):
        sumo.SumoTraffic("x", SHORT, 1)


def test_a_network_without_open_ends(builtin_run):
    layout = builtin_run[0].layout
    shut = layout.model_copy(update={"links": ()})
    with pytest.raises(UserError, match="no vehicle can pass"):
        sumo.routes_xml(shut, SHORT, 1)


@given(st.floats(-400, 400), st.floats(-400, 400), st.floats(0, 360), st.floats(1, 20))
def test_sumos_front_bumper_becomes_the_centre(x, y, angle, length):
    cx, cy, yaw = sumo.pose(x, y, angle, length)
    # navigational degrees: 0 north, 90 east
    east, north = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    assert (cx, cy) == pytest.approx((x - east * length / 2, y - north * length / 2), abs=1e-9)
    assert heading(yaw) == pytest.approx((east, north), abs=1e-9)


@given(st.floats(0, 25), st.floats(1, 30), st.floats(0.5, 200), st.floats(-10, 10))
def test_idm_brakes_more_the_nearer_and_the_faster(speed, wanted, gap, closing):
    here = idm(speed, wanted, gap, closing)
    assert here <= idm(speed, wanted, gap + 1, closing) <= idm(speed, wanted, None, 0) + 1e-9
    assert here <= idm(speed, wanted, gap, closing - 1) + 1e-9
    assert here >= -6


@given(st.floats(1, 25))
def test_idm_rests_at_the_gap_of_the_paper(speed):
    """Equation 3: at s* / sqrt(1 - (v/v0)^4), behind one that drives as fast, nothing changes."""
    wanted = 30.0
    gap = (GAP_M + speed * HEADWAY_S) / math.sqrt(1 - (speed / wanted) ** 4)
    assert idm(speed, wanted, gap, 0.0) == pytest.approx(0, abs=1e-9)
    assert idm(wanted, wanted, None, 0.0) == 0 and COMFORT_MPS2 > 0


@given(st.integers(0, 1000), st.floats(100, 5000))
def test_arrivals_come_as_often_as_asked(seed, per_hour):
    times = arrivals(random.Random(seed), per_hour, 36_000)
    assert times == sorted(times) and all(0 <= t < 36_000.01 for t in times)
    assert len(times) == pytest.approx(10 * per_hour, abs=6 * math.sqrt(10 * per_hour))
    assert arrivals(random.Random(seed), 0, 100) == []


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"kinds": {"car": 0.5}}, "shares of 1"),
        ({"kinds": {"tram": 1.0}}, "kinds"),
        ({"vehicles_per_hour": -1}, "vehicles_per_hour"),
        ({"vehicle_per_hour": 1}, "vehicles_per_hour"),
        ({"step_s": 0}, "step_s"),
    ],
)
def test_demand_mistakes(raw, said):
    with pytest.raises(UserError, match=said):
        build(Demand, raw, "mine.yaml")
