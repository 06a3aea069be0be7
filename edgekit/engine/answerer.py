"""The one protocol that mine, evaluate, demo and serve talk to: images in, labels out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.label import UNKNOWN, SceneLabel


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``label`` is None where ``text`` does not parse.

    confidence: per slot, the probability of the chosen value among the vocabulary's values
    (product over its tokens); empty where the back end does not tell. passes: decoder calls.
    """

    text: str
    label: SceneLabel | None
    confidence: Mapping[str, float] = field(default_factory=dict)
    passes: int = 0

    @property
    def seen(self) -> SceneLabel:
        """The label, all-unknown where the answer does not parse."""
        return self.label or UNKNOWN


@runtime_checkable
class Answerer(Protocol):
    """A torch model, a Bundle or an OpenAI endpoint.

    ``answer`` takes RGB uint8 (H, W, 3) images of any size and one user text each (without the
    image mark), and returns one Answer each, in order.
    """

    name: str
    contract: Contract

    def answer(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[Answer]: ...
