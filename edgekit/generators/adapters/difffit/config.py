"""DiffFit's keys: where the scales γ stand, how deep they go, and what is unfrozen beside them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from edgekit.generators.adapters.method import Labels, Method, once

# block         outputs of attention and feed-forward before their residual sum (Algorithm 1)
# qkv, proj     outputs of attention's query, key and value linears, and of its output linear (Algorithm 3)
# ff            output of the feed-forward's first linear: not in the paper
# final_linear  the layer that gives the noise; final_adaln: the modulation before it
# patch, time   patch embedding, time embedding: tried in the paper's Table 4c, not kept
GammaSite = Literal["block", "qkv", "proj", "ff", "final_linear", "final_adaln", "patch", "time"]


class DiffFit(Method):
    """Trains every bias, affine norms, the label table and scales γ on the outputs of chosen layers.

    depth: how many blocks carry γ, counted from ``side`` (first = nearest the input); None is half of them,
    as in the paper (14 of 28).
    norms: weights and biases of affine layer norms (the paper's; a DiT has none), or of group and RMS norms too,
    whatever ``biases`` says.
    table: false where labels stay (the paper's ImageNet-512 run); labels: new class names, for which the
    table is rebuilt; empty keeps the base's.
    caption_projection: what a PixArt or an SD3 has in the table's place; millions of parameters in real ones.
    scale_shift: PixArt's tables of that name, biases in all but name.
    latent_size: (height, width) to tune at; position: its codes are squeezed into the range that the base knows
    (scaled) or go on beyond it (extended).
    lr_scale: times the recipe's learning rate. The paper's rate is 1e-3, ten times that of full
    fine-tuning (Table 4d).
    """

    attaches: ClassVar[str] = "edgekit.generators.adapters.difffit.attach:attach"

    kind: Literal["difffit"] = "difffit"
    gammas: Annotated[list[GammaSite], AfterValidator(once)] = ["block", "qkv", "proj", "final_linear"]
    depth: int | None = Field(None, ge=0)
    side: Literal["first", "last"] = "first"
    biases: bool = True
    norms: Literal["none", "layer", "all"] = "layer"
    table: bool = True
    labels: Labels = []
    caption_projection: bool = False
    scale_shift: bool = False
    latent_size: tuple[int, int] | None = None
    position: Literal["scaled", "extended"] = "scaled"
    lr_scale: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> DiffFit:
        if self.labels and not self.table:
            raise ValueError("table=false with new labels: their rows would stay random")
        if self.latent_size is None and self.position != "scaled":
            raise ValueError(f"position={self.position} without latent_size: the codes stay as they are")
        return self
