"""When and from which vehicle a scene looks: first the case and the light, then a moment that has them.

The draw knows neither weather nor hour, and its shares are the same on every layout: nothing but the picture
tells the light.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps

from edgekit.core.errors import UserError
from edgekit.render.config import Ego, Lights, RenderConfig
from edgekit.render.networks import Run
from edgekit.render.traffic.ego import CASES, smooth, stride, windows
from edgekit.render.traffic.facts import next_link
from edgekit.render.traffic.heads import colour
from edgekit.render.traffic.layout import Layout, Link
from edgekit.render.traffic.motion import Step

GRAIN_S = 0.5  # moments of one vehicle are this far apart
COLOURS = {"g": "green", "y": "yellow", "r": "red", "u": "red", "o": "off"}
STANDS = ("red", "off", "none")  # lights at which one stands


@dataclass(frozen=True, slots=True)
class Moment:
    vehicle: str
    step: int


@dataclass(frozen=True, slots=True)
class Asked:
    """light: what the ego's light shows; ``off`` and ``none`` are drawn so, None is left to the programme."""

    case: str
    light: str | None


def colour_of(step: Step, link: Link) -> str:
    """What the light of a link shows: red, yellow, green, off, or none where it has no signal."""
    if link.signal is None:
        return "none"
    return COLOURS.get(colour(step.lights[link.signal.light][link.signal.index]), "off")


def same_lane_links(layout: Layout, link: Link, lane: str) -> list[Link]:
    """The ways out of the lane that a link leaves, and of ``lane`` where that is one beside it."""
    lanes = {link.from_lane}
    if lane in layout.lane and layout.lane[lane].road == layout.lane[link.from_lane].road:
        lanes.add(lane)
    return [other for other in layout.links if other.from_lane in lanes]


def ambiguous(layout: Layout, step: Step, link: Link, lane: str) -> bool:
    """Whether the ways out of the ego's lane show different colours, or have heads of different arrows:
    one picture cannot tell which is the ego's."""
    ways = same_lane_links(layout, link, lane)
    signals = {(way.signal.light, way.signal.index) for way in ways if way.signal}
    arrows = {head.arrow for head in layout.heads if any((head.light, k) in signals for k in head.indices)}
    return len({colour_of(step, way) for way in ways}) > 1 or len(arrows) > 1


def draw(lights: Lights, ego: Ego, rng: random.Random) -> list[Asked]:
    """Case and light of a frame by their shares, and what to take where the traffic has none of it.

    A layout without turns gives theirs to ``clear``, and one without open road the other way round: the share
    of crossroads is the same everywhere. Where nobody is in the case with the light, the light decides.
    """
    reach = ego.approach + ego.stopped
    if rng.random() >= reach:
        turns = rng.random() * (ego.turning + ego.clear) < ego.turning
        return [Asked(case, None) for case in (("turning", "clear") if turns else ("clear", "turning"))]
    shares = lights.model_dump()
    light = rng.choices(list(shares), weights=list(shares.values()))[0]
    standing = sum(shares[name] for name in STANDS)
    stands = light in STANDS and rng.random() * standing * reach < ego.stopped
    return [Asked(case, light) for case in (("stopped", "approach") if stands else ("approach", "stopped"))]


def find(
    asked: list[Asked], runs: Iterable[Run], ego: Ego, kinds: tuple[str, ...]
) -> tuple[Asked, Run, list[Moment]]:
    """The first of ``asked`` that a run has a moment of, the first run that has one, and all its moments.

    kinds: of the vehicles that may carry the camera; a later one is taken where no earlier one is there.
    Raises UserError where no run has any.
    """
    for run in runs:
        for one in asked:
            for kind in kinds:
                held = held_by(_moments(run, ego, kind), one)
                if held:
                    return one, run, held
    light = asked[0].light
    raise UserError(
        "render: the traffic has no moment that the recipe asks for",
        f"no vehicle is {' or '.join(one.case for one in asked)}{f' with the light {light}' if light else ''}",
        "simulate longer (demand.duration_s) or more often (runs), or set "
        + (f"lights.{light}: 0" if light else "the shares of ego otherwise"),
    )


def _once_a_run(seek: Callable) -> Callable:
    """seek(run, ...), kept in the run: a cache of its own would hold runs that were to go, at 23 MB each."""

    @wraps(seek)
    def found(run: Run, *asked):
        key = (seek.__name__, *asked)
        if key not in run.kept:
            run.kept[key] = seek(run, *asked)
        return run.kept[key]

    return found


Pool = dict[tuple[str, str | None], list[Moment]]


def held_by(pool: Pool, asked: Asked) -> list[Moment]:
    """Dark heads are drawn over the traffic of any colour, missing ones also where there is no light."""
    if asked.light not in ("off", "none"):
        return pool.get((asked.case, asked.light), [])
    colours = ("red", "yellow", "green", "off", "none")[: None if asked.light == "none" else 4]
    return [moment for shown in colours for moment in pool.get((asked.case, shown), [])]


@_once_a_run
def _moments(run: Run, ego: Ego, kind: str) -> Pool:
    """The moments of a run by (case, colour of the ego's light); ambiguous ones are left out."""
    layout, grain = run.place.layout, max(1, round(GRAIN_S / run.step_s))
    found: Pool = {}
    for case, held in windows(layout, run.steps, run.tracks, (kind,), grain=grain).items():
        for vehicle, step in held:
            shown = None
            if case in ("approach", "stopped"):
                track = run.tracks[vehicle]
                link, ahead = next_link(layout, track.ahead(step))
                low, high = ego.approach_m if case == "approach" else ego.stopped_m
                if not low <= ahead <= high:
                    continue
                if ambiguous(layout, run.steps[step], link, track.at(step).lane):
                    continue
                shown = colour_of(run.steps[step], link)
            found.setdefault((case, shown), []).append(Moment(vehicle, step))
    return found


def find_window(
    cfg: RenderConfig, runs: Iterable[Run], kinds: tuple[str, ...], rng: random.Random
) -> tuple[Run, Moment]:
    """The first moment of a drive whose middle frame is in a case drawn by the shares.

    Raises UserError where the frames do not fall on steps of the traffic, and where no vehicle stays so long.
    """
    every = stride(cfg.fps, cfg.demand.step_s)
    span = (cfg.frames_per_scene - 1) * every
    shares = {case: getattr(cfg.ego, case) for case in CASES if getattr(cfg.ego, case) > 0}
    # the least of exponential waits with these rates: the first is drawn by the shares
    order = sorted(shares, key=lambda case: rng.expovariate(shares[case]))
    for run in runs:
        for kind in kinds:
            found = _windows(run, kind, every, cfg.frames_per_scene)
            for case in order:
                for vehicle, step in rng.sample(found[case], len(found[case])):
                    if smooth(run.tracks[vehicle], run.steps, step, span):
                        return run, Moment(vehicle, step)
    raise UserError(
        "render: no vehicle is there for a whole drive",
        f"{cfg.frames_per_scene} frames at {cfg.fps:g} a second last {span * cfg.demand.step_s:g} s",
        "ask for fewer frames_per_scene, a higher fps or a longer demand.duration_s, or use a larger network",
    )


@_once_a_run
def _windows(run: Run, kind: str, every: int, frames: int) -> dict[str, list[tuple[str, int]]]:
    grain = max(1, round(GRAIN_S / run.step_s))
    return windows(run.place.layout, run.steps, run.tracks, (kind,), every, frames, grain)
