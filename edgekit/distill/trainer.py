"""The training loop: one optimiser, a cosine, resumable to the bit on the CPU at a fixed thread count."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.core.files import read_jsonl, write_jsonl
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.distill.batches import Batch, Batcher, Row, order
from edgekit.distill.config import DistillConfig, Train
from edgekit.distill.dense import DenseHead, dense_loss
from edgekit.distill.losses import distillation
from edgekit.models.patches import patches_by_matrix


def schedule(step: int, steps: int, train: Train) -> float:
    """The share of the learning rate at ``step``: linear warm-up, cosine to final_share."""
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    done = (step - train.warmup_steps) / max(1, steps - train.warmup_steps)
    return train.final_share + (1 - train.final_share) * 0.5 * (1 + math.cos(math.pi * min(done, 1)))


def vision(model: nn.Module, pixel_values: Tensor, grid_thw: Tensor) -> Tensor:
    """The vision tower's merged tokens (ΣP / merge², hidden)."""
    with patches_by_matrix(model):
        return model.model.visual(pixel_values, grid_thw=grid_thw).pooler_output


def answer_logits(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (N, V) at the learned positions, and the merged vision tokens.

    The language model runs on embeddings with the vision tokens put in, as the library's own
    forward does, so that one pass through the tower serves both losses.
    """
    seen = vision(model, batch.pixel_values, batch.image_grid_thw)
    embedded = model.get_input_embeddings()(batch.input_ids)
    pads = (batch.input_ids == model.config.image_token_id).unsqueeze(-1).expand_as(embedded)
    embedded = embedded.masked_scatter(pads, seen.to(embedded.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[batch.where]), seen


class Trainer:
    """Runs ``steps`` of one phase on the batcher's device, saving to ``run.state`` and going on from there."""

    def __init__(self, config: DistillConfig, run: Run, batcher: Batcher, teacher: nn.Module | None):
        self.config, self.run, self.batcher, self.device = config, run, batcher, batcher.device
        self.teacher = teacher.to(self.device) if teacher is not None else None
        torch.set_num_threads(config.train.threads)

    def phase(
        self,
        name: str,
        model: nn.Module,
        rows: list[Row],
        dev: list[Row],
        steps: int,
        rate: float,
        alpha: float,
        dense: bool = False,
    ) -> list[dict]:
        """Trains ``model`` in place; returns the curve. A finished or half-done phase is resumed.

        alpha: the teacher's share; dense: with the recipe's dense loss and its warm-up.
        """
        config, train = self.config, self.config.train
        torch.manual_seed(config.seed)
        model.to(self.device)
        head = None
        if dense and config.dense.weight:
            head = DenseHead(model.config.text_config.hidden_size).to(self.device)
        if train.freeze_vision_tower:
            model.model.visual.requires_grad_(False)
        tuned = [p for p in model.parameters() if p.requires_grad]
        decay = [p for p in tuned if p.ndim >= 2]
        rest = [p for p in tuned if p.ndim < 2]
        groups = [
            {"params": decay + (list(head.parameters()) if head else []), "weight_decay": train.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
        saved = self.run.state / f"{name}.pt"
        curve_path = self.run.state / f"{name}.jsonl"
        step, curve = 0, []
        parts = nn.ModuleDict({"model": model} | ({"head": head} if head else {}))
        if saved.exists():
            state = torch.load(saved, map_location="cpu", weights_only=True)
            parts.load_state_dict(state["parts"])
            optimiser.load_state_dict(state["optimiser"])
            torch.set_rng_state(state["rng"])
            step = state["step"]
            curve = [r for r in read_jsonl(curve_path) if r["step"] <= step] if curve_path.exists() else []
            self.run.say(f"{name}: resuming at step {step} of {steps}")

        def save() -> None:
            state = {
                "parts": parts.state_dict(),
                "optimiser": optimiser.state_dict(),
                "rng": torch.get_rng_state(),
                "step": step,
            }
            write_jsonl(curve_path, curve)
            partial = Path(f"{saved}.part")
            torch.save(state, partial)
            os.replace(partial, saved)

        with bar(name, steps, "step", initial=step) as shown:
            while step < steps:
                for group in optimiser.param_groups:
                    group["lr"] = rate * schedule(step, steps, train)
                told = self._step(parts, optimiser, rows, step, alpha, tuned)
                step += 1
                shown.update()
                if step % 10 == 0 or step == steps:
                    shown.set_postfix({k: f"{v:.3f}" for k, v in told.items()})
                    curve.append({"step": step, **{k: round(v, 5) for k, v in told.items()}})
                if dev and (step % train.dev_every == 0 or step == steps):
                    if not curve or curve[-1]["step"] != step:
                        curve.append({"step": step})
                    curve[-1] |= self.look(model, dev)
                    self.run.log("dev", phase=name, **curve[-1])
                if step % train.save_every == 0 or step == steps:
                    save()
        return curve

    def _step(self, parts, optimiser, rows, step, alpha, tuned) -> dict[str, float]:
        config, train = self.config, self.config.train
        model, head = parts["model"], parts["head"] if "head" in parts else None
        model.train()
        rng = np.random.default_rng([config.seed, 7, step])
        told: dict[str, float] = {}
        loss = torch.zeros((), device=self.device)
        if head is not None and step < config.dense.warmup_steps:
            chosen = [rows[i] for i in order(len(rows), config.dense.warmup_batch, step, config.seed)]
            pixels, grids, targets = self.batcher.windows(chosen, config.augment, rng, config.dense)
            seen = vision(model, pixels, grids)
        else:
            chosen = [rows[i] for i in order(len(rows), train.batch, step, config.seed)]
            batch = self.batcher.batch(chosen, config.augment, rng, config.dense if head else None)
            targets = batch.dense
            loss, told, seen = self._answers(model, batch, alpha)
        if head is not None:
            extra = dense_loss(head(seen.float()), targets, config.dense.positive_weight)
            told["dense"] = extra.item()
            loss = loss + config.dense.weight * extra
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned, train.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return told

    def _answers(self, model: nn.Module, batch: Batch, alpha: float) -> tuple[Tensor, dict, Tensor]:
        """The distillation loss of a batch, its parts, and the vision tokens."""
        loss = self.config.loss
        narrow = self.config.train.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=narrow):
            logits, seen = answer_logits(model, batch)
            taught = None
            if self.teacher is not None and alpha:
                with torch.no_grad():
                    taught = answer_logits(self.teacher, batch)[0]
        real = self.batcher.tokenizer.get_vocab_size()
        total, told = distillation(
            logits.float()[:, :real],
            None if taught is None else taught.float()[:, :real],
            batch.targets,
            batch.weights,
            alpha=alpha if taught is not None else 0.0,
            temperature=loss.temperature,
            kind=loss.divergence,
        )
        return total, told, seen

    @torch.no_grad()
    def look(self, model: nn.Module, dev: list[Row]) -> dict[str, float]:
        """Teacher-forced on dev: CE and the share of right value tokens, with true and with blank
        images. Where the two do not part, the model is blind, however healthy its loss looks."""
        model.eval()
        told = {}
        for pixels in ("true", "blank"):
            total, right, count = 0.0, 0, 0
            for i in range(0, len(dev), self.config.train.batch):
                batch = self.batcher.batch(dev[i : i + self.config.train.batch], pixels=pixels)
                logits = answer_logits(model, batch)[0].float()
                wrong = nn.functional.cross_entropy(logits, batch.targets, reduction="none")
                total += wrong[batch.value].sum().item()
                right += (logits.argmax(-1) == batch.targets)[batch.value].sum().item()
                count += int(batch.value.sum())
            told[f"dev_ce_{pixels}"] = round(total / max(count, 1), 5)
            told[f"dev_values_{pixels}"] = round(right / max(count, 1), 5)
        return told
