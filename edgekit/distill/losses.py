"""The two losses of distillation, on answer tokens only. Pure functions of logits."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgekit.core.errors import UserError

DIVERGENCES = ("forward", "reverse", "js")


def divergence(student: Tensor, teacher: Tensor, temperature: float, kind: str = "forward") -> Tensor:
    """Per-token divergence of softened distributions, not yet scaled by T².

    student, teacher: (N, V) logits over one vocabulary. Returns (N,), ≥ 0, nats.
    forward: KL(teacher‖student), the paper's eq. 1; reverse: KL(student‖teacher); js: the
    Jensen–Shannon divergence (mean of both against the mixture).
    """
    p = F.log_softmax(teacher / temperature, dim=-1)
    q = F.log_softmax(student / temperature, dim=-1)
    if kind == "forward":
        return (p.exp() * (p - q)).sum(-1)
    if kind == "reverse":
        return (q.exp() * (q - p)).sum(-1)
    if kind == "js":
        mixture = torch.logsumexp(torch.stack([p, q]), dim=0) - math.log(2)
        return 0.5 * ((p.exp() * (p - mixture)).sum(-1) + (q.exp() * (q - mixture)).sum(-1))
    raise ValueError(f"divergence {kind!r} is not one of {DIVERGENCES}")


def distillation(
    student: Tensor,
    teacher: Tensor | None,
    targets: Tensor,
    weights: Tensor,
    *,
    alpha: float,
    temperature: float,
    kind: str = "forward",
) -> tuple[Tensor, dict[str, float]]:
    """``alpha·T²·KL + (1−alpha)·CE``, each a weighted mean over answer tokens.

    student, teacher: (N, V) logits; targets: (N,) ids; weights: (N,) ≥ 0, 0 = not learned from.
    Without a teacher alpha must be 0. T² keeps the soft gradient's size independent of T
    (Hinton et al. 2015). Returns the loss and its parts.
    """
    total = weights.sum().clamp(min=1e-8)
    hard = (F.cross_entropy(student, targets, reduction="none") * weights).sum() / total
    if teacher is None:
        if alpha:
            raise ValueError("alpha > 0 needs a teacher")
        return hard, {"ce": hard.item()}
    soft = (divergence(student, teacher, temperature, kind) * weights).sum() / total
    loss = alpha * temperature**2 * soft + (1 - alpha) * hard
    return loss, {"ce": hard.item(), "kl": soft.item()}


def common_vocabulary(student: int, teacher: int, real: int) -> int:
    """How many logits both share: Qwen's sizes pad one vocabulary differently (152064 / 151936).

    real: the tokenizer's size. Raises UserError where either is smaller than the tokenizer.
    """
    if min(student, teacher) < real:
        raise UserError(
            "teacher and student do not share a vocabulary",
            f"the tokenizer has {real} tokens, the student's head {student}, the teacher's {teacher}",
            "distil between models of one tokenizer",
        )
    return real
