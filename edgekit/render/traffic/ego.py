"""Which vehicle of a run carries the camera, and when: windows in which it is in the case that was asked."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ConfigDict, Field, model_validator

from edgekit.core.errors import UserError
from edgekit.core.recipe import Config
from edgekit.render.traffic.facts import Facts, facts_of, next_link
from edgekit.render.traffic.layout import Kind, Layout, Link
from edgekit.render.traffic.motion import Step
from edgekit.render.traffic.track import Track, tracks

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


class EgoConfig(Config):
    model_config = ConfigDict(frozen=True)
    windows: int = Field(10, ge=1, le=100_000)
    frames: int = Field(1, ge=1, le=10_000)  # in a window; the middle one (frames // 2) is in the case
    fps: float = Field(5.0, gt=0, le=60)
    kind: Kind = "car"
    shares: EgoShares = EgoShares()


@dataclass(frozen=True, slots=True)
class Window:
    case: str
    vehicle: str
    frames: tuple[Facts, ...]


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


def choose(
    layout: Layout, steps: Sequence[Step], config: EgoConfig, seed: int, step_s: float
) -> list[Window]:
    """Windows by the shares (rounded so that they sum up), never two of one vehicle at one time.

    Raises UserError where the run holds too few windows of a case, with how many it holds.
    """
    every, rng = stride(config.fps, step_s), random.Random(f"edgekit ego {seed}")
    before = config.frames // 2 * every
    span = (config.frames - 1) * every
    wanted = quotas(config.windows, {case: getattr(config.shares, case) for case in CASES})
    found: dict[str, list[tuple[str, int]]] = {case: [] for case in CASES}
    run = {name: t for name, t in tracks(layout, steps).items() if t.at(t.first).kind == config.kind}
    for name, track in run.items():
        for start in range(track.first, track.last - span + 1, every):
            case = case_of(layout, steps, track, start + before)
            if case and wanted[case]:
                found[case].append((name, start))
    windows: list[Window] = []
    taken: dict[str, list[int]] = {}
    # the rarest case chooses first, before others take its vehicles
    for case in sorted(CASES, key=lambda case: (len(found[case]), case)):
        rng.shuffle(found[case])
        held = 0
        for name, start in found[case]:
            if held == wanted[case]:
                break
            if all(abs(start - other) > span for other in taken.get(name, [])) and _smooth(
                run[name], steps, start, span
            ):
                taken.setdefault(name, []).append(start)
                at = range(start, start + span + 1, every)
                windows.append(Window(case, name, tuple(facts_of(layout, steps, run[name], k) for k in at)))
                held += 1
        if held < wanted[case]:
            raise UserError(
                f"render: too few moments of the case {case!r} on {layout.name}",
                f"{wanted[case]} windows of {config.frames} frames are asked for, "
                f"and {len(steps)} steps of traffic hold {held}",
                f"simulate longer (duration_s), with more vehicles, or lower the share of {case}",
            )
    rng.shuffle(windows)
    return windows


def quotas(count: int, shares: dict[str, float]) -> dict[str, int]:
    """Whole numbers that sum up to count and differ from count x share by less than 1 (largest remainder)."""
    whole = {name: int(count * share + 1e-9) for name, share in shares.items()}
    rest = sorted(shares, key=lambda name: whole[name] - count * shares[name])
    for name in rest[: count - sum(whole.values())]:
        whole[name] += 1
    return whole


def _smooth(track: Track, steps: Sequence[Step], start: int, span: int) -> bool:
    """No leap: SUMO puts a vehicle a little aside where a lane's centre line has a corner."""
    for k in range(max(start, track.first + 1), start + span + 1):
        a, b, dt = track.at(k - 1), track.at(k), steps[k].t_s - steps[k - 1].t_s
        if abs(math.dist((a.x, a.y), (b.x, b.y)) / dt - b.speed_mps) > JOLT_MPS:
            return False
    return True
