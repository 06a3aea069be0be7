import json
import math

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from scipy import stats

from edgekit.core.errors import UserError
from edgekit.generators.process import (
    STAGES,
    Betas,
    Flow,
    check_same,
    cosine_power,
    from_diffusers,
    from_json,
    linear,
    matched_t,
    power_cosine,
    scaled_linear,
    stage_betas,
    stage_of,
)

torch.set_num_threads(1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# Reference values of DriveDiTFit's schedules, T = 1000, t from 0: β_0, ᾱ at 99, 199, 499, 749, 999, the first
# t with ᾱ < 1/2, and where the linear part is the smaller one.
TABLE = {
    None: (1e-4, 0.897018, 0.659039, 0.0785872, 0.00335055, 4.0358e-5, 259, None),
    6: (1e-4, 0.918653, 0.725908, 0.120447, 0.00522793, 6.29719e-5, 294, [0, 1, 2, 3, 4, *range(552, 1000)]),
    5: (1e-4, 0.931688, 0.765677, 0.171386, 0.00916055, 1.10341e-4, 322, [0, *range(661, 1000)]),
    4: (8.25667e-5, 0.944964, 0.807672, 0.243881, 0.0208147, 2.50719e-4, 359, [*range(749, 1000)]),
    3: (6.19257e-5, 0.958433, 0.851974, 0.347044, 0.0547991, 7.75918e-4, 411, [*range(824, 1000)]),
    2: (4.12842e-5, 0.972093, 0.898706, 0.493844, 0.144272, 3.56176e-3, 496, [*range(890, 1000)]),
}


def of(power):
    return Betas(linear() if power is None else cosine_power(power))


@pytest.mark.parametrize("power", TABLE)
def test_scos_has_the_reference_values(power):
    first, *abar, half, _ = TABLE[power]
    process = of(power)
    assert process.betas[0] == pytest.approx(first, rel=1e-5)
    found = [process.abar[i].item() for i in (99, 199, 499, 749, 999)]
    assert found == pytest.approx(abar, rel=1e-5)
    assert (process.abar < 0.5).nonzero()[0].item() == half


@pytest.mark.parametrize("power", [6, 5, 4, 3, 2])
def test_scos_is_the_smaller_of_both_parts_and_crosses_twice_at_six_and_five(power):
    cosine, straight, both = (torch.tensor(b) for b in (power_cosine(power), linear(), cosine_power(power)))
    assert torch.equal(both, torch.minimum(cosine, straight))
    assert (straight < cosine).nonzero().flatten().tolist() == TABLE[power][-1]


def test_the_cosine_parts_of_six_and_five_begin_above_the_linear_part():
    assert power_cosine(6)[0] == pytest.approx(1.23848e-4, rel=1e-5)
    assert power_cosine(5)[0] == pytest.approx(1.03207e-4, rel=1e-5)


@pytest.mark.parametrize("power", TABLE)
def test_beta_grows_and_abar_falls(power):
    process = of(power)
    assert (process.beta.diff() > 0).all() and process.beta.min() > 0 and process.beta.max() <= 0.02
    assert (process.abar.diff() < 0).all()


def test_a_lower_power_keeps_more_of_the_picture_at_every_t():
    tables = [of(power).abar for power in (None, 6, 5, 4, 3, 2)]
    for less, more in zip(tables, tables[1:], strict=False):
        assert (less <= more).all()
    # The signal left at the last step, 9 times as much as under linear.
    assert of(2).signal_left == pytest.approx(0.0597, abs=5e-5)
    assert of(None).signal_left == pytest.approx(0.0064, abs=5e-5)
    assert Flow().signal_left == 0


def test_the_plain_cosine_ends_in_the_spike_that_scos_has_not():
    plain = Betas(power_cosine(2))
    assert plain.betas[-1] == 0.999 and plain.abar[-1].item() == pytest.approx(2.4e-9, rel=0.02)


def test_equation_15_and_the_released_index_differ_by_at_most_2e_5():
    for power in (6, 5, 4, 3, 2):
        f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** power for t in range(1001)]
        paper = [min(1 - f[t] / f[t - 1], (2e-2 - 1e-4) / 1000 * t + 1e-4) for t in range(1, 1001)]
        gap = max(abs(a - b) for a, b in zip(paper, cosine_power(power), strict=True))
        assert 0 < gap <= 2e-5


def test_at_a_hundred_steps_the_linear_ends_are_ten_times_as_large():
    assert linear(100)[0] == pytest.approx(0.001) and linear(100)[-1] == pytest.approx(0.2)
    process, cosine = Betas(cosine_power(2, 100)), power_cosine(2, 100)
    assert process.abar[-1].item() == pytest.approx(0.00289, abs=5e-6)
    assert [i for i in range(100) if process.betas[i] < cosine[i]] == list(range(90, 100))


@pytest.mark.parametrize(
    "contrast, under_linear, under_scos", [(0.25, 73, 149), (0.5, 145, 289), (1, 259, 496)]
)
def test_objects_are_submerged_later_under_scos(contrast, under_linear, under_scos):
    def faded(process):  # the first t with √(ᾱ/(1−ᾱ))·d < 1
        return int((process.log_snr.div(2).exp() * contrast < 1).nonzero()[0])

    assert faded(of(None)) == under_linear and faded(of(2)) == under_scos


def test_the_t_of_equal_noise():
    scos, t = of(2), torch.tensor([100, 200, 500, 800, 999])
    found = matched_t(t, scos, of(None))
    assert found.floor().long().tolist() == [48, 98, 261, 481, 744]
    assert (found - torch.tensor([48.0, 99, 261, 482, 745])).abs().max() < 0.6  # printed as integers
    # It is as noisy there, and every t of a schedule matches itself.
    between = torch.lerp(*(of(None).log_snr[i] for i in (found.long(), found.long() + 1)), found.frac())
    assert torch.allclose(between, scos.log_snr[t])
    every = torch.arange(1000)
    assert torch.allclose(matched_t(every, scos, scos), every.double(), atol=1e-6)
    # Noisier than the reference ever is: held at its end.
    assert matched_t(torch.tensor([999]), of(None), scos).item() == 999


def test_stages_cover_a_tuning_in_equal_parts():
    for total in (6, 7, 11, 13, 100, 500, 501):
        found = [stage_of(step, total) for step in range(total)]
        assert found == sorted(found) and set(found) == set(range(6))
        counts = [found.count(stage) for stage in range(6)]
        assert max(counts) - min(counts) <= 1
    assert [stage_of(step, 500) for step in (0, 83, 84, 499)] == [0, 0, 1, 5]
    assert [stage_of(step, 7) for step in range(7)] == [0, 0, 1, 2, 3, 4, 5]


def test_stages_below_six_steps_skip_and_never_run_over():
    assert [stage_of(step, 3) for step in range(3)] == [0, 2, 4]
    assert stage_of(0, 1) == 0
    assert stage_of(600, 600) == 5  # one past the end stays in the last
    assert [stage_of(step, 4, stages=2) for step in range(4)] == [0, 0, 1, 1]
    with pytest.raises(ValueError):
        stage_of(0, 0)


def test_each_stage_has_its_schedule():
    assert STAGES == (None, 6, 5, 4, 3, 2)
    assert (
        stage_betas(0) == linear() and stage_betas(1) == cosine_power(6) and stage_betas(5) == cosine_power(2)
    )
    assert len(stage_betas(3, 100)) == 100


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_noise_and_targets_are_diffusers(prediction):
    process = Betas(scaled_linear(), prediction)
    ours, theirs = process, DDIMScheduler(trained_betas=list(process.betas))
    x0, eps = torch.randn(2, 5, 3, 4, 6, generator=seeded())
    t = torch.tensor([0, 1, 500, 998, 999])
    assert torch.allclose(ours.noise(x0, eps, t), theirs.add_noise(x0, eps, t), atol=1e-5)
    wanted = eps if prediction == "epsilon" else theirs.get_velocity(x0, eps, t)
    assert torch.allclose(ours.target(x0, eps, t), wanted, atol=1e-5)


@pytest.mark.parametrize("process", [of(2), Betas(scaled_linear(), "v_prediction"), Flow()])
def test_a_perfect_prediction_stands_for_the_clean_picture(process):
    x0, eps = torch.randn(2, 4, 3, 4, 4, generator=seeded(), dtype=torch.float64)
    t = torch.tensor([0, 10, 600, 999])
    x_t = process.noise(x0, eps, t)
    assert torch.allclose(process.clean(process.target(x0, eps, t), x_t, t), x0)


def test_a_half_precision_latent_is_noised_in_float32():
    x = torch.ones(1, 1, 2, 2, dtype=torch.bfloat16)
    assert of(None).noise(x, x, torch.tensor([3])).dtype == torch.float32
    assert Flow().noise(x, x, torch.tensor([3.0])).dtype == torch.float32


def test_the_posterior_of_the_first_step_is_that_of_the_second():
    process = of(None)
    found = process.posterior_log_variance
    assert found[0] == found[1] and found.isfinite().all()
    t = 400
    tilde = (1 - process.abar[t - 1]) / (1 - process.abar[t]) * process.beta[t]
    assert found[t].exp().item() == pytest.approx(tilde.item(), rel=1e-12)


def test_the_learned_range_runs_from_the_posteriors_variance_to_beta():
    process, t = of(2), torch.tensor([0, 1, 500, 999])
    one = torch.ones(4, 2, 1, 1, dtype=torch.float64)
    high, low, middle = (process.log_variance(v, t)[:, 0, 0, 0] for v in (one, -one, 0 * one))
    assert torch.allclose(high, process.beta[t].log()) and torch.allclose(
        low, process.posterior_log_variance[t]
    )
    assert torch.allclose(middle, (high + low) / 2) and (low < high).all()


def test_steps_are_drawn_evenly_and_stay_in_their_interval():
    process = of(None)
    t = process.sample_t(4000, seeded())
    assert t.dtype == torch.long and t.min() >= 0 and t.max() <= 999
    assert stats.kstest(t.numpy() / 1000, "uniform").pvalue > 1e-3
    assert set(process.sample_t(400, seeded(), (125, 129)).tolist()) == {125, 126, 127, 128}
    # Intervals of a number that does not divide 1000: every t is in one, t·n//T.
    for i in range(16):
        t = process.sample_t(200, seeded(), (i * 1000 / 16, (i + 1) * 1000 / 16))
        assert set((t * 16 // 1000).tolist()) == {i}
    assert torch.equal(process.sample_t(9, seeded(3)), process.sample_t(9, seeded(3)))


@pytest.mark.parametrize("interval", [(5, 5), (-1, 4), (10, 1001), (0.2, 0.4)])
def test_an_interval_without_steps_is_refused(interval):
    with pytest.raises(UserError):
        of(None).sample_t(3, seeded(), interval)


def test_a_flow_draws_from_the_shifted_density():
    for shift in (1.0, 3.0):
        s = Flow(shift).sample_t(4000, seeded()).double() / 1000
        assert stats.kstest(torch.logit(s).numpy(), stats.norm(math.log(shift)).cdf).pvalue > 1e-3
    u = torch.rand(6, generator=seeded(), dtype=torch.float64)
    found = Flow(3.0, logit_normal=False).sample_t(6, seeded())
    assert torch.allclose(found, (1000 * 3 * u / (1 + 2 * u)).float(), rtol=1e-5)


@pytest.mark.parametrize("logit_normal", [True, False])
@pytest.mark.parametrize("interval", [(0, 125), (250, 500), (875, 1000)])
def test_a_flow_in_an_interval_has_its_own_density_cut_to_it(logit_normal, interval):
    flow = Flow(3.0, logit_normal)
    t = flow.sample_t(3000, seeded(1), interval)
    assert t.dtype == torch.float32 and (t >= interval[0]).all() and (t < interval[1]).all()
    every = flow.sample_t(60_000, seeded(2))
    inside = every[(every >= interval[0]) & (every < interval[1])]
    assert len(inside) > 50 and stats.ks_2samp(t.numpy(), inside.numpy()).pvalue > 1e-3


def test_a_flow_refuses_what_is_outside_its_times():
    for interval in ((0, 1001), (-1, 3), (4, 4)):
        with pytest.raises(UserError):
            Flow().sample_t(2, seeded(), interval)
    with pytest.raises(UserError):
        Flow(shift=0.0)


def test_a_flow_goes_straight_from_picture_to_noise():
    x0, eps = torch.randn(2, 3, 2, 2, 2, generator=seeded())
    flow = Flow()
    assert torch.equal(flow.noise(x0, eps, torch.zeros(3)), x0)
    assert torch.equal(flow.noise(x0, eps, torch.full((3,), 1000.0)), eps)
    step = flow.noise(x0, eps, torch.full((3,), 750.0)) - flow.noise(x0, eps, torch.full((3,), 250.0))
    assert torch.allclose(step, 0.5 * flow.target(x0, eps, torch.zeros(3)), atol=1e-6)
    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0)
    t = theirs.timesteps[[0, 400, 999]]
    assert torch.allclose(flow.noise(x0, eps, t), theirs.scale_noise(x0, t, eps), atol=1e-6)


@pytest.mark.parametrize(
    "process", [Betas(cosine_power(3), "v_prediction", True), Betas(linear(50)), Flow(2.5, False)]
)
def test_json_and_back_is_exact(process):
    again = from_json(json.loads(json.dumps(process.to_json())))
    assert again == process and type(again) is type(process)
    check_same(process, again, "a test")


@pytest.mark.parametrize(
    "kept",
    [{}, {"kind": "sde"}, {"kind": "betas"}, {"kind": "betas", "betas": [0.1, 0.2], "x": 1},
     {"kind": "betas", "betas": [0.1, "a"]}, {"kind": "betas", "betas": [0.5]}, {"kind": "betas", "betas": [0.1, 1.5]},
     {"kind": "betas", "betas": [0.1, float("nan")]},
     {"kind": "betas", "betas": [0.1, 0.2], "prediction": "sample"}, {"kind": "flow", "shift": "3"}],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(kept):
    with pytest.raises(UserError):
        from_json(kept)


def test_another_schedule_is_refused_by_its_first_difference():
    with pytest.raises(UserError, match=r"β\[0\] is 4.12842e-05 against 0.0001"):
        check_same(of(2), of(None), "the adapter")
    cases = [
        (of(None), Flow()), (Flow(3.0), Flow(1.0)), (of(None), Betas(linear(100))),
        (of(None), Betas(linear(), "v_prediction")), (of(None), Betas(linear(), learned_range=True)),
    ]  # fmt: skip
    for wanted, given in cases:
        with pytest.raises(UserError, match="another noise schedule"):
            check_same(wanted, given, "the adapter")
    nearly = Betas(tuple(b * (1 + 1e-4 * (i == 500)) for i, b in enumerate(linear())))
    with pytest.raises(UserError, match=r"β\[500\]"):
        check_same(of(None), nearly, "the adapter")
    # Rounded to float32 on the way through another file, and a flow's training density.
    check_same(of(2), Betas(tuple(of(2).beta.float().tolist())), "the adapter")
    check_same(Flow(3.0, True), Flow(3.0, False), "the adapter")


@pytest.mark.parametrize(
    "config, wanted",
    [
        ({"beta_schedule": "linear"}, Betas(linear())),
        ({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, Betas(scaled_linear())),
        ({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.014,
          "num_train_timesteps": 1100}, Betas(scaled_linear(1100, last=0.014))),
        ({"trained_betas": [0.1, 0.2], "prediction_type": "v_prediction"}, Betas((0.1, 0.2), "v_prediction")),
        ({"beta_schedule": "squaredcos_cap_v2"}, Betas(power_cosine(2))),
    ],
)  # fmt: skip
def test_the_schedules_of_bases_are_read_from_diffusers_configs(config, wanted):
    found = from_diffusers({"_class_name": "DDIMScheduler", **config})
    check_same(wanted, found, "a test")
    theirs = DDIMScheduler(**{k: v for k, v in config.items() if k != "prediction_type"}).betas
    assert torch.allclose(found.beta.float(), theirs, rtol=1e-4)


def test_a_flow_is_read_from_its_config_and_what_cannot_be_had_is_refused():
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    assert from_diffusers(flow) == Flow(3.0)
    assert from_diffusers({"_class_name": "DDPMScheduler"}, learned_range=True).learned_range
    for config in (
        {**flow, "use_dynamic_shifting": True},
        {"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True},
        {"_class_name": "DDIMScheduler", "beta_schedule": "sigmoid"},
        {"_class_name": "DDIMScheduler", "prediction_type": "sample"},
    ):
        with pytest.raises(UserError):
            from_diffusers(config)
