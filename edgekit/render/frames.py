"""A scene's frames: what one vehicle of the traffic sees, in single moments or over a drive."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgekit.render import roadworks
from edgekit.render.config import RenderConfig
from edgekit.render.moments import Moment, draw, find, find_window
from edgekit.render.mounts import MOUNTS, Mount
from edgekit.render.networks import Place, Run, place_of, run_of
from edgekit.render.signals import facts_dict, shown_heads
from edgekit.render.traffic.ego import stride
from edgekit.render.traffic.facts import Facts, facts_of
from edgekit.render.traffic.geometry import Box, heading, meet, point_at, project
from edgekit.render.traffic.layout import Lane, Link
from edgekit.render.traffic.motion import Vehicle
from edgekit.render.traffic.track import Track, front

VEHICLES_M, PEOPLE_M = 120.0, 80.0  # from the camera
PATH_M, PATH_STEP_M = 60.0, 2.0
KERB_M = 0.15  # of pavements above the road
ROOM_M = 0.25  # from what is laid on the road to whoever is there
PITCH_DEG = (1.0, 2.6)
LATERAL_M, YAW_DEG = 0.3, 1.0  # how much poses differ from the vehicle's own: at most, and one sigma
MOMENTS = 12  # tried for one that has room for the asked roadworks
HAZARD = {"brake": False, "left": True, "right": True}
Frame = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """Where a scene takes place; runs() gives its split's traffic in a drawn order, simulated as it is read."""

    cfg: RenderConfig
    place: Place
    split: str
    mount: Mount

    def runs(self, rng: random.Random) -> Callable[[], Iterator[Run]]:
        order = rng.sample(range(self.cfg.runs), self.cfg.runs)
        return lambda: (run_of(self.cfg, self.place.name, self.split, k) for k in order)


def stage_of(cfg: RenderConfig, layout: str, split: str, mount: str) -> Stage:
    return Stage(cfg, place_of(cfg, layout), split, MOUNTS[mount])


def pose_frames(stage: Stage, rng: random.Random) -> list[Frame]:
    """Moments of one run by the shares of cases, lights and roadworks, each for itself."""
    cfg, frames, runs = stage.cfg, [], stage.runs(rng)
    for index in range(cfg.frames_per_scene):
        asked, wanted = draw(cfg.lights, cfg.ego, rng), roadworks.draw(cfg.roadworks, rng)
        jitter = rng.uniform(-LATERAL_M, LATERAL_M), rng.gauss(0, YAW_DEG), rng.uniform(*PITCH_DEG)
        got, run, held = find(asked, runs(), cfg.ego, stage.mount.kinds)
        for _ in range(MOMENTS):
            moment = rng.choice(held)
            facts = facts_of(stage.place.layout, run.steps, run.tracks[moment.vehicle], moment.step)
            dark = {facts.junction} if got.light in ("off", "none") else set()
            frame = _frame(stage, run, moment, facts, dark, got.light, jitter)
            way = way_of(run.tracks[moment.vehicle], moment.step, PATH_M)
            free = _free(stage, _busy(frame, run, moment), frame)
            laid = roadworks.lay(cfg.roadworks, wanted, way, facts.gap_m, free, rng)
            if laid:
                break
        frames.append({"index": index, "t_s": 0.0, "case": got.case, **frame, **_laid(frame, laid, index)})
    return frames


def drive_frames(stage: Stage, rng: random.Random) -> list[Frame]:
    """Consecutive frames of one vehicle; what lies on the road lies there from the first to the last."""
    cfg, layout = stage.cfg, stage.place.layout
    run, first = find_window(cfg, stage.runs(rng)(), stage.mount.kinds, rng)
    every, track = stride(cfg.fps, run.step_s), run.tracks[first.vehicle]
    u, light = rng.random(), None
    if u < cfg.lights.off + cfg.lights.none:
        light = "off" if u < cfg.lights.off else "none"
    dark = {junction.id for junction in layout.junctions} if light else set()
    jitter, frames, busy = (0.0, 0.0, rng.uniform(*PITCH_DEG)), [], []
    at = [Moment(first.vehicle, first.step + k * every) for k in range(cfg.frames_per_scene)]
    for k, moment in enumerate(at):
        facts = facts_of(layout, run.steps, track, moment.step)
        frame = _frame(stage, run, moment, facts, dark, light, jitter)
        busy += _busy(frame, run, moment)
        frames.append({"index": k, "t_s": round(k / cfg.fps, 3), "case": _case(stage, facts), **frame})
    states = [track.at(moment.step) for moment in at]
    driven = sum(math.dist((a.x, a.y), (b.x, b.y)) for a, b in zip(states, states[1:], strict=False))
    way, lane_m = way_of(track, first.step, driven + PATH_M), layout.piece(states[0].lane).width_m
    wanted, free = roadworks.draw(cfg.roadworks, rng), _free(stage, busy, None)
    laid = roadworks.lay_beside(cfg.roadworks, wanted, way, driven, lane_m, free, rng)
    return [frame | _laid(frame, laid, 0) for frame in frames]


def _case(stage: Stage, facts: Facts) -> str:
    on = stage.place.layout.link.get(facts.on_link or "")
    if on and on.turn in ("left", "right") and stage.place.layout.junction[on.junction].crossroad:
        return "turning"
    if facts.stop_line_m is None or facts.stop_line_m > 50:
        return "clear"
    return "stopped" if facts.speed_mps < 0.1 else "approach"


def way_of(track: Track, step: int, metres: float) -> list[tuple[float, float]]:
    """Points PATH_STEP_M apart from the middle of the front bumper on: it returns to the middle of its lane
    (to that of the lane it is about to change to), and goes straight on where nothing more is known."""
    pieces = [part.piece for part in track.ahead(step)]
    here, x, y = pieces[0], *front(track.at(step))
    if isinstance(here, Lane) and len(pieces) > 1 and isinstance(pieces[1], Link):
        pieces[0] = track.layout.lane[pieces[1].from_lane]
    s, left = project(pieces[0].points, x, y)
    line: list[tuple[float, float]] = []
    for piece in pieces:
        line += [p for p in piece.points if not line or math.dist(p, line[-1]) > 0.05]
    back = max(8.0, 8.0 * abs(left))
    along = [k * PATH_STEP_M for k in range(int(metres / PATH_STEP_M) + 1)]
    return [point_at(line, s + a, left * max(0.0, 1 - a / back) ** 2)[:2] for a in along]


def _frame(
    stage: Stage,
    run: Run,
    moment: Moment,
    facts: Facts,
    dark: set[str | None],
    light: str | None,
    jitter: tuple[float, float, float],
) -> Frame:
    """All of a frame but what is laid on the road; "fleet" and "crowd" tell who is in it."""
    track, now = run.tracks[moment.vehicle], run.steps[moment.step]
    me = track.at(moment.step)
    camera = _camera(stage.mount, me, *jitter)
    near = [
        v
        for v in now.vehicles
        if v.id != me.id
        and math.dist((v.x, v.y), (camera["x"], camera["y"])) <= VEHICLES_M
        and not meet(box_of(v), box_of(me))
    ]
    people = [p for p in now.people if math.dist((p.x, p.y), (camera["x"], camera["y"])) <= PEOPLE_M]
    names = {v.id: f"r{run.k}.{v.id}" for v in near}
    heads = shown_heads(stage.place.layout, now, me.x, me.y, dark, light)
    return {
        "camera": camera,
        "ego": {**_pose(me.x, me.y, me.yaw), "length": me.length, "width": me.width},
        "speed_mps": round(me.speed_mps, 3),
        "accel_mps2": round(me.accel_mps2, 3),
        "yaw_rate_rps": round(facts.yaw_rate_rps, 5),
        "heads": heads,
        "vehicles": [
            {
                "name": names[v.id], **_pose(v.x, v.y, v.yaw), "speed_mps": round(v.speed_mps, 2),
                "brake": v.brake, "left": v.left, "right": v.right,
            }
            for v in near
        ],
        "people": [
            {
                "name": f"r{run.k}.{p.id}", **_pose(p.x, p.y, p.yaw),
                "z": KERB_M if stage.place.raised(p.x, p.y) else 0.0, "speed_mps": round(p.speed_mps, 2),
            }
            for p in people
        ],
        "path": [[round(x, 3), round(y, 3)] for x, y in way_of(track, moment.step, PATH_M)],
        "facts": facts_dict(stage.place, facts, now, heads, names),
        "fleet": {names[v.id]: (v.kind, v.length, v.width) for v in near},
    }  # fmt: skip


def _camera(mount: Mount, me: Vehicle, lateral: float, yaw_deg: float, pitch_deg: float) -> dict[str, float]:
    (ax, ay), back = heading(me.yaw), me.length / 2 - mount.behind_bumper_m
    return {
        "x": round(me.x + back * ax - lateral * ay, 3),
        "y": round(me.y + back * ay + lateral * ax, 3),
        "z": mount.height_m,
        "yaw_deg": round(math.degrees(me.yaw) + yaw_deg, 3),
        "pitch_deg": round(pitch_deg, 2),
    }


def _pose(x: float, y: float, yaw: float) -> dict[str, float]:
    return {"x": round(x, 3), "y": round(y, 3), "yaw": round(yaw, 4)}


def box_of(vehicle: Vehicle) -> Box:
    return vehicle.x, vehicle.y, vehicle.yaw, vehicle.length, vehicle.width


def _busy(frame: Frame, run: Run, moment: Moment) -> list[Box]:
    """Where nothing can lie: under the ego, other vehicles and people."""
    me = run.tracks[moment.vehicle].at(moment.step)
    around = [box_of(v) for v in run.steps[moment.step].vehicles if math.dist((v.x, v.y), (me.x, me.y)) < 120]
    return around + [(p["x"], p["y"], p["yaw"], 0.6, 0.6) for p in frame["people"]]


def _free(stage: Stage, busy: list[Box], frame: Frame | None) -> roadworks.Free:
    """Room on the road; with a frame also within its picture."""
    aside = 0.9 * math.tan(math.radians(stage.cfg.hfov_deg) / 2)

    def free(box: Box) -> bool:
        if frame:
            camera = frame["camera"]
            ax, ay = heading(math.radians(camera["yaw_deg"]))
            dx, dy = box[0] - camera["x"], box[1] - camera["y"]
            if abs(dx * ay - dy * ax) > aside * (dx * ax + dy * ay):
                return False
        (ax, ay), along, across = heading(box[2]), box[3] / 2, box[4] / 2
        corners = (
            (box[0] + i * along * ax - j * across * ay, box[1] + i * along * ay + j * across * ax)
            for i in (-1, 1)
            for j in (-1, 1)
        )
        return not any(meet(box, other, ROOM_M) for other in busy) and not any(
            stage.place.raised(*corner) for corner in corners
        )

    return free


def _laid(frame: Frame, laid: roadworks.Laid | None, index: int) -> Frame:
    """The keys of a frame that tell what lies on the road; a broken-down car joins its vehicles."""
    laid = laid or roadworks.Laid()
    stands, sizes = [], {}
    for x, y, yaw, length, width in laid.stopped_vehicle:
        name = f"stopped{index}"
        stands.append({"name": name, "x": x, "y": y, "yaw": yaw, "speed_mps": 0.0} | HAZARD)
        sizes[name] = ("car", length, width)
    return {
        "vehicles": frame["vehicles"] + stands,
        "fleet": frame["fleet"] | sizes,
        "cones": [list(box[:2]) for box in laid.cones],
        "barriers": [list(box[:3]) for box in laid.barrier],
        "debris": [list(box[:3]) for box in laid.debris],
    }
