import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from edgekit.generators.objective import decoder_log_likelihood, loss, variational_bits
from edgekit.generators.process import Betas, Flow, cosine_power, linear

torch.set_num_threads(1)
T = torch.tensor([0, 1, 300, 999])
LEARNED = Betas(linear(), learned_range=True)


def batch(process, channels=2, t=T, seed=0, dtype=torch.float64):
    """x0, x_t, eps, t and an output that is off by some noise, leaf of the graph."""
    g = torch.Generator().manual_seed(seed)
    x0 = torch.rand(len(t), channels, 6, 5, generator=g, dtype=dtype) * 2 - 1
    eps = torch.randn(x0.shape, generator=g, dtype=dtype)
    said = process.target(x0, eps, t) + 0.3 * torch.randn(x0.shape, generator=g, dtype=dtype)
    if getattr(process, "learned_range", False):
        said = torch.cat([said, 2 * torch.rand(x0.shape, generator=g, dtype=dtype) - 1], 1)
    return x0, process.noise(x0, eps, t), eps, t, said.requires_grad_()


def boxes(t=T):
    mask = torch.zeros(len(t), 1, 6, 5, dtype=torch.float64)
    mask[:, :, 1:3, 2:4] = 1
    return mask


@pytest.mark.parametrize("process", [Betas(linear()), Betas(cosine_power(2), "v_prediction"), Flow()])
def test_the_simple_loss_is_the_mean_square_against_the_target(process):
    x0, x_t, eps, t, said = batch(process)
    found = loss(process, said, x0, x_t, eps, t)
    wanted = ((said - process.target(x0, eps, t)) ** 2).mean((1, 2, 3))
    assert found.simple.shape == (4,) and torch.allclose(found.simple, wanted)
    assert torch.equal(found.total, found.simple) and found.vb is None and found.object is None


@pytest.mark.parametrize("process", [Betas(linear()), LEARNED, Flow()])
def test_inside_the_mask_the_gradient_is_one_plus_lambda_times_as_large(process):
    x0, x_t, eps, t, said = batch(process)
    mask, weight = boxes(), 1.7
    (with_mask,) = torch.autograd.grad(
        loss(process, said, x0, x_t, eps, t, mask, weight).total.sum(), said, retain_graph=True
    )
    (plain,) = torch.autograd.grad(loss(process, said, x0, x_t, eps, t).total.sum(), said)
    ratio = (with_mask / plain)[:, :2]
    inside = mask.bool().expand_as(ratio)
    assert torch.allclose(ratio[inside], torch.tensor(1 + weight, dtype=torch.float64))
    assert torch.allclose(ratio[~inside], torch.tensor(1.0, dtype=torch.float64))
    assert torch.equal(with_mask[:, 2:], plain[:, 2:])  # the bound has no mask


def test_an_empty_mask_is_the_plain_loss_and_a_full_one_one_plus_lambda_of_it():
    process = Betas(linear())
    x0, x_t, eps, t, said = batch(process)
    plain = loss(process, said, x0, x_t, eps, t)
    empty = loss(process, said, x0, x_t, eps, t, torch.zeros(4, 1, 6, 5), 1.0)
    full = loss(process, said, x0, x_t, eps, t, torch.ones(4, 1, 6, 5), 2.5)
    assert torch.equal(empty.total, plain.total) and not empty.object.any()
    assert torch.allclose(full.total, 3.5 * plain.simple) and torch.allclose(full.object, plain.simple)


def test_the_object_term_is_a_mean_over_the_whole_picture():
    process = Betas(linear())
    x0, x_t, eps, t, said = batch(process)
    found = loss(process, said, x0, x_t, eps, t, boxes(), 1.0)
    square = (said - eps) ** 2
    assert torch.allclose(found.object, square[:, :, 1:3, 2:4].sum((1, 2, 3)) / (2 * 6 * 5))
    assert torch.allclose(found.total, found.simple + found.object)
    # Without a weight it is told and not learned from.
    assert torch.equal(loss(process, said, x0, x_t, eps, t, boxes()).total, found.simple)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("betas", [linear(), cosine_power(2)])
def test_the_bound_is_the_divergence_of_textbook_normals_in_bits(prediction, betas):
    process = Betas(betas, prediction, True)
    x0, x_t, eps, t, said = batch(process, t=torch.tensor([1, 2, 300, 999]))
    a, beta = process.abar, process.beta
    at = [x.view(-1, 1, 1, 1) for x in (a[t], a[t - 1], beta[t])]
    now, before, b = at
    v = (said[:, 2:] + 1) / 2

    def mean(clean):  # Ho et al. 2020, eq. 7
        return before.sqrt() * b / (1 - now) * clean + (1 - b).sqrt() * (1 - before) / (1 - now) * x_t

    guess = process.clean(said[:, :2], x_t, t)
    tilde = (1 - before) / (1 - now) * b
    # The first step's posterior has no variance of its own; here t >= 1.
    sigma = (v * b.log() + (1 - v) * tilde.log()).exp().sqrt()
    wanted = kl_divergence(Normal(mean(x0), tilde.sqrt()), Normal(mean(guess), sigma)).mean(
        (1, 2, 3)
    ) / math.log(2)
    found = loss(process, said, x0, x_t, eps, t)
    assert torch.allclose(found.vb, wanted, rtol=1e-6)
    assert torch.allclose(found.total, found.simple + found.vb)  # coefficient 1


def test_the_bound_counts_t_steps_of_a_thousandth_each():
    """DiffFit's λ = 0.001 of a sum over T steps, one of which is drawn."""
    process = Betas(linear(100), learned_range=True)
    x0, x_t, eps, t, said = batch(process, t=torch.tensor([0, 1, 30, 99]))
    found = loss(process, said, x0, x_t, eps, t)
    assert torch.allclose(found.total, found.simple + 0.1 * found.vb) and found.vb.min() > 0


def test_at_t_0_the_bound_is_the_likelihood_of_the_8_bit_picture():
    x0, x_t, eps, t, said = batch(LEARNED, t=torch.tensor([0, 0]))
    x0 = ((0.9 * x0 + 1) * 127.5).round() / 127.5 - 1  # away from the outermost bins, which are wider
    x_t = LEARNED.noise(x0, eps, t)
    found = loss(LEARNED, said, x0, x_t, eps, t).vb
    p = Normal(LEARNED.clean(said[:, :2], x_t, t), (0.5 * LEARNED.log_variance(said[:, 2:], t)).exp())
    wanted = -(p.cdf(x0 + 1 / 255) - p.cdf(x0 - 1 / 255)).log().mean((1, 2, 3)) / math.log(2)
    assert found.isfinite().all() and torch.allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("mean, scale", [(0.0, 0.01), (0.3, 0.2), (-0.98, 0.05), (1.1, 0.3)])
def test_the_bins_of_a_pixel_share_all_of_the_mass(mean, scale):
    values = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    found = decoder_log_likelihood(
        values, torch.full_like(values, mean), torch.full_like(values, math.log(scale))
    )
    # Bins of probability below 1e-12 are held there; the outermost reach to infinity.
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-9)
    if abs(mean) < 0.9:
        assert values[found.argmax()].item() == pytest.approx(mean, abs=1 / 255)


def test_a_bin_far_off_keeps_its_digits_in_float32():
    found = [
        decoder_log_likelihood(*(torch.tensor(x, dtype=dtype) for x in (0.06, 0.0, math.log(0.01)))).item()
        for dtype in (torch.float32, torch.float64)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_perfect_denoiser_with_the_posteriors_variance_has_no_bits_left():
    t = torch.tensor([1, 10, 500, 999])
    x0, x_t, eps, _, _ = batch(LEARNED, t=t)
    v = torch.full_like(x0, -1.0)
    assert variational_bits(LEARNED, eps, v, x0, x_t, t).abs().max() < 1e-9
    assert (variational_bits(LEARNED, eps, v + 0.5, x0, x_t, t) > 1e-5)[:2].all()


def test_the_bound_gives_no_gradient_to_the_prediction_at_any_t():
    for t in (T, torch.zeros(4, dtype=torch.long)):
        x0, x_t, eps, t, said = batch(LEARNED, t=t)
        found = loss(LEARNED, said, x0, x_t, eps, t)
        (of_bound,) = torch.autograd.grad(found.vb.sum(), said, retain_graph=True)
        (of_all,) = torch.autograd.grad(found.total.sum(), said, retain_graph=True)
        (of_simple,) = torch.autograd.grad(found.simple.sum(), said)
        assert not of_bound[:, :2].any() and of_bound[:, 2:].abs().min() > 0
        assert torch.equal(of_all[:, :2], of_simple[:, :2]) and not of_simple[:, 2:].any()


def test_the_bound_pulls_the_variance_to_what_the_error_is():
    """With errors far above β̃ the best variance is β (v = 1) and more, with none it is β̃ (v = −1)."""
    t = torch.full((4,), 5)
    x0, x_t, eps, _, _ = batch(LEARNED, t=t)
    v = torch.zeros_like(x0, requires_grad=True)
    (pull,) = torch.autograd.grad(variational_bits(LEARNED, eps, v, x0, x_t, t).sum(), v)
    assert (pull > 0).all()
    (pull,) = torch.autograd.grad(variational_bits(LEARNED, eps + 30, v, x0, x_t, t).sum(), v)
    assert (pull < 0).all()


def test_half_precision_outputs_are_counted_in_float32():
    x0, x_t, eps, t, said = batch(LEARNED, dtype=torch.float32)
    found = loss(LEARNED, said.bfloat16(), x0, x_t, eps, t)
    assert found.total.dtype == torch.float32 and found.total.isfinite().all()
    exact = loss(LEARNED, *(x.double() for x in (said.bfloat16(), x0, x_t, eps)), t)
    assert torch.allclose(found.total.double(), exact.total, rtol=1e-3)


@pytest.mark.parametrize("process", [Betas(linear()), LEARNED, Flow()])
def test_channels_that_do_not_fit_the_process_are_refused(process):
    x0, x_t, eps, t, said = batch(process)
    wrong = torch.cat([said, said], 1)
    with pytest.raises(ValueError, match="channels"):
        loss(process, wrong, x0, x_t, eps, t)
