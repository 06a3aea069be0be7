"""mine: a teacher VLM labels drives' frames, and time corrects it."""

from edgekit.mine.config import MineConfig

__all__ = ["MineConfig", "mine"]


def __getattr__(name: str):
    if name == "mine":
        from edgekit.mine.run import mine

        return mine
    raise AttributeError(name)
