"""A Layout from a SUMO network (.net.xml), read by sumolib.

Junctions: https://sumo.dlr.de/docs/Networks/SUMO_Road_Networks.html
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError, suggestion
from edgekit.render.traffic.heads import place_heads
from edgekit.render.traffic.layout import Crossing, Junction, Lane, Layout, Link, Signal

NETS = Path(__file__).parent / "nets"
SHIPPED = ("x", "t", "grid", "toll")
TURNS = {"s": "straight", "l": "left", "L": "left", "r": "right", "R": "right", "t": "turn-around"}
CLASSES = {
    "car": "passenger",
    "truck": "truck",
    "bus": "bus",
    "bicycle": "bicycle",
    "motorcycle": "motorcycle",
}
KINDS = (("passenger", "driving"), ("bicycle", "bicycle"), ("pedestrian", "sidewalk"))  # the first that may


def find_net(name: str | Path) -> Path:
    """A file, or a network that ships with edgekit: x, t, grid, toll. Raises UserError."""
    if Path(name).is_file():
        return Path(name)
    if str(name) in SHIPPED:
        return NETS / f"{name}.net.xml"
    raise UserError(
        f"render: no network {str(name)!r}",
        f"it is no file, and of the shipped ones: {suggestion(str(name), SHIPPED)}",
        f"give a .net.xml file, or one of: {', '.join(SHIPPED)}",
    )


def read_net(name: str | Path, toll: Sequence[str] | None = None) -> Layout:
    """toll: the ids of the junctions that are toll plazas; by default those whose id begins with ``toll``.

    Raises UserError for a file that is no network, one without junctions, an unknown id, and no sumolib.
    """
    path = find_net(name)
    net = _open(path)
    nodes = {node.getID(): node for node in net.getNodes()}
    for junction in toll or ():
        if junction not in nodes:
            raise UserError(
                f"render: {path.name} has no junction {junction!r}",
                f"it has {len(nodes)}: {suggestion(junction, nodes)}",
                "mend the list of toll junctions",
            )
    tolls = set(toll) if toll is not None else {node for node in nodes if node.startswith("toll")}
    lanes, links, crossings = _lanes(net), _links(net), _crossings(net)
    junctions = _junctions(net, links, tolls)
    if not any(junction.crossroad for junction in junctions):
        raise UserError(
            f"render: {path} has no junction",
            f"none of its {len(nodes)} nodes joins three roads, and none is a toll plaza",
            "use a network in which roads meet, or whose toll plazas have ids that begin with toll",
        )
    programmes = {
        light.getID(): [phase.state for phase in list(light.getPrograms().values())[0].getPhases()]
        for light in net.getTrafficLights()
        if light.getPrograms()
    }
    known = {junction.id for junction in junctions}
    lanes = [
        lane if lane.to_junction in known else lane.model_copy(update={"to_junction": None}) for lane in lanes
    ]
    return Layout(
        name=path.name.removesuffix(".net.xml"),
        lanes=tuple(lanes),
        links=tuple(links),
        junctions=tuple(junctions),
        crossings=tuple(crossings),
        heads=place_heads(lanes, links, junctions, programmes),
    )


def _open(path: Path) -> Any:
    try:
        import sumolib.net
    except ImportError:
        raise UserError(
            f"render: cannot read {path.name}", "sumolib is not installed", "pip install 'edgekit[sumo]'"
        ) from None
    try:
        root = next(ElementTree.iterparse(path, events=("start",)))[1].tag
        if root != "net":
            raise UserError(f"render: {path} is not a SUMO network", f"its root is <{root}>", _MAKE)
        return sumolib.net.readNet(
            str(path), withInternal=True, withPrograms=True, withPedestrianConnections=True
        )
    except UserError:
        raise
    except Exception as error:  # sumolib has no error of its own: whatever the parser stumbles over
        raise UserError(
            f"render: {path} is not a SUMO network",
            f"{type(error).__name__}: {error}".replace("\n", " "),
            _MAKE,
        ) from None


_MAKE = "make one with netconvert or netgenerate (pip install eclipse-sumo==1.28.0), or use a shipped one"


def _points(shape: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in shape)


def _kind(lane: Any) -> str | None:
    return next((kind for vehicle, kind in KINDS if lane.allows(vehicle)), None)


def _ways(net: Any) -> list[tuple[Any, str]]:
    """(sumolib lane, kind) of every lane outside the junctions that something of ours may use."""
    lanes = [lane for edge in net.getEdges(withInternal=False) for lane in edge.getLanes()]
    return [(lane, kind) for lane in lanes if (kind := _kind(lane))]


def _lanes(net: Any) -> list[Lane]:
    return [
        Lane(
            id=lane.getID(),
            road=lane.getEdge().getID(),
            index=lane.getIndex(),
            points=_points(lane.getShape()),
            width_m=lane.getWidth(),
            limit_kmh=round(lane.getSpeed() * 3.6),
            kind=kind,
            allows=tuple(ours for ours, sumo in CLASSES.items() if kind != "sidewalk" and lane.allows(sumo)),
            to_junction=lane.getEdge().getToNode().getID(),
            turns=tuple(sorted({TURNS[c.getDirection()] for c in _out(lane, kind)})),
        )
        for lane, kind in _ways(net)
    ]


def _out(lane: Any, kind: str) -> list[Any]:
    """The connections of a lane that carry vehicles."""
    if kind == "sidewalk":
        return []
    return [c for c in lane.getOutgoing() if _kind(c.getToLane()) in ("driving", "bicycle")]


def _links(net: Any) -> list[Link]:
    links = []
    for lane, kind in _ways(net):
        for connection in _out(lane, kind):
            via, points, to_lane = [], [], connection.getToLane()
            internal = connection.getViaLaneID()
            while internal:  # a left turn is cut in two where it waits for oncoming traffic
                via.append(internal)
                inner = net.getLane(internal)
                points += [p for p in _points(inner.getShape()) if not points or p != points[-1]]
                internal = next((c.getViaLaneID() for c in inner.getOutgoing() if c.getViaLaneID()), "")
            if len(points) < 2:  # without internal lanes, or of no length: straight across
                points = [_points(lane.getShape())[-1], _points(to_lane.getShape())[0]]
            links.append(
                Link(
                    id=via[0] if via else f"{lane.getID()}>{to_lane.getID()}",
                    junction=connection.getJunction().getID(),
                    from_lane=lane.getID(),
                    to_lane=to_lane.getID(),
                    points=tuple(points),
                    width_m=min(lane.getWidth(), to_lane.getWidth()),
                    turn=TURNS[connection.getDirection()],
                    signal=_signal(connection),
                    priority=connection.getState() in ("M", "O"),
                    via=tuple(via),
                )
            )
    return links


def _signal(connection: Any) -> Signal | None:
    light = connection.getTLSID()
    return Signal(light=light, index=connection.getTLLinkIndex()) if light else None


def _crossings(net: Any) -> list[Crossing]:
    found = []
    for edge in net.getEdges(withInternal=True):
        if edge.getFunction() != "crossing":
            continue
        lane = edge.getLane(0)
        signals = [_signal(c) for c in lane.getIncomingConnections() if _signal(c)]
        found.append(
            Crossing(
                id=edge.getID(),
                junction=edge.getToNode().getID()
                if edge.getToNode()
                else edge.getID()[1:].rpartition("_c")[0],
                points=_points(lane.getShape()),
                width_m=lane.getWidth(),
                signal=signals[0] if signals else None,
            )
        )
    return found


def _junctions(net: Any, links: list[Link], tolls: set[str]) -> list[Junction]:
    """The nodes that links lead through; where a road only ends there is none."""
    round_about = {node for circle in net.getRoundabouts() for node in circle.getNodes()}
    signalled = {link.junction for link in links if link.signal}
    found = []
    for name in sorted({link.junction for link in links}):
        node = net.getNode(name)
        ways = [
            e
            for e in (*node.getIncoming(), *node.getOutgoing())
            if any(lane.allows("passenger") for lane in e.getLanes())
        ]
        arms = len({other.getID() for e in ways for other in (e.getFromNode(), e.getToNode())} - {name})
        kind = {4: "x", 3: "t"}.get(arms, "other")
        if name in round_about:
            kind = "other"
        found.append(
            Junction(
                id=name,
                kind="toll" if name in tolls else kind,
                polygon=_points(node.getShape()),
                signalled=name in signalled,
                arms=arms,
            )
        )
    return found
