"""What a frame of the built-in crossroads ought to say, from poses alone. Nothing of edgekit is imported.

Poses: the scene file's ego, camera, heads, vehicles, people, and what lies on the road. The rest is a pinhole of our
own, and what is known of the crossroads: four straight arms along the axes, of two lanes of 3.3 m each way, that end
16 m from the middle; zebras 4 m wide, 13 m from the middle; 50 km/h; an approach's heads at its right kerb, beside its
stop line and beyond the crossroads.
"""

import json
import math

import numpy as np
from PIL import Image

ENOUGH_PX = 100  # shown of what is not there to be seen: nothing is hidden
MOUTH_M, LANE_M, LIMIT_KMH = 16.0, 3.3, 50
ZEBRA_M = (11.0, 15.0)  # from the middle
POST_M = 2 * LANE_M + 0.6  # of an approach's heads, right of the road's axis
LENSES = {"red": 0.35, "yellow": 0.0, "green": -0.35}  # above a head's centre
LENS_M = 0.15
GAP_M = 60  # to a vehicle before us: no rule speaks of a longer one


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Shot:
    """A frame: what was written of it, and what follows from its poses."""

    def __init__(self, run, spec, frame):
        self.spec, self.frame, name = spec, frame, f"{spec['scene']}/{frame['index']:06d}"
        self.rgb = np.asarray(Image.open(run / f"out/images/{frame['stem']}.jpg"))
        self.ids = np.asarray(Image.open(run / f"out/ids/{frame['stem']}.png")).astype(int)
        self.depth = np.load(run / f"out/depth/{frame['stem']}.npz")["depth_m"].astype(float)
        self.height, self.width = self.ids.shape
        self.focal = self.width / 2 / math.tan(math.radians(spec["image"]["hfov_deg"] / 2))
        self.truth = next(t for t in lines(run / "out/truth.jsonl") if t["id"] == name)
        self.row = next(row for row in lines(run / "out/train.jsonl") if row["id"] == name)
        ego = frame["ego"]
        self.quarter = round(ego["yaw"] / (math.pi / 2))
        assert abs(ego["yaw"] - self.quarter * math.pi / 2) < 0.01  # on a straight arm
        self.x, y = self.turned(ego["x"], ego["y"])
        self.front = y + ego["length"] / 2
        lanes = LANE_M / 2, 1.5 * LANE_M  # right of its axis
        assert min(abs(self.x - lane) for lane in lanes) < 0.2
        stop = -MOUTH_M - self.front
        self.stop_m = stop if 0 <= stop <= 50 else None
        self.way = self.way_on()

    def turned(self, x, y):
        """(x, y) of the world, turned so that the ego drives along +y; the middle of the crossroads is (0, 0)."""
        for _ in range(self.quarter % 4):
            x, y = y, -x
        return x, y

    def way_on(self):
        """(n, 2) points of our way, 5 cm apart: straight, or through the crossroads into the lane that is as far from
        its road's axis as ours, on a curve that begins along the one and ends along the other."""
        turn = self.frame["facts"]["turn"]  # the one thing that no pose tells
        start, corner = np.array([self.x, self.front]), self.x if turn == "right" else -self.x
        points = [start, start + [0.0, 100.0]]
        if self.front < -MOUTH_M and turn in ("left", "right"):
            side = 1 if turn == "right" else -1
            a, b, m = (self.x, -MOUTH_M), (side * MOUTH_M, -corner), (self.x, -corner)
            t = np.linspace(0, 1, 200)[:, None]
            curve = (1 - t) ** 2 * np.array(a) + 2 * t * (1 - t) * np.array(m) + t**2 * np.array(b)
            points = [start, *curve, curve[-1] + [side * 60.0, 0.0]]
        points = np.array(points)
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        at = np.arange(0, 70, 0.05)
        return np.stack([np.interp(at, along, points[:, k]) for k in (0, 1)], axis=1)

    def ahead(self, x, y):
        """(metres along our way, metres aside) of a place in the world; less than 0 behind the front bumper."""
        x, y = self.turned(x, y)
        if y < self.front:
            return y - self.front, x - self.x
        away = np.hypot(*(self.way - [x, y]).T)
        return 0.05 * int(away.argmin()), float(away.min())

    def project(self, points):
        """(n, 3) of the world → (n, 3): u, v, planar depth. A pinhole that looks along its yaw, up by its pitch."""
        camera = self.frame["camera"]
        yaw, pitch = math.radians(camera["yaw_deg"]), math.radians(camera["pitch_deg"])
        level = np.array([-math.sin(yaw), math.cos(yaw), 0.0])
        right = np.array([math.cos(yaw), math.sin(yaw), 0.0])
        forward = math.cos(pitch) * level + np.array([0.0, 0.0, math.sin(pitch)])
        away = np.asarray(points, float) - [camera["x"], camera["y"], camera["z"]]
        depth = away @ forward
        u = self.width / 2 + self.focal * (away @ right) / depth
        v = self.height / 2 - self.focal * (away @ np.cross(right, forward)) / depth
        return np.stack([u, v, depth], axis=1)

    def pixels(self, name, instance):
        return int((self.ids == self.spec["classes"][name] * 1000 + instance).sum())

    def heads(self):
        """Ours: they look at us from the right kerb of our road, beside the stop line and beyond the crossroads."""
        found = []
        for head in self.spec["heads"] if self.stop_m is not None else []:
            x, y = self.turned(head["x"], head["y"])
            at_us = math.cos(head["yaw"] - self.frame["ego"]["yaw"]) < -0.99
            if at_us and abs(x - POST_M) < 0.1 and (abs(y + MOUTH_M) < 0.1 or MOUTH_M <= y < MOUTH_M + 1):
                found.append(head)
        return found

    def light(self):
        """(state, its pixels): that of our heads in the scene file, and of the one that shows it best."""
        states = {self.frame["heads"][head["id"]] for head in self.heads()}
        if not states:
            return "none", ENOUGH_PX
        (state,) = states
        names = ("head", "lamp_dark") if state == "off" else (f"lamp_{state}",)
        return state, max(sum(self.pixels(name, head["instance"]) for name in names) for head in self.heads())

    def cones(self):
        """[(metres, pixels)] of those that show."""
        found = []
        for k, at in enumerate(self.frame["cones"], 1):
            metres, aside = self.ahead(*at)
            if 0.5 <= metres <= 35 and abs(aside) <= 6 and self.pixels("cone", k):
                found.append((metres, self.pixels("cone", k)))
        return sorted(found)

    def obstacles(self):
        """[(metres, word, pixels)] of those in our lane that show, the nearest first."""
        fleet, crowd = ({one["name"]: one for one in self.spec[key]} for key in ("fleet", "crowd"))
        there = [
            ("barrier", at[:2], 0.0, (("barrier", k),)) for k, at in enumerate(self.frame["barriers"], 1)
        ]
        there += [("debris", at[:2], 0.0, (("debris", k),)) for k, at in enumerate(self.frame["debris"], 1)]
        for p in self.frame["people"]:
            if p["z"] == 0:
                there.append(("person", (p["x"], p["y"]), 0.0, (("person", crowd[p["name"]]["instance"]),)))
        for v in self.frame["vehicles"]:
            kind, number = fleet[v["name"]]["kind"], fleet[v["name"]]["instance"]
            half, at = fleet[v["name"]]["length"] / 2, (v["x"], v["y"])
            if kind == "bicycle":
                there.append(("cyclist", at, half, ((kind, number), ("rider", number))))
            elif v["left"] and v["right"] and v["speed_mps"] == 0:
                there.append(("stopped_vehicle", at, half, ((kind, number),)))
        found = []
        for word, at, half, names in there:
            (metres, aside), pixels = self.ahead(*at), sum(self.pixels(*name) for name in names)
            if metres >= 0.5 and metres - half <= 35 and abs(aside) <= 1.5 and pixels:
                found.append((max(0.0, metres - half), word, pixels))
        return sorted(found)

    def gap(self):
        """(metres, pixels) to the nearest of the vehicles that go our way and reach into it, and show; None: nobody
        within 60 m."""
        fleet, found = {one["name"]: one for one in self.spec["fleet"]}, []
        for v in self.frame["vehicles"]:
            body = fleet[v["name"]]
            names = [body["kind"]] + ["rider"] * (body["kind"] in ("bicycle", "motorcycle"))
            pixels = sum(self.pixels(name, body["instance"]) for name in names)
            c, s, turn = math.cos(v["yaw"]), math.sin(v["yaw"]), v["yaw"] - self.quarter * math.pi / 2
            metres = []
            for p in np.linspace(-0.5, 0.5, 5) * body["width"] if pixels else ():
                for q in np.linspace(-0.5, 0.5, 21) * body["length"]:
                    s_m, aside = self.ahead(v["x"] + c * p - s * q, v["y"] + s * p + c * q)
                    if s_m > 0 and abs(aside) <= self.frame["ego"]["width"] / 2:
                        k = min(int(s_m / 0.05), len(self.way) - 2)
                        along = self.way[k + 1] - self.way[k]
                        if along @ (-math.sin(turn), math.cos(turn)) > 0.5 * np.hypot(*along):
                            metres.append(s_m)
            if metres and min(metres) <= GAP_M:
                found.append((min(metres), pixels))
        return min(found, default=None)

    def zebra(self):
        """Pixels of the next zebra and of the one behind the crossroads together: those inside its projected outline.
        None where none is ahead within 50 m."""
        if self.stop_m is None:
            return None
        rows, columns = np.nonzero(self.ids // 1000 == self.spec["classes"]["zebra"])
        camera, found = self.frame["camera"], 0
        middle_x, middle_y = self.turned(camera["x"], camera["y"])
        for near, far in ((-ZEBRA_M[1], -ZEBRA_M[0]), ZEBRA_M):
            where = self.on_the_ground(columns + 0.5, rows + 0.5)
            x, y = where[:, 0] + middle_x, where[:, 1] + middle_y
            found += int(((near - 0.3 < y) & (y < far + 0.3) & (abs(x) < 2 * LANE_M + 0.3)).sum())
        return found

    def on_the_ground(self, u, v):
        """(n, 2) metres right of and ahead of the camera, along the road, of the ground that pixels below the horizon
        show."""
        camera = self.frame["camera"]
        turn = math.radians(camera["yaw_deg"]) - self.quarter * math.pi / 2
        pitch = math.radians(camera["pitch_deg"])
        down = (v - self.height / 2) / self.focal
        ahead = math.cos(pitch) + down * math.sin(pitch)
        scale = camera["z"] / np.maximum(down * math.cos(pitch) - math.sin(pitch), 1e-6)
        right, ahead = scale * (u - self.width / 2) / self.focal, scale * ahead
        return np.stack(
            [
                right * math.cos(turn) - ahead * math.sin(turn),
                right * math.sin(turn) + ahead * math.cos(turn),
            ],
            axis=1,
        )

    def speed(self):
        """The recommended speed on a clear day, by the words of the documentation's table."""
        state, _ = self.light()
        allowed = [LIMIT_KMH]
        word, metres = (
            (self.obstacles()[0][1], self.obstacles()[0][0]) if self.obstacles() else ("none", None)
        )
        if self.cones() or word in ("barrier", "debris"):
            allowed.append(30)
        if word == "cyclist":
            allowed.append(20)
        if word in ("stopped_vehicle", "person"):
            allowed.append(20 if metres > 12 else 0)
        if self.stop_m is not None and state != "green":
            allowed.append(30)
        if state in ("red", "yellow"):
            allowed.append(20 if self.stop_m > 8 else 0)
        if self.gap():
            allowed.append(2 * self.gap()[0])
        return 5 * math.ceil((min(allowed) - 2.5) / 5)  # the nearest of 0, 5, 10, ...; ties go down

    def slots(self):
        state, _ = self.light()
        there, obstacles = state != "none", self.obstacles()
        return {
            "recommended_speed_kmh": str(self.speed()),
            "light": state,
            "light_arrow": "any" if there else "none",  # all ways out of an approach are green together
            "light_kind": "intersection" if there else "none",
            "other_left": "none",
            "other_straight": "none",
            "other_right": "none",
            "cones": "yes" if self.cones() else "no",
            "obstacle": obstacles[0][1] if obstacles else "none",
            "crossroad": "no" if self.stop_m is None else "yes",
            "zebra": "yes" if self.zebra() else "no",
        }

    def turned_to(self, things):
        """Whether the nearest lies in our way behind the line, where we turn: no pixel tells that we shall."""
        turns = self.frame["facts"]["turn"] in ("left", "right") and self.stop_m is not None
        return turns and bool(things) and things[0][0] > self.stop_m

    def evidence(self):
        """Task → pixels of that of its things which shows least."""
        cones, obstacles, gap, zebra = self.cones(), self.obstacles(), self.gap(), self.zebra()
        least = {
            "light": self.light()[1],
            "obstacles": min(
                sum(px for _, px in cones) if cones else ENOUGH_PX,
                obstacles[0][2] if obstacles else ENOUGH_PX,
                0 if self.turned_to(cones) or self.turned_to(obstacles) else ENOUGH_PX,
            ),
            "crossroad": ENOUGH_PX if zebra is None else zebra,
        }
        return least | {"speed": min(*least.values(), gap[1] if gap else ENOUGH_PX)}
