"""Who moves in a scene: every vehicle and person that one of its frames shows, numbered, painted, dressed."""

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from edgekit.core.errors import UserError
from edgekit.render.classes import INSTANCES
from edgekit.render.shapes import HEIGHT_M
from edgekit.render.town import PAINT

COUNTERS = {"motorcycle": "bicycle"}  # counted together: a rider has its machine's number
PERSON_M = (1.58, 1.88)
LONGER, WIDER_M = 0.15, 0.35  # how far a model may be from the size that the traffic gave its vehicle
LESS = "ask for fewer frames_per_scene, or for less traffic (demand)"
SMALLER = "use a smaller network (of the layout made: fewer netgenerate.columns and rows)"
Entry = dict[str, Any]


@lru_cache(maxsize=4)
def models_of(manifest: str, digest: str) -> tuple[Entry, ...]:
    """A scene spec's ``assets``: the models of a manifest, by their names in its folder. () without one.

    digest: the manifest's, so that a changed one is read again. Raises UserError as ``read_manifest``.
    """
    if not manifest:
        return ()
    from edgekit.render.assets import read_manifest

    return tuple({**asset.spec(), "path": asset.name} for asset in read_manifest(manifest))


def dress(scene: str, vehicles: Sequence[Entry], models: Sequence[Entry], share: float) -> None:
    """Gives a share of the vehicles that a model fits that model, and its sizes."""
    for vehicle in vehicles if models else ():
        rng = random.Random(f"edgekit model {scene} {vehicle['name']}")
        fits = [k for k, model in enumerate(models) if _fits(model, vehicle)]
        if rng.random() < share and fits:
            vehicle["asset"] = rng.choice(fits)
            model = models[vehicle["asset"]]
            vehicle |= {side: model[f"{side}_m"] for side in ("length", "width", "height")}


def _fits(model: Entry, vehicle: Entry) -> bool:
    long, wide = vehicle["length"], vehicle["width"]
    near = abs(model["length_m"] - long) <= LONGER * long and model["width_m"] <= wide + WIDER_M
    return near and model["class"] == vehicle["kind"]


def fleet_of(scene: str, sizes: dict[str, tuple[str, float, float]], parked: Sequence[Entry]) -> list[Entry]:
    counts: dict[str, int] = {}
    for car in parked:
        counter = COUNTERS.get(car["kind"], car["kind"])
        counts[counter] = max(counts.get(counter, 0), car["instance"])
    fleet = []
    for name, (kind, length, width) in sizes.items():
        counter = COUNTERS.get(kind, kind)
        counts[counter] = counts.get(counter, 0) + 1
        paint = random.Random(f"edgekit paint {scene} {name}").choice(PAINT)
        fleet.append(
            {
                "name": name, "instance": counts[counter], "kind": kind, "length": length, "width": width,
                "height": HEIGHT_M[kind], "paint": list(paint), "asset": None,
            }
        )  # fmt: skip
    number_at_most(max(counts.values(), default=0), "vehicles of one kind")
    return fleet


def crowd_of(scene: str, frames: Sequence[Entry]) -> list[Entry]:
    crowd = []
    for k, name in enumerate(dict.fromkeys(p["name"] for frame in frames for p in frame["people"]), 1):
        rng = random.Random(f"edgekit person {scene} {name}")
        coat, height = list(rng.choice(PAINT)), round(rng.uniform(*PERSON_M), 2)
        crowd.append({"name": name, "instance": k, "coat": coat, "height_m": height})
    number_at_most(len(crowd), "people")
    return crowd


def number_at_most(count: int, what: str, do: str = LESS) -> None:
    """Raises UserError for more than ids can tell apart: the next one's would be those of another class."""
    if count >= INSTANCES:
        raise UserError(
            f"render: a scene has {count} {what}",
            f"an id pixel tells {INSTANCES - 1} of them apart",
            do,
        )
