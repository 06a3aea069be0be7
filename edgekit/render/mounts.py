"""Where a camera may sit in the vehicle that carries it."""

from typing import Literal, NamedTuple

Name = Literal["windscreen", "roof", "bumper", "cab"]


class Mount(NamedTuple):
    behind_bumper_m: float
    height_m: float
    kinds: tuple[str, ...]  # the vehicles that have such a place, the likeliest first


MOUNTS: dict[str, Mount] = {
    "windscreen": Mount(1.7, 1.4, ("car",)),  # behind the mirror of a car
    "roof": Mount(2.2, 1.75, ("car",)),
    "bumper": Mount(0.1, 0.6, ("car",)),
    # few trucks come by: where none is in the case that is asked, it rides where a car was recorded
    "cab": Mount(0.5, 2.4, ("truck", "bus", "car")),
}
