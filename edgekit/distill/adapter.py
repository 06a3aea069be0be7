"""LoRA on the distilled weights, through PEFT, merged with a logit difference that is printed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from edgekit.core.errors import UserError
from edgekit.core.files import write_text
from edgekit.core.run import Run
from edgekit.distill.batches import Batch, Row
from edgekit.distill.config import Lora
from edgekit.distill.trainer import Trainer, answer_logits

_README = """# LoRA of a driving student

A record of how `edgekit distill` ended. The Checkpoint in the folder above has this adapter merged in
already: use that one. What it was trained on, the student after distillation, is saved nowhere; the
sha256 of its weights is `{base}`.
"""


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
) -> tuple[nn.Module, dict, list[dict]]:
    """Trains the adapter on labels alone, writes it to ``out``, merges in place, and measures the merge.

    Returns the merged plain model, the report (adapted modules, whether the adapter changed the
    answers at all: a LoRA without effect is a known silent failure; max |Δlogit| of merging) and the
    curve.
    """
    base = weights_digest(model)
    probe = trainer.batcher.batch(rows[: min(8, len(rows))])
    before = _logits(model, probe)
    wrapped = add_lora(model, how)
    inner = wrapped.base_model.model
    named = [n for n, _ in wrapped.named_modules() if n.endswith("lora_A")]
    trainable = sum(p.numel() for n, p in wrapped.named_parameters() if "lora_" in n)
    curve = trainer.phase("lora", inner, rows, dev, how.steps, how.learning_rate, alpha=0.0)
    # PEFT would write where this machine keeps the model that the student started from.
    said = wrapped.peft_config["default"]
    said.base_model_name_or_path, said.revision = "student-before-lora", f"sha256:{base}"
    wrapped.save_pretrained(out, save_embedding_layers=False)
    write_text(out / "README.md", _README.format(base=base))
    adapted = _logits(inner, probe)
    merged = wrapped.merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    report = {
        "modules": len(named),
        "trainable": trainable,
        "effect_max_abs": float((adapted - before).abs().max()),
        "merge_max_abs": float((_logits(merged, probe) - adapted).abs().max()),
    }
    run.say(
        f"LoRA: {report['modules']} modules, moved the logits by {report['effect_max_abs']:.3g}; "
        f"merged with max |Δlogit| {report['merge_max_abs']:.2e}"
    )
    if report["effect_max_abs"] == 0 and how.steps:
        raise UserError("LoRA had no effect", "no logit moved", "check lora.target_modules and learning_rate")
    return merged, report, curve


def weights_digest(model: nn.Module) -> str:
    """sha256 over the names, types, shapes and bytes of the weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@torch.no_grad()
def _logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    model.eval()
    return answer_logits(model, batch)[0].float()
