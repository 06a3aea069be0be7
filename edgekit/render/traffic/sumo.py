"""Traffic moved by SUMO through libsumo, in this process (https://sumo.dlr.de/docs/Libsumo.html).

SUMO gives the middle of the front bumper and degrees clockwise from north; ``pose`` makes the centre and our
yaw of them. The sublane model is on: by SUMO's default a vehicle changes lanes by a leap sideways in one step.
"""

import contextlib
import io
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from edgekit.core.errors import UserError
from edgekit.render.traffic.geometry import heading, length, wrap
from edgekit.render.traffic.layout import Kind, Layout
from edgekit.render.traffic.motion import SIZES, Demand, Person, Step, Vehicle, arrivals, draw_kind
from edgekit.render.traffic.net import CLASSES, find_net, read_net

RIGHT, LEFT, BRAKE = 1, 2, 8  # bits of getSignals: https://sumo.dlr.de/docs/TraCI/Vehicle_Signalling.html

_running = False  # libsumo holds one simulation a process


def pose(front_x: float, front_y: float, angle_deg: float, length_m: float) -> tuple[float, float, float]:
    """(x, y, yaw) of the centre, from SUMO's front bumper and angle."""
    yaw = wrap(-math.radians(angle_deg))
    ahead = heading(yaw)
    return front_x - ahead[0] * length_m / 2, front_y - ahead[1] * length_m / 2, yaw


class SumoTraffic:
    """Raises UserError where libsumo is missing, and for a network in which no road leads in and out."""

    def __init__(self, net: str | Path, demand: Demand, seed: int, layout: Layout | None = None):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # a word on pyarrow, which we never let it use
                import libsumo
        except ImportError:
            raise UserError(
                "render: SUMO cannot move the traffic",
                "libsumo is not installed",
                "pip install 'edgekit[sumo]', or use the built-in traffic",
            ) from None
        self._sumo = libsumo
        self._net = find_net(net)
        self.layout = layout or read_net(self._net)
        self.demand = demand
        self.seed = seed
        self._routes = routes_xml(self.layout, demand, seed)

    def steps(self) -> Iterator[Step]:
        """Raises RuntimeError while another simulation of this process has not come to its end."""
        global _running
        if _running:
            raise RuntimeError(
                "libsumo holds one simulation a process: end the other one, or close its iterator"
            )
        sumo, _running = self._sumo, True
        try:
            with tempfile.TemporaryDirectory() as folder:
                routes = Path(folder) / "demand.rou.xml"
                routes.write_text(self._routes)
                sumo.start(["sumo", "-n", str(self._net), "-r", str(routes), *self._options()])
                for _ in range(self.demand.warm_up_steps):
                    sumo.simulationStep()
                for k in range(self.demand.step_count):
                    sumo.simulationStep()
                    yield self._step(round(k * self.demand.step_s, 6))
        except (sumo.TraCIException, sumo.FatalTraCIError) as error:
            raise UserError(
                f"render: SUMO stopped on {self._net.name}",
                str(error).replace("\n", " "),
                "check the network with netconvert",
            ) from None
        finally:
            sumo.close()
            _running = False

    def _options(self) -> list[str]:
        options = {
            "seed": self.seed % 2**31,
            "step-length": self.demand.step_s,
            "lateral-resolution": 0.8,  # metres: switches the sublane model on
            "time-to-teleport": -1,
            "collision.action": "none",
            "no-step-log": "true",
            "no-warnings": "true",
        }
        return [word for key, value in options.items() for word in (f"--{key}", str(value))]

    def _step(self, t_s: float) -> Step:
        sumo = self._sumo
        lights = {
            name: sumo.trafficlight.getRedYellowGreenState(name)
            for name in sorted(sumo.trafficlight.getIDList())
        }
        vehicles = tuple(self._vehicle(name) for name in sorted(sumo.vehicle.getIDList()))
        people = tuple(self._person(name) for name in sorted(sumo.person.getIDList()))
        return Step(t_s, tuple(v for v in vehicles if v), people, lights)

    def _vehicle(self, name: str) -> Vehicle | None:
        api: Any = self._sumo.vehicle
        lane = api.getLaneID(name)
        if not lane:  # between two edges of its route, or not yet on the road
            return None
        kind, size = api.getTypeID(name).split(".")
        length_m, width = SIZES[kind][int(size)]
        x, y, yaw = pose(*api.getPosition(name), api.getAngle(name), length_m)
        signals = api.getSignals(name)
        return Vehicle(
            name, kind, x, y, yaw, api.getSpeed(name), api.getAcceleration(name),
            self.layout.link_of_via.get(lane, lane), length_m, width,
            bool(signals & BRAKE), bool(signals & LEFT), bool(signals & RIGHT),
        )  # fmt: skip

    def _person(self, name: str) -> Person:
        api: Any = self._sumo.person
        x, y = api.getPosition(name)
        return Person(name, x, y, wrap(-math.radians(api.getAngle(name))), api.getSpeed(name))


def routes_xml(layout: Layout, demand: Demand, seed: int) -> str:
    """A .rou.xml: vehicles from where roads lead in to where they lead out, people from pavement to pavement.

    Kinds that may not pass are left out, and the shares of the others grow. SUMO finds the ways (https://sumo.dlr.de/docs/Definition_of_Vehicles%2C_Vehicle_Types%2C_and_Routes.html).
    Raises UserError where no road leads into the network or none out of it.
    """
    rng, until = random.Random(f"edgekit traffic {seed}"), demand.warm_up_s + demand.duration_s
    pairs = {kind: _ways_through(layout, kind) for kind in demand.kinds}
    kinds = {kind: share for kind, share in demand.kinds.items() if pairs[kind] and share}
    if not kinds and demand.vehicles_per_hour:
        raise UserError(
            f"render: no vehicle can pass through {layout.name}",
            f"of its {len(layout.lanes)} lanes none leads in from outside to one that leads out",
            "use a network with open ends (netgenerate: --grid.attach-length)",
        )
    out: list[tuple[float, str]] = []
    for k, t in enumerate(arrivals(rng, demand.vehicles_per_hour, until)):
        kind, size = draw_kind(rng, kinds)
        start, end = rng.choice(pairs[kind])
        out.append(
            (t, f'<trip id="v{k}" type="{kind}.{size}" depart="{t}" departLane="best" departSpeed="max" '
            f"from={quoteattr(start)} to={quoteattr(end)}/>")
        )  # fmt: skip
    pavements = [lane for lane in layout.lanes if lane.kind == "sidewalk"]
    for k, t in enumerate(arrivals(rng, demand.people_per_hour, until) if pavements else []):
        start, end = rng.choice(pavements), rng.choice(pavements)
        where = [round(rng.uniform(0.2, 0.8) * length(lane.points), 1) for lane in (start, end)]
        out.append(
            (t, f'<person id="p{k}" depart="{t}" departPos="{where[0]}"><walk from={quoteattr(start.road)} '
            f'to={quoteattr(end.road)} arrivalPos="{where[1]}"/></person>')
        )  # fmt: skip
    types = [
        f'<vType id="{kind}.{k}" vClass="{CLASSES[kind]}" length="{size[0]}" width="{size[1]}" sigma="0.2"/>'
        for kind, sizes in SIZES.items()
        for k, size in enumerate(sizes)
    ]
    return "\n".join(["<routes>", *types, *(line for _, line in sorted(out)), "</routes>\n"])


def _ways_through(layout: Layout, kind: Kind) -> list[tuple[str, str]]:
    """(road that leads in, road that leads out) of all ways that a kind of vehicle can take."""
    roads = {lane.id: lane.road for lane in layout.lanes if kind in lane.allows}
    onward: dict[str, set[str]] = {road: set() for road in roads.values()}
    for link in layout.links:
        if link.from_lane in roads and link.to_lane in roads:
            onward[roads[link.from_lane]].add(roads[link.to_lane])
    entered = set().union(*onward.values())
    found = []
    for start in onward.keys() - entered:
        seen: set[str] = set()
        left = [start]
        while left:
            new = onward[left.pop()] - seen
            seen |= new
            left += new
        found += [(start, road) for road in seen if not onward[road]]
    return sorted(found)
