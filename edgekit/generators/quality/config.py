"""Which features pictures are compared in. Light: no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgekit.core.recipe import Config


class Inception(Config):
    """FID's own network, from an ONNX file of yours: the only one whose distances are FID, sFID and KID.

    size: side of its input; low, high: what black and white become; pooled, spatial: names of its outputs of
    2,048 numbers and of 192 × 17 × 17 (null: no sFID).
    """

    kind: Literal["inception"] = "inception"
    file: str
    size: int = Field(299, ge=75)
    low: float = -1.0
    high: float = 1.0
    pooled: str = "pool_3"
    spatial: str | None = "mixed_6_conv"


class Clip(Config):
    """A CLIP model, a folder or hub:OWNER/NAME: CMMD, and the CLIP score of what was asked."""

    kind: Literal["clip"] = "clip"
    model: str


class Alexnet(Config):
    """LPIPS's AlexNet, a safetensors file: a stand-in for Inception, and LPIPS itself between pictures.

    size: side that pictures are squeezed to for the stand-in's features.
    """

    kind: Literal["alexnet"] = "alexnet"
    file: str
    size: int = Field(64, ge=31)


class Scenes(Config):
    """A classifier of weather and time, trained on the spot on ``data``'s train splits: a stand-in.

    data: Datasets; empty: the real pictures' own. pictures: at most so many are learned from.
    """

    kind: Literal["scenes"] = "scenes"
    data: list[str] = []
    steps: int = Field(400, ge=1)
    size: int = Field(32, ge=16, le=128)
    pictures: int = Field(5000, ge=2)
    threads: int = Field(2, ge=1)


FeatureConfig = Annotated[Inception | Clip | Alexnet | Scenes, Field(discriminator="kind")]
