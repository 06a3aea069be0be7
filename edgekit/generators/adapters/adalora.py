"""AdaLoRA (Zhang et al., ICLR 2023) through PEFT: W x + P Λ Q x whose ranks are pruned to a budget."""

from __future__ import annotations

import torch
from peft import AdaLoraConfig
from peft.tuners.adalora import AdaLoraModel
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.generators.adapters.config import AdaLora
from edgekit.generators.adapters.lora import NAME, PeftAdapter
from edgekit.generators.generator import Generator

_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # PEFT's rank allocator keeps these between steps


class AdaLoraAdapter(PeftAdapter):
    """lora_A = Q [r, in], lora_E = the diagonal of Λ [r, 1] (zero at the start), lora_B = P [out, r].

    The trainer calls ``after_step``, which prunes, and adds ``penalty``.
    """

    kind = "adalora"
    tensors = ("lora_A", "lora_B", "lora_E")

    def peft_settings(self) -> AdaLoraConfig:
        config = self.config
        # PEFT prunes to the target at step steps - last: without a last step it would never get there.
        first, last = round(config.warmup * config.steps), max(1, round(config.settle * config.steps))
        if first >= config.steps - last:
            raise UserError(
                f"adalora: {config.steps} steps are too few to prune in",
                f"the warm-up takes {first} of them and settling the last {last}",
                "raise method.steps, or lower method.warmup and method.settle",
            )
        return AdaLoraConfig(
            init_r=config.rank,
            target_r=config.target_rank,
            lora_alpha=config.rank if config.alpha is None else config.alpha,
            tinit=first,
            tfinal=last,
            deltaT=config.every,
            total_step=config.steps,
            orth_reg_weight=config.orthogonality,
            target_modules=list(self.sites),
        )

    def make_tuner(self, settings: AdaLoraConfig) -> AdaLoraModel:
        return AdaLoraModel(self.generator.denoiser, {NAME: settings}, NAME)

    def penalty(self) -> Tensor | None:
        """Mean over P and Q of every layer of ||PᵀP - I||_F (||QQᵀ - I||_F), weighted (the paper's eq. 4)."""
        if not self.config.orthogonality:
            return None
        far = []
        for site in self.sites:
            for m in (self.added[f"{site}.lora_A"], self.added[f"{site}.lora_B"].T):  # each [r, d]
                far.append(torch.linalg.matrix_norm(m @ m.T - torch.eye(len(m), device=m.device)))
        return self.config.orthogonality * torch.stack(far).mean()

    def after_step(self, step: int) -> None:
        for parameter in self.added.values():
            if parameter.grad is None:  # PEFT multiplies by every gradient
                parameter.grad = torch.zeros_like(parameter)
        self.tuner.update_and_allocate(step)

    def after_mean(self) -> None:
        """The mean of what was pruned is not 0: pruned again."""
        if pattern := self.tuner.peft_config[NAME].rank_pattern:
            self.tuner.rankallocator.mask_using_rank_pattern(self.tuner.model, pattern)

    def training_state(self) -> dict:
        allocator, pattern = self.tuner.rankallocator, self.tuner.peft_config[NAME].rank_pattern
        return {name: dict(getattr(allocator, name)) for name in _AVERAGES} | {"rank_pattern": pattern}

    def load_training_state(self, state: dict) -> None:
        for name in _AVERAGES:
            setattr(self.tuner.rankallocator, name, dict(state[name]))
        self.tuner.peft_config[NAME].rank_pattern = state["rank_pattern"]

    def factors(self, site: str) -> tuple[Tensor, Tensor]:
        return self.added[f"{site}.lora_A"] * self.added[f"{site}.lora_E"], self.added[f"{site}.lora_B"]

    def facts(self) -> dict:
        ranks = {site: int((self.added[f"{site}.lora_E"] != 0).sum()) for site in self.sites}
        return super().facts() | {"ranks": ranks}


def attach(config: AdaLora, generator: Generator, seed: int) -> AdaLoraAdapter:
    return AdaLoraAdapter(config, generator, seed)
