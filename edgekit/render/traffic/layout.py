"""A Layout: lanes, the links that lead them through junctions, crossings and signal heads, as frozen data.

Metres, x east, y north; yaw in radians, 0 = +y, counter-clockwise. The names are SUMO's where it has one
(lane, junction, crossing, traffic light, link index), so that a network and its Layout can be read side by side.
"""

import json
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.errors import UserError
from edgekit.render.traffic.geometry import Point, inside, length, point_at, project

SCHEMA = "edgekit/layout/1"
Turn = Literal["left", "straight", "right", "turn-around"]
Kind = Literal["car", "truck", "bus", "bicycle", "motorcycle"]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Signal(Part):
    """One letter of a traffic light's state: ``state[index]``."""

    light: str
    index: int


class Lane(Part):
    """points: the centre line in driving direction, up to the stop line; index: from the right, 0 first."""

    id: str
    road: str
    index: int
    points: tuple[Point, ...]
    width_m: float
    limit_kmh: int
    kind: Literal["driving", "bicycle", "sidewalk"]
    allows: tuple[Kind, ...]
    to_junction: str | None  # None: leads out of the Layout
    turns: tuple[Turn, ...]


class Link(Part):
    """The way of one lane through a junction. via: the ids of SUMO's internal lanes that it is made of."""

    id: str
    junction: str
    from_lane: str
    to_lane: str
    points: tuple[Point, ...]
    width_m: float
    turn: Turn
    signal: Signal | None
    priority: bool  # needs not give way where the light is off or there is none
    via: tuple[str, ...]


class Junction(Part):
    """kind: x has four arms, t three; ``other`` is every other number of arms, and a part of a roundabout."""

    id: str
    kind: Literal["x", "t", "other", "toll"]
    polygon: tuple[Point, ...]
    signalled: bool
    arms: int

    @property
    def crossroad(self) -> bool:
        """Whether a driver would call it one; a node where the number of lanes changes is none."""
        return self.kind == "toll" or self.arms >= 3


class Crossing(Part):
    """points: the centre line, from kerb to kerb; width_m: how long a vehicle is on it."""

    id: str
    junction: str
    points: tuple[Point, ...]
    width_m: float
    signal: Signal | None


class Head(Part):
    """A signal head; its centre is at (x, y, z) and its lenses look along yaw. heads.py says where and which."""

    id: str
    junction: str
    light: str
    indices: tuple[int, ...]  # whose letter it shows; they change together
    lanes: tuple[str, ...]  # for which it is meant
    x: float
    y: float
    z: float
    yaw: float
    kind: Literal["intersection", "toll"]
    arrow: Literal["any", "left", "straight", "right"]
    place: Literal["near", "far"]


class StopLine(Part):
    lane: str
    junction: str
    left: Point
    right: Point


class Layout(Part):
    name: str
    lanes: tuple[Lane, ...]
    links: tuple[Link, ...]
    junctions: tuple[Junction, ...]
    crossings: tuple[Crossing, ...]
    heads: tuple[Head, ...]

    @cached_property
    def lane(self) -> dict[str, Lane]:
        return {lane.id: lane for lane in self.lanes}

    @cached_property
    def link(self) -> dict[str, Link]:
        return {link.id: link for link in self.links}

    @cached_property
    def link_of_via(self) -> dict[str, str]:
        return {via: link.id for link in self.links for via in link.via}

    @cached_property
    def junction(self) -> dict[str, Junction]:
        return {junction.id: junction for junction in self.junctions}

    def piece(self, name: str) -> Lane | Link:
        """The lane or link of this id. Raises KeyError."""
        return self.lane[name] if name in self.lane else self.link[name]

    @cached_property
    def stop_lines(self) -> tuple[StopLine, ...]:
        """Where a driving or bicycle lane ends at a crossroad: across the lane, as wide as it."""
        lines = []
        for lane in self.lanes:
            if (
                lane.kind == "sidewalk"
                or not lane.to_junction
                or not self.junction[lane.to_junction].crossroad
            ):
                continue
            end, half = length(lane.points), lane.width_m / 2
            left, right = (point_at(lane.points, end, side)[:2] for side in (half, -half))
            lines.append(StopLine(lane=lane.id, junction=lane.to_junction, left=left, right=right))
        return tuple(lines)

    def stop_line_m(self, lane: str, x: float, y: float) -> float:
        """Metres along the lane from (x, y) to its end. Raises KeyError for an unknown lane."""
        points = self.lane[lane].points
        return length(points) - project(points, x, y)[0]

    def lane_at(self, x: float, y: float) -> str | None:
        """The lane under a point: of those whose width holds it, the one with the nearest centre line.

        None between the lanes and inside a junction (links overlap there; see ``junction_at``).
        """
        found = []
        for lane in self.lanes:
            s, left = project(lane.points, x, y)
            # at an end the distance is no longer sideways
            if abs(left) <= lane.width_m / 2 and (0 < s < length(lane.points) or abs(left) < 1e-6):
                found.append((abs(left), lane.id))
        return min(found)[1] if found else None

    def junction_at(self, x: float, y: float) -> str | None:
        return next((j.id for j in self.junctions if len(j.polygon) > 2 and inside(j.polygon, x, y)), None)

    def to_json(self) -> str:
        return json.dumps({"schema": SCHEMA, **self.model_dump(mode="json")}, separators=(",", ":")) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Layout":
        """The inverse of ``to_json``. Raises UserError for what is no Layout, or one of another schema."""
        do = "make it anew with this edgekit"
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise UserError("layout: not JSON", str(error), do) from None
        schema = raw.pop("schema", None) if isinstance(raw, dict) else None
        if schema != SCHEMA:
            raise UserError(
                "layout: not one that this edgekit reads", f"schema is {schema!r}, not {SCHEMA!r}", do
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"layout: {where}", f"{first['msg']} ({error.error_count()} such)", do) from None
