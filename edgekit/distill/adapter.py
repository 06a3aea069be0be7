"""LoRA on the distilled weights, through PEFT, merged with a logit difference that is printed."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from edgekit.core.errors import UserError
from edgekit.core.run import Run
from edgekit.distill.batches import Batch, Row
from edgekit.distill.config import Lora
from edgekit.distill.trainer import Trainer, answer_logits


def add_lora(model: nn.Module, how: Lora) -> nn.Module:
    """Wraps ``model`` in a PEFT LoRA; says which modules it took. Raises UserError for none."""
    from peft import LoraConfig, get_peft_model

    try:
        return get_peft_model(
            model,
            LoraConfig(
                r=how.lora_rank,
                lora_alpha=how.lora_alpha,
                lora_dropout=how.lora_dropout,
                target_modules=how.target_modules,
            ),
        )
    except ValueError as error:
        raise UserError(
            "LoRA found nothing to adapt",
            str(error)[:200],
            "mend lora.target_modules (a regex over module names)",
        ) from None


def tune_lora(
    trainer: Trainer, model: nn.Module, how: Lora, rows: list[Row], dev: list[Row], run: Run, out: Path
) -> tuple[nn.Module, dict]:
    """Trains the adapter on labels alone, writes it to ``out``, merges, and measures the merge.

    Returns the merged plain model and the report: adapted modules, whether the adapter changed the
    answers at all (a LoRA without effect is a known silent failure), and max |Δlogit| of merging.
    """
    probe = trainer.batcher.batch(rows[: min(8, len(rows))])
    before = _logits(model, probe)
    wrapped = add_lora(model, how)
    inner = wrapped.base_model.model
    named = [n for n, _ in wrapped.named_modules() if n.endswith("lora_A")]
    trainer.phase("lora", inner, rows, dev, how.steps, how.learning_rate, alpha=0.0)
    wrapped.save_pretrained(out, safe_serialization=True)
    adapted = _logits(inner, probe)
    merged = copy.deepcopy(wrapped).merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    report = {
        "modules": len(named),
        "trainable": sum(p.numel() for n, p in wrapped.named_parameters() if "lora_" in n),
        "effect_max_abs": float((adapted - before).abs().max()),
        "merge_max_abs": float((_logits(merged, probe) - adapted).abs().max()),
    }
    run.say(
        f"LoRA: {report['modules']} modules, moved the logits by {report['effect_max_abs']:.3g}; "
        f"merged with max |Δlogit| {report['merge_max_abs']:.2e}"
    )
    if report["effect_max_abs"] == 0 and how.steps:
        raise UserError("LoRA had no effect", "no logit moved", "check lora.target_modules and learning_rate")
    return merged, report


@torch.no_grad()
def _logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    model.eval()
    return answer_logits(model, batch)[0].float()
