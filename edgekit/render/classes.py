"""The one table of what a pixel can be; it travels to the worker inside every scene spec.

An id pixel is class * 1000 + instance. Blender's pass index is at most 32767, so a class is at most 32.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# name: Cityscapes' trainId (Cordts et al. 2016), 255 where its benchmark does not look. Cones, barriers and
# debris are 255: what may be gone tomorrow is "dynamic" there, and its "fence" is one that stands for good.
CITYSCAPES: dict[str, int] = {
    "sky": 10,
    "road": 0,
    "marking": 0,
    "zebra": 0,
    "sidewalk": 1,
    "building": 2,
    "window": 2,
    "car": 13,
    "pole": 5,
    "head": 6,
    "lamp_red": 6,
    "lamp_yellow": 6,
    "lamp_green": 6,
    "lamp_dark": 6,
    "cone": 255,
    "barrier": 255,
    "tree": 8,
    "ground": 9,
    "person": 11,
    "truck": 14,
    "bus": 15,
    "bicycle": 18,
    "motorcycle": 17,
    "rider": 12,
    "sign": 7,
    "debris": 255,
}
NAMES = tuple(CITYSCAPES)
CLASSES: dict[str, int] = {name: number for number, name in enumerate(NAMES)}
INSTANCES = 1000
assert len(NAMES) <= 32

HEAD_NAMES = ("head", "lamp_red", "lamp_yellow", "lamp_green", "lamp_dark")  # together they are one head


def train_ids(ids: "np.ndarray") -> "np.ndarray":
    """(h, w) uint16 ids → (h, w) uint8 Cityscapes trainIds; 255 too for a class that is not in the table."""
    import numpy as np

    table = np.full(np.iinfo(np.uint16).max // INSTANCES + 1, 255, np.uint8)
    table[: len(NAMES)] = list(CITYSCAPES.values())
    return table[np.asarray(ids, np.uint16) // INSTANCES]
