"""DiffFit's Theorem 2 by simulation: scales of a one-step generator are recovered under the stated bound."""

import math

import pytest
import torch

D = 16
SIGMA = 0.05
# psi-2 norm of N(0, s^2) as sup over p >= 1 of E(|X|^p)^(1/p) / sqrt(p): at p = 1
ETA = SIGMA * math.sqrt(2 / math.pi)


def one_step_generator(seed: int):
    """f(W s + b) with f = tanh, W (D, D) without zero rows, and the smallest variance of its outputs."""
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(D, D, generator=draw, dtype=torch.float64) / math.sqrt(D)
    bias = torch.randn(D, generator=draw, dtype=torch.float64) * 0.3
    nodes = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-(nodes**2) / 2)
    density = density / density.sum()
    values = torch.tanh(bias[:, None] + weight.norm(dim=1)[:, None] * nodes)  # [D, nodes]
    variance = (values**2 * density).sum(1) - (values * density).sum(1) ** 2
    return weight, bias, variance.min().item(), draw


def relative_error(m: int, seed: int) -> tuple[float, float]:
    """(|gamma_hat - gamma*| / |gamma*|, the bound of eq. 4) for m scalar targets y = (A + Z) gamma*."""
    weight, bias, least, draw = one_step_generator(seed)
    a = torch.tanh(torch.randn(m, D, generator=draw, dtype=torch.float64) @ weight.T + bias)  # [m, D]
    z = SIGMA * torch.randn(m, D, generator=draw, dtype=torch.float64)
    truth = 1 + 0.5 * torch.randn(D, generator=draw, dtype=torch.float64)
    found = torch.linalg.lstsq(a, (a + z) @ truth).solution
    return ((found - truth).norm() / truth.norm()).item(), 4 * math.sqrt(2) * ETA / math.sqrt(least)


def test_psi2_norm_of_a_gaussian_is_reached_at_the_first_moment():
    def scaled_moment(p: float) -> float:  # E|X|^p of N(0, 1), by the gamma function
        moment = 2 ** (p / 2) * math.gamma((p + 1) / 2) / math.sqrt(math.pi)
        return moment ** (1 / p) / math.sqrt(p)

    assert max(range(1, 60), key=scaled_moment) == 1
    assert SIGMA * scaled_moment(1) == pytest.approx(ETA) == pytest.approx(0.7979 * SIGMA, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_scales_are_recovered_under_the_bound(seed):
    # m = Omega(D^2 log D): 710 at D = 16 with constant 1
    assert D**2 * math.log(D) < 2048
    for m in (2048, 16384):
        error, bound = relative_error(m, seed)
        assert error < bound
        assert bound < 1  # a bound above 1 would be met by gamma_hat = 0


def test_the_error_falls_with_the_root_of_m_and_the_bound_does_not():
    few = [relative_error(256, seed) for seed in range(8)]
    many = [relative_error(16384, seed) for seed in range(8)]
    ratio = sum(e for e, _ in few) / sum(e for e, _ in many)
    assert ratio == pytest.approx(math.sqrt(16384 / 256), rel=0.25)
    assert [b for _, b in few] == [b for _, b in many]


def test_without_the_right_scales_the_bound_is_missed():
    """The control: targets of another generator's features are no rescaling of this one's."""
    weight, bias, least, draw = one_step_generator(0)
    other, other_bias, _, _ = one_step_generator(1)
    noise = torch.randn(16384, D, generator=draw, dtype=torch.float64)
    truth = torch.ones(D, dtype=torch.float64)
    y = torch.tanh(noise @ other.T + other_bias) @ truth
    found = torch.linalg.lstsq(torch.tanh(noise @ weight.T + bias), y).solution
    assert (found - truth).norm() / truth.norm() > 4 * math.sqrt(2) * ETA / math.sqrt(least)
