"""The road: a list of recipes, walked in order, each step reading what earlier ones wrote."""

from importlib import import_module
from typing import Any

_WHERE = {"RoadConfig": "edgekit.road.config", "Step": "edgekit.road.config", "road": "edgekit.road.run"}
__all__ = ["RoadConfig", "Step", "road"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
