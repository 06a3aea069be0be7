"""Expert detectors beside the teacher: what they see, how far they are to be trusted, and who wins."""

from importlib import import_module

from edgekit.mine.experts.config import (
    AnyExpert,
    Corridor,
    Expert,
    ExpertConfig,
    FusionConfig,
    open_expert,
)

# A recipe needs the config alone; the rest comes when it is asked for.
_LATER = {
    "Said": "see",
    "said": "see",
    "light_state": "lights",
    "Judged": "reliability",
    "Reliability": "reliability",
    "judge": "reliability",
    "measure": "reliability",
    "Fused": "fusion",
    "fuse": "fusion",
    "coverage_precision": "calibrate",
}

__all__ = ["AnyExpert", "Corridor", "Expert", "ExpertConfig", "FusionConfig", "open_expert", *_LATER]


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(import_module(f"edgekit.mine.experts.{_LATER[name]}"), name)
