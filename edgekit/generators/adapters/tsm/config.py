"""TimeStep Master's keys: how many intervals, which layers, how experts are mixed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from edgekit.generators.adapters.method import Labels, Method, once


class TimestepMaster(Method):
    """LoRA experts for intervals of t, fostered one by one; routers then assemble scales (2503.07416).

    core: the number of intervals whose expert always counts in full; contexts: numbers of intervals whose
    experts count by a learned gate (eq. 5). No contexts: one expert at a time and no routers ("1-stage");
    core 1 and no contexts: LoRA. A core may be coarser than its contexts.
    rank, alpha: of every expert; alpha None means rank. The paper's alpha is lost.
    targets: attention (q, k, v, out), qv, or distillation (attention, feed-forward layers and, of a UNet, its
    projections and convolutions: the paper's 278 layers of SD 1.5; no adaLN); added: the attention of an MM-DiT's
    text stream too.
    units: heads of projections, "<layer>.h<head>", that alone are adapted (Concept-Aware LoRA's choice).
    mixture: asymmetric (the paper's); symmetric gates the core too, by a softmax over all scales; moe mixes
    ``core`` experts by softmax without intervals, trained together with their routers.
    gate: what a router sees, the layer's input, t or both (eq. 6); pool: a gate for each token, or one for
    an image from the mean of its tokens.
    router_share: steps of the routers' training, in those of one expert's.
    table, labels: as for every method; the table is trained with the expert of all t, else in a stage of
    its own before the experts.

    Left out: experts in the text encoders, which the paper adapts too (CLIP's and T5's q and v; its App. A). A text
    would then be encoded anew at every t.
    """

    attaches: ClassVar[str] = "edgekit.generators.adapters.tsm.attach:attach"

    kind: Literal["tsm"] = "tsm"
    core: int = Field(8, ge=1)
    contexts: list[int] = [1]
    rank: int = Field(4, ge=1)
    alpha: float | None = Field(None, gt=0)
    targets: Literal["attention", "qv", "distillation"] = "attention"
    added: bool = False
    units: Annotated[list[str], AfterValidator(once), Field(min_length=1)] | None = None
    mixture: Literal["asymmetric", "symmetric", "moe"] = "asymmetric"
    gate: Literal["both", "feature", "time"] = "both"
    pool: Literal["token", "image"] = "token"
    router_share: float = Field(1.0, gt=0)
    table: bool = False
    labels: Labels = []

    @model_validator(mode="after")
    def _mixes(self) -> TimestepMaster:
        if any(n < 1 for n in self.contexts) or len(set(self.scales)) < len(self.scales):
            raise ValueError(
                f"core {self.core} with contexts {self.contexts}: give different numbers of 1 or more"
            )
        if self.mixture == "moe" and self.contexts:
            raise ValueError(
                f"moe has {self.core} experts of all t: contexts must be [], not {self.contexts}"
            )
        if self.mixture == "moe" and self.core == 1:
            raise ValueError("moe mixes experts, and core 1 is one alone: give a core of 2 or more")
        if self.mixture == "symmetric" and not self.contexts:
            raise ValueError("symmetric gates between scales: give at least one context")
        return self

    @property
    def scales(self) -> list[int]:
        """Numbers of intervals, the core's first."""
        return [self.core, *self.contexts]

    @property
    def gates(self) -> int:
        """How many gates a router gives; 0 = no routers."""
        return {
            "asymmetric": len(self.contexts), "symmetric": len(self.scales), "moe": self.core
        }[self.mixture]  # fmt: skip
