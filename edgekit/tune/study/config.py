"""What a study is: which nano bases, adapted to what, by which arms, how often. Light: no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from edgekit.core.recipe import Config
from edgekit.generators.config import NanoGenerator

# weather   streets by night and in snow: words that the base knows, never seen together
# gain      what the base knows, its colour channels turned up and down: a change that scales can make
# tunnel    a street of another topology: one that they cannot
# drives    frames of the recipe's ``data``
Target = Literal["weather", "gain", "tunnel", "drives"]
# boxes     the error inside objects' boxes and outside, per tenth of the noise times
# forgets   the error on the world that the base was trained on
# others    whether what was not tuned on is still painted as asked: for bases that are asked with text
# experts   TimeStep Master: each expert's error on each interval, likeness of experts, gates
# awareness CA-LoRA: the map of heads, its stability, raw against normalised
# labels    CA-LoRA: a label generator on each tuned model, its maps against an oracle's, a segmenter trained on them
Look = Literal["boxes", "forgets", "others", "experts", "awareness", "labels"]


class Bases(Config):
    """Nano generators trained from scratch on ``pictures`` of the toy world, by the recipe's ``train``.

    held_out: pictures that none of them sees. steps: of the bases that need another number than ``train.steps``.
    """

    kind: Literal["bases"] = "bases"
    pictures: int = Field(6000, ge=1)
    held_out: int = Field(256, ge=1)
    nano: dict[str, NanoGenerator] = Field(min_length=1)
    steps: dict[str, Annotated[int, Field(ge=1)]] = {}

    @model_validator(mode="after")
    def _known(self) -> Bases:
        if strange := [name for name in self.steps if name not in self.nano]:
            raise ValueError(f"steps names {strange[0]!r}, which is none of nano: {', '.join(self.nano)}")
        return self


class Arms(Config):
    """Every arm on every base of ``on`` and every target, ``seeds`` times; the first arm is the control.

    arms: what each changes in the recipe, ``key.sub: value``. A method that makes no sense on a base is "n/a"
    with its reason. base: the recipe's key, a run of ``Bases``.
    pictures, held_out: of a drawn target, to learn from and to measure on. samples: pictures that each arm paints, in
    ``steps`` at ``guidance``; samplers: of the bases that need another than their own. looks: what is measured beside
    the error and the samples.
    columns: of the table; absent: all that were measured.
    """

    kind: Literal["arms"] = "arms"
    question: str
    on: list[str] = Field(["dit"], min_length=1)
    targets: list[Target] = Field(["drives"], min_length=1)
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    arms: dict[str, dict[str, Any]] = Field(min_length=2)
    pictures: int = Field(400, ge=1)
    held_out: int = Field(256, ge=16)
    samples: int = Field(512, ge=16)
    steps: int = Field(20, ge=1)
    guidance: float = 1.0
    samplers: dict[str, Literal["ddim", "ddpm", "euler"]] = {}
    looks: list[Look] = []
    columns: list[str] = []

    @model_validator(mode="after")
    def _once(self) -> Arms:
        for name in ("on", "targets", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one twice: {', '.join(map(str, values))}")
        if strange := [name for name in self.samplers if name not in self.on]:
            raise ValueError(f"samplers names {strange[0]!r}, which is not in on: {', '.join(self.on)}")
        if "labels" in self.looks and "drives" in self.targets:
            raise ValueError("looks: labels asks for drawn targets, whose every label map is known")
        return self


Study = Annotated[Bases | Arms, Field(discriminator="kind")]
