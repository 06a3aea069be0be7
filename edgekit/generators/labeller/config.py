"""Sizes and training of the label generator. Light: no torch."""

from __future__ import annotations

from pydantic import Field, model_validator

from edgekit.core.recipe import Config


class LabellerConfig(Config):
    """The decoder's sizes (defaults: Mask2Former's), the features it reads, and its training (CA-LoRA Table 13).

    classes: their names; a label map holds their indices, and 255 where nothing is known.
    every: of the cross-attention modules on the way up, which are read (SDXL: 6 of 36); keep_heads: their maps
    head by head instead of averaged. sampling_steps: of the sampler; features are read at its
    last step: of 25 that is t = 39 here, where the first step is T − 1; DatasetDM's spacing ends at t = 0 or 1.
    rounds: passes over the levels that queries attend to (all but the finest), one decoder layer a level: 10 layers
    on SDXL, as in the paper; 15 on SD 1.5, where 3 rounds give the paper's 9; 5 on a transformer, whose features have
    one resolution, where 10 rounds give 10. points: of a mask that a loss is computed on.
    """

    classes: list[str] = Field(min_length=1, max_length=254)
    every: int = Field(7, ge=1)
    keep_heads: bool = False
    sampling_steps: int = Field(25, ge=1)
    hidden: int = 256
    heads: int = 8
    feed_forward: int = 2048
    queries: int = Field(100, ge=1)
    rounds: int = Field(5, ge=1)
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    points: int = Field(12544, ge=1)
    oversample: float = Field(3.0, ge=1)
    importance: float = Field(0.75, ge=0, le=1)
    auxiliary: bool = True
    steps: int = Field(24000, ge=1)
    batch: int = Field(2, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    power: float = 0.9
    flip: bool = True
    scales: tuple[float, float] = (0.5, 2.0)

    @model_validator(mode="after")
    def _fits(self) -> LabellerConfig:
        if self.hidden % self.heads or self.hidden % 8:
            raise ValueError(f"hidden={self.hidden} is no multiple of heads={self.heads} and of 8")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("a class is named twice")
        if not 0 < self.scales[0] <= self.scales[1]:
            raise ValueError(f"scales={self.scales}: give two above 0, the smaller first")
        return self
