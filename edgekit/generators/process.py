"""How images turn into noise: tables of β, rectified flow, and what the denoiser learns under each.

β, β̃ and ᾱ are those of Ho et al. 2020; t counts from 0 (t = 0 is one step from clean), as in diffusers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from edgekit.core.errors import UserError

Interval = tuple[float, float]  # lo ≤ t < hi, in the units of the t that the denoiser is told


@dataclass(frozen=True)
class Betas:
    """A table of T noise variances: x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε, t = 0..T−1 (long).

    prediction: what the denoiser's first C channels say; learned_range: C further channels say where
    between β̃_t and β_t the reverse variance lies (Nichol and Dhariwal 2021). Raises UserError for a
    table that is none.
    """

    kind: ClassVar[str] = "betas"
    betas: tuple[float, ...]
    prediction: Literal["epsilon", "v_prediction"] = "epsilon"
    learned_range: bool = False

    def __post_init__(self):
        wrong = [(i, b) for i, b in enumerate(self.betas) if not 0 < b < 1]
        if wrong or len(self.betas) < 2 or self.prediction not in ("epsilon", "v_prediction"):
            raise UserError(
                "this noise schedule is none",
                f"β[{wrong[0][0]}] is {wrong[0][1]:.6g}, outside (0, 1)" if wrong
                else f"{len(self.betas)} values of β, prediction {self.prediction!r}",
                "give at least two β in (0, 1), and epsilon or v_prediction; scaled tables need T > 20",
            )  # fmt: skip

    def __len__(self) -> int:
        """T."""
        return len(self.betas)

    @cached_property
    def beta(self) -> Tensor:
        """[T] float64."""
        return torch.tensor(self.betas, dtype=torch.float64)

    @cached_property
    def abar(self) -> Tensor:
        """ᾱ [T] float64, the running product of 1−β (never a closed form: Scos has none)."""
        return torch.cumprod(1 - self.beta, 0)

    @property
    def abar_before(self) -> Tensor:
        """ᾱ_{t−1} [T] float64, 1 for t = 0."""
        return torch.cat([torch.ones_like(self.abar[:1]), self.abar[:-1]])

    @property
    def log_snr(self) -> Tensor:
        """ln ᾱ/(1−ᾱ), [T] float64, falling."""
        return torch.logit(self.abar)

    @cached_property
    def posterior_log_variance(self) -> Tensor:
        """ln β̃ [T] float64; β̃_0 is 0, so β̃_1 stands in its place."""
        tilde = (1 - self.abar_before) / (1 - self.abar) * self.beta
        return torch.cat([tilde[1:2], tilde[1:]]).log()

    def sample_t(self, n: int, generator: torch.Generator, interval: Interval | None = None) -> Tensor:
        """n steps, uniform over all or over lo ≤ t < hi: [n] long, on the generator's device."""
        low, high = (0, len(self)) if interval is None else (math.ceil(edge) for edge in interval)
        if not 0 <= low < high <= len(self):
            raise UserError(
                f"no step lies in the interval {interval}",
                f"the schedule has the steps 0 to {len(self) - 1}",
                f"give 0 ≤ from < to ≤ {len(self)}",
            )
        return torch.randint(low, high, (n,), generator=generator, device=generator.device)

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of x0, eps [B,C,h,w] and t [B]."""
        return _at(self.abar.sqrt(), t, x0) * x0 + _at((1 - self.abar).sqrt(), t, x0) * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the denoiser's first C channels learn: ε, or v = √ᾱ·ε − √(1−ᾱ)·x_0 (Salimans and Ho 2022)."""
        if self.prediction == "epsilon":
            return eps
        return _at(self.abar.sqrt(), t, x0) * eps - _at((1 - self.abar).sqrt(), t, x0) * x0

    def clean(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The x_0 that a prediction [B,C,h,w] at x_t stands for, not clipped."""
        signal, noise = _at(self.abar.sqrt(), t, x_t), _at((1 - self.abar).sqrt(), t, x_t)
        if self.prediction == "epsilon":
            return (x_t - noise * prediction) / signal
        return signal * x_t - noise * prediction

    def clean_weight(self, t: Tensor, like: Tensor) -> Tensor:
        """√ᾱ_{t−1}·β_t/(1−ᾱ_t) [B,1,1,1]: what x_0 counts in the mean of q(x_{t−1} | x_t, x_0); 1 at t = 0."""
        return _at(self.abar_before.sqrt() * self.beta / (1 - self.abar), t, like)

    def log_variance(self, v: Tensor, t: Tensor) -> Tensor:
        """ln σ² of the reverse step; v [B,C,h,w] from −1 (ln β̃_t) to 1 (ln β_t), not clipped."""
        share = (v + 1) / 2
        return share * _at(self.beta.log(), t, v) + (1 - share) * _at(self.posterior_log_variance, t, v)

    @property
    def signal_left(self) -> float:
        """√ᾱ of the last step: what training always saw of the picture, and sampling, from noise alone, does not."""
        return self.abar[-1].sqrt().item()

    def to_json(self) -> dict:
        return {"kind": self.kind, **asdict(self), "betas": list(self.betas)}


@dataclass(frozen=True)
class Flow:
    """Rectified flow: x_t = (1−s)·x_0 + s·ε, t = 1000·s (float), the denoiser says ε − x_0.

    shift: moves s towards noise for larger pictures, s ← shift·s/(1+(shift−1)·s) (Esser et al. 2024,
    eq. 23), in training and in sampling; logit_normal: training draws s, before the shift, from the
    logistic function of a standard normal, else evenly.
    """

    kind: ClassVar[str] = "flow"
    signal_left: ClassVar[float] = 0.0  # at t = 1000 there is noise alone
    shift: float = 3.0
    logit_normal: bool = True

    def __post_init__(self):
        if not (self.shift > 0 and math.isfinite(self.shift)):
            raise UserError("this flow is none", f"its shift is {self.shift}", "give a shift above 0")

    def sample_t(self, n: int, generator: torch.Generator, interval: Interval | None = None) -> Tensor:
        """n times from the training density, or from it restricted to lo ≤ t < hi: [n] float32, 0..1000."""
        low, high = interval or (0.0, 1000.0)
        if not 0 <= low < high <= 1000:
            raise UserError(
                f"no time lies in the interval {interval}", "a flow's times run from 0 to 1000",
                "give 0 ≤ from < to ≤ 1000",
            )  # fmt: skip
        # By the inverse of the distribution function: nothing drawn is thrown away. The shift adds
        # ln(shift) to logit(s), so a shifted density has a closed form too.
        edges = torch.tensor([low, high], dtype=torch.float64) / 1000
        edges = torch.logit(edges) - math.log(self.shift)
        edges = torch.erfc(-edges / math.sqrt(2)) / 2 if self.logit_normal else torch.sigmoid(edges)
        u = torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)
        u = edges[0].item() + u * (edges[1] - edges[0]).item()
        logit = torch.special.ndtri(u) if self.logit_normal else torch.logit(u)
        t = 1000 * torch.sigmoid(logit + math.log(self.shift)).float()
        # Rounding to float32 may reach the upper edge, which belongs to the next interval.
        return t.clamp(low, torch.nextafter(torch.tensor(float(high)), torch.tensor(0.0)).item())

    def noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t of x0, eps [B,C,h,w] and t [B]."""
        s = _sigma(t, x0)
        return (1 - s) * x0 + s * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The velocity ε − x_0."""
        return eps - x0

    def clean(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The x_0 that a velocity at x_t stands for."""
        return x_t - _sigma(t, x_t) * prediction

    def to_json(self) -> dict:
        return {"kind": self.kind, **asdict(self)}


Process = Betas | Flow


def linear(T: int = 1000, first: float = 1e-4, last: float = 2e-2) -> tuple[float, ...]:
    """DDPM's and DiT's β; both ends are meant for T = 1000 and grow by 1000/T at another T."""
    return _tuple(torch.linspace(first, last, T, dtype=torch.float64) * (1000 / T))


def scaled_linear(T: int = 1000, first: float = 0.00085, last: float = 0.012) -> tuple[float, ...]:
    """Latent diffusion's β: √β is linear (SD 1.5, SDXL; Kolors has T = 1100 and last = 0.014)."""
    return _tuple(torch.linspace(first**0.5, last**0.5, T, dtype=torch.float64) ** 2)


def power_cosine(s: float, T: int = 1000) -> tuple[float, ...]:
    """β of ᾱ = f_s(t)/f_s(0), at most 0.999; s = 2 is the cosine schedule of Nichol and Dhariwal 2021.

    f_s(t) = cos^s(((t/T + b)/(1 + b))·π/2) (DriveDiTFit eq. 13, 14); b = 0.008, which is not in the paper.
    """
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + 0.008) / 1.008 * math.pi / 2) ** s
    return _tuple((1 - f[1:] / f[:-1]).clamp(max=0.999))


def cosine_power(s: float, T: int = 1000) -> tuple[float, ...]:
    """Scos^s (DriveDiTFit eq. 15): the smaller of the power cosine and the linear β, element by element.

    The two cross twice for s ≥ 5 (also at the very start), so there is no single switch point. The
    linear part starts at 1e-4 for t = 0 as in the released code; eq. 15 is one step further (≤ 2e-5).
    """
    return tuple(min(pair) for pair in zip(power_cosine(s, T), linear(T), strict=True))


STAGES: tuple[int | None, ...] = (None, 6, 5, 4, 3, 2)  # the power of each stage's Scos; None: linear


def stage_of(step: int, total: int, stages: int = len(STAGES)) -> int:
    """The stage, 0..stages−1, of step 0..total−1 of a progressive tuning in equal parts.

    The released code divides by total//6: it fails below 6 and runs past the last stage where 6 does not
    divide the total. This form does neither; below 6 steps some stages have no step.
    """
    if total < 1:
        raise ValueError(f"a tuning of {total} steps has no stages")
    return max(0, min(stages - 1, stages * step // total))


def stage_betas(stage: int, T: int = 1000) -> tuple[float, ...]:
    """The β of DriveDiTFit's stage 0..5: linear, then Scos of power 6, 5, 4, 3, 2."""
    power = STAGES[stage]
    return linear(T) if power is None else cosine_power(power, T)


def matched_t(t: Tensor, process: Betas, reference: Betas) -> Tensor:
    """The t at which ``reference`` is as noisy (equal log-SNR) as ``process`` at t: [B] float64.

    A denoiser trained on ``reference`` and told this t needs no tuning for another schedule; not in the
    paper, which lets the condition MLP learn the change. Held at both ends of the table.
    """
    wanted = process.log_snr[t.cpu()]
    falling = -reference.log_snr
    above = torch.searchsorted(falling, -wanted).clamp(1, len(reference) - 1)
    low, high = falling[above - 1], falling[above]
    return (above - 1 + ((-wanted - low) / (high - low)).clamp(0, 1)).to(t.device)


def from_json(kept: dict) -> Process:
    """The process of ``to_json``. Raises UserError where ``kept`` is none."""
    try:
        kind, rest = kept["kind"], {k: v for k, v in kept.items() if k != "kind"}
        if kind == "betas":
            return Betas(**{**rest, "betas": tuple(float(b) for b in rest["betas"])})
        return {"flow": Flow}[kind](**rest)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            "no noise schedule can be read here",
            f"{type(error).__name__}: {error}",
            "use the process.json or adapter_config.json that was written beside the weights",
        ) from None


def from_diffusers(config: dict, learned_range: bool = False) -> Process:
    """The process that a diffusers scheduler's config stands for (scheduler/scheduler_config.json).

    The sampler it names is not kept. Raises UserError for a schedule that cannot be had here.
    """
    name, T = config.get("_class_name", ""), config.get("num_train_timesteps", 1000)
    if name.startswith("FlowMatch"):
        if not config.get("use_dynamic_shifting") and T == 1000:
            return Flow(shift=config.get("shift", 1.0))
        raise _unknown(name, f"dynamic shifting, or {T} steps instead of 1000")
    if config.get("rescale_betas_zero_snr"):
        raise _unknown(name, "rescale_betas_zero_snr: its last step holds no signal at all")
    kind = config.get("beta_schedule", "linear")
    ends = config.get("beta_start", 1e-4), config.get("beta_end", 2e-2)
    if config.get("trained_betas") is not None:
        betas = tuple(config["trained_betas"])
    elif kind == "linear":  # diffusers does not scale the ends by 1000/T
        betas = _tuple(torch.linspace(*ends, T, dtype=torch.float64))
    elif kind == "scaled_linear":
        betas = scaled_linear(T, *ends)
    elif kind == "squaredcos_cap_v2":
        betas = power_cosine(2, T)
    else:
        raise _unknown(name, f"beta_schedule {kind!r}")
    return Betas(betas, config.get("prediction_type", "epsilon"), learned_range)


def difference(wanted: Process, given: Process) -> str | None:
    """In words, with numbers; None where both turn images into the same noise.

    β may differ by the rounding of float32; how training draws its t does not matter here.
    """
    if type(wanted) is not type(given):
        return f"{wanted.kind} against {given.kind}"
    if isinstance(wanted, Flow):
        return None if wanted.shift == given.shift else f"a shift of {wanted.shift:g} against {given.shift:g}"
    if (wanted.prediction, wanted.learned_range) != (given.prediction, given.learned_range):
        return (
            f"{wanted.prediction} with{'' if wanted.learned_range else 'out'} learned variance against "
            f"{given.prediction} with{'' if given.learned_range else 'out'}"
        )
    if len(wanted) != len(given):
        return f"{len(wanted)} steps against {len(given)}"
    far = ((wanted.beta - given.beta).abs() > 1e-6 * wanted.beta).nonzero()
    if len(far) == 0:
        return None
    i = int(far[0])
    return f"β[{i}] is {wanted.betas[i]:.6g} against {given.betas[i]:.6g}"


def check_same(wanted: Process, given: Process, what: str) -> None:
    """Raises UserError where there is a ``difference``; ``what`` names who wants it."""
    if why := difference(wanted, given):
        raise UserError(
            f"{what}: another noise schedule than it was trained with", why,
            "sample with the schedule stored beside the weights",
        )  # fmt: skip


def _unknown(name: str, why: str) -> UserError:
    return UserError(
        f"the base's scheduler {name or '(no name)'} is not supported", why,
        "use a base with a fixed table of betas, or a flow with a fixed shift",
    )  # fmt: skip


def _tuple(betas: Tensor) -> tuple[float, ...]:
    return tuple(betas.tolist())


def _at(table: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """table[t] as [B,1,1,1] on like's device, never narrower than float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return table.to(dtype).to(like.device)[t.to(like.device)].view(-1, 1, 1, 1)


def _sigma(t: Tensor, like: Tensor) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return (t.to(like.device).to(dtype) / 1000).view(-1, 1, 1, 1)
