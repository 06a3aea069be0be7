"""The one table of what a pixel can be; it travels to the worker inside every scene spec.

An id pixel is class * 1000 + instance. Blender's pass index is at most 32767, so a class is at most 32.
"""

NAMES = (
    "sky",
    "road",
    "marking",
    "zebra",
    "sidewalk",
    "building",
    "window",
    "car",
    "pole",
    "head",
    "lamp_red",
    "lamp_yellow",
    "lamp_green",
    "lamp_dark",
    "cone",
    "barrier",
    "tree",
    "ground",
    "person",
)
CLASSES: dict[str, int] = {name: number for number, name in enumerate(NAMES)}
INSTANCES = 1000
assert len(NAMES) <= 32
