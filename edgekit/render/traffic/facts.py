"""What is true of the ego vehicle in one step of a recorded run, in no vocabulary of labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edgekit.render.traffic.geometry import crossing_at, project, wrap
from edgekit.render.traffic.layout import Lane, Layout, Link
from edgekit.render.traffic.motion import Step
from edgekit.render.traffic.track import Ahead, Track, front

HORIZON_M = 150.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Distances in metres from the middle of the front bumper along the way that the ego will take.

    x, y: its centre; yaw_rate_rps: over the steps before and after; link, turn, stop_line_m, light, index, state
    and others tell of the next crossroad ahead within HORIZON_M that it is known to pass, and are None (others: {})
    where there is none; under it (on_link) they already tell of the one after. state: the letter that governs its
    link; others: per turn the letters of the other links of its approach. gap_m: to the rear of the next vehicle,
    the leader; crossing_m: to the near edge of the next crossing.
    """

    step: int
    t_s: float
    x: float
    y: float
    yaw: float
    speed_mps: float
    accel_mps2: float
    yaw_rate_rps: float
    lane: str
    on_link: str | None
    limit_kmh: int
    link: str | None = None
    turn: str | None = None
    stop_line_m: float | None = None
    junction: str | None = None
    junction_kind: str | None = None
    light: str | None = None
    index: int | None = None
    state: str | None = None
    others: dict[str, str] = field(default_factory=dict)
    gap_m: float | None = None
    leader: str | None = None
    crossing_m: float | None = None
    crossing: str | None = None


def facts_of(layout: Layout, steps: Sequence[Step], track: Track, step: int) -> Facts:
    state, way = track.at(step), track.ahead(step)
    here = way[0].piece
    gap_m, leader = _gap(steps[step], track, way, step)
    crossing_m, crossing = _crossing(layout, way)
    return Facts(
        step=step,
        t_s=steps[step].t_s,
        x=state.x,
        y=state.y,
        yaw=state.yaw,
        speed_mps=state.speed_mps,
        accel_mps2=state.accel_mps2,
        yaw_rate_rps=yaw_rate(track, steps, step),
        lane=state.lane,
        on_link=here.id if isinstance(here, Link) else None,
        limit_kmh=here.limit_kmh if isinstance(here, Lane) else layout.lane[here.from_lane].limit_kmh,
        **_junction(layout, steps[step], way),
        gap_m=gap_m,
        leader=leader,
        crossing_m=crossing_m,
        crossing=crossing,
    )


def yaw_rate(track: Track, steps: Sequence[Step], step: int) -> float:
    """Radians a second, left positive: the mean over the steps before and after, where it has both."""
    a, b = max(step - 1, track.first), min(step + 1, track.last)
    if a == b:
        return 0.0
    return wrap(track.at(b).yaw - track.at(a).yaw) / (steps[b].t_s - steps[a].t_s)


def next_link(layout: Layout, way: Sequence[Ahead]) -> tuple[Link, float] | None:
    """(link, metres to its stop line) of the next crossroad on a way, or None within HORIZON_M."""
    for part in way[1:]:
        if part.start_m > HORIZON_M:
            return None
        if isinstance(part.piece, Link) and layout.junction[part.piece.junction].crossroad:
            return part.piece, part.start_m
    return None


def _junction(layout: Layout, step: Step, way: Sequence[Ahead]) -> dict:
    found = next_link(layout, way)
    if not found:
        return {}
    link, distance = found
    road = layout.lane[link.from_lane].road
    others: dict[str, str] = {}
    for other in layout.links:
        lane = layout.lane[other.from_lane]
        if other.id == link.id or lane.road != road or lane.kind != "driving" or not other.signal:
            continue
        letter, so_far = step.lights[other.signal.light][other.signal.index], others.get(other.turn, "")
        others[other.turn] = so_far if letter in so_far else so_far + letter
    told = {
        "link": link.id,
        "turn": link.turn,
        "stop_line_m": distance,
        "junction": link.junction,
        "junction_kind": layout.junction[link.junction].kind,
        "others": others,
    }
    if link.signal:
        told |= {
            "light": link.signal.light,
            "index": link.signal.index,
            "state": step.lights[link.signal.light][link.signal.index],
        }
    return told


def _gap(step: Step, track: Track, way: Sequence[Ahead], at: int) -> tuple[float | None, str | None]:
    """To whoever's front is farther along the way: those on its lanes and links, within HORIZON_M."""
    me, starts = track.at(at), {part.piece.id: part for part in way}
    gaps = []
    for other in step.vehicles:
        part = starts.get(other.lane)
        if other.id == me.id or part is None:
            continue
        ahead = part.start_m + project(part.piece.points, *front(other))[0]
        if ahead > 0:
            gaps.append((max(0.0, ahead - other.length), other.id))
    return min((gap for gap in gaps if gap[0] < HORIZON_M), default=(None, None))


def _crossing(layout: Layout, way: Sequence[Ahead]) -> tuple[float | None, str | None]:
    """To the near edge of the next crossing that the front has not left behind; 0 on it."""
    found = []
    for part in way:
        if part.start_m > HORIZON_M:
            break
        for crossing in layout.crossings:
            s = crossing_at(part.piece.points, crossing.points[0], crossing.points[-1])
            if s is not None and part.start_m + s + crossing.width_m / 2 >= 0:
                found.append((max(0.0, part.start_m + s - crossing.width_m / 2), crossing.id))
    return min(found, default=(None, None))
