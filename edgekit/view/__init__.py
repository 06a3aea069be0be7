"""``edgekit view``: what a Dataset or a Drive looks like, with its labels."""

from edgekit.view.sheet import view

__all__ = ["view"]
