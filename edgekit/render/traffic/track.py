"""One vehicle through a recorded run, and the way that it will turn out to take.

Distances ahead are from the middle of its front bumper, along the centre lines of that way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgekit.render.traffic.geometry import heading, length, project
from edgekit.render.traffic.layout import Lane, Layout, Link
from edgekit.render.traffic.motion import Step, Vehicle


@dataclass(frozen=True)
class Ahead:
    """A piece of the way ahead: the Lane or Link, and metres from the front to its start (< 0: already on it)."""

    piece: Lane | Link
    start_m: float


class Track:
    """states[i] is the vehicle at step first + i of the run."""

    def __init__(self, layout: Layout, first: int, states: Sequence[Vehicle]):
        self.layout, self.first, self.states = layout, first, states

    @property
    def last(self) -> int:
        return self.first + len(self.states) - 1

    def at(self, step: int) -> Vehicle:
        return self.states[step - self.first]

    @cached_property
    def _visited(self) -> list[list[str]]:
        """Per state the pieces from its own on: [on it now, next, ...]. States on one piece share one list."""
        names = [state.lane for state in self.states]
        ways: list[list[str]] = [self._onward(names[-1])]
        for here, after in zip(names[-2::-1], names[:0:-1], strict=True):
            way = ways[-1]
            if here != after:
                way = [here, *self._between(here, after), *(way[1:] if self._beside(here, after) else way)]
            ways.append(way)
        return ways[::-1]

    def _onward(self, name: str) -> list[str]:
        """What follows for certain once nothing more is recorded: a link's own lane."""
        return [name, self.layout.link[name].to_lane] if name in self.layout.link else [name]

    def _beside(self, here: str, after: str) -> bool:
        """Two lanes of one road, or two links between the same roads: the way goes on beside, not behind."""
        return self._roads(here) == self._roads(after)

    def _roads(self, name: str) -> tuple[str, ...]:
        lanes = self.layout.lane
        if name in lanes:
            return (lanes[name].road,)
        link = self.layout.link[name]
        return lanes[link.from_lane].road, lanes[link.to_lane].road

    def _between(self, here: str, after: str) -> list[str]:
        """A link that is passed within one step leaves no state."""
        lanes = self.layout.lane
        if here not in lanes or after not in lanes or self._beside(here, after):
            return []
        return [
            link.id
            for link in self.layout.links
            if link.to_lane == after and lanes[link.from_lane].road == lanes[here].road
        ][:1]

    def ahead(self, step: int) -> list[Ahead]:
        """The pieces from the one under the front on, as far as the record tells."""
        state = self.at(step)
        way = [self.layout.piece(name) for name in self._visited[step - self.first]]
        start = -project(way[0].points, *front(state))[0]
        found = []
        for piece in way:
            found.append(Ahead(piece, start))
            start += length(piece.points)
        return found


def front(vehicle: Vehicle) -> tuple[float, float]:
    ahead = heading(vehicle.yaw)
    return vehicle.x + ahead[0] * vehicle.length / 2, vehicle.y + ahead[1] * vehicle.length / 2


def tracks(layout: Layout, steps: Sequence[Step]) -> dict[str, Track]:
    """By vehicle. One that vanishes and comes back keeps its first stay alone."""
    states: dict[str, tuple[int, list[Vehicle]]] = {}
    for k, step in enumerate(steps):
        for vehicle in step.vehicles:
            first, held = states.setdefault(vehicle.id, (k, []))
            if first + len(held) == k:
                held.append(vehicle)
    return {name: Track(layout, first, held) for name, (first, held) in states.items()}
