"""evaluate: the paper's metrics per slice with intervals, controls that must fail, speed and memory."""

from edgekit.evaluate.config import EvaluateConfig

__all__ = ["EvaluateConfig", "evaluate"]


def __getattr__(name: str):
    if name == "evaluate":
        from edgekit.evaluate.run import evaluate

        return evaluate
    raise AttributeError(name)
