"""CA-LoRA's keys: which concept, how it is measured, which heads are chosen, how they are tuned. Light."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from edgekit.generators.adapters.method import Labels, Method, once

# awareness     the paper: heads ranked by how the concept's gradient compares to the denoising one
# unnormalised  by the concept's gradient alone; random: drawn
# q k v out     every head of one kind of projection (Table 3); all: LoRA on all of attention
# block layer integrated   whole transformer blocks, attention modules, projections, ranked as heads are (Table 6)
Strategy = Literal[
    "awareness", "unnormalised", "random", "q", "k", "v", "out", "all", "block", "layer", "integrated"
]
NEEDS_SCORES = ("awareness", "unnormalised", "block", "layer", "integrated")


class CaLora(Method):
    """LoRA on the most concept-aware heads of attention's projections, chosen on the base before tuning.

    concept: style takes over the data's look (its weather too) and keeps the base's layout and objects;
    viewpoint takes over the camera and keeps the base's weather (Fig. 6). The paper takes style for a test domain
    like the training one, viewpoint for others. prompt and altered: words of one's own instead. A base that is
    asked with labels knows no words: there the first label stands for the prompt and the others for its
    alterations, unless they are given.
    variants: how many alterations are used; images, steps, guidance: of the base's own pictures that are
    scored; at: their noise time, as a share of the schedule's length T (the paper's 81 of 1000 steps) or a flow's
    sigma.
    share: of units (one head of one projection) that are tuned, or of blocks, layers and projections; q, k, v, out
    and all leave it aside.
    scores: an awareness.json of this base and concept, instead of measuring again. units: the choice itself, which
    stands before select, share and scores; an adapter's own file holds it.
    added: the text stream of an MM-DiT may be chosen from too; it is scored whatever this says. rank: of each
    adapted layer, shared by its chosen heads (the paper's 64 is a whole head of SDXL); alpha: None means rank.
    table, labels: see ``Lora``. Text encoders are left alone, as in the paper.
    """

    attaches: ClassVar[str] = "edgekit.generators.adapters.calora.attach:attach"

    kind: Literal["calora"] = "calora"
    concept: Literal["style", "viewpoint"] = "style"
    prompt: str | None = None
    altered: list[str] = []
    variants: int = Field(3, ge=1)
    images: int = Field(8, ge=1)
    steps: int = Field(25, ge=1)
    guidance: float = Field(5.0, ge=1)
    at: float = Field(0.081, gt=0, lt=1)
    select: Strategy = "awareness"
    share: float = Field(0.02, gt=0, le=1)
    scores: str | None = None
    units: Annotated[list[str], AfterValidator(once), Field(min_length=1)] | None = None
    added: bool = False
    rank: int = Field(64, ge=1)
    alpha: float | None = Field(None, gt=0)
    table: bool = False
    labels: Labels = []

    @model_validator(mode="after")
    def _whole(self) -> CaLora:
        if (self.prompt is None) != (not self.altered):
            raise ValueError("prompt and altered go together: what is asked for, and its alterations")
        if self.altered and len(self.altered) < self.variants:
            raise ValueError(
                f"variants {self.variants} of {len(self.altered)} in altered: give more, or ask for fewer"
            )
        return self
