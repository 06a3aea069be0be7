"""The roads and the traffic that a recipe names, read and simulated once a process."""

import random
import tempfile
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError
from edgekit.render.config import BUILTIN, MADE, RUNS_HELD, RenderConfig
from edgekit.render.fleet import SMALLER, number_at_most
from edgekit.render.traffic.crossroads import crossroads
from edgekit.render.traffic.geometry import inside
from edgekit.render.traffic.layout import Junction, Layout
from edgekit.render.traffic.motion import Demand, Step
from edgekit.render.traffic.net import find_net, read_net
from edgekit.render.traffic.netgenerate import GridConfig, generate_grid
from edgekit.render.traffic.track import Track, tracks


@dataclass(frozen=True, eq=False)
class Place:
    """name: the recipe's; net: None where SUMO is not needed; ground: ground_of(layout)."""

    name: str
    layout: Layout
    net: Path | None
    ground: dict[str, Any]

    @cached_property
    def main(self) -> Junction:
        """The junction that the layout is named for: signalled before not, many arms before few."""
        there = [j for j in self.layout.junctions if j.crossroad]
        return max(there, key=lambda j: (j.kind == "toll", j.signalled, j.arms, j.id))

    @cached_property
    def _raised(self) -> list[tuple[tuple[float, float, float, float], dict[str, Any]]]:
        found = []
        for area in self.ground["ground"]:
            if area["z"] > 0:
                xs, ys = zip(*area["outer"], strict=True)
                found.append(((min(xs), min(ys), max(xs), max(ys)), area))
        return found

    def raised(self, x: float, y: float) -> bool:
        """Whether a point lies on a pavement, a kerb or an island."""
        return any(
            x0 <= x <= x1
            and y0 <= y <= y1
            and inside(area["outer"], x, y)
            and not any(inside(hole, x, y) for hole in area["holes"])
            for (x0, y0, x1, y1), area in self._raised
        )


@dataclass(frozen=True, eq=False)
class Run:
    """One simulation, the k-th of its layout and split: its steps, and every vehicle's way through them."""

    place: Place
    k: int
    step_s: float
    steps: tuple[Step, ...]
    kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)  # what was found in it

    @cached_property
    def tracks(self) -> dict[str, Track]:
        return tracks(self.place.layout, self.steps)


def place_of(cfg: RenderConfig, name: str) -> Place:
    """Raises UserError for a network that cannot be read, or in which no roads meet."""
    return _place(name, cfg.netgenerate.model_dump_json() if name == MADE else "")


def check_layouts(cfg: RenderConfig) -> None:
    """Reads every layout of a recipe, also one that few scenes will use.

    Raises UserError as ``place_of`` does, and for more zebra crossings than id pixels tell apart.
    """
    for name in cfg.layouts:
        number_at_most(len(place_of(cfg, name).layout.crossings), "zebra crossings", SMALLER)


def run_of(cfg: RenderConfig, name: str, split: str, k: int) -> Run:
    """Run k (of cfg.runs) of the traffic that a layout's scenes of one split share; none is in two splits.

    cfg.seed is in its seed, so recipes with scenes of other seeds do not share traffic either.
    """
    seed = random.Random(f"edgekit run {cfg.seed} {name} {split} {k}").getrandbits(31)
    return _run(place_of(cfg, name), cfg.demand.model_dump_json(), k, seed)


@lru_cache(maxsize=32)
def _place(name: str, made: str) -> Place:
    from edgekit.render.ground import ground_of

    if name == BUILTIN:
        net, layout = None, crossroads()
    else:
        net = _generated(made)[1] if name == MADE else find_net(name)
        layout = read_net(net)
    return Place(name, layout, net, ground_of(layout))


@lru_cache(maxsize=4)
def _generated(made: str) -> tuple[tempfile.TemporaryDirectory, Path]:
    """The folder is kept beside the file: it goes when nobody holds it any more."""
    folder = tempfile.TemporaryDirectory()
    return folder, generate_grid(GridConfig.model_validate_json(made), Path(folder.name) / "made.net.xml")


@lru_cache(maxsize=RUNS_HELD)
def _run(place: Place, demand_json: str, k: int, seed: int) -> Run:
    demand = Demand.model_validate_json(demand_json)
    if place.net is None:
        from edgekit.render.traffic.builtin import BuiltinTraffic

        traffic = BuiltinTraffic(demand, seed)
    else:
        from edgekit.render.traffic.sumo import SumoTraffic

        traffic = SumoTraffic(place.net, demand, seed, place.layout)
    steps = tuple(traffic.steps())
    if not any(step.vehicles for step in steps):
        raise UserError(
            f"render: nothing drives on {place.name}",
            f"{demand.vehicles_per_hour:g} vehicles an hour, watched for {demand.duration_s:g} s",
            "raise demand.vehicles_per_hour or demand.duration_s",
        )
    return Run(place, k, demand.step_s, steps)
