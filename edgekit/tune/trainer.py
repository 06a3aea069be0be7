"""The training loop: a frozen generator, a few trained tensors; resumable to the bit from ``run.state``."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from edgekit.core.errors import UserError
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator
from edgekit.generators.objective import loss
from edgekit.generators.process import stage_betas, stage_of
from edgekit.tune.config import Train, TuneConfig
from edgekit.tune.data import Frame, Latents, flips_of, order
from edgekit.tune.ema import Ema


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with an optimiser of its own. first: the step of the whole training that it begins
    with. stage: what the adapter shall learn in it, where its method has stages (``adapter.begin(stage)``)."""

    name: str
    steps: int
    interval: tuple[float, float] | None = None
    stage: Any = None
    first: int = 0


def share_of_rate(step: int, steps: int, train: Train) -> float:
    """Linear warm-up, then a cosine down to ``final_share`` (1: constant)."""
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(1, steps - train.warmup_steps)
    return train.final_share + (1 - train.final_share) * 0.5 * (1 + math.cos(math.pi * done))


def set_stage(generator: Generator, step: int, steps: int) -> None:
    """DriveDiTFit's progressive schedule: the noise process of ``step``."""
    process = generator.process
    betas = stage_betas(stage_of(step, steps), len(process.betas))
    if betas != process.betas:
        generator.process = replace(process, betas=betas)


class Trainer:
    """Trains ``adapter`` (and ``encoders``' parameters) on ``frames``.

    The denoiser stays in eval mode but for LoRA's own dropout. In bf16 the passes run under autocast, and
    what is trained is float32 whatever the base is.
    """

    def __init__(
        self, config: TuneConfig, run: Run, adapter: Adapter, frames: list[Frame], encoders: list[nn.Module]
    ):
        self.config, self.run, self.adapter, self.frames = config, run, adapter, frames
        self.generator = adapter.generator
        self.latents = Latents(self.generator)
        self.accelerator = Accelerator(gradient_accumulation_steps=config.train.accumulate)
        self.device = self.generator.device
        self.text_parameters: dict[str, nn.Parameter] = {}
        for number, encoder in enumerate(encoders):
            self.text_parameters |= {f"text.{number}.{name}": p for name, p in encoder.named_parameters()}
        self.learned: dict[int, int] = {}  # numbers of elements of all that was ever trained, by identity
        if config.train.gradient_checkpointing:
            self.generator.gradient_checkpointing()

    def run_phase(self, phase: Phase) -> list[dict]:
        """Trains in place and returns the curve; a finished or half-done phase is taken up where it stopped.

        Afterwards the tensors hold their running means, where ``train.ema`` is set.
        """
        train = self.config.train
        torch.manual_seed(self.config.seed)
        if phase.stage is not None:
            self.adapter.begin(phase.stage)
        chosen = self.adapter.trainable() | self.text_parameters
        for parameter in chosen.values():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)
        self.learned |= {id(p): p.numel() for p in chosen.values()}
        optimiser = torch.optim.AdamW(self._groups(), lr=train.learning_rate)
        mean = Ema(chosen, train.ema) if train.ema else None
        step, curve = self._resume(phase, optimiser, mean)
        tensors = list(chosen.values())
        self._dropout(True)
        with bar(phase.name, phase.steps, "step", initial=step) as shown:
            while step < phase.steps:
                for group in optimiser.param_groups:
                    rate = train.learning_rate * group["lr_scale"]
                    group["lr"] = rate * share_of_rate(step, phase.steps, train)
                told = self._gradients(step, phase)
                norm = self.accelerator.clip_grad_norm_(tensors, train.clip or math.inf)
                told["gradient_norm"] = norm.item()
                self._refuse_nan(told, step)
                optimiser.step()
                self.adapter.after_step(step)
                optimiser.zero_grad(set_to_none=True)
                if mean:
                    mean.update()
                step += 1
                shown.update()
                if step % 10 == 0 or step == phase.steps:
                    shown.set_postfix({k: f"{v:.3f}" for k, v in told.items()})
                    curve.append(
                        {"phase": phase.name, "step": step, **{k: round(v, 5) for k, v in told.items()}}
                    )
                if step % train.save_every == 0 or step == phase.steps:
                    self._save(phase, step, curve, optimiser, mean)
        self._dropout(False)
        if self.config.objective.stages == "progressive":
            set_stage(self.generator, phase.steps - 1, phase.steps)
        if mean:
            mean.write()
            self.adapter.after_mean()
        self.adapter.process_of_training = self.generator.process
        return curve

    def _refuse_nan(self, told: dict[str, float], step: int) -> None:
        for key, what in (("total", "loss"), ("gradient_norm", "norm of the gradient")):
            if not math.isfinite(told[key]):
                saved = step - step % self.config.train.save_every
                raise UserError(
                    f"tune: the {what} of step {step} is not a number",
                    f"it is {told[key]}; the last save holds step {saved}",
                    "lower train.learning_rate, or set train.precision: fp32",
                )

    def _dropout(self, on: bool) -> None:
        """LoRA's own; all else stays in eval mode."""
        for module in self.generator.denoiser.modules():
            if hasattr(module, "lora_dropout"):
                module.lora_dropout.train(on)

    def _groups(self) -> list[dict]:
        decay = self.config.train.weight_decay
        groups = [{"lr_scale": 1.0, "weight_decay": None} | group for group in self.adapter.groups()]
        if self.text_parameters:
            groups.append(
                {"params": list(self.text_parameters.values()), "lr_scale": 1.0, "weight_decay": None}
            )
        for group in groups:
            group["weight_decay"] = decay if group["weight_decay"] is None else group["weight_decay"]
        return groups

    def _gradients(self, step: int, phase: Phase) -> dict[str, float]:
        """The gradients of one step, over its passes; the means of what was measured."""
        train, objective, generator = self.config.train, self.config.objective, self.generator
        if objective.stages == "progressive":
            set_stage(generator, step, phase.steps)
        process, told = generator.process, {}
        for part in range(train.accumulate):
            draw = draw_of(self.config.seed, 7, phase.name, step, part)
            done = (phase.first + step) * train.accumulate + part  # passes since the very first step
            chosen = order(len(self.frames), train.batch, done, self.config.seed)
            frames = [self.frames[i] for i in chosen]
            x0, mask = self.latents.batch(frames, flips_of(frames, train.flip, draw), objective)
            t = process.sample_t(train.batch, draw, phase.interval)
            eps = torch.randn(x0.shape, generator=draw)
            x0, eps, t = (x.to(self.device) for x in (x0, eps, t))
            mask = None if mask is None else mask.to(self.device)
            with self.autocast():
                cond = generator.condition.encode([frame.asked for frame in frames])
                cond = generator.condition.drop(cond, train.drop, draw)
                x_t = process.noise(x0, eps, t)
                output = generator.predict(x_t, t, cond)
            found = loss(process, output, x0, x_t, eps, t, mask, objective.object_weight)
            total = found.total.mean()
            if (penalty := self.adapter.penalty()) is not None:
                total = total + penalty
                told["penalty"] = told.get("penalty", 0.0) + penalty.item() / train.accumulate
            self.accelerator.backward(total)  # divides by the number of passes
            for key, value in found._asdict().items():
                if value is not None:
                    told[key] = told.get(key, 0.0) + value.mean().item() / train.accumulate
        return told

    def autocast(self) -> torch.autocast:
        narrow = self.config.train.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=narrow)

    # --- resuming ---

    def _file(self, phase: Phase) -> Path:
        return self.run.state / f"{phase.name}.pt"

    def _save(self, phase: Phase, step: int, curve: list[dict], optimiser, mean: Ema | None) -> None:
        state = {
            "step": step,
            "curve": curve,
            "tensors": self.adapter.state(),
            "texts": {name: p.detach() for name, p in self.text_parameters.items()},
            "optimiser": optimiser.state_dict(),
            "ema": mean.state() if mean else None,
            "rng": torch.get_rng_state(),
            "adapter": self.adapter.training_state(),
        }
        partial = Path(f"{self._file(phase)}.part")
        torch.save(state, partial)
        os.replace(partial, self._file(phase))

    @torch.no_grad()
    def _resume(self, phase: Phase, optimiser, mean: Ema | None) -> tuple[int, list[dict]]:
        if not self._file(phase).exists():
            return 0, []
        state = torch.load(self._file(phase), map_location="cpu", weights_only=True)
        self.adapter.load(state["tensors"])
        for name, parameter in self.text_parameters.items():
            parameter.copy_(state["texts"][name])
        optimiser.load_state_dict(state["optimiser"])
        if mean:
            mean.load(state["ema"])
        torch.set_rng_state(state["rng"])
        self.adapter.load_training_state(state["adapter"])
        self.run.say(f"{phase.name}: resuming at step {state['step']} of {phase.steps}")
        return state["step"], state["curve"]
