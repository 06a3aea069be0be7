"""The case and the light of a frame: drawn by their shares, and found in the traffic as they were drawn."""

import gc
import random
import weakref
from collections import Counter

import pytest

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.render.config import Ego, Lights, RenderConfig
from edgekit.render.moments import Asked, Moment, ambiguous, colour_of, draw, find, find_window, held_by
from edgekit.render.networks import run_of
from edgekit.render.traffic.crossroads import crossroads
from edgekit.render.traffic.facts import facts_of
from edgekit.render.traffic.motion import Step

N = 20_000


@pytest.fixture(scope="module")
def run():
    return run_of(build(RenderConfig, {"demand": {"duration_s": 240}}, "test"), "crossroads", "train", 0)


def drawn(lights, ego):
    rng = random.Random(1)
    return [draw(lights, ego, rng) for _ in range(N)]


@pytest.mark.parametrize(
    ("lights", "ego"),
    [
        (Lights(), Ego()),
        (
            Lights(red=0.1, yellow=0.3, green=0.3, off=0.2, none=0.1),
            Ego(approach=0.4, stopped=0.2, turning=0.2),
        ),
        (Lights(red=0, yellow=0, green=1, off=0, none=0), Ego(approach=0.2, stopped=0.5, turning=0.1)),
    ],
)
def test_lights_hold_their_shares_and_cases_as_far_as_lights_let_them(lights, ego):
    found = [asked[0] for asked in drawn(lights, ego)]
    reach = ego.approach + ego.stopped
    colours = Counter(asked.light for asked in found if asked.light)
    assert sum(colours.values()) / N == pytest.approx(reach, abs=0.015)
    for name, share in lights.model_dump().items():
        assert colours[name] / N == pytest.approx(share * reach, abs=0.012)
    cases = Counter(asked.case for asked in found)
    standing = (lights.red + lights.off + lights.none) * reach
    assert cases["stopped"] / N == pytest.approx(min(ego.stopped, standing), abs=0.012)
    assert cases["turning"] / N == pytest.approx(ego.turning, abs=0.012)
    assert not any(a.case == "stopped" and a.light in ("green", "yellow") for a in found)


def test_what_a_layout_lacks_is_taken_from_the_case_beside_it():
    for asked in drawn(Lights(), Ego())[:200]:
        assert len(asked) == 2 and asked[0].light == asked[1].light
        cases = {one.case for one in asked}
        assert cases in ({"turning", "clear"}, {"stopped", "approach"})


def test_moments_are_in_their_case_their_band_and_their_colour(run):
    ego, seen = Ego(approach_m=(12.0, 30.0), stopped_m=(0.0, 6.0)), Counter()
    for case, light in [(c, x) for c in ("approach", "stopped") for x in ("red", "yellow", "green")]:
        if case == "stopped" and light != "red":
            with pytest.raises(UserError, match=f"stopped with the light {light}"):
                find([Asked(case, light)], [run], ego, ("car",))
            continue
        got, where, held = find([Asked(case, light)], [run], ego, ("car",))
        assert (got, where) == (Asked(case, light), run) and held
        for moment in held:
            facts = facts_of(run.place.layout, run.steps, run.tracks[moment.vehicle], moment.step)
            letter = run.steps[moment.step].lights[facts.light][facts.index]
            assert letter in {"red": "r", "yellow": "y", "green": "G"}[light]
            low, high = ego.approach_m if case == "approach" else ego.stopped_m
            assert low <= facts.stop_line_m <= high
            assert facts.speed_mps > 1 if case == "approach" else facts.speed_mps < 0.1
            seen[case] += 1
    assert min(seen.values()) > 20
    for case in ("turning", "clear"):
        for moment in find([Asked(case, None)], [run], ego, ("car",))[2]:
            facts = facts_of(run.place.layout, run.steps, run.tracks[moment.vehicle], moment.step)
            assert bool(facts.on_link) == (case == "turning")


def test_dark_heads_are_drawn_over_any_traffic():
    pool = {("approach", name): [Moment(name, 0)] for name in ("red", "yellow", "green", "off", "none")}
    names = {
        light: {m.vehicle for m in held_by(pool, Asked("approach", light))}
        for light in ("red", "off", "none")
    }
    assert names["red"] == {"red"}
    assert names["off"] == {"red", "yellow", "green", "off"}  # where there is no light none can be dark
    assert names["none"] == {"red", "yellow", "green", "off", "none"}


def test_the_next_best_vehicle_carries_the_camera_where_the_first_is_in_no_moment(run):
    for wanted, kind in ((("truck", "car"), "truck"), (("car", "truck"), "car"), (("tram", "bus"), "bus")):
        _, _, held = find([Asked("clear", None)], [run], Ego(), wanted)
        assert {run.tracks[m.vehicle].at(m.step).kind for m in held} == {kind}
    with pytest.raises(UserError):
        find([Asked("clear", None)], [run], Ego(), ("tram",))


def lane_of_two_ways(letters, arrows=("any",)):
    """The crossroads with the south arm's left lane's (left, straight) letters and its heads' arrows."""
    layout = crossroads()
    ways = [link for link in layout.links if link.from_lane == "s_in_2"]
    state = ["r"] * 20
    for way, letter in zip(sorted(ways, key=lambda way: way.turn), letters, strict=True):
        state[way.signal.index] = letter
    heads = list(layout.heads)
    first = next(k for k, head in enumerate(heads) if "s_in_2" in head.lanes)
    heads[first] = heads[first].model_copy(update={"arrow": arrows[0]})
    return (
        layout.model_copy(update={"heads": tuple(heads)}),
        Step(0.0, (), (), {"x": "".join(state)}),
        ways[0],
    )


def test_a_lane_whose_ways_show_two_colours_or_two_arrows_is_ambiguous():
    for letters, arrows, expected in [("rr", ["any"], False), ("Gr", ["any"], True), ("Gg", ["any"], False),
                                      ("rr", ["left"], True)]:  # fmt: skip
        layout, step, link = lane_of_two_ways(letters, arrows)
        assert ambiguous(layout, step, link, "s_in_2") is expected
        # the lane beside it is red: who is about to change lanes cannot be told either
        assert ambiguous(layout, step, link, "s_in_1") is (expected or letters != "rr")


def test_ambiguous_moments_are_left_out(run, monkeypatch):
    from edgekit.render import moments

    run.kept.clear()
    monkeypatch.setattr(moments, "ambiguous", lambda layout, step, link, lane: True)
    with pytest.raises(UserError, match="approach with the light red"):
        find([Asked("approach", "red")], [run], Ego(), ("car",))
    run.kept.clear()


def test_a_run_that_is_let_go_takes_what_was_found_in_it_along():
    from edgekit.render import networks

    cfg = build(RenderConfig, {"demand": {"duration_s": 60}, "frames_per_scene": 3}, "test")
    run = run_of(cfg, "crossroads", "dev", 3)
    for _ in range(2):
        find_window(cfg, [run], ("car",), random.Random(1))
        find([Asked("clear", None), Asked("approach", "red")], [run], cfg.ego, ("car",))
    assert len(run.kept) == 2  # sought once each
    gone = weakref.ref(run)
    networks._run.cache_clear()
    del run
    gc.collect()
    assert gone() is None


def test_colours_of_letters():
    link = crossroads().links[0]
    for letter, colour in zip(
        "GgyYrRuoOs", "green green yellow yellow red red red off off red".split(), strict=True
    ):
        assert colour_of(Step(0.0, (), (), {"x": letter * 20}), link) == colour
    assert colour_of(Step(0.0, (), (), {}), link.model_copy(update={"signal": None})) == "none"


def test_a_drive_is_there_from_its_first_to_its_last_frame(run):
    for frames in (1, 24):
        cfg = build(RenderConfig, {"mode": "drive", "frames_per_scene": frames}, "test")
        for seed in range(10):
            _, moment = find_window(cfg, [run], ("car",), random.Random(seed))
            track = run.tracks[moment.vehicle]
            assert track.first <= moment.step and moment.step + 2 * (frames - 1) <= track.last
    cfg = build(RenderConfig, {"mode": "drive", "frames_per_scene": 200, "fps": 1}, "test")
    with pytest.raises(UserError, match="whole drive") as caught:
        find_window(cfg, [run], ("car",), random.Random(1))
    assert "200 frames at 1 a second last 199 s" in caught.value.why
