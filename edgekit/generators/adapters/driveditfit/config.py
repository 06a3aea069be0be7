"""DriveDiTFit: what a recipe can say about it. Light: no torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from edgekit.generators.adapters.method import Labels, Method

LabelStart = Literal["normal", "ssei", "random_rows", "zero", "kaiming", "xavier"]


class DriveDiTFit(Method):
    """Gap-driven modulation W∘(1 + Γout·Γin) + Bout·Bin of frozen weights (Tu et al., ACM TOMM 21(3) 85, 2025).

    Modulated are attention's linears, the adaLN linears, the timestep embedding and the final layers, with
    feed_forward and patch those too. mul, add: the two parts of the paper's eq. 8; bias_mod: biases become
    b∘m + a. init released: the released operator, multiplicative alone, a product of all-ones factors that
    cannot leave rank 1 (mul: true, add: false). depth: only the first so many blocks carry modulation and RoPE.
    rope: two-dimensional rotary positions on the q and k of self-attention, turned over the whole width (hidden,
    as published) or within each head. labels: new scenario names, for which the label table is rebuilt; empty
    keeps the base's. label_start: how the rows of names begin that the base does not know; ssei (as published): as
    the rows of the classes that look most alike, for which the trainer has to give images. table: whether the
    label table is trained.
    The progressive schedule and the object-sensitive loss are keys of the training's objective.
    """

    attaches: ClassVar[str] = "edgekit.generators.adapters.driveditfit.attach:attach"

    kind: Literal["driveditfit"] = "driveditfit"
    rank: int = Field(4, ge=1)
    mul: bool = True
    add: bool = True
    bias_mod: bool = True
    init: Literal["residual", "released"] = "residual"
    feed_forward: bool = False
    patch: bool = False
    depth: int | None = Field(None, ge=1)
    rope: Literal["off", "hidden", "head"] = "off"
    labels: Labels = []
    label_start: LabelStart = "normal"
    table: bool = True

    @model_validator(mode="after")
    def _whole(self) -> DriveDiTFit:
        if not (self.mul or self.add or self.bias_mod):
            raise ValueError("mul, add and bias_mod are all false: nothing is modulated")
        if self.init == "released" and (self.add or not self.mul):
            raise ValueError("init: released is the multiplicative part alone; set mul: true and add: false")
        if self.labels and not self.table:
            raise ValueError("table: false with new labels: their rows would stay as they start")
        return self
