"""Samplers against denoisers whose distribution is known in closed form."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiTTransformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from edgekit.core.errors import UserError
from edgekit.generators.codec import PixelCodec
from edgekit.generators.process import Betas, Flow, cosine_power, linear, scaled_linear
from edgekit.generators.sampling import kept_steps, sample, sample_latents, spaced_betas

torch.set_num_threads(1)


class Pixels:
    bounded = False  # so that closed forms hold

    def decode(self, z):
        return ((z + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


class Labels:
    """Rows 0..K-1 and the null row K."""

    def __init__(self, k):
        self.k = k

    def null(self, n):
        return {"labels": torch.full((n,), self.k)}


class Known:
    """A generator whose pictures of class k are normal, mean[k] and deviation, pixel by pixel.

    Its prediction is the exact posterior mean, so that a sampler must give that distribution. v: what it
    says of its variance. ``told`` keeps every t and batch size that it was asked for.
    """

    adapter = None

    def __init__(self, process, mean, deviation=0.0, v=None, size=(4, 4)):
        self.process, self.mean, self.deviation, self.v = process, torch.tensor(mean), deviation, v
        self.size, self.channels, self.codec = size, 3, Pixels()
        self.condition = Labels(len(mean) - 1)
        self.told = []

    def predict(self, x, t, cond):
        assert t.shape == (len(x),) == cond["labels"].shape and x.dtype == torch.float32
        self.told.append(t)
        mean = self.mean[cond["labels"]].view(-1, 1, 1, 1)
        if isinstance(self.process, Flow):
            assert t.is_floating_point()
            s = (t / 1000).view(-1, 1, 1, 1)
            away = (x - (1 - s) * mean) / ((1 - s) ** 2 * self.deviation**2 + s**2)
            return s * away - (mean + (1 - s) * self.deviation**2 * away)  # E[ε] − E[x_0]
        assert t.dtype == torch.long
        abar = self.process.abar[t].float().view(-1, 1, 1, 1)
        away = (x - abar.sqrt() * mean) / (abar * self.deviation**2 + 1 - abar)
        eps, clean = (1 - abar).sqrt() * away, mean + abar.sqrt() * self.deviation**2 * away
        said = eps if self.process.prediction == "epsilon" else abar.sqrt() * eps - (1 - abar).sqrt() * clean
        return said if self.v is None else torch.cat([said, torch.full_like(x, self.v)], 1)


def labels(*k):
    return {"labels": torch.tensor(k)}


def ask(g, n, steps, sampler=None, guidance=1.0, label=0, **more):
    return sample_latents(g, labels(*[label] * n), steps, guidance, list(range(n)), sampler, **more)


def band(x, mean, deviation):
    """Five standard errors around the mean and the deviation that x should have."""
    n = x.numel()
    assert abs(x.mean().item() - mean) < 5 * deviation / n**0.5
    assert abs(x.std().item() - deviation) < 5 * deviation / (2 * n) ** 0.5


LINEAR, V = Betas(linear()), Betas(scaled_linear(), "v_prediction")


def test_steps_are_even_and_begin_at_the_noisiest():
    assert kept_steps(1000, 4) == [999, 749, 499, 249]
    assert kept_steps(1000, 1) == [999] and kept_steps(5, 5) == [4, 3, 2, 1, 0]
    for steps in (7, 25, 50, 333, 999):
        kept = kept_steps(1000, steps)
        gaps = {a - b for a, b in zip(kept, kept[1:], strict=False)}
        assert len(kept) == steps and kept[0] == 999 and kept[-1] >= 0
        assert gaps <= {1000 // steps, 1000 // steps + 1}


@pytest.mark.parametrize("steps", [1, 4, 7, 1000])
def test_spaced_betas_keep_the_abar_of_their_steps(steps):
    process = Betas(cosine_power(2))
    kept = kept_steps(1000, steps)
    abar = torch.cumprod(1 - torch.tensor(spaced_betas(process, kept), dtype=torch.float64), 0)
    assert torch.allclose(abar, process.abar[kept[::-1]], rtol=1e-10)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "euler"])
@pytest.mark.parametrize("process", [LINEAR, V, Betas(cosine_power(2))])
def test_the_denoiser_is_told_each_kept_t_once_for_every_picture(process, sampler):
    g = Known(process, [0.3, 0.0])
    ask(g, 3, 7, sampler)
    assert [t.tolist() for t in g.told] == [[t] * 3 for t in kept_steps(1000, 7)]


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "euler"])
@pytest.mark.parametrize("process", [LINEAR, V, Betas(linear(50)), Flow()])
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_a_constant_picture_comes_back(process, sampler, steps):
    if isinstance(process, Flow):
        sampler = "euler"
    found = ask(Known(process, [0.3, 0.0]), 2, steps, sampler)
    assert found.shape == (2, 3, 4, 4) and found.dtype == torch.float32
    assert (found - 0.3).abs().max() < 2e-3


# Normal pictures: the samplers' steps are linear in x, so that mean and deviation follow from the betas alone.
MEAN, DEVIATION = 0.4, 0.25


def moments(process, steps, sampler, v=None):
    """Mean and deviation after the last step of DDIM or DDPM from N(0, 1), in float64."""
    kept = kept_steps(len(process), steps)
    mean, variance = 0.0, 1.0
    for t, after in zip(kept, [*kept[1:], None], strict=True):
        a, b = process.abar[t].item(), 1.0 if after is None else process.abar[after].item()
        marginal = a * DEVIATION**2 + 1 - a
        clean = (
            MEAN - a * DEVIATION**2 * MEAN / marginal,
            a**0.5 * DEVIATION**2 / marginal,
        )  # constant, slope
        if sampler == "ddim":
            noise = (-((1 - a) ** 0.5) * a**0.5 * MEAN / marginal, (1 - a) ** 0.5 / marginal)
            constant, slope = (b**0.5 * clean[i] + (1 - b) ** 0.5 * noise[i] for i in (0, 1))
            added = 0.0
        else:
            beta = 1 - a / b
            weight = b**0.5 * beta / (1 - a)
            constant, slope = weight * clean[0], weight * clean[1] + (1 - beta) ** 0.5 * (1 - b) / (1 - a)
            tilde = (1 - b) / (1 - a) * beta
            share = 0.0 if v is None else (v + 1) / 2
            added = 0.0 if after is None else tilde ** (1 - share) * beta**share
        mean, variance = constant + slope * mean, slope**2 * variance + added
    return mean, variance**0.5


@pytest.mark.parametrize("process", [LINEAR, V, Betas(cosine_power(2))])
@pytest.mark.parametrize("steps", [10, 64])
def test_ddim_is_the_map_that_its_equation_says(process, steps):
    g = Known(process, [MEAN, 0.0], DEVIATION)
    noise = torch.stack([torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(4)])
    mean, deviation = moments(process, steps, "ddim")
    assert torch.allclose(ask(g, 4, steps), mean + deviation * noise, atol=1e-3)


def limit(process):
    """Mean and deviation of the exact path from N(0, 1) where training saw √ᾱ_T of the picture."""
    left = process.abar[-1].item()
    at_start = math.sqrt(left * DEVIATION**2 + 1 - left)
    return MEAN - DEVIATION * left**0.5 * MEAN / at_start, DEVIATION / at_start


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
@pytest.mark.parametrize("process", [LINEAR, V, Betas(cosine_power(2))])
def test_more_steps_recover_the_distribution(process, sampler):
    found = ask(Known(process, [MEAN, 0.0], DEVIATION, size=(16, 16)), 6, 250, sampler)
    band(found, *moments(process, 250, "ddim"))
    mean, deviation = limit(process)
    # First order: a fifth of the step, about a fifth of the error.
    few, many = (moments(process, steps, "ddim") for steps in (50, 250))
    assert abs(many[1] - deviation) < abs(few[1] - deviation) / 2
    assert many[0] == pytest.approx(mean, rel=0.01) and mean == pytest.approx(MEAN, rel=0.02)


def test_scos_darkens_by_what_its_last_step_kept_of_the_picture():
    lost = {s: MEAN - moments(Betas(cosine_power(s)), 1000, "ddim")[0] for s in (2, 6)}
    for s, found in lost.items():
        assert found == pytest.approx(MEAN - limit(Betas(cosine_power(s)))[0], rel=0.05)
    assert lost[2] > 5 * lost[6]


@pytest.mark.parametrize("v", [None, -1.0, 1.0])
@pytest.mark.parametrize("steps", [6, 100])
def test_ddpm_adds_the_variance_that_was_learned(v, steps):
    process = Betas(linear(), learned_range=v is not None)
    g = Known(process, [MEAN, 0.0], DEVIATION, v, size=(24, 24))
    found = ask(g, 6, steps, "ddpm")
    band(found, *moments(process, steps, "ddpm", v))
    if steps == 100:  # the two bounds hold the true deviation between them
        assert (found.std() > DEVIATION) == (v == 1)


def test_learned_bounds_are_told_apart_by_the_test_above():
    low, high = (moments(LINEAR, 6, "ddpm", v)[1] for v in (-1.0, 1.0))
    assert high > 1.1 * low


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_recovers_the_distribution(shift):
    g = Known(Flow(shift), [MEAN, 0.0], DEVIATION, size=(16, 16))
    found = ask(g, 6, 200)
    # The Euler steps' own error, worked out along the path.
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(200)
    s = scheduler.sigmas.double().tolist()
    mean, deviation = 0.0, 1.0
    for now, after in zip(s, s[1:], strict=False):
        spread = (1 - now) ** 2 * DEVIATION**2 + now**2
        slope = (now - (1 - now) * DEVIATION**2) / spread
        mean, deviation = (
            mean + (after - now) * (slope * (mean - (1 - now) * MEAN) - MEAN),
            deviation * (1 + (after - now) * slope),
        )
    band(found, mean, deviation)
    assert abs(mean - MEAN) < 0.02 * MEAN and abs(deviation - DEVIATION) < 0.05 * DEVIATION
    told = torch.stack(g.told)
    assert torch.equal(told[:, 0], scheduler.timesteps)
    assert told[0, 0] == 1000 and (told[1:] < told[:-1]).all() and told.dtype == torch.float32


class Mixture(Known):
    """Half the pictures are black-ish, half white-ish, each constant: the posterior mean is a tanh."""

    def predict(self, x, t, cond):
        abar = self.process.abar[t].float().view(-1, 1, 1, 1)
        signal, noise = abar.sqrt(), (1 - abar).sqrt()
        clean = 0.6 * torch.tanh(0.6 * (signal * x).sum((1, 2, 3), keepdim=True) / (1 - abar))
        return (x - signal * clean.expand_as(x)) / noise


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "euler"])
def test_a_mixture_of_two_pictures_gives_both_and_nothing_between(sampler):
    found = ask(Mixture(LINEAR, [0.0, 0.0], size=(2, 2)), 200, 50, sampler, batch=200)
    assert ((found.abs() - 0.6).abs() < 0.01).all()
    white = (found.mean((1, 2, 3)) > 0).double().mean().item()
    assert abs(white - 0.5) < 5 * 0.5 / 200**0.5


@pytest.mark.parametrize("process", [LINEAR, V])
@pytest.mark.parametrize(
    "sampler, scheduler",
    [("ddim", DDIMScheduler), ("ddpm", DDPMScheduler), ("euler", EulerDiscreteScheduler)],
)
def test_spacing_is_diffusers_own_where_the_steps_divide_the_table(process, sampler, scheduler):
    g, n, steps = Known(process, [MEAN, 0.0], DEVIATION), 3, 20
    theirs = scheduler(
        trained_betas=list(process.betas), prediction_type=process.prediction, timestep_spacing="trailing",
        **({} if sampler == "euler" else {"clip_sample": False}),
    )  # fmt: skip
    theirs.set_timesteps(steps)
    own = [torch.Generator().manual_seed(seed) for seed in range(n)]
    x = torch.stack([torch.randn(3, 4, 4, generator=s) for s in own])
    if sampler == "euler":  # the same start: variance 1 after scaling
        x = x * (theirs.sigmas[0] ** 2 + 1) ** 0.5
    for t in theirs.timesteps:
        said = g.predict(theirs.scale_model_input(x, t), t.long().expand(n), labels(*[0] * n))
        x = theirs.step(said, t, x, **({"generator": own} if sampler == "ddpm" else {})).prev_sample
    assert torch.allclose(ask(g, n, steps, sampler), x, atol=1e-3)


def test_euler_and_ddim_are_one_path():
    g = Known(Betas(cosine_power(2)), [MEAN, 0.0], DEVIATION)
    assert torch.allclose(ask(g, 3, 30, "ddim"), ask(g, 3, 30, "euler"), atol=1e-3)


class Wrong(Known):
    """At the noisiest steps its noise is off by a third, which puts its clean picture far outside [-1, 1]."""

    def predict(self, x, t, cond):
        said = super().predict(x, t, cond)
        return said + 0.3 * (t > 900).view(-1, 1, 1, 1)


def test_a_clean_picture_outside_all_pictures_is_cut_off_where_values_are_bounded():
    g = Wrong(LINEAR, [0.5, 0.0], DEVIATION)
    lost = (ask(g, 64, 25, "ddim", batch=64).mean() - 0.5).abs()
    g.codec = PixelCodec()
    kept = (ask(g, 64, 25, "ddim", batch=64).mean() - 0.5).abs()
    assert kept < 0.5 * lost
    exact = Known(LINEAR, [0.5, 0.0])  # never outside: nothing is cut off
    plain = ask(exact, 2, 25, "ddim")
    exact.codec = PixelCodec()
    assert torch.allclose(ask(exact, 2, 25, "ddim"), plain, atol=1e-5)


@pytest.mark.parametrize("process", [LINEAR, V, Flow()])
def test_guidance_goes_from_the_null_picture_through_the_conditions(process):
    g = Known(process, [0.3, -0.2, 0.1])
    for w in (0.0, 0.5, 3.0):
        found = ask(g, 2, 12, guidance=w, label=1)
        assert torch.allclose(found, torch.full_like(found, 0.1 + w * (-0.2 - 0.1)), atol=5e-3)
    assert all(len(t) == 4 and t.unique().numel() == 1 for t in g.told)  # both halves in one batch, one t


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_guidance_one_is_the_condition_alone_bit_for_bit(sampler):
    process = Betas(linear(), learned_range=True)
    g = Known(process, [0.3, -0.2, 0.1], DEVIATION, v=0.3)
    found = ask(g, 2, 9, sampler, guidance=1.0, label=1)
    assert all(len(t) == 2 for t in g.told)
    g.condition = None  # not even asked for a null
    assert torch.equal(ask(g, 2, 9, sampler, guidance=1, label=1), found)


def test_under_guidance_the_learned_variance_is_the_conditions():
    class Split(Known):
        def predict(self, x, t, cond):
            out = super().predict(x, t, cond)
            out[:, 3:] = torch.where(cond["labels"] == 0, 1.0, -1.0).view(-1, 1, 1, 1)
            return out

    process = Betas(linear(), learned_range=True)
    for label, v in ((0, 1.0), (1, -1.0)):
        mixed = Split(process, [MEAN, MEAN, MEAN], DEVIATION, 0.0)
        alone = Known(process, [MEAN, MEAN, MEAN], DEVIATION, v)
        found, wanted = (ask(g, 2, 8, "ddpm", guidance=2.0, label=label) for g in (mixed, alone))
        assert torch.allclose(found, wanted, atol=1e-5)


class Dit:
    """A small real denoiser; its last layer is not zero."""

    adapter = None

    def __init__(self, process, channels_out):
        torch.manual_seed(0)
        self.net = DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, num_layers=1, in_channels=3, out_channels=channels_out,
            sample_size=8, patch_size=2, num_embeds_ada_norm=3,
        ).eval()  # fmt: skip
        self.process, self.codec, self.condition = process, Pixels(), Labels(3)
        self.size, self.channels = (8, 8), 3

    def predict(self, x, t, cond):
        return self.net(x, timestep=t, class_labels=cond["labels"]).sample


@pytest.mark.parametrize("sampler, guidance", [("ddim", 1.0), ("ddim", 2.0), ("ddpm", 2.0), ("euler", 1.0)])
def test_how_many_are_made_at_once_changes_nothing(sampler, guidance):
    g = Dit(Betas(linear(), learned_range=True), 6)
    cond, seeds = labels(0, 1, 2, 0, 1, 2, 0, 1), [5, 7, 11, 13, 17, 19, 23, 29]
    together = sample_latents(g, cond, 4, guidance, seeds, sampler)
    spread = together.std()
    apart = [
        sample_latents(g, labels(int(k)), 4, guidance, [s], sampler)
        for k, s in zip(cond["labels"], seeds, strict=True)
    ]
    assert (torch.cat(apart) - together).abs().max() < 1e-4 * max(1, spread)
    chunked = sample_latents(g, cond, 4, guidance, seeds, sampler, batch=3)
    assert (chunked - together).abs().max() < 1e-4 * max(1, spread)
    # Each picture's noise is its seed's: places may change.
    turned = sample_latents(g, {"labels": cond["labels"].flip(0)}, 4, guidance, seeds[::-1], sampler)
    assert (turned.flip(0) - together).abs().max() < 1e-4 * max(1, spread)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    g = Dit(Betas(linear(), learned_range=True), 6)
    first, again, other = (
        sample(g, labels(1, 2), 5, 1.5, seeds, "ddpm") for seeds in ([1, 2], [1, 2], [3, 4])
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.uint8 and first.shape == (2, 8, 8, 3)
    torch.manual_seed(99)  # the global state is neither used nor moved
    state = torch.get_rng_state()
    assert torch.equal(sample(g, labels(1, 2), 5, 1.5, [1, 2], "ddpm"), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_pictures_are_decoded_and_no_graph_is_kept():
    g = Known(LINEAR, [0.2, 0.0])
    found = sample(g, labels(0, 0, 0), 4, 1.0, [0, 1, 2], batch=2)
    assert found.shape == (3, 4, 4, 3) and (found == round(1.2 * 127.5)).all()
    assert not sample_latents(Dit(LINEAR, 3), labels(0), 2, 1.0, [0]).requires_grad


def test_a_long_sampling_shows_a_bar(capsys):
    g = Known(LINEAR, [0.2, 0.0])
    ask(g, 3, 4, batch=2, what="painting")
    shown = capsys.readouterr().err
    assert "painting" in shown and "8/8" in shown
    ask(g, 3, 4)
    assert capsys.readouterr().err == ""


def test_what_cannot_be_sampled_is_refused():
    flow, table = Known(Flow(), [0.0, 0.0]), Known(LINEAR, [0.0, 0.0])
    for g, steps, sampler in (
        (flow, 4, "ddim"), (table, 4, "heun"), (table, 0, None), (table, 1001, None), (flow, 0, None),
    ):  # fmt: skip
        with pytest.raises(UserError):
            ask(g, 1, steps, sampler)
    with pytest.raises(ValueError, match="seeds"):
        sample(table, labels(0, 0), 3, 1.0, [1])


def test_an_adapter_is_sampled_under_its_own_schedule_alone():
    g = Known(LINEAR, [0.0, 0.0])
    g.adapter = SimpleNamespace(kind="lora", process_of_training=Betas(cosine_power(2)))
    with pytest.raises(UserError, match="another noise schedule"):
        ask(g, 1, 4)
    g.process = Betas(cosine_power(2))
    ask(g, 1, 4)
    g.process, g.adapter.process_of_training = LINEAR, None  # in training: it has none of its own yet
    ask(g, 1, 4)
