"""What a denoiser is trained on: squared error, the learned variance's bound, weight on objects."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from edgekit.generators.process import Betas, Process


class Losses(NamedTuple):
    """Per image, [B] float32; ``total`` is what is minimised (after a mean over the batch).

    simple: mean squared error; vb: bits per dimension, None without learned variance; object: the part of
    ``simple`` that lies in the mask, None without a mask.
    """

    total: Tensor
    simple: Tensor
    vb: Tensor | None
    object: Tensor | None


def loss(
    process: Process,
    output: Tensor,
    x0: Tensor,
    x_t: Tensor,
    eps: Tensor,
    t: Tensor,
    mask: Tensor | None = None,
    object_weight: float = 0.0,
) -> Losses:
    """simple + object_weight·object + T/1000·vb.

    output: [B, C or 2C, h, w] of the denoiser at x_t, t; x0, x_t, eps: [B,C,h,w]; t: [B];
    mask: [B,1,h,w], 1 on objects, 0 elsewhere.

    The object-sensitive term (DriveDiTFit eq. 16, 17) is a mean over all of the latent, not over the mask:
    object_weight λ is the released code's ``mask_rl`` − 1. DiffFit's λ = 0.001 of the bound belongs to the sum
    over all T steps, of which one is drawn: its coefficient is T/1000, and 1 for the papers' T.
    """
    channels = x0.shape[1]
    learned = isinstance(process, Betas) and process.learned_range
    if output.shape[1] != channels * (2 if learned else 1):
        raise ValueError(
            f"{channels} channels of latent {'with' if learned else 'without'} learned variance, "
            f"and the denoiser gives {output.shape[1]}"
        )
    output = output.to(torch.promote_types(output.dtype, torch.float32))
    said, v = output[:, :channels], output[:, channels:]
    square = (said - process.target(x0, eps, t)) ** 2  # [B,C,h,w]
    simple = _mean(square)
    total, bits, inside = simple, None, None
    if mask is not None:
        inside = _mean(mask * square)
        total = total + object_weight * inside
    if learned:
        bits = variational_bits(process, said.detach(), v, x0, x_t, t)
        total = total + len(process) / 1000 * bits
    return Losses(total, simple, bits, inside)


def variational_bits(process: Betas, said: Tensor, v: Tensor, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """One step's term of the variational bound, [B] bits per dimension (Nichol and Dhariwal 2021, eq. 4–6, 15).

    said: the detached prediction; v: the learned share of the log-variance. KL(q(x_{t−1}|x_t,x_0) ‖ p) for
    t > 0; −log p(x_0|x_1) for t = 0, where the mean of p is the predicted x_0 itself.
    """
    log_p = process.log_variance(v, t)
    log_q = process.log_variance(torch.full_like(v, -1.0), t)
    guess = process.clean(said, x_t, t)
    # Both means count x_t alike, so that only the clean parts differ.
    gap = process.clean_weight(t, x0) * (x0 - guess)
    kl = 0.5 * (log_p - log_q - 1 + (log_q - log_p).exp() + gap**2 * (-log_p).exp())
    last = -decoder_log_likelihood(x0, guess, 0.5 * log_p)
    nats = torch.where((t == 0).view(-1, 1, 1, 1).to(kl.device), last, kl)
    return _mean(nats) / math.log(2)


def decoder_log_likelihood(x0: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """ln of a normal's mass on x0's 8-bit bin, elementwise (Ho et al. 2020, eq. 13).

    Values are pixels/127.5 − 1; the outermost bins reach to infinity. Latents are treated alike, as DiT
    does. The normal distribution function is exact, not the tanh approximation of the released codes.
    """
    half = 1 / 255
    scale = log_scale.exp()
    away = x0 - mean
    # A bin lies symmetrically about x0: in the left tail no digits are lost (torch's ndtr loses them).
    near, far = ((away.abs() + side) / (scale * math.sqrt(2)) for side in (-half, half))
    inner = (0.5 * (torch.erfc(near) - torch.erfc(far))).clamp(min=1e-12).log()
    lowest = torch.special.log_ndtr((away + half) / scale)
    highest = torch.special.log_ndtr((half - away) / scale)
    return torch.where(x0 < -0.999, lowest, torch.where(x0 > 0.999, highest, inner))


def _mean(x: Tensor) -> Tensor:
    """[B,C,h,w] -> [B]."""
    return x.flatten(1).mean(1)
