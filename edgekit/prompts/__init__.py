"""prompts: edits a prompt library against measured failures; promotes what holds on a split apart."""

from edgekit.prompts.config import PromptsConfig

__all__ = ["PromptsConfig", "prompts"]


def __getattr__(name: str):
    if name == "prompts":
        from edgekit.prompts.run import prompts

        return prompts
    raise AttributeError(name)
