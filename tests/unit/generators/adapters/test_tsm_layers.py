"""TimeStep Master's maths: intervals, stages, and one layer's mixture against closed forms."""

import math
import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.tsm.clock import Clock, Moment
from edgekit.generators.adapters.tsm.config import TimestepMaster
from edgekit.generators.adapters.tsm.intervals import bounds, interval
from edgekit.generators.adapters.tsm.layers import Experts
from edgekit.generators.adapters.tsm.router import Router
from edgekit.generators.adapters.tsm.stages import plan, schedule

torch.set_num_threads(1)
ALL = torch.arange(1000)


def drawn(module: nn.Module, seed=0) -> nn.Module:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return module


def experts_on(layer, scales=(4, 1), rank=2, alpha=2.0, gates=0, moment=None, **keys) -> Experts:
    clock = Clock()
    clock.now = moment
    router = Router(layer.weight.shape[1], gates, 1000, **keys) if gates else None
    draw = torch.Generator().manual_seed(0)
    return drawn(Experts(layer, list(scales), rank, alpha / rank, clock, draw, router))


# --- intervals ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 4, 5, 8, 10])
def test_intervals_cut_all_steps_into_equal_parts(n):
    of = interval(ALL, n, 1000)
    assert of.bincount().tolist() == [1000 // n] * n and (of.diff() >= 0).all()
    assert of.tolist() == [math.ceil((k + 1) * n / 1000) - 1 for k in range(1000)]  # the paper's t = k + 1
    for i in range(n):
        low, high = bounds(i, n, 1000)
        assert (of == i).nonzero().flatten().tolist() == list(range(int(low), int(high)))


def test_borders():
    assert interval(torch.tensor([124, 125, 999, 0]), 8, 1000).tolist() == [0, 1, 7, 0]
    assert interval(torch.tensor([999, 749, 499, 249]), 4, 1000).tolist() == [3, 2, 1, 0]
    assert [interval(k, 8, 1000) for k in (124, 125)] == [0, 1]


def test_sixteen_intervals_differ_from_the_papers_form_at_eight_steps():
    floor = interval(ALL, 16, 1000)
    ceil = torch.tensor([math.ceil((k + 1) * 16 / 1000) - 1 for k in range(1000)])
    assert (floor != ceil).nonzero().flatten().tolist() == [62, 187, 312, 437, 562, 687, 812, 937]
    assert sorted(set(floor.bincount().tolist())) == [62, 63]


@pytest.mark.parametrize("n, T", [(16, 1000), (7, 1000), (8, 1100), (3, 10)])
def test_whole_steps_within_bounds_are_the_experts_own(n, T):
    of = interval(torch.arange(T), n, T)
    for i in range(n):
        low, high = (math.ceil(edge) for edge in bounds(i, n, T))  # as Betas.sample_t rounds them
        assert set(of[low:high].tolist()) == {i}
    assert of.tolist() == [interval(k, n, T) for k in range(T)]
    assert torch.equal(of, interval(torch.arange(T).float(), n, T))  # a whole number, told as a float


def test_a_flows_real_t():
    t = torch.tensor([0.0, 124.999, 125.0, 999.99, 1000.0])
    assert interval(t, 8, 1000).tolist() == [0, 0, 1, 7, 7]
    assert [interval(x, 8, 1000) for x in t.tolist()] == [0, 0, 1, 7, 7]


# --- config and stages ----------------------------------------------------------------------


def test_stages_foster_wide_intervals_first_and_then_train_routers():
    stages = plan(TimestepMaster(core=2, contexts=[1, 4], router_share=3))
    assert [s.name for s in stages] == [
        "expert-1-0", "expert-2-0", "expert-2-1", *(f"expert-4-{i}" for i in range(4)), "routers",
    ]  # fmt: skip
    assert [s.interval for s in stages[:3]] == [None, (0, 500), (500, 1000)]
    assert stages[-1].interval is None and stages[-1].share == pytest.approx(0.3)
    assert sum(s.share for s in stages) == pytest.approx(1)
    assert [s.name for s in plan(TimestepMaster(core=2, contexts=[]))] == ["expert-2-0", "expert-2-1"]
    assert [s.name for s in plan(TimestepMaster(core=3, contexts=[], mixture="moe"))] == ["mixture"]


def test_a_label_table_is_trained_over_all_t_and_once():
    with_wide = plan(TimestepMaster(labels=["snow"]))
    assert [s.name for s in with_wide if "table" in s.parts] == ["expert-1-0"]
    without = plan(TimestepMaster(core=4, contexts=[], table=True))
    assert [s.name for s in without if "table" in s.parts] == ["labels"] == [without[0].name]
    assert without[0].interval is None


def test_steps_are_shared_out_without_a_rest():
    stages = plan(TimestepMaster())
    assert len(stages) == 10
    ranges = schedule(stages, 1003)
    assert [k for steps in ranges for k in steps] == list(range(1003))
    assert {len(steps) for steps in ranges} == {100, 101}
    with pytest.raises(UserError, match="9 steps for 10 stages"):
        schedule(stages, 9)


@pytest.mark.parametrize(
    "keys, why",
    [
        (dict(core=4, contexts=[4]), "different"),
        (dict(contexts=[0]), "1 or more"),
        (dict(mixture="moe"), "must be"),
        (dict(mixture="moe", core=1, contexts=[]), "one alone"),
        (dict(mixture="symmetric", contexts=[]), "at least one context"),
        (dict(units=["a.h0", "a.h0"]), "named twice"),
    ],
)
def test_configs_that_make_no_sense_are_refused(keys, why):
    with pytest.raises(ValidationError, match=why):
        TimestepMaster(**keys)


def test_config_and_stages_are_light():
    code = (
        "import sys, edgekit.generators.adapters.tsm.stages;"
        "print([m for m in ('torch', 'diffusers', 'peft') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# --- one layer ------------------------------------------------------------------------------


def test_the_mixture_is_equation_5_token_by_token():
    layer = nn.Linear(3, 2)
    z = torch.tensor([[[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]]])  # [1, 2 tokens, 3]
    moment = Moment(((4, 2), (1, 0)), torch.tensor([700]))
    experts = experts_on(layer, rank=1, alpha=3.0, gates=1, moment=moment)  # s = 3
    core, context = experts.experts["4"][2], experts.experts["1"][0]
    feature, time = experts.router.feature, experts.router.time
    added = experts(z)
    for token in range(2):
        x = z[0, token]
        gate = (feature[0] * x).sum() + time[700, 0]
        by_hand = 3 * core.lora_B[:, 0] * (core.lora_A[0] * x).sum()
        by_hand += gate * 3 * context.lora_B[:, 0] * (context.lora_A[0] * x).sum()
        assert torch.allclose(added[0, token], by_hand, atol=1e-5)


def test_gates_are_not_bounded():
    router = Router(2, 1, 10)
    with torch.no_grad():
        router.feature[0] = torch.tensor([2.0, -3.0])
        router.time[4] = 1.5
    weights = router(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([4]))
    assert weights[0].tolist() == [[1.0, 3.5], [1.0, -1.5]]  # the core's is 1, whatever comes


def test_gate_inputs_and_pooling():
    z, rows = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 7])
    both = drawn(Router(3, 2, 10))
    full = both(z, rows)[..., 1:]
    feature, time = Router(3, 2, 10, "feature"), Router(3, 2, 10, "time")
    assert feature.time is None and time.feature is None
    with torch.no_grad():
        feature.feature.copy_(both.feature)
        time.time.copy_(both.time)
    parts = feature(z, rows)[..., 1:] + time(z, rows)[..., 1:]
    assert torch.allclose(parts, full, atol=1e-6)
    assert torch.equal(time(z, rows)[:, 0, 1:], both.time[rows])
    both.pool = "image"
    pooled = both(z, rows)
    assert pooled.shape == (2, 1, 3)
    assert torch.allclose(pooled[..., 1:], full.mean(dim=1, keepdim=True), atol=1e-6)  # F is linear
    assert torch.allclose(both(z[1:], rows[1:])[0], pooled[1], atol=1e-6)  # no word from other samples


def test_softmax_gates_weigh_every_expert():
    router = Router(3, 4, 10, softmax=True)
    z = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(router(z, torch.tensor([0])), torch.full((1, 5, 4), 0.25))  # at the start
    weights = drawn(router)(z, torch.tensor([0]))
    assert weights.shape == (1, 5, 4) and torch.allclose(weights.sum(-1), torch.ones(1, 5))


LAYERS = {
    "linear": (lambda: nn.Linear(6, 4), (3, 5, 6)),
    "vector": (lambda: nn.Linear(6, 4), (3, 6)),
    "conv 3": (lambda: nn.Conv2d(6, 4, 3, padding=1), (3, 6, 4, 4)),
    "conv stride": (lambda: nn.Conv2d(6, 4, 3, stride=2, padding=1), (3, 6, 4, 4)),
    "conv 1": (lambda: nn.Conv2d(6, 4, 1), (3, 6, 4, 4)),
}


@pytest.mark.parametrize("gates", [0, 1])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_batch_of_many_t_is_the_samples_one_by_one(kind, gates):
    make, shape = LAYERS[kind]
    z = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    layer = make()
    of, rows = torch.tensor([3, 0, 2]), torch.tensor([900, 10, 600])
    picks = ((4, of), (1, 0)) if gates else ((4, of),)
    experts = experts_on(layer, gates=gates, moment=Moment(picks, rows if gates else None))
    together = experts(z)
    assert together.shape == layer(z).shape
    for b in range(3):
        one = ((4, int(of[b])), (1, 0)) if gates else ((4, int(of[b])),)
        experts.clock.now = Moment(one, rows[b : b + 1] if gates else None)
        assert torch.allclose(experts(z[b : b + 1])[0], together[b], atol=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_an_expert_is_a_change_of_the_weight(kind):
    make, shape = LAYERS[kind]
    z = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    layer = make()
    experts = experts_on(layer, alpha=3.0, moment=Moment(((4, 1),)))
    expected = layer(z) + experts(z)
    with torch.no_grad():
        layer.weight += experts.weight(4, 1)
    assert torch.allclose(layer(z), expected, atol=1e-4)
    a, b = experts.factors(4, 1)
    assert a.shape[0] == b.shape[1] == 2 and a.shape[1:] == layer.weight.shape[1:]


def test_a_strided_convolution_gates_by_its_input_averaged_to_its_output():
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    z = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    experts = experts_on(layer, gates=1, moment=Moment(((4, 0), (1, 0)), torch.tensor([5])))
    experts.clock.now = Moment(((4, 0),))
    core = experts(z)
    experts.clock.now = Moment(((1, 0),))
    context = experts(z)
    experts.clock.now = Moment(((4, 0), (1, 0)), torch.tensor([5]))
    mean = z.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))  # [1, 2, 2, 2]
    gate = torch.einsum("bchw,c->bhw", mean, experts.router.feature[0]) + experts.router.time[5, 0]
    assert torch.allclose(experts(z), core + gate[:, None] * context, atol=1e-5)


def test_chosen_rows_and_columns_alone_change():
    layer, index = nn.Linear(8, 6), torch.tensor([1, 4])
    clock, draw = Clock(), torch.Generator().manual_seed(0)
    for where in ("rows", "columns"):
        experts = drawn(Experts(layer, [1], 2, 1.0, clock, draw, **{where: index}))
        change = experts.weight(1, 0)
        expected = torch.zeros(6, 8, dtype=torch.bool)
        expected[index if where == "rows" else slice(None), slice(None) if where == "rows" else index] = True
        assert torch.equal(change != 0, expected)
        z = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
        clock.now = Moment(((1, 0),))
        assert torch.allclose(experts(z), z @ change.T, atol=1e-5)


def test_no_t_told_is_an_error():
    with pytest.raises(RuntimeError, match="told no t"):
        experts_on(nn.Linear(3, 2))(torch.zeros(1, 3))


def test_a_batch_of_another_size_than_t_is_an_error():
    experts = experts_on(nn.Linear(3, 2), moment=Moment(((4, torch.tensor([0, 1])),)))
    with pytest.raises(RuntimeError, match="2 values of t for a layer's batch of 3"):
        experts(torch.zeros(3, 3))
