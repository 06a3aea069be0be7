"""TimeStep Master on small generators: modes, stages, what moves, t through checkpointing, and sampling."""

import copy

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.config import Lora
from edgekit.generators.adapters.tsm.config import TimestepMaster
from edgekit.generators.adapters.tsm.intervals import interval
from edgekit.generators.sampling import sample_latents
from tests.unit.generators.adapters import bases
from tests.unit.generators.adapters.bases import ARCHS, LABELS, batch, predicted

torch.set_num_threads(1)
MODES = ("base", "vanilla", "stage1", "stage2")
SMALL = dict(core=4, contexts=[1], rank=2)


def base(arch="dit"):
    return bases.tiny(arch)


def disturb(adapter, only="", seed=0, size=0.3):
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapter.added.items():
            if only in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=draw))


def fitted(arch="dit", **keys):
    """A generator and its adapter, every expert and router drawn."""
    generator = base(arch)
    adapter = attach(TimestepMaster(**(SMALL | keys)), generator, 0)
    disturb(adapter)
    adapter.finish()
    return generator, adapter


def at(generator, t):
    x, _, cond = batch(generator)
    with torch.no_grad():
        return generator.predict(x, t, cond)


def far(a, b):
    return (a - b).abs().max()


# --- identity, modes ------------------------------------------------------------------------


@pytest.mark.parametrize("mixture", ["asymmetric", "symmetric", "moe"])
@pytest.mark.parametrize("arch", ARCHS)
def test_zero_experts_leave_every_mode_at_the_base_bit_for_bit_and_detach_too(arch, mixture):
    generator = base(arch)
    output, before = predicted(generator), copy.deepcopy(generator.denoiser.state_dict())
    hooks = [len(m._forward_hooks) for m in generator.denoiser.modules()]
    keys = SMALL | (dict(contexts=[]) if mixture == "moe" else {})
    adapter = attach(TimestepMaster(**keys, mixture=mixture), generator, 0)
    assert torch.equal(predicted(generator), output)
    disturb(adapter, "router")
    for mode in ("base", "stage2") if mixture == "moe" else MODES:
        adapter.set_mode(mode)
        assert torch.equal(predicted(generator), output), mode
    disturb(adapter)
    assert far(predicted(generator), output) > 1e-3
    adapter.detach()
    assert torch.equal(predicted(generator), output) and generator.adapter is None
    after = generator.denoiser.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[k], before[k]) for k in before)
    assert [len(m._forward_hooks) for m in generator.denoiser.modules()] == hooks


def test_modes_are_what_they_say():
    generator, adapter = fitted()
    t = torch.tensor([10, 400, 900])
    outputs = {}
    for mode in MODES:
        adapter.set_mode(mode)
        outputs[mode] = at(generator, t)
    assert all(far(outputs[a], outputs[b]) > 1e-4 for a in MODES for b in MODES if a < b)
    adapter.only(1, 0)
    assert torch.equal(at(generator, t), outputs["vanilla"])
    for row, expert in enumerate([0, 1, 3]):
        adapter.only(4, expert)
        assert far(at(generator, t)[row], outputs["stage1"][row]) < 1e-5
    disturb(adapter, "router", size=0)
    adapter.set_mode("stage2")
    assert far(at(generator, t), outputs["stage1"]) < 1e-5  # no gate, no context: the core alone


def test_the_first_step_of_an_interval_is_its_own_experts():
    generator, adapter = fitted(core=4)
    for t, expert in ((499, 1), (500, 2), (749, 2), (750, 3)):
        adapter.set_mode("stage1")
        output, others = at(generator, torch.tensor([t, t, t])), []
        for i in range(4):
            adapter.only(4, i)
            others.append(at(generator, torch.tensor([t, t, t])))
        assert torch.equal(output, others[expert])
        assert all(far(output, other) > 1e-4 for i, other in enumerate(others) if i != expert), t


def test_modes_without_their_experts_are_refused():
    _, adapter = fitted(contexts=[])
    for mode, why in [("vanilla", "no scale"), ("stage2", "no contexts"), ("stage3", "stage")]:
        with pytest.raises(UserError, match=why):
            adapter.set_mode(mode)
    with pytest.raises(UserError, match="no expert 4 of 4"):
        adapter.only(4, 4)


@pytest.mark.parametrize("arch", ["dit", "unet"])
def test_one_interval_is_peft_lora(arch):
    generator, adapter = fitted(arch, core=1, contexts=[], alpha=6.0)
    other = base(arch)
    lora = attach(Lora(rank=2, alpha=6.0), other, 0)
    with torch.no_grad():
        for name, parameter in lora.added.items():
            layer, part = name.removesuffix(".weight").rsplit(".", 1)
            parameter.copy_(adapter.added[f"{layer}.tsm.experts.1.0.{part}"])
    assert far(predicted(generator), predicted(other)) < 1e-5
    assert far(predicted(generator), predicted(base(arch))) > 1e-3


def test_a_core_may_be_coarser_than_its_contexts():
    generator, adapter = fitted(core=2, contexts=[8, 1])
    t = torch.tensor([10, 400, 900])
    moment = adapter.moment(t)
    assert [n for n, _ in moment.picks] == [2, 8, 1]
    assert [p if isinstance(p, int) else p.tolist() for _, p in moment.picks] == [[0, 0, 1], [0, 3, 7], 0]
    together = at(generator, t)
    disturb(adapter, "router", size=0)
    adapter.set_mode("stage1")
    core = at(generator, t)
    assert far(core, together) > 1e-4
    adapter.set_mode("stage2")
    assert far(at(generator, t), core) < 1e-5


# --- t --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_a_batch_of_many_t_is_the_samples_one_by_one(arch):
    generator, adapter = fitted(arch, contexts=[1, 2])
    disturb(adapter, size=0.1)  # large random gates on gates enlarge a last digit a thousandfold
    x, _, cond = batch(generator)
    t = torch.tensor([10, 400, 900], dtype=torch.float32 if arch == "mmdit" else torch.long)
    for mode in ("stage1", "stage2"):
        adapter.set_mode(mode)
        with torch.no_grad():
            together = generator.predict(x, t, cond)
            for b in range(3):
                one = {key: value[b : b + 1] for key, value in cond.items()}
                assert far(generator.predict(x[b : b + 1], t[b : b + 1], one)[0], together[b]) < 1e-4


def test_guidance_doubles_t_with_the_batch():
    generator, _ = fitted()
    x, _, cond = batch(generator)
    t = torch.tensor([10, 400, 900])
    null = generator.condition.null(3)
    both = {key: torch.cat([null[key], cond[key]]) for key in cond}
    with torch.no_grad():
        free, given = generator.predict(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        assert far(free, generator.predict(x, t, null)) < 1e-5
        assert far(given, generator.predict(x, t, cond)) < 1e-5


def test_scalar_single_and_float_t_pick_the_same():
    _, adapter = fitted()
    for mode in ("stage1", "stage2"):
        adapter.set_mode(mode)
        one = adapter.moment(torch.tensor([749]))
        picks = ((4, 2),) if mode == "stage1" else ((4, 2), (1, 0))
        for t in (749, torch.tensor(749), torch.tensor(749.0), torch.tensor([749, 749])):
            moment = adapter.moment(t)
            assert moment.picks == one.picks == picks
            assert mode == "stage1" or set(moment.time_rows.tolist()) == {749}
    assert adapter.moment(torch.tensor([1000.0])).time_rows.tolist() == [999]  # the end of a flow


def test_scalar_single_and_float_t_predict_the_same():
    generator, adapter = fitted("unet")  # the DiT itself wants one t a sample
    x, _, cond = batch(generator)
    for mode in ("stage1", "stage2"):
        adapter.set_mode(mode)
        whole = generator.predict(x, torch.full((len(x),), 749), cond)
        for t in (torch.tensor(749), torch.tensor([749]), torch.full((len(x),), 749.0)):
            assert torch.equal(generator.predict(x, t, cond), whole)
        other = generator.predict(x, torch.full((len(x),), 20), cond)
        assert not torch.allclose(other, whole)


@pytest.mark.parametrize("arch", ARCHS)
def test_checkpointing_recomputes_each_pass_at_its_own_t(arch):
    generator, adapter = fitted(arch)
    adapter.begin("routers")
    x, _, cond = batch(generator)
    dtype = torch.float32 if arch == "mmdit" else torch.long
    times = [torch.tensor(t, dtype=dtype) for t in ([10, 400, 900], [990, 20, 500])]
    gradients = []
    for on in (False, True):
        generator.gradient_checkpointing(on)
        total = sum(generator.predict(x, t, cond).square().mean() for t in times)  # two passes, one backward
        total.backward()
        gradients.append({name: p.grad.clone() for name, p in adapter.trainable().items()})
        for parameter in adapter.trainable().values():
            parameter.grad = None
    assert any(p.abs().max() > 0 for p in gradients[0].values())
    assert all(torch.allclose(gradients[0][n], gradients[1][n], atol=1e-7) for n in gradients[0])
    adapter.detach()
    generator.gradient_checkpointing(True)
    assert "_Remembered" not in {type(m.__dict__.get("_gradient_checkpointing_func")).__name__
                                 for m in generator.denoiser.modules()}  # fmt: skip


def test_a_pass_that_is_told_no_t_fails_instead_of_taking_the_last():
    generator, adapter = fitted()
    x, t, cond = batch(generator)
    predicted(generator)
    with pytest.raises(RuntimeError, match="told no t"):
        generator.denoiser(x, timestep=t, class_labels=cond["labels"])


# --- what is trained ------------------------------------------------------------------------


def step(generator, adapter, t, parameters=None, decay=0.1):
    """One AdamW step; returns the names of what moved."""
    groups = parameters or adapter.groups()
    settings = [
        {"params": g["params"], "weight_decay": decay if g["weight_decay"] is None else 0.0} for g in groups
    ]
    optimiser = torch.optim.AdamW(settings, lr=1e-2)
    held = dict(generator.denoiser.named_parameters())
    before = {name: p.detach().clone() for name, p in held.items()}
    x, _, cond = batch(generator)
    generator.predict(x, t, cond).square().mean().backward()
    optimiser.step()
    return {name for name, p in held.items() if not torch.equal(p, before[name])}


def test_fostering_moves_one_expert_and_no_other_even_by_weight_decay():
    generator, adapter = fitted()
    expert = next(s for s in adapter.stages if s.name == "expert-4-2")
    adapter.begin(expert)
    asking = {name for name, p in generator.denoiser.named_parameters() if p.requires_grad}
    assert asking == set(adapter.trainable()) and all(".experts.4.2." in name for name in asking)
    assert len(asking) == 2 * len(adapter.experts)
    everything = [{"params": list(adapter.added.values()), "weight_decay": None}]  # a careless optimiser
    t = generator.process.sample_t(3, torch.Generator().manual_seed(0), expert.interval)
    assert set(interval(t, 4, 1000).tolist()) == {2}
    assert step(generator, adapter, t, everything) == asking


def test_assembling_moves_routers_alone_and_no_row_of_a_t_that_was_not_drawn():
    generator, adapter = fitted()
    adapter.begin("routers")
    t = torch.tensor([10, 400, 400])
    rows = {name: p.detach().clone() for name, p in adapter.added.items() if name.endswith("router.time")}
    asking = {name for name, p in generator.denoiser.named_parameters() if p.requires_grad}
    assert asking == {n for n in adapter.added if ".tsm.router." in n} == set(adapter.trainable())
    moved = step(generator, adapter, t)
    assert moved == asking
    for name, before in rows.items():
        changed = (adapter.added[name] != before).any(dim=1).nonzero().flatten().tolist()
        assert changed == [10, 400]


def test_a_router_learns_from_its_zero_start():
    generator = base()
    adapter = attach(TimestepMaster(**SMALL), generator, 0)
    disturb(adapter, "experts")
    adapter.begin("routers")
    x, t, cond = batch(generator)
    generator.predict(x, t, cond).square().mean().backward()
    assert all(p.grad.abs().max() > 0 and not p.any() for p in adapter.trainable().values())


def test_stages_are_resumed_by_name_and_each_holds_the_whole_state():
    generator, adapter = fitted(labels=["snow", "sun"])
    assert [s.name for s in adapter.stages] == ["expert-1-0", *(f"expert-4-{i}" for i in range(4)), "routers"]
    assert generator.condition.names == ["snow", "sun"]
    tables = [set(adapter.trained_in(s)) & set(adapter.in_place) for s in adapter.stages]
    assert len(tables[0]) == 1 and not any(tables[1:])
    names = set(adapter.state())
    adapter.begin("expert-4-1")
    kept = adapter.training_state()
    adapter.begin("routers")
    adapter.load_training_state(kept)
    assert adapter.stage.name == "expert-4-1" and adapter.mode == (4, 1)
    assert set(adapter.state()) == names == set(adapter.in_place) | set(adapter.added)
    with pytest.raises(UserError, match="no stage 'expert-4-9'"):
        adapter.begin("expert-4-9")
    assert [s.name for s in attach(TimestepMaster(core=2, contexts=[], labels=LABELS), base(), 0).stages] == [
        "expert-2-0", "expert-2-1",
    ]  # the base's own labels: no table to train  # fmt: skip


def test_the_same_seed_gives_the_same_experts_and_each_its_own():
    one, same, other = (attach(TimestepMaster(**SMALL), base(), seed) for seed in (1, 1, 2))
    first = "transformer_blocks.0.attn1.to_q.tsm.experts.4."
    assert all(torch.equal(one.added[name], same.added[name]) for name in one.added)
    a = [one.added[f"{first}{i}.lora_A"] for i in range(4)]
    assert not torch.equal(a[0], a[1]) and not torch.equal(a[0], other.added[f"{first}0.lora_A"])
    assert a[0].abs().max() <= 32**-0.5 and a[0].abs().max() > 0.8 * 32**-0.5  # PEFT's bound


# --- baselines and units --------------------------------------------------------------------


def test_symmetric_gates_average_all_scales_at_the_start():
    generator, adapter = fitted(mixture="symmetric")
    t = torch.tensor([10, 20, 30])  # one interval
    disturb(adapter, "router", size=0)
    together = [experts.weight(4, 0) + experts.weight(1, 0) for experts in adapter.experts.values()]
    output = at(generator, t)
    plain = base()
    with torch.no_grad():
        for name, change in zip(adapter.experts, together, strict=True):
            plain.denoiser.get_submodule(name).weight += change / 2
    assert far(at(plain, t), output) < 1e-5


def test_moe_trains_experts_and_routers_together_without_intervals():
    generator = base()
    adapter = attach(TimestepMaster(core=3, contexts=[], rank=2, mixture="moe"), generator, 0)
    assert [s.name for s in adapter.stages] == ["mixture"]
    assert set(adapter.trainable()) == set(adapter.added)
    disturb(adapter)
    assert all(isinstance(i, int) for _, i in adapter.moment(torch.tensor([10, 900, 400])).picks)
    assert step(generator, adapter, torch.tensor([10, 900, 400])) == set(adapter.added)
    with pytest.raises(UserError, match="no intervals"):
        adapter.set_mode("stage1")


@pytest.mark.parametrize("arch", ["dit", "unet", "mmdit"])
def test_chosen_heads_alone_change(arch):
    names = list(attach(TimestepMaster(**SMALL), base(arch), 0).experts)
    q, out = (next(n for n in names if n.endswith(end)) for end in ("to_q", "to_out.0"))
    generator, adapter = fitted(arch, units=[f"{q}.h0", f"{out}.h0"])
    heads = adapter.generator.denoiser.get_submodule(q.rpartition(".")[0]).heads
    assert set(adapter.experts) == {q, out}
    width = adapter.experts[q].shape[0] // heads
    assert adapter.added[f"{q}.tsm.experts.1.0.lora_B"].shape[0] == width
    assert adapter.added[f"{out}.tsm.experts.1.0.lora_A"].shape[1] == width
    rows, columns = (adapter.experts[name].weight(4, 3) != 0 for name in (q, out))
    assert rows[:width].all() and not rows[width:].any()
    assert columns[:, :width].all() and not columns[:, width:].any()
    assert far(predicted(generator), predicted(base(arch))) > 1e-5


def test_all_heads_and_one_interval_are_lora():
    plain, config = fitted(core=1, contexts=[])[1], dict(core=1, contexts=[])
    units = [f"{name}.h{head}" for name in plain.experts for head in range(2)]
    generator, adapter = fitted(**config, units=units)
    assert {n: p.shape for n, p in adapter.added.items()} == {n: p.shape for n, p in plain.added.items()}
    assert torch.equal(predicted(generator), predicted(plain.generator))


@pytest.mark.parametrize(
    "unit, why",
    [
        ("transformer_blocks.0.attn1.to_q.h2", "heads 0 to 1"),
        ("transformer_blocks.9.attn1.to_q.h0", "no adapted projection"),
        ("transformer_blocks.0.ff.net.2.h0", "no adapted projection"),
    ],
)
def test_units_that_are_not_there_are_refused(unit, why):
    generator = base()
    with pytest.raises(UserError, match=why):
        attach(TimestepMaster(units=[unit]), generator, 0)
    assert not any(hasattr(m, "tsm") for m in generator.denoiser.modules())


def test_distillation_adapts_a_unets_convolutions():
    generator, adapter = fitted("unet", targets="distillation")
    disturb(adapter, size=0.05)  # gates have no bound: through every layer of a UNet, larger ones overflow
    kinds = {type(generator.denoiser.get_submodule(name)).__name__ for name in adapter.experts}
    assert kinds == {"Linear", "Conv2d"}
    x, _, cond = batch(generator)
    t = torch.tensor([10, 400, 900])
    with torch.no_grad():
        together = generator.predict(x, t, cond)
        for b in range(3):
            one = {key: value[b : b + 1] for key, value in cond.items()}
            assert far(generator.predict(x[b : b + 1], t[b : b + 1], one)[0], together[b]) < 1e-3


# --- sampling -------------------------------------------------------------------------------


def test_the_sampler_meets_the_experts_in_order():
    generator, adapter = fitted()
    layer = adapter.experts["transformer_blocks.1.attn1.to_q"]
    seen = []
    layer.register_forward_pre_hook(
        lambda *_: seen.append((adapter.clock.now.picks, adapter.clock.now.time_rows))
    )
    cond = generator.condition.encode([0, 1])
    sample_latents(generator, cond, 4, 2.0, [0, 1])
    assert [(rows.unique().tolist(), picks) for picks, rows in seen] == [
        ([999], ((4, 3), (1, 0))), ([749], ((4, 2), (1, 0))),
        ([499], ((4, 1), (1, 0))), ([249], ((4, 0), (1, 0))),
    ]  # fmt: skip
    seen.clear()
    adapter.set_mode("stage1")
    sample_latents(generator, cond, 25, 1.0, [0, 1], "ddim")
    assert [picks for picks, _ in seen] == [((4, (40 * k - 1) * 4 // 1000),) for k in range(25, 0, -1)]


def test_a_flows_sampler_meets_high_experts_most_of_the_time():
    generator, adapter = fitted("mmdit", core=8)
    seen = []
    next(iter(adapter.experts.values())).register_forward_pre_hook(
        lambda *_: seen.append(adapter.clock.now.picks[0][1])
    )
    cond = generator.condition.encode(["rain"])
    sample_latents(generator, cond, 10, 1.0, [0])
    assert seen == sorted(seen, reverse=True) and seen[0] == 7
    assert sum(i >= 4 for i in seen) > 5  # the shift of 3 keeps t high
