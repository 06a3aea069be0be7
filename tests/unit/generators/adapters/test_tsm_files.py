"""TimeStep Master's files: folding one expert, folders, and experts as ordinary LoRA folders."""

import json

import pytest
import torch
from peft import PeftModel

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.files import load_adapter, save_adapter
from edgekit.generators.adapters.tsm.config import TimestepMaster
from edgekit.generators.adapters.tsm.peft_export import export_expert, import_expert
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator, arch_of
from tests.unit.generators.adapters.bases import batch, predicted
from tests.unit.generators.adapters.test_tsm import SMALL, at, base, disturb, far, fitted
from tests.unit.generators.shapes import meta_denoiser

torch.set_num_threads(1)


# --- folding --------------------------------------------------------------------------------


@pytest.mark.parametrize("arch, targets", [("dit", "attention"), ("unet", "distillation"), ("mmdit", "qv")])
def test_one_expert_folds_into_plain_weights(arch, targets):
    generator, adapter = fitted(arch, targets=targets, alpha=1.0)
    plain = base(arch).denoiser.state_dict().keys()
    adapter.only(4, 2)
    output = predicted(generator)
    adapter.fold()
    assert far(predicted(generator), output) < 1e-4 * max(1, output.abs().max())
    assert generator.denoiser.state_dict().keys() == plain and generator.adapter is None


def test_the_experts_of_an_interval_fold_into_a_model_of_that_interval():
    generator, adapter = fitted()
    adapter.set_mode("stage1")
    t = torch.tensor([510, 600, 740])
    output = at(generator, t)
    adapter.only(4, 2)
    adapter.fold()
    assert far(at(generator, t), output) < 1e-4


def test_what_depends_on_t_does_not_fold():
    _, adapter = fitted()
    for mode, why in (("stage1", "depends on t"), ("stage2", "on the input")):
        adapter.set_mode(mode)
        with pytest.raises(UserError, match=why):
            adapter.fold()


# --- folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [{}, dict(contexts=[]), dict(core=2, contexts=[], mixture="moe")])
def test_a_fresh_base_with_the_folder_gives_the_same_output(keys, tmp_path):
    generator, adapter = fitted(**keys, labels=["snow", "sun"])
    save_adapter(adapter, tmp_path)
    fresh = base()
    loaded = load_adapter(tmp_path, fresh)
    assert loaded.config == adapter.config and loaded.mode == adapter.mode
    assert torch.equal(predicted(fresh), predicted(generator))
    facts = json.loads((tmp_path / "adapter_config.json").read_text())["facts"]
    assert facts["T"] == 1000 and facts["layers"] == 8
    loaded.detach()
    assert torch.equal(predicted(fresh), predicted(base()))


def test_an_adapter_that_changes_nothing_is_refused(tmp_path):
    generator = base()
    adapter = attach(TimestepMaster(**SMALL), generator, 0)
    save_adapter(adapter, tmp_path / "untrained")
    disturb(adapter, "experts.1.")
    save_adapter(adapter, tmp_path / "ungated")  # its context experts, which no router lets through
    for name in ("untrained", "ungated"):
        with pytest.raises(UserError, match="this adapter changes nothing"):
            load_adapter(tmp_path / name, base())
    disturb(adapter, "router")
    save_adapter(adapter, tmp_path / "gated")
    assert load_adapter(tmp_path / "gated", base()).mode == "stage2"


# --- experts as LoRA ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arch, targets",
    [("dit", "attention"), ("pixart", "qv"), ("unet", "distillation"), ("mmdit", "attention")],
)
def test_peft_reads_an_expert(arch, targets, tmp_path):
    generator, adapter = fitted(arch, targets=targets, alpha=1.0)
    export_expert(adapter, 4, 1, tmp_path)
    adapter.only(4, 1)
    expected, other = predicted(generator), base(arch)
    x, t, cond = batch(other)
    with torch.no_grad():
        model = PeftModel.from_pretrained(other.denoiser, tmp_path).eval()
        assert far(other.predict(x, t, cond), expected) < 1e-4 * max(1, expected.abs().max())
    assert any("lora_A" in name for name, _ in model.named_parameters())
    config = json.loads((tmp_path / "adapter_config.json").read_text())["config"]
    assert (config["kind"], config["targets"]) == ("tsm" if targets == "distillation" else "lora", targets)


def test_an_exported_expert_is_a_lora_of_ours_as_well(tmp_path):
    generator, adapter = fitted()
    export_expert(adapter, 1, 0, tmp_path)
    adapter.set_mode("vanilla")
    fresh = base()
    assert load_adapter(tmp_path, fresh).kind == "lora"
    assert far(predicted(fresh), predicted(generator)) < 1e-5
    with pytest.raises(UserError, match="no expert 9 of 4"):
        export_expert(adapter, 4, 9, tmp_path)


def test_an_expert_goes_out_and_comes_back(tmp_path):
    heads = ["transformer_blocks.0.attn1.to_q.h1", "transformer_blocks.1.attn1.to_out.0.h0"]
    _, adapter = fitted(units=heads)
    export_expert(adapter, 4, 1, tmp_path)
    _, other = fitted(units=heads, alpha=7.0)
    import_expert(other, 4, 3, tmp_path)
    for name in adapter.experts:
        assert torch.allclose(other.experts[name].weight(4, 3), adapter.experts[name].weight(4, 1), atol=1e-6)
    assert not torch.allclose(other.experts[name].weight(4, 1), adapter.experts[name].weight(4, 1), atol=1e-3)
    with pytest.raises(UserError, match="lora of chosen layers"):
        load_adapter(tmp_path, base())  # PEFT's to read, not ours


def test_a_lora_that_does_not_fit_is_refused(tmp_path):
    _, adapter = fitted()
    export_expert(adapter, 4, 1, tmp_path)
    before = adapter.state()
    with pytest.raises(UserError, match="rank 2"):
        import_expert(fitted(rank=3)[1], 4, 1, tmp_path)
    with pytest.raises(UserError, match="of other layers\n.*to_k"):
        import_expert(fitted(targets="qv")[1], 4, 1, tmp_path)
    units = [f"{name}.h0" for name in adapter.experts]
    with pytest.raises(UserError, match="heads that the adapter leaves alone"):
        import_expert(fitted(units=units)[1], 4, 1, tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(told | {"use_rslora": True}))
    with pytest.raises(UserError, match="use_rslora"):
        import_expert(adapter, 4, 1, tmp_path)
    del told["lora_alpha"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match="lora_alpha: None"):
        import_expert(adapter, 4, 1, tmp_path)
    (tmp_path / "adapter_config.json").write_text("1")
    with pytest.raises(UserError, match="no LoRA"):
        import_expert(adapter, 4, 1, tmp_path)
    with pytest.raises(UserError, match="no LoRA"):
        import_expert(adapter, 4, 1, tmp_path / "nothing")
    assert all(torch.equal(before[name], t) for name, t in adapter.state().items())


# --- counts ---------------------------------------------------------------------------------


def counts(name, **keys):
    denoiser = meta_denoiser(name)
    arch = arch_of(denoiser)
    condition = LabelCondition(["a"]) if arch == "dit" else None
    generator = Generator(arch, denoiser, condition, None, None, (64, 64), 4)
    adapter = attach(TimestepMaster(**keys), generator, 0)
    sizes = {s.name: sum(p.numel() for p in adapter.trained_in(s).values()) for s in adapter.stages}
    facts = adapter.facts()
    assert facts["parameters"]["expert"] == sizes["expert-1-0"]
    assert facts["parameters"]["routers"] == sizes.get("routers", 0)
    assert facts["parameters"]["experts"] == sum(v for k, v in sizes.items() if k.startswith("expert"))
    return facts["layers"], sizes


def test_counts_of_sd15():
    layers, sizes = counts("sd15", rank=4)
    assert layers == 128
    assert sizes["expert-8-0"] == sizes["expert-1-0"] == 797_184
    assert sizes["routers"] == 99_456 + 128 * 1000  # no bias: sum of widths, and a row for each t
    # With the q and v of CLIP-L (12 layers, 768 wide), which are not adapted here: the paper's 0.09604 and 0.02722 %.
    assert sizes["expert-8-0"] + 24 * 4 * (768 + 768) == 944_640
    assert sizes["routers"] + 24 * (768 + 1000) == 269_888


def test_counts_of_pixart():
    layers, sizes = counts("pixart", rank=4)
    assert layers == 224
    assert sizes["expert-1-0"] == 2_064_384
    assert sizes["routers"] == 224 * 2152
    # With the q and v of T5-XXL (24 layers, 4096 wide): the paper's 0.06764 and 0.01344 %.
    assert sizes["expert-1-0"] + 48 * 4 * (4096 + 4096) == 3_637_248
    assert sizes["routers"] + 48 * (4096 + 1000) == 726_656


def test_counts_of_distillation():
    layers, sizes = counts("sd15", rank=64, targets="distillation", core=1, contexts=[])
    assert layers == 278
    assert sizes["expert-1-0"] == pytest.approx(67.25e6, rel=1e-4)
