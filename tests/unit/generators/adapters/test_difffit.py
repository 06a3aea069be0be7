"""DiffFit on small generators of all four architectures: identity, freezing, folding, files, gradients."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.difffit.config import DiffFit
from edgekit.generators.adapters.difffit.gamma import Gamma
from edgekit.generators.adapters.files import load_adapter, save_adapter
from edgekit.generators.objective import loss
from tests.unit.generators.adapters.bases import ARCHS, base, batch, predicted

torch.set_num_threads(1)
EVERYWHERE = {
    "dit": ["block", "qkv", "proj", "ff", "final_linear", "final_adaln", "patch", "time"],
    "pixart": ["block", "qkv", "proj", "ff", "final_linear", "patch", "time"],
    "unet": ["block", "qkv", "proj", "ff", "final_linear", "patch", "time"],
    "mmdit": ["block", "qkv", "proj", "ff", "final_linear", "final_adaln", "patch", "time"],
}


def tensors(generator) -> dict[str, torch.Tensor]:
    module = generator.denoiser
    held = dict(module.named_parameters()) | dict(module.named_buffers())
    return {name: t.detach().clone() for name, t in held.items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def disturb(adapter, seed=0, size=0.1) -> None:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.trainable().values():
            parameter.add_(size * torch.randn(parameter.shape, generator=draw))


def step(generator, adapter, weight_decay=0.1) -> None:
    settings = [{"params": g["params"], "weight_decay": g["weight_decay"] or 0.0} for g in adapter.groups()]
    optimiser = torch.optim.AdamW(settings, lr=1e-2, weight_decay=weight_decay)
    generator.predict(*batch(generator)).square().mean().backward()
    optimiser.step()


@pytest.mark.parametrize("arch", ARCHS)
def test_identity_at_init_and_after_detach_bit_for_bit(arch):
    generator = base(arch)
    before, output = tensors(generator), predicted(generator)
    adapter = attach(DiffFit(gammas=EVERYWHERE[arch], depth=2), generator, 0)
    assert torch.equal(predicted(generator), output)
    disturb(adapter)
    assert (predicted(generator) - output).abs().max() > 1e-2
    adapter.detach()
    assert same(tensors(generator), before)
    assert torch.equal(predicted(generator), output)
    assert generator.adapter is None
    assert not any(module._forward_hooks for module in generator.denoiser.modules())


@pytest.mark.parametrize("arch", ARCHS)
def test_a_step_moves_what_is_trained_and_nothing_else(arch):
    generator = base(arch)
    adapter = attach(DiffFit(), generator, 0)
    asking = {name for name, p in generator.denoiser.named_parameters() if p.requires_grad}
    assert asking == set(adapter.trainable())
    before = tensors(generator)
    step(generator, adapter)
    moved = {name for name, t in tensors(generator).items() if not torch.equal(t, before[name])}
    assert moved <= asking
    assert {"gamma", "gamma_block", "bias"} <= {name.rpartition(".")[2] for name in moved}


@pytest.mark.parametrize("arch", ARCHS)
def test_a_gradient_reaches_every_tensor_that_is_trained(arch):
    generator = base(arch)
    adapter = attach(DiffFit(), generator, 0)
    generator.predict(*batch(generator)).square().mean().backward()
    # A shift of every key moves no softmax.
    reached = {n: p.grad is not None and p.grad.abs().max() > 1e-9 for n, p in adapter.trainable().items()}
    still = [
        n for n, there in reached.items() if not there and not n.endswith(("to_k.bias", "add_k_proj.bias"))
    ]
    if arch == "mmdit":  # SD3's last block gives its text stream to no one
        still = [n for n in still if not n.startswith("transformer_blocks.3.attn.add_q_proj.")]
    assert still == []


def test_only_the_allowed_tensors_of_a_dit_are_trained():
    generator = base("dit")
    trained = attach(DiffFit(), generator, 0).trainable()
    table = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    rest = [
        name for name in trained if name != table and not name.endswith((".bias", ".gamma", ".gamma_block"))
    ]
    assert table in trained and not rest
    biases = [n for n, m in generator.denoiser.named_modules() if getattr(m, "bias", None) is not None]
    assert {f"{name}.bias" for name in biases} == {name for name in trained if name.endswith(".bias")}


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("side", ["first", "last"])
def test_folded_equals_unfolded(arch, side):
    generator = base(arch)
    plain, shared = tensors(generator).keys(), {type(m) for m in generator.denoiser.modules()}
    adapter = attach(DiffFit(gammas=EVERYWHERE[arch], depth=2, side=side), generator, 0)
    disturb(adapter)
    output = predicted(generator)
    adapter.fold()
    assert (predicted(generator) - output).abs().max() <= 1e-5
    assert tensors(generator).keys() == plain  # a plain denoiser, no overhead left
    assert {type(m) for m in generator.denoiser.modules()} == shared
    assert not any(module._forward_hooks for module in generator.denoiser.modules())
    assert generator.adapter is None


def test_two_scales_on_attentions_output_fold_into_their_product():
    generator = base("dit")
    out = generator.denoiser.transformer_blocks[0].attn1.to_out[0]
    weight, bias = out.weight.detach().clone(), out.bias.detach().clone()
    adapter = attach(DiffFit(biases=False), generator, 0)
    with torch.no_grad():
        out.gamma.fill_(1.5)
        out.gamma_block.fill_(0.5)
    adapter.fold()
    assert torch.equal(out.weight, 0.75 * weight)
    assert torch.equal(out.bias, 0.75 * bias)  # the scale multiplies the bias too


def test_deltas_of_two_trainings_live_on_one_base(tmp_path):
    trained, outputs = base("dit"), {}
    configs = {"one": DiffFit(labels=["snow", "sun"], latent_size=(32, 32)), "two": DiffFit(depth=3)}
    for seed, (name, config) in enumerate(configs.items()):
        adapter = attach(config, trained, seed)
        disturb(adapter, seed)
        outputs[name] = predicted(trained)
        save_adapter(adapter, tmp_path / name)
        adapter.detach()
    fresh = base("dit")
    for name in ("one", "two", "one"):
        adapter = load_adapter(tmp_path / name, fresh)
        assert adapter.config == configs[name]
        assert torch.equal(predicted(fresh), outputs[name])
        adapter.detach()
    assert same(tensors(fresh), tensors(base("dit")))
    held = load_file(tmp_path / "two" / "adapter_model.safetensors")
    told = json.loads((tmp_path / "two" / "adapter_config.json").read_text())["facts"]
    assert sum(t.numel() for t in held.values()) == sum(told["parameters"].values())  # a delta, not a model


def test_an_untrained_delta_is_refused(tmp_path):
    save_adapter(attach(DiffFit(), base("dit"), 0), tmp_path)
    with pytest.raises(UserError, match="this adapter changes nothing"):
        load_adapter(tmp_path, base("dit"))


def test_a_delta_of_another_depth_is_refused_with_the_tensor_named():
    state = attach(DiffFit(depth=2), base("dit"), 0).state()
    adapter = attach(DiffFit(depth=3), base("dit"), 0)
    with pytest.raises(UserError, match=r"transformer_blocks\.2\.\S+\.gamma"):
        adapter.load(state)


def test_gammas_have_the_shapes_of_the_papers_algorithms():
    generator = base("dit")
    trained = attach(DiffFit(depth=1), generator, 0).trainable()
    width = 32
    shapes = {
        name.removeprefix("transformer_blocks.0."): tuple(p.shape)
        for name, p in trained.items()
        if "gamma" in name.rpartition(".")[2]
    }
    assert shapes == {
        "attn1.to_q.gamma": (width,),  # q, k, v: the 3D of Algorithm 3, split as diffusers splits them
        "attn1.to_k.gamma": (width,),
        "attn1.to_v.gamma": (width,),
        "attn1.to_out.0.gamma": (width,),
        "attn1.to_out.0.gamma_block": (width,),
        "ff.net.2.gamma_block": (width,),
        "proj_out_2.gamma": (4 * 4 * 6,),
    }


@pytest.mark.parametrize("side, blocks", [("first", range(14)), ("last", range(14, 28))])
def test_gradient_reaches_gammas_of_half_the_blocks(side, blocks):
    generator = base("dit", layers=28, width=16)
    adapter = attach(DiffFit(side=side), generator, 0)
    assert adapter.facts()["gamma_blocks"] == list(blocks)
    generator.predict(*batch(generator)).square().mean().backward()
    reached = {
        int(name.split(".")[1])
        for name, p in generator.denoiser.named_parameters()
        if "gamma" in name and name.startswith("transformer_blocks") and p.grad.abs().sum() > 0
    }
    assert reached == set(blocks)


def test_the_bound_on_the_variance_gives_the_noise_head_no_gradient():
    generator = base("dit")
    adapter = attach(DiffFit(), generator, 0)
    x0, eps = torch.randn(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 400, 900])
    x_t = generator.process.noise(x0, eps, t)
    output = generator.predict(x_t, t, generator.condition.encode([0, 1, 2]))
    loss(generator.process, output, x0, x_t, eps, t).vb.sum().backward()
    gradient = adapter.trainable()["proj_out_2.gamma"].grad.reshape(-1, 6)  # [patch cells, channels]
    assert gradient[:, :3].abs().max() == 0
    assert gradient[:, 3:].abs().max() > 0


@pytest.mark.parametrize("arch", ["dit", "unet"])
def test_gradient_checkpointing_changes_no_gradient(arch):
    generator = base(arch)
    adapter = attach(DiffFit(), generator, 0)
    gradients = []
    for on in (False, True):
        generator.gradient_checkpointing(on)
        generator.predict(*batch(generator)).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in adapter.trainable().items()})
        for parameter in adapter.trainable().values():
            parameter.grad = None
    assert same(*gradients)


def test_groups_hold_each_tensor_once_and_decay_no_gamma():
    adapter = attach(DiffFit(lr_scale=10), base("dit"), 0)
    groups = adapter.groups()
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in adapter.trainable().values())
    assert {group["lr_scale"] for group in groups} == {10}
    decayed = {id(p) for group in groups if group["weight_decay"] != 0 for p in group["params"]}
    assert [n for n, p in adapter.trainable().items() if id(p) in decayed] == list(adapter.parts["table"])


def test_norms_are_found_by_type():
    dit, unet = base("dit"), base("unet")

    def trained_norms(generator, norms):
        adapter = attach(DiffFit(norms=norms, biases=False), generator, 0)
        adapter.detach()
        return {type(generator.denoiser.get_submodule(n.rpartition(".")[0])) for n in adapter.parts["norms"]}

    assert trained_norms(dit, "all") == set()  # its layer norms have no parameters
    assert trained_norms(unet, "layer") == {nn.LayerNorm}
    assert trained_norms(unet, "all") == {nn.LayerNorm, nn.GroupNorm}
    assert trained_norms(unet, "none") == set()


def test_gamma_stays_fine_on_a_coarse_base():
    generator = base("dit").to(dtype=torch.bfloat16)
    output = predicted(generator)
    adapter = attach(DiffFit(), generator, 0)
    gammas = [p for name, p in adapter.trainable().items() if "gamma" in name]
    assert {p.dtype for p in gammas} == {torch.float32}  # 1 + 1e-3 is 1 in bfloat16
    assert torch.equal(predicted(generator), output)
    assert generator.denoiser.proj_out_2(torch.ones(1, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_scales_alone_recover_a_change_of_gain_per_channel():
    """The case that the paper's theory promises: the new domain rescales the old one's features."""
    generator = base("dit")
    x, t, cond = batch(generator, n=8)
    gain = 1 + 0.5 * torch.randn(96, generator=torch.Generator().manual_seed(3))
    head = generator.denoiser.proj_out_2
    with torch.no_grad():
        old = head.weight.clone(), head.bias.clone()
        head.weight.mul_(gain[:, None]), head.bias.mul_(gain)
        target = generator.predict(x, t, cond)
        head.weight.copy_(old[0]), head.bias.copy_(old[1])
    adapter = attach(DiffFit(gammas=["final_linear"], biases=False, table=False), generator, 0)
    assert list(adapter.trainable()) == ["proj_out_2.gamma"]
    optimiser = torch.optim.LBFGS(adapter.trainable().values(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        error = (generator.predict(x, t, cond) - target).square().sum()
        error.backward()
        return error

    optimiser.step(closure)
    assert (head.gamma.detach() - gain).abs().max() < 1e-3


@pytest.mark.parametrize(
    "arch, keys, why",
    [
        ("unet", {"gammas": ["final_adaln"]}, "final_adaln"),
        ("pixart", {"gammas": ["final_adaln"]}, "final_adaln"),
        ("dit", {"depth": 5}, "4 blocks"),
        ("dit", {"caption_projection": True}, "caption_projection"),
        ("unet", {"scale_shift": True}, "scale_shift"),
        ("pixart", {"labels": ["a"]}, "no label table"),
        ("dit", {"labels": ["a"], "latent_size": (16, 32)}, "equal sides"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(arch, keys, why):
    generator = base(arch)
    before, size = tensors(generator), generator.size
    with pytest.raises(UserError, match=why):
        attach(DiffFit(**keys), generator, 0)
    assert same(tensors(generator), before)
    assert (generator.size, generator.adapter) == (size, None)


@pytest.mark.parametrize(
    "keys",
    [
        {"labels": ["a"], "table": False},
        {"gammas": ["qkv", "qkv"]},
        {"depth": -1},
        {"position": "extended"},
    ],
)
def test_a_config_that_contradicts_itself_is_refused(keys):
    with pytest.raises(ValueError):
        DiffFit(**keys)


@pytest.mark.parametrize(
    "arch, keys, names",
    [
        ("pixart", {"scale_shift": True}, {"scale_shift_table", "transformer_blocks.3.scale_shift_table"}),
        ("pixart", {"caption_projection": True}, {"caption_projection.linear_2.weight"}),
        ("mmdit", {"caption_projection": True}, {"context_embedder.weight"}),
    ],
)
def test_options_add_what_they_say(arch, keys, names):
    without = attach(DiffFit(), base(arch), 0).trainable()
    assert names <= attach(DiffFit(**keys), base(arch), 0).trainable().keys() - without.keys()


def test_a_layer_takes_a_scale_of_one_name_once():
    layer = nn.Linear(2, 3)
    Gamma(layer, "gamma")
    with pytest.raises(ValueError, match="already"):
        Gamma(layer, "gamma")


def test_the_config_is_light():
    code = "import edgekit.generators.adapters.difffit.config, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
