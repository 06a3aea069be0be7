"""What every fine-tuning method is: an Adapter on a Generator, attached and detached bit for bit."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from edgekit.core.errors import UserError, suggestion
from edgekit.generators.adapters.config import METHODS
from edgekit.generators.adapters.method import Method
from edgekit.generators.adapters.sites import label_tables
from edgekit.generators.generator import Generator
from edgekit.generators.process import Process


class Adapter:
    """A change to a generator that is trained, saved and taken off again while the base stays as it is.

    Two kinds of tensors are trained: base parameters *in place* (``train_in_place``; their old values are
    kept, so that ``detach`` restores them) and new ones, which a subclass puts into ``self.added`` under
    stable names. A subclass overrides ``remove`` (take the new modules out), ``merge`` (put their effect into
    plain weights, then take them out) and, where a changed parameter does not mean a changed output,
    ``changes_nothing``.
    """

    kind: ClassVar[str]

    def __init__(self, config: Method, generator: Generator):
        self.config = config
        self.generator = generator
        self.in_place: dict[str, nn.Parameter] = {}
        self.added: dict[str, nn.Parameter] = {}
        self.base: dict[str, str] = {}  # fingerprint of the base, taken by attach()
        self.base_digest = ""
        self._process = generator.process  # the base's own; training and load_adapter may set another
        self.process_of_training: Process | None = None  # of a finished training or a loaded file
        self.kept_facts: dict = {}  # of the file that it was loaded from
        self._put_labels_back: Callable[[], None] | None = None
        self._originals: dict[str, Tensor] = {}
        self._at_start: dict[str, Tensor] = {}
        self._required_grad: dict[str, bool] = {}

    def train_in_place(self, parameters: dict[str, nn.Parameter]) -> None:
        """Marks base parameters as trained; their values are kept for ``detach``.

        On a bfloat16 base a trainer makes them float32 (what it trains would be lost in rounding), and so does
        ``load``; a prediction then asks for autocast.
        """
        self.in_place |= parameters
        self._originals |= {name: p.detach().clone() for name, p in parameters.items()}

    def train_table(self, wanted: bool, labels: list[str], seed: int) -> None:
        """Trains the label table where ``wanted``, and always where ``labels`` are not the base's own: then it
        is built anew first (one row a label, the null row copied). A base without a table has none to train.

        Raises UserError for labels on a base that is asked with text.
        """
        if labels and labels != getattr(self.generator.condition, "names", None):
            from edgekit.generators.adapters.labels import relabel

            self._put_labels_back = relabel(self.generator, labels, seed=seed)
            wanted = True
        if wanted:
            self.train_in_place(label_tables(self.generator.denoiser))

    def trainable(self) -> dict[str, nn.Parameter]:
        """All of these and nothing else requires a gradient after attach."""
        return self.in_place | self.added

    def groups(self) -> list[dict]:
        """Optimiser groups: params, lr_scale (times the recipe's rate), weight_decay (None: the recipe's)."""
        return [{"params": list(self.trainable().values()), "lr_scale": 1.0, "weight_decay": None}]

    def buffers(self) -> dict[str, Tensor]:
        """Tensors that are saved and not trained."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """What adapter_model.safetensors holds."""
        return {name: t.detach().clone() for name, t in (self.trainable() | self.buffers()).items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Raises UserError naming the first missing, extra or mis-shaped tensor."""
        mine = self.trainable() | self.buffers()
        refuse_mismatch(mine, state, f"this {self.kind} adapter does not fit its config")
        for name, tensor in mine.items():
            put(tensor, state[name])

    def facts(self) -> dict:
        """JSON that a reader of the adapter should know beside its config."""
        return {}

    def all_facts(self) -> dict:
        """``facts``, and of a loaded adapter what its tensors do not tell (how its labels were started, say)."""
        return self.kept_facts | self.facts()

    def peft_config(self) -> dict | None:
        """A PEFT config for the top of adapter_config.json, where PEFT can read this adapter."""
        return None

    def on_t(self, t: Tensor) -> None:
        """Told the batch's timesteps [B] before each prediction."""

    def training_state(self) -> dict:
        """Tensors beside ``state`` that a resumed training needs, for ``torch.save``."""
        return {}

    def load_training_state(self, state: dict) -> None:
        """Takes ``training_state`` back."""

    def penalty(self) -> Tensor | None:
        """A term that the method adds to the training loss (AdaLoRA's orthogonality)."""
        return None

    def after_step(self, step: int) -> None:
        """Called after optimiser step ``step`` (from 0), while gradients are still there."""

    def after_mean(self) -> None:
        """Called when the trained tensors have become their running means."""

    def moved_in_place(self) -> bool:
        """Whether a base parameter has another value than at attach."""
        return any(not torch.equal(p, self._originals[name].to(p)) for name, p in self.in_place.items())

    def changes_nothing(self) -> bool:
        """Whether every trained tensor has the value that it had at attach."""
        still = all(torch.equal(p, self._at_start[name].to(p)) for name, p in self.added.items())
        return still and not self.moved_in_place()

    def remove(self) -> None:
        """Takes the added modules out of the denoiser."""

    def merge(self) -> None:
        """Puts the added modules' effect into plain weights and takes them out. Raises UserError if it cannot."""
        if self.added:
            raise UserError(
                f"{self.kind} cannot be folded into plain weights",
                f"it adds {len(self.added)} tensors whose effect no weight of the base can hold",
                "keep it attached",
            )

    def fold(self) -> None:
        """Leaves a plain generator that carries the change, in the base's precision."""
        self.merge()
        for name, parameter in self.in_place.items():
            parameter.data = parameter.data.to(self._originals[name].dtype)
        self._release()

    @torch.no_grad()
    def detach(self) -> None:
        """Leaves the generator bit for bit what it was before attach."""
        self.remove()
        for name, parameter in self.in_place.items():
            put(parameter, self._originals[name])
        if self._put_labels_back:
            self._put_labels_back()
        self.generator.process = self._process
        self._release()

    def _release(self) -> None:
        for name, parameter in self.generator.denoiser.named_parameters():
            parameter.requires_grad_(self._required_grad.get(name, False))
            parameter.grad = None
        self.generator.adapter = None


def supports(kind: str, arch: str) -> str | None:
    """None where method ``kind`` works on ``arch``, else the reason in words. Raises UserError for no method."""
    if kind not in METHODS:
        raise UserError(f"no fine-tuning method {kind!r}", suggestion(kind, METHODS), "mend method.kind")
    return METHODS[kind].not_for.get(arch)


def attach(config: Method, generator: Generator, seed: int) -> Adapter:
    """Puts a new, untrained adapter of ``config`` on ``generator`` and freezes everything else.

    Raises UserError where the pair makes no sense, or where an adapter is attached already.
    """
    reason = supports(config.kind, generator.arch)
    if reason:
        raise UserError(
            f"{config.kind} on {generator.arch}: not applicable", reason, "choose another method or base"
        )
    if generator.adapter is not None:
        raise UserError(
            f"{config.kind}: the generator carries an adapter already",
            f"it is a {generator.adapter.kind} adapter",
            "detach() or fold() it first",
        )
    denoiser = generator.denoiser
    required = {name: p.requires_grad for name, p in denoiser.named_parameters()}
    on_meta = any(p.is_meta for p in denoiser.parameters())  # a shape alone has no bytes to take a digest of
    base, digest = ({}, "") if on_meta else (generator.fingerprint(), generator.digest())
    denoiser.requires_grad_(False)
    module, function = config.attaches.split(":")
    try:
        adapter = getattr(importlib.import_module(module), function)(config, generator, seed)
    except UserError:
        for name, parameter in denoiser.named_parameters():
            parameter.requires_grad_(required.get(name, False))
        raise
    adapter.base, adapter.base_digest, adapter._required_grad = base, digest, required
    trainable = adapter.trainable()
    adapter._at_start = {name: p.detach().clone() for name, p in adapter.added.items()}
    chosen = {id(p) for p in trainable.values()}
    for parameter in denoiser.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    for parameter in trainable.values():
        parameter.requires_grad_(True)
    generator.adapter = adapter
    return adapter


@torch.no_grad()
def put(tensor: Tensor, value: Tensor) -> None:
    """``value`` into ``tensor``, in the precision of ``value``: bfloat16 would round what was trained away."""
    if tensor.dtype == value.dtype:
        tensor.copy_(value)
    else:
        tensor.data = value.to(tensor.device, copy=True)


def refuse_mismatch(mine: dict[str, Tensor], theirs: dict[str, Tensor], what: str) -> None:
    """Raises UserError naming the first tensor that is missing, extra or of another shape."""
    for name in [*mine, *theirs]:
        if name not in theirs or name not in mine:
            held, lacking = ("the generator", "the file") if name in mine else ("the file", "the generator")
            why = f"{name} is in {held} and not in {lacking}"
        elif mine[name].shape != theirs[name].shape:
            why = f"{name} is {tuple(mine[name].shape)} here and {tuple(theirs[name].shape)} in the file"
        else:
            continue
        raise UserError(what, why, "use the base and the config that the adapter was made with")
