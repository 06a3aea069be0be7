"""LoRA (Hu et al., ICLR 2022) through PEFT, injected in place; its file is one that PEFT reads."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from peft import LoraConfig, PeftConfig
from peft.tuners.lora import LoraModel
from torch import Tensor, nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import Adapter, refuse_mismatch
from edgekit.generators.adapters.config import AdaLora, Lora
from edgekit.generators.adapters.sites import ADDED_ATTENTION, ATTENTION, Site, sites
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator

PEFT_PREFIX = "base_model.model."  # of every tensor in a file that PeftModel writes
NAME = "default"  # of the one adapter that PEFT is told about


def target_sites(denoiser: nn.Module, config: Lora | AdaLora) -> list[Site]:
    """The linear layers that ``config.targets`` means. Raises UserError where there are none, and for ``added``
    where there is no text stream."""
    if config.added and not sites(denoiser, ADDED_ATTENTION):
        raise UserError(
            f"{config.kind}: added=true",
            f"a {type(denoiser).__name__} has no text stream of its own",
            "leave method.added out",
        )
    if config.targets == "linears":
        found = [s for s in sites(denoiser) if isinstance(s.module, nn.Linear)]
    else:
        roles = {"attention": ATTENTION, "qv": ("q", "v")}[config.targets]
        added = [role for role in ADDED_ATTENTION if config.added and role.removeprefix("added_") in roles]
        found = sites(denoiser, [*roles, *added])
    if not found:
        raise UserError(
            f"{config.kind}: nothing to adapt",
            f"no layer is one of {config.targets!r}",
            "choose other targets",
        )
    return found


class PeftAdapter(Adapter, ABC):
    """What LoRA and AdaLoRA share: low-rank tensors that a PEFT tuner puts beside chosen linear layers.

    A module that blocks share (a DiT's embeddings) is adapted once. In the file it stands under every name
    that it has, so that the file also fits a denoiser whose blocks hold copies of it, as diffusers loads one.
    """

    tensors: tuple[str, ...]  # of one adapted layer, as the file names them

    def __init__(self, config: Lora | AdaLora, generator: Generator, seed: int):
        super().__init__(config, generator)
        denoiser = generator.denoiser
        self.sites = [s.name for s in target_sites(denoiser, config)]
        settings = self.peft_settings()  # both refuse before anything is changed
        self.train_table(config.table, config.labels, seed)
        names: dict[int, list[str]] = {}
        for name, module in denoiser.named_modules(remove_duplicate=False):
            names.setdefault(id(module), []).append(name)
        modules = [*self.sites, *(name.removesuffix(".weight") for name in self.in_place)]
        self.names = {name: names[id(denoiser.get_submodule(name))] for name in modules}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draw_of(seed, "lora").initial_seed())  # PEFT draws from the global stream
            self.tuner = self.make_tuner(settings)
        for site in self.sites:
            layer = denoiser.get_submodule(site)
            for tensor in self.tensors:
                part = getattr(layer, tensor.split(".")[0])[NAME]
                parameter = part.weight if isinstance(part, nn.Module) else part
                parameter.data = parameter.data.float()  # also on a bf16 base: updates are small
                self.added[f"{site}.{tensor}"] = parameter

    @abstractmethod
    def peft_settings(self) -> PeftConfig:
        """For ``self.sites``. Raises UserError for settings that cannot be."""

    @abstractmethod
    def make_tuner(self, settings: PeftConfig) -> LoraModel:
        """PEFT's tuner, injected into the denoiser under NAME."""

    def state(self) -> dict[str, Tensor]:
        return {filed: t.clone() for name, t in super().state().items() for filed in self._filed(name)}

    def load(self, state: dict[str, Tensor]) -> None:
        refuse_mismatch(self.state(), state, f"this {self.kind} adapter does not fit its config")
        super().load({name: state[PEFT_PREFIX + name] for name in self.trainable()})

    def _filed(self, name: str) -> list[str]:
        suffix = next((f".{t}" for t in self.tensors if name.endswith(f".{t}")), ".weight")
        return [f"{PEFT_PREFIX}{module}{suffix}" for module in self.names[name.removesuffix(suffix)]]

    def facts(self) -> dict:
        return {"layers": len(self.sites)}

    def remove(self) -> None:
        self.tuner.unload()

    def merge(self) -> None:
        self.tuner.merge_and_unload()

    @abstractmethod
    def factors(self, site: str) -> tuple[Tensor, Tensor]:
        """A [r, in] and B [out, r] whose product the layer adds, up to a scale; AdaLoRA's Λ is inside A."""

    def changes_nothing(self) -> bool:
        if self.moved_in_place():
            return False
        for site in self.sites:
            a, b = self.factors(site)
            if ((a != 0).any(dim=1) & (b != 0).any(dim=0)).any():
                return False
        return True


class LoraAdapter(PeftAdapter):
    kind = "lora"
    tensors = ("lora_A.weight", "lora_B.weight")

    def peft_settings(self) -> LoraConfig:
        return LoraConfig(
            r=self.config.rank,
            lora_alpha=self._alpha(),
            target_modules=list(self.sites),
            lora_dropout=self.config.dropout,
            init_lora_weights="gaussian" if self.config.init == "gaussian" else True,
        )

    def make_tuner(self, settings: LoraConfig) -> LoraModel:
        return LoraModel(self.generator.denoiser, settings, NAME)

    def factors(self, site: str) -> tuple[Tensor, Tensor]:
        return self.added[f"{site}.lora_A.weight"], self.added[f"{site}.lora_B.weight"]

    def peft_config(self) -> dict:
        tables = [name.removesuffix(".weight") for name in self.in_place]
        return {
            "peft_type": "LORA",
            "r": self.config.rank,
            "lora_alpha": self._alpha(),
            "lora_dropout": self.config.dropout,
            "bias": "none",
            "target_modules": sorted(name for site in self.sites for name in self.names[site]),
            "modules_to_save": sorted(name for table in tables for name in self.names[table]) or None,
        }

    def _alpha(self) -> float:
        return self.config.rank if self.config.alpha is None else self.config.alpha


def attach(config: Lora, generator: Generator, seed: int) -> LoraAdapter:
    return LoraAdapter(config, generator, seed)
