"""From noise to pictures, step by step, through diffusers' schedulers."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
)
from torch import Tensor

from edgekit.core.errors import UserError, suggestion
from edgekit.core.progress import bar
from edgekit.generators.process import Betas, Process, check_same

Cond = dict[str, Tensor]
SAMPLERS = {"betas": ("ddim", "ddpm", "euler"), "flow": ("euler",)}  # the first is the default


@torch.no_grad()
def sample(
    generator,
    cond: Cond,
    steps: int,
    guidance: float,
    seeds: list[int],
    sampler: str | None = None,
    *,
    batch: int = 32,
    what: str | None = None,
) -> Tensor:
    """Pictures, uint8 [N,H,W,3]; arguments as of ``sample_latents``."""
    parts = _latents(generator, cond, steps, guidance, seeds, sampler, batch, what)
    return torch.cat([torch.as_tensor(generator.codec.decode(z)) for z in parts])


@torch.no_grad()
def sample_latents(
    generator,
    cond: Cond,
    steps: int,
    guidance: float,
    seeds: list[int],
    sampler: str | None = None,
    *,
    batch: int = 32,
    what: str | None = None,
) -> Tensor:
    """Latents [N,C,h,w] float32, one for each seed and row of ``cond``.

    cond: tensors of N rows on the denoiser's device; steps: evaluations of the denoiser, spaced evenly and
    beginning at the noisiest t; guidance: w in ε_∅ + w·(ε_c − ε_∅) (Ho and Salimans 2022) on all channels
    of the prediction, 1 = the condition alone, nothing else computed; seeds: each picture's own noise, so
    that how many are made at once changes nothing but rounding; sampler: ddim (default), ddpm (the learned
    variance where there is one) or euler of a table of betas, euler of a flow; batch: how many at once;
    what: the name of a progress bar. Raises UserError for a sampler or number of steps that cannot be had, and
    where the adapter was trained under another noise schedule than the generator has now.
    """
    return torch.cat(list(_latents(generator, cond, steps, guidance, seeds, sampler, batch, what)))


def kept_steps(T: int, steps: int) -> list[int]:
    """The t of each step from noise to clean: evenly spaced, T−1 first (4 of 1000: 999, 749, 499, 249)."""
    return [(k + 1) * T // steps - 1 for k in reversed(range(steps))]


def spaced_betas(process: Betas, kept: list[int]) -> list[float]:
    """The β of some steps alone, such that their ᾱ stays (Nichol and Dhariwal 2021, eq. 19); kept: falling t."""
    abar = process.abar[kept[::-1]]
    before = torch.cat([torch.ones_like(abar[:1]), abar[:-1]])
    return (1 - abar / before).tolist()


def _latents(generator, cond, steps, guidance, seeds, sampler, batch, what):
    rows = {key: len(value) for key, value in cond.items()}
    if set(rows.values()) != {len(seeds)}:
        raise ValueError(f"{len(seeds)} seeds for conditions of {rows} rows")
    sampler = _check(generator.process, steps, sampler)
    adapter = generator.adapter
    if adapter is not None and adapter.process_of_training is not None:
        check_same(adapter.process_of_training, generator.process, f"the {adapter.kind} adapter")
    chunks = [slice(i, i + batch) for i in range(0, len(seeds), batch)]
    with bar(what, steps * len(chunks), "step") if what else nullcontext() as shown:
        for chunk in chunks:
            part = {key: value[chunk] for key, value in cond.items()}
            yield _denoise(generator, part, steps, guidance, seeds[chunk], sampler, shown)


def _denoise(generator, cond: Cond, steps, guidance, seeds, sampler, shown) -> Tensor:
    device = next(iter(cond.values())).device
    own = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (generator.channels, *generator.size)
    x = torch.stack([torch.randn(shape, generator=g) for g in own]).to(device)  # [B,C,h,w]
    null = None
    if guidance != 1:
        null = {key: value.to(device) for key, value in generator.condition.null(len(seeds)).items()}
    clip = generator.codec.bounded
    scheduler, told = _scheduler(generator.process, steps, sampler, clip)
    table = isinstance(generator.process, Betas)
    if table:
        x = x * scheduler.init_noise_sigma
    for now, t in zip(scheduler.timesteps, told, strict=True):
        seen = scheduler.scale_model_input(x, now) if table else x
        said = _guided(generator, seen, t.to(device).expand(len(x)), cond, null, guidance)
        if sampler == "ddpm":  # takes the learned variance's channels too
            x = scheduler.step(said, now, x, generator=own).prev_sample
        elif sampler == "ddim":  # the noise that belongs to the clean picture that was cut off
            x = scheduler.step(said[:, : x.shape[1]], now, x, use_clipped_model_output=clip).prev_sample
        else:
            x = scheduler.step(said[:, : x.shape[1]], now, x).prev_sample
        if shown is not None:
            shown.update()
    return x


def _guided(generator, x: Tensor, t: Tensor, cond: Cond, null: Cond | None, guidance: float) -> Tensor:
    """The denoiser's word under guidance, float32; the learned variance is the condition's own."""
    if null is None:
        return generator.predict(x, t, cond).float()
    both = {key: torch.cat([null[key], value]) for key, value in cond.items()}
    free, given = generator.predict(torch.cat([x, x]), torch.cat([t, t]), both).float().chunk(2)
    c = x.shape[1]
    return torch.cat([free[:, :c] + guidance * (given[:, :c] - free[:, :c]), given[:, c:]], dim=1)


def _scheduler(process: Process, steps: int, sampler: str, clip: bool) -> tuple[SchedulerMixin, Tensor]:
    """diffusers' scheduler, its timesteps set, and the t that the denoiser is told at each.

    clip: every guess of the clean picture is cut off at -1 and 1 (Ho et al. 2020 do so in pixel space): at the
    noisiest t an error of the predicted noise counts a hundredfold. Euler's schedulers have no such thing.
    """
    if not isinstance(process, Betas):
        scheduler = FlowMatchEulerDiscreteScheduler(shift=process.shift)
        scheduler.set_timesteps(steps)
        return scheduler, scheduler.timesteps
    # A table of the kept steps alone: the schedulers' own spacing takes t − T//steps for the step before,
    # which is another one wherever T is no multiple of steps.
    kept = kept_steps(len(process), steps)
    table = {
        "trained_betas": spaced_betas(process, kept),
        "num_train_timesteps": steps,
        "prediction_type": process.prediction,
    }
    if sampler == "ddim":
        scheduler = DDIMScheduler(**table, clip_sample=clip)
    elif sampler == "ddpm":
        variance = "learned_range" if process.learned_range else "fixed_small"
        scheduler = DDPMScheduler(**table, clip_sample=clip, variance_type=variance)
    else:  # "leading": begins at variance 1, as the others do
        scheduler = EulerDiscreteScheduler(**table, timestep_spacing="leading")
    scheduler.set_timesteps(steps)
    return scheduler, torch.tensor(kept)


def _check(process: Process, steps: int, sampler: str | None) -> str:
    known = SAMPLERS[process.kind]
    sampler = sampler or known[0]
    if sampler not in known:
        raise UserError(
            f"no sampler {sampler!r} for this generator",
            f"its process is {process.kind!r}; {suggestion(sampler, known)}",
            f"write one of: {', '.join(known)}",
        )
    most = len(process) if isinstance(process, Betas) else 1000
    if not 1 <= steps <= most:
        raise UserError(
            f"{steps} sampling steps cannot be made", f"the schedule has {most}", f"give 1 to {most} steps"
        )
    return sampler
