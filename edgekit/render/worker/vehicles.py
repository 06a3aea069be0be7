# SPDX-License-Identifier: GPL-3.0-or-later
# This folder imports bpy and is under the GPL; the rest of edgekit talks to it through files and pipes only.
"""Every vehicle of a scene as one object, and its lamps of this frame."""

import bikes
import bodies
from soup import AWAY, Soup, place
from surfaces import glowing

MESHES = {
    "car": bodies.car,
    "truck": bodies.truck,
    "bus": bodies.bus,
    "bicycle": bikes.bicycle,
    "motorcycle": bikes.motorcycle,
}
LAMPS = {
    "car": bodies.car_lamps, "truck": bodies.truck_lamps, "bus": bodies.bus_lamps, "bicycle": bikes.bicycle_lamps,
    "motorcycle": bikes.motorcycle_lamps,
}  # fmt: skip
RIDDEN = ("bicycle", "motorcycle")
PROUD_M = 0.012  # a burning lamp is this much larger than the dark one below it
GLOW = {"brake": ("brake_lit", (1.0, 0.01, 0.008)), "turn": ("turn_lit", (1.0, 0.36, 0.0))}


def asset_lamps(length, width, height):
    """Of a user's own model, at the ends of its bounds: nobody says where its lamps are."""
    a, deep = length / 2 - 0.03, 0.36 * width
    return {
        "brake": [(deep, -a, 0.52 * height, 0.16 * width, 0.1 * height)],
        "turn": [
            (deep, -a, 0.43 * height, 0.12 * width, 0.06 * height),
            (deep, a, 0.38 * height, 0.1 * width, 0.06 * height),
        ],
    }


class Vehicles:
    def __init__(self, spec):
        self.classes, conditions = spec["classes"], spec["conditions"]
        self.lights_on = conditions["time"] in ("dusk", "night") or conditions["weather"] in (
            "rain",
            "fog",
            "snow",
        )
        self.assets, self.meshes = spec["assets"], {}
        for thing in spec["parked"]:
            number = self.classes[thing["kind"]] * 1000 + thing["instance"]
            at = (thing["x"], thing["y"], thing["z"])
            place(self._mesh(thing, lights_on=False), thing["name"], number, at, thing["yaw"])
        self.bodies, self.lamps = {}, {}
        for thing in spec["fleet"]:
            self.bodies[thing["name"]] = self._body(thing)
        shown = {
            (v["name"], lamp)
            for f in spec["frames"]
            for v in f["vehicles"]
            for lamp in ("brake", "left", "right")
            if v[lamp]
        }
        for thing in spec["fleet"]:
            for lamp in ("brake", "left", "right"):
                mesh = self._lamp(thing, lamp) if (thing["name"], lamp) in shown else None
                if mesh:
                    number = self.classes[thing["kind"]] * 1000 + thing["instance"]
                    self.lamps[thing["name"], lamp] = place(mesh, f"{thing['name']} {lamp}", number)

    def _body(self, thing):
        number, name = self.classes[thing["kind"]] * 1000 + thing["instance"], thing["name"]
        parts = [place(self._mesh(thing, self.lights_on), name, number)]
        if thing["kind"] in RIDDEN:
            key = ("rider", thing["instance"] % len(bikes.COATS))
            if key not in self.meshes:
                self.meshes[key] = bikes.rider(thing["instance"])
            parts.append(
                place(self.meshes[key], f"{name} rider", self.classes["rider"] * 1000 + thing["instance"])
            )
        return parts

    def _mesh(self, thing, lights_on):
        if thing["asset"] is not None:
            from cad import load

            return load(self.assets[thing["asset"]])
        size = (thing["length"], thing["width"], thing["height"])
        key = (thing["kind"], *size, *thing["paint"], lights_on)
        if key not in self.meshes:
            self.meshes[key] = MESHES[thing["kind"]](*size, thing["paint"], lights_on)
        return self.meshes[key]

    def _lamp(self, thing, lamp):
        """The burning lamps of one kind and size; None where there are none (a bicycle's indicators)."""
        size, kind = (
            (thing["length"], thing["width"], thing["height"]),
            "brake" if lamp == "brake" else "turn",
        )
        own = thing["asset"] is None
        key = (thing["kind"] if own else "asset", *size, lamp)
        if key not in self.meshes:
            boxes = (LAMPS[thing["kind"]] if own else asset_lamps)(*size).get(kind, [])
            sides = {"brake": (-1, 1), "left": (-1,), "right": (1,)}[lamp]
            soup, deep = Soup(), 0.04 if thing["kind"] in RIDDEN else 0.08
            for x, y, z, across, up in boxes:
                for side in sides if x else (1,):
                    grown = (across + PROUD_M, deep + PROUD_M, up + PROUD_M)
                    soup.box((side * x, y, z), grown, glowing(*GLOW[kind]))
            self.meshes[key] = soup.mesh(f"{kind}_lit") if soup.faces else None
        return self.meshes[key]

    def arrange(self, frame):
        here = {vehicle["name"]: vehicle for vehicle in frame["vehicles"]}
        for name, parts in self.bodies.items():
            for part in parts:
                _move(part, here.get(name))
        for (name, lamp), thing in self.lamps.items():
            vehicle = here.get(name)
            _move(thing, vehicle if vehicle and vehicle[lamp] else None)


def _move(thing, where):
    thing.location = (where["x"], where["y"], 0.0) if where else (0.0, 0.0, AWAY)
    thing.rotation_euler[2] = where["yaw"] if where else 0.0
