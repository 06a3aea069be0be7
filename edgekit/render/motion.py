"""Consecutive frames of one drive: a story for the light, and an ego car that obeys it."""

import math
import random
from typing import Any

from edgekit.render.camera import HEIGHT_M
from edgekit.render.config import RenderConfig

STOP_SHORT_M = 2.6  # the camera comes to rest this far before the stop line, the head still in view
STORIES = ("red", "red_then_green", "green", "yellow_then_red", "green", "off", "bare", "open")
COMFORT, HARD, PULL = 2.0, 4.5, 1.5  # m/s2
SWAY_PER_M = 0.075  # rad: the lateral sway goes with the road, so who stands does not slide


def light_at(story: str, step: float) -> str | None:
    """What the head shows after this share (0..1) of the drive."""
    if story == "red_then_green":
        return "red" if step < 0.55 else "green"
    if story == "yellow_then_red":
        return "green" if step < 0.15 else "yellow" if step < 0.45 else "red"
    return {"red": "red", "green": "green", "off": "off", "bare": None, "open": "green"}[story]


def drive_frames(cfg: RenderConfig, spec: dict[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    # stories go round with the seed, so twelve drives hold all of them
    story = STORIES[spec["seed"] % len(STORIES)]
    town, junction = spec["town"], spec["junction"]
    lane_x = (rng.randrange(town["lanes_each_way"]) + 0.5) * town["lane_m"]
    y = (
        junction["far_y"] + rng.uniform(4, 12)
        if story == "open"
        else junction["stop_y"] - rng.uniform(22, 34)
    )
    speed, cruise = rng.uniform(6.5, 9.5), rng.uniform(8, 11)
    cones, barrier = _on_the_road(cfg, rng, lane_x, y, story, junction)
    sway, phase, dt = rng.uniform(0.05, 0.2), rng.uniform(0, 6.28), 1 / cfg.fps
    pitch = round(rng.uniform(1.2, 2.2), 2)
    oncoming_y, oncoming_v, lead = y + rng.uniform(40, 70), rng.uniform(7, 11), rng.random() < 0.4
    frames, start = [], y
    for k in range(cfg.frames_per_scene):
        t, state = k * dt, light_at(story, k / max(1, cfg.frames_per_scene))
        stops = [barrier[1] - 6.0] if barrier else []
        gap = junction["stop_y"] - STOP_SHORT_M - y
        # a yellow that can no longer be obeyed with hard braking is driven through
        if gap > -1 and (state == "red" or state == "yellow" and speed**2 / 2 / max(gap, 0.1) < HARD):
            stops.append(junction["stop_y"] - STOP_SHORT_M)
        accel = _accel(speed, cruise, min(stops) - y if stops else None)
        at = SWAY_PER_M * (y - start) + phase
        across, slope = sway * math.sin(at), sway * SWAY_PER_M * math.cos(at)
        yaw = -math.atan(slope)
        yaw_rate = across * SWAY_PER_M**2 * speed / (1 + slope**2)  # d(yaw)/dt
        movers = [
            {
                "slot": 0,
                "x": round(-0.5 * town["lane_m"], 2),
                "y": round(oncoming_y - oncoming_v * t, 2),
                "yaw": 3.1416,
            }
        ]
        if lead:
            movers.append(
                {
                    "slot": 1,
                    "x": round(lane_x, 2),
                    "y": round(max(oncoming_y, junction["far_y"] + 10) + 8 * t, 2),
                    "yaw": 0.0,
                }
            )
        frames.append(
            {
                "index": k,
                "t_s": round(t, 3),
                "case": story,
                "camera": {
                    "x": round(lane_x + across, 3),
                    "y": round(y, 3),
                    "z": HEIGHT_M,
                    "yaw_deg": round(math.degrees(yaw), 3),
                    "pitch_deg": pitch,
                },
                "speed_mps": round(speed, 3),
                "accel_mps2": round(accel, 3),
                "yaw_rate_rps": round(yaw_rate, 5),
                "heads": state is not None,
                "light": state,
                "cones": cones,
                "barrier": barrier,
                "movers": movers,
            }
        )
        y += speed * dt + accel * dt * dt / 2
        speed = max(0.0, speed + accel * dt)
    return frames


def _accel(speed: float, cruise: float, gap: float | None) -> float:
    if gap is None or speed**2 / 2 / max(gap, 0.1) < 0.6 * COMFORT and gap > 6:
        return max(-COMFORT, min(PULL, cruise - speed))
    if speed < 0.3 or gap < 0.2:
        return -speed  # rests
    return -min(HARD, speed**2 / 2 / max(gap, 0.1))


def _on_the_road(
    cfg: RenderConfig, rng: random.Random, lane_x: float, y: float, story: str, junction: dict[str, Any]
) -> tuple[list[list[float]], list[float] | None]:
    """Cones beside the lane, fixed in the world; a barrier only where the ego car can stop before it."""
    cones: list[list[float]] = []
    if rng.random() < cfg.shares.cones:
        first, side = y + rng.uniform(10, 16), rng.choice((-1, 1))
        cones = [
            [round(lane_x + side * (1.7 - 0.08 * k), 3), round(first + 1.6 * k, 3)]
            for k in range(rng.randint(cfg.cones_min, cfg.cones_max))
        ]
    barrier = None
    if story in ("open", "bare") and rng.random() < cfg.shares.barrier:
        barrier = [round(lane_x, 3), round(y + rng.uniform(26, 34), 3)]
    return cones, barrier
