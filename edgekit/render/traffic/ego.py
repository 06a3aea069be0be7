"""Which vehicles of a run may carry the camera, and when: windows by the case that they are in."""

import math
from collections.abc import Collection, Mapping, Sequence

from pydantic import ConfigDict, Field, model_validator

from edgekit.core.errors import UserError
from edgekit.core.recipe import Config
from edgekit.render.traffic.facts import next_link
from edgekit.render.traffic.layout import Kind, Layout, Link
from edgekit.render.traffic.motion import Step
from edgekit.render.traffic.track import Track

CASES = ("approach", "stopped", "turning", "clear")
NEAR_M, QUEUE_M = 50.0, 15.0
MOVING_MPS, STANDING_MPS = 1.0, 0.1
JOLT_MPS = 1.0  # a window is left out where a step is farther from speed x time than this


class EgoShares(Config):
    """How often each case is asked for; they exclude one another and sum to 1."""

    model_config = ConfigDict(frozen=True)
    approach: float = Field(0.4, ge=0, le=1)  # a stop line within 50 m ahead, moving
    stopped: float = Field(0.2, ge=0, le=1)  # standing at a red light within 15 m of the stop line
    turning: float = Field(0.2, ge=0, le=1)  # on a link to the left or right
    clear: float = Field(0.2, ge=0, le=1)  # no crossroad within 50 m ahead, nor under it

    @model_validator(mode="after")
    def _sum_to_one(self) -> "EgoShares":
        total = sum(getattr(self, case) for case in CASES)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"approach + stopped + turning + clear must be 1, and is {total:.4f}")
        return self


def stride(fps: float, step_s: float) -> int:
    """Steps between two frames. Raises UserError where they do not fall on steps."""
    steps = 1 / fps / step_s
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-3:  # 1/3 and the like cannot be written exactly
        raise UserError(
            f"render: {fps:g} frames a second do not fall on the steps of the traffic",
            f"a frame lasts {1 / fps:.4g} s, a step {step_s:.4g} s",
            f"choose step_s as a whole part of it, such as {1 / fps / math.ceil(round(steps, 3)):.6g}",
        )
    return round(steps)


def case_of(layout: Layout, steps: Sequence[Step], track: Track, step: int) -> str | None:
    """The case that a vehicle is in, or None: it passes straight through, or waits for something else."""
    state, way = track.at(step), track.ahead(step)
    here, found = way[0].piece, next_link(layout, way)
    if isinstance(here, Link) and layout.junction[here.junction].crossroad:
        return "turning" if here.turn in ("left", "right") else None
    if not found or found[1] > NEAR_M:
        # a record that ends before the junction does not show which way the vehicle will take
        known = found or _leads_out(layout, way)
        return "clear" if known else None
    link, distance = found
    if state.speed_mps > MOVING_MPS:
        return "approach"
    red = link.signal and steps[step].lights[link.signal.light][link.signal.index] == "r"
    return "stopped" if state.speed_mps < STANDING_MPS and red and distance <= QUEUE_M else None


def _leads_out(layout: Layout, way) -> bool:
    last = way[-1].piece
    return not isinstance(last, Link) and last.to_junction is None


def windows(
    layout: Layout,
    steps: Sequence[Step],
    run: Mapping[str, Track],
    kinds: Collection[Kind],
    every: int = 1,
    frames: int = 1,
    grain: int = 1,
) -> dict[str, list[tuple[str, int]]]:
    """Per case (vehicle, first step) of every window whose middle frame (frames // 2) is in it.

    A window's frames are ``every`` steps apart; windows begin each ``grain`` steps of a vehicle's stay.
    """
    before, span = frames // 2 * every, (frames - 1) * every
    found: dict[str, list[tuple[str, int]]] = {case: [] for case in CASES}
    for name, track in run.items():
        if track.at(track.first).kind not in kinds:
            continue
        for start in range(track.first, track.last - span + 1, grain):
            case = case_of(layout, steps, track, start + before)
            if case:
                found[case].append((name, start))
    return found


def smooth(track: Track, steps: Sequence[Step], start: int, span: int) -> bool:
    """No leap: SUMO puts a vehicle a little aside where a lane's centre line has a corner."""
    for k in range(max(start, track.first + 1), start + span + 1):
        a, b, dt = track.at(k - 1), track.at(k), steps[k].t_s - steps[k - 1].t_s
        if abs(math.dist((a.x, a.y), (b.x, b.y)) / dt - b.speed_mps) > JOLT_MPS:
            return False
    return True
