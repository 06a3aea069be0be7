"""The settings of every fine-tuning method, and their union: ``kind`` chooses. Light: no torch.

table: train the label table too, where the base has one. labels: names for a base that is asked with labels; where
they are not its own, its table is built anew for them (a name that it knows keeps its row) and trained whatever
``table`` says (DiffFit and DriveDiTFit refuse new labels with table: false). Empty: the base's own.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field, model_validator

from edgekit.generators.adapters.method import Labels, Method

_HERE = "edgekit.generators.adapters"
_NO_TOKENS = "its convolutions have no token sequence that a prompt token could join"


class Full(Method):
    """Every tensor of the denoiser."""

    kind: Literal["full"] = "full"
    attaches: ClassVar[str] = f"{_HERE}.full:attach"
    labels: Labels = []


class BitFit(Method):
    """Every bias vector (Ben Zaken et al., ACL 2022).

    table: the label table as well. DiffFit's BitFit trains it (607,136 parameters on DiT-XL/2 with 101
    labels), DriveDiTFit's does not (489,632). scale_shift: PixArt's tables, biases by what they do.
    """

    kind: Literal["bitfit"] = "bitfit"
    attaches: ClassVar[str] = f"{_HERE}.bitfit:attach"
    table: bool = True
    labels: Labels = []
    scale_shift: bool = False


Targets = Literal["attention", "qv", "linears"]


def _refuse_added(config):
    if config.added and config.targets == "linears":
        raise ValueError("targets: linears has the text stream already; leave added out")
    return config


class Lora(Method):
    """Low-rank updates (Hu et al., ICLR 2022) through PEFT: W x + (alpha / rank) B A x.

    targets: attention (q, k, v, out), qv, or linears (every linear layer, embeddings, final layer and text stream
    included); added: an MM-DiT's text stream too; init: of A, B is zero; alpha: None means rank.
    """

    kind: Literal["lora"] = "lora"
    attaches: ClassVar[str] = f"{_HERE}.lora:attach"
    targets: Targets = "attention"
    added: bool = False
    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)
    init: Literal["kaiming", "gaussian"] = "kaiming"
    dropout: float = Field(0.0, ge=0, lt=1)
    table: bool = False
    labels: Labels = []

    @model_validator(mode="after")
    def _adds(self) -> Lora:
        return _refuse_added(self)


class AdaLora(Method):
    """LoRA as P Λ Q whose ranks are pruned to a budget while it trains (Zhang et al., ICLR 2023), through PEFT.

    rank: each layer's at the start; target_rank: the mean at the end; steps: of the whole training (the
    budget's schedule needs it): none pruned in the first ``warmup`` share, all in the last ``settle`` share.
    """

    kind: Literal["adalora"] = "adalora"
    attaches: ClassVar[str] = f"{_HERE}.adalora:attach"
    targets: Targets = "attention"
    added: bool = False
    rank: int = Field(12, ge=1)
    target_rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)
    steps: int = Field(1000, ge=1)
    warmup: float = Field(0.1, ge=0, lt=1)
    settle: float = Field(0.5, ge=0, lt=1)
    every: int = Field(10, ge=1)
    orthogonality: float = Field(0.5, ge=0)
    table: bool = False
    labels: Labels = []

    @model_validator(mode="after")
    def _shrinks(self) -> AdaLora:
        if self.target_rank >= self.rank:
            raise ValueError(
                f"target_rank {self.target_rank} is not below rank {self.rank}: nothing to prune"
            )
        if self.warmup + self.settle >= 1:
            raise ValueError(f"warmup {self.warmup} + settle {self.settle} leave no step to prune in")
        return _refuse_added(self)


class Vpt(Method):
    """Learned tokens that join a block's input and are dropped after it (VPT-deep, Jia et al., ECCV 2022).

    DiffFit's setting: one token in each of the first 5 blocks, final layer trained (unstable otherwise).
    """

    kind: Literal["vpt"] = "vpt"
    attaches: ClassVar[str] = f"{_HERE}.vpt:attach"
    not_for: ClassVar[dict[str, str]] = {
        "unet": _NO_TOKENS,
        "mmdit": "its blocks hold two streams that are normalised apart; the text stream is the prompt already",
    }
    tokens: int = Field(1, ge=1)
    depth: int = Field(5, ge=1)
    final: bool = True
    table: bool = True
    labels: Labels = []


class Bottleneck(Method):
    """A small network beside or behind each feed-forward layer (AdaptFormer, Chen et al., NeurIPS 2022).

    parallel: ff(x) + scale * up(relu(down(x))); sequential: h + scale * up(relu(down(h))), h = ff(x).
    scale: None means 0.1 for parallel and 1 for sequential.
    """

    kind: Literal["adapter"] = "adapter"
    attaches: ClassVar[str] = f"{_HERE}.bottleneck:attach"
    placement: Literal["parallel", "sequential"] = "parallel"
    width: int = Field(64, ge=1)
    scale: float | None = None
    table: bool = True
    labels: Labels = []


_OWN_FILES = {  # each method's config class stands beside its code
    "difffit": "DiffFit",
    "driveditfit": "DriveDiTFit",
    "calora": "CaLora",
    "tsm": "TimestepMaster",
}


def _methods() -> dict[str, type[Method]]:
    found: list[type[Method]] = [Full, BitFit, Lora, AdaLora, Vpt, Bottleneck]
    for folder, name in _OWN_FILES.items():
        if find_spec(f"{_HERE}.{folder}") and find_spec(f"{_HERE}.{folder}.config"):
            found.append(getattr(import_module(f"{_HERE}.{folder}.config"), name))
    # A stranger's package: its entry point of this group is a config class like those above.
    found += [point.load() for point in entry_points(group="edgekit.adapters")]
    return {cls.model_fields["kind"].default: cls for cls in found}


METHODS: dict[str, type[Method]] = _methods()
AdapterMethod = Annotated[Union[tuple(METHODS.values())], Field(discriminator="kind")]  # noqa: UP007
