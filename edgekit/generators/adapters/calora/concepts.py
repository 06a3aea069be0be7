"""The words of CA-LoRA: concepts and their alterations, and the prompts of training and generation. Light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.core.errors import UserError
from edgekit.generators.adapters.calora.config import CaLora

PROMPT = "Photorealistic first-person urban street view"  # of scoring; the paper tunes with it alone too
# In the paper's order; the first three are the ones it uses. "eye-level" hardly differs from PROMPT, so its
# concept loss is close to nothing and its ratios are noise.
STYLES = tuple(
    f"{style} of first-person urban street view"
    for style in ("Sketch", "Watercolor", "Pop-art", "Line art", "Oil painting")
)
VIEWPOINTS = tuple(
    f"Photorealistic urban street in {view} view"
    for view in ("top-down", "high angle", "low angle", "eye-level", "close-up")
)
ALTERED = {"style": STYLES, "viewpoint": VIEWPOINTS}
PROMPT_WEATHERS = ("clear", "foggy", "night-time", "rainy", "snowy")  # of generation for other domains


@dataclass(frozen=True)
class Concept:
    """c and its c_aug: prompts, or names of labels."""

    prompt: str
    altered: tuple[str, ...]


def concept_of(config: CaLora, labels: list[str] | None = None) -> Concept:
    """The concept that ``config`` means; ``labels``: of a base that is asked with labels.

    Raises UserError where there are fewer alterations than ``variants``, or labels leave none.
    """
    if config.prompt is not None:
        prompt, altered = config.prompt, tuple(config.altered)
    elif labels is not None:
        prompt, altered = labels[0], tuple(labels[1 : 1 + config.variants])
        if not altered:
            raise UserError(
                "calora: no concept can be measured",
                f"the base has one label, {prompt!r}, and none to compare it with",
                "take a base with more labels, or method.select: random",
            )
        return Concept(prompt, altered)
    else:
        prompt, altered = PROMPT, ALTERED[config.concept]
    if len(altered) < config.variants:
        raise UserError(
            f"calora: variants={config.variants}",
            f"there are {len(altered)} alterations of {prompt!r}",
            "give more in method.altered, or ask for fewer",
        )
    return Concept(prompt, altered[: config.variants])


def scene_prompt(
    classes: list[str],
    weather: str | None = None,
    order: Literal["classes", "weather"] = "classes",
) -> str:
    """The prompt of a picture to be labelled: what is in it, and its weather (none in the training's domain).

    order: which comes first; the paper has both (Sec. 3.4: classes, Table 12: weather).
    """
    parts = {
        "classes": f"with {', '.join(classes)}" if classes else "",
        "weather": f"in {weather}" if weather else "",
    }
    first = [parts[order], *(text for key, text in parts.items() if key != order)]
    return " ".join([PROMPT, *(text for text in first if text)])
