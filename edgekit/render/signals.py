"""What a frame's signal heads show, and what of the traffic's facts a scene spec tells."""

import math
from typing import Any

from edgekit.render.moments import COLOURS, ambiguous
from edgekit.render.networks import Place
from edgekit.render.traffic.ego import NEAR_M
from edgekit.render.traffic.facts import Facts
from edgekit.render.traffic.heads import colour
from edgekit.render.traffic.layout import Head, Layout, Link
from edgekit.render.traffic.motion import Step

HEADS_M = 150.0  # from the ego: a lens farther away is no larger than a pixel


def shown_heads(
    layout: Layout, now: Step, x: float, y: float, dark: set[str | None], light: str | None
) -> dict[str, str]:
    """{head id: colour} of the heads in reach of (x, y). dark: the junctions whose heads are ``light``:
    all off, or not there at all (``none``)."""
    shown = {}
    for head in layout.heads:
        if math.dist((head.x, head.y), (x, y)) > HEADS_M:
            continue
        if head.junction not in dark:
            shown[head.id] = COLOURS.get(colour(now.lights[head.light][head.indices[0]]), "off")
        elif light == "off":
            shown[head.id] = "off"
    return shown


def facts_dict(
    place: Place, facts: Facts, now: Step, heads: dict[str, str], names: dict[str, str]
) -> dict[str, Any]:
    """A spec's "facts". heads: what is shown in this frame; names: of the vehicles in it, by their ids."""
    layout = place.layout
    link = layout.link[facts.link] if facts.link and facts.stop_line_m <= NEAR_M else None
    governing = [
        head.id
        for head in layout.heads
        if link and link.signal and head.id in heads
        and head.light == link.signal.light and link.signal.index in head.indices
    ]  # fmt: skip
    leader = names.get(facts.leader) if facts.leader else None
    return {
        "limit_kmh": facts.limit_kmh,
        "lane": facts.lane,
        "on_link": facts.on_link,
        "turn": facts.turn,
        "stop_line_m": _metres(facts.stop_line_m),
        "junction": facts.junction,
        "junction_kind": facts.junction_kind,
        "crossing_m": _metres(facts.crossing_m),
        "crossing": place.ground["crossings"].get(facts.crossing),
        "gap_m": _metres(facts.gap_m) if leader else None,
        "leader": leader,
        "governing": governing,
        "light": heads[governing[0]] if governing else "none",
        "ambiguous": bool(governing) and ambiguous(layout, now, link, facts.lane),
        "others": _others(layout, link, heads, governing),
    }


def _metres(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _others(layout: Layout, link: Link | None, heads: dict[str, str], governing: list[str]) -> dict[str, str]:
    """Per turn what the nearest head shows that is meant for other lanes of the approach, not for the ego's.

    At a toll plaza all lanes go straight on: there it is the next lane on the left and on the right.
    """
    found = dict.fromkeys(("left", "straight", "right"), "none")
    if link is None:
        return found
    lane = layout.lane[link.from_lane]

    def away(head: Head) -> tuple[int, str]:
        return min(abs(layout.lane[name].index - lane.index) for name in head.lanes), head.id

    for head in sorted(layout.heads, key=away):
        lanes = [layout.lane[name] for name in head.lanes]
        if head.id in governing or head.id not in heads or lanes[0].road != lane.road:
            continue
        if head.kind == "toll":
            turns = {"left" if lanes[0].index > lane.index else "right"}
        elif head.arrow != "any":
            turns = {head.arrow}
        else:
            turns = {
                way.turn
                for way in layout.links
                if way.signal and way.signal.light == head.light and way.signal.index in head.indices
            }
        for turn in turns & set(found):
            if found[turn] == "none":
                found[turn] = heads[head.id]
    return found
