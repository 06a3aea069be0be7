"""Adapter folders: round trips, refusals, and PEFT and diffusers as readers of ours."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from edgekit.core.errors import UserError
from edgekit.generators.adapters import files
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.config import AdaLora, BitFit, Bottleneck, Full, Lora, Vpt
from edgekit.generators.adapters.files import adapter_folder, load_adapter, save_adapter
from edgekit.generators.process import cosine_power, linear
from edgekit.generators.sampling import sample_latents
from tests.unit.generators.adapters import bases
from tests.unit.generators.adapters.bases import batch, predicted

torch.set_num_threads(1)
METHODS = {
    "full": Full(),
    "bitfit": BitFit(),
    "lora": Lora(rank=2, alpha=5.0, table=True),
    "lora-linears": Lora(rank=2, targets="linears", table=True),
    "adalora": AdaLora(rank=3, target_rank=2, steps=10),
    "vpt": Vpt(depth=2),
    "adapter": Bottleneck(width=4),
}


@functools.cache
def _built(arch: str, seed: int):
    small = dict(size=8, unet_layers=(1, 1)) if arch == "unet" else dict(layers=2)
    generator = bases.base(arch, seed, **small)
    batch(generator)
    return generator


def base(arch: str = "dit", seed: int = 0):
    return copy.deepcopy(_built(arch, seed))


def trained(config, arch="dit"):
    """A generator with an adapter of ``config`` whose every tensor was moved."""
    generator = base(arch)
    adapter = attach(config, generator, seed=1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapter.trainable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return generator, adapter


@pytest.mark.parametrize("name", METHODS)
def test_a_fresh_base_with_the_folder_gives_the_same_output(name, tmp_path):
    generator, adapter = trained(METHODS[name])
    save_adapter(adapter, tmp_path)
    fresh = base()
    loaded = load_adapter(tmp_path, fresh)
    assert loaded.config == adapter.config and fresh.adapter is loaded
    assert torch.equal(predicted(fresh), predicted(generator))
    loaded.detach()
    assert torch.equal(predicted(fresh), predicted(base()))


def test_the_folder_says_what_a_reader_must_know(tmp_path):
    plain = base()
    generator, adapter = trained(METHODS["bitfit"])
    save_adapter(adapter, tmp_path)
    told = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (told["schema"], told["method"]) == ("edgekit/adapter/1", "bitfit")
    assert told["base"] == {"digest": plain.digest(), "arch": "dit", "tensors": plain.fingerprint()}
    assert told["process"] == generator.process.to_json()
    assert told["condition"]["names"] == bases.LABELS
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        save_adapter(trained(METHODS["lora"])[1], tmp_path / folder)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_new_labels_come_with_the_folder(tmp_path):
    generator, adapter = trained(Lora(rank=2, labels=["sunny", "snow"]))
    save_adapter(adapter, tmp_path)
    fresh = base()
    loaded = load_adapter(tmp_path, fresh)
    assert fresh.condition.names == ["sunny", "snow"]
    assert torch.equal(predicted(fresh), predicted(generator))
    loaded.detach()
    assert fresh.condition.names == bases.LABELS and torch.equal(predicted(fresh), predicted(base()))


def test_the_adapters_process_comes_with_it_and_goes_with_it(tmp_path):
    generator, adapter = trained(METHODS["bitfit"])
    generator.process = dataclasses.replace(generator.process, betas=cosine_power(2))
    save_adapter(adapter, tmp_path)
    fresh = base()
    before = fresh.process
    loaded = load_adapter(tmp_path, fresh)
    assert fresh.process == generator.process != before
    loaded.detach()
    assert fresh.process is before


def test_another_base_is_refused_and_the_first_tensor_that_differs_named(tmp_path):
    save_adapter(trained(METHODS["lora"])[1], tmp_path)
    other = base()
    with torch.no_grad():
        other.denoiser.transformer_blocks[1].ff.net[2].bias[3] += 1e-7
    before = predicted(other)
    with pytest.raises(
        UserError, match=r"another base\n  why: transformer_blocks.1.ff.net.2.bias is float32 32"
    ):
        load_adapter(tmp_path, other)
    assert other.adapter is None and torch.equal(predicted(other), before)
    with pytest.raises(UserError, match="it is for dit, and this generator is unet"):
        load_adapter(tmp_path, base("unet"))


@pytest.mark.parametrize("name", [n for n in METHODS if n != "vpt"])
def test_an_adapter_that_changes_nothing_is_refused(name, tmp_path):
    save_adapter(attach(METHODS[name], base(), seed=1), tmp_path)
    fresh = base()
    with pytest.raises(UserError, match="this adapter changes nothing"):
        load_adapter(tmp_path, fresh)
    assert fresh.adapter is None and torch.equal(predicted(fresh), predicted(base()))


def test_a_damaged_or_foreign_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="no adapter"):
        load_adapter(tmp_path, base())
    save_adapter(trained(METHODS["lora"])[1], tmp_path)
    config, tensors = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    told = json.loads(config.read_text())

    def refused(words, **changes):
        config.write_text(json.dumps(told | changes))
        fresh = base()
        with pytest.raises(UserError, match=words):
            load_adapter(tmp_path, fresh)
        assert fresh.adapter is None and torch.equal(predicted(fresh), predicted(base()))

    refused("edgekit/adapter/9", schema="edgekit/adapter/9")
    refused("method 'lora2'", method="lora2")
    refused("not valid", config=told["config"] | {"rank": "many"})
    refused(r"\(3, 32\) here and \(2, 32\) in the file", config=told["config"] | {"rank": 3})
    refused("asked in another way", condition={"kind": "labels", "names": ["x"]})
    held = load_file(tensors)
    held.pop(next(iter(held)))
    save_file(held, tensors)
    refused("in the generator and not in the file")
    tensors.write_bytes(b"cut")
    refused("not readable")


@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments")  # PEFT says which keys it leaves alone
@pytest.mark.parametrize("name", ["lora", "lora-linears"])
def test_peft_reads_the_folder_unchanged(name, tmp_path):
    generator, adapter = trained(METHODS[name])
    save_adapter(adapter, tmp_path)
    fresh = base()
    # As diffusers loads a DiT: each block with its own copy of the embeddings.
    for block in fresh.denoiser.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(block.norm1.emb)
    plain = predicted(fresh)
    fresh.denoiser = PeftModel.from_pretrained(fresh.denoiser, str(tmp_path))
    fresh.denoiser.eval()
    assert torch.equal(predicted(fresh), predicted(generator))
    assert not torch.equal(predicted(fresh), plain)


@pytest.mark.parametrize("arch", ["unet", "mmdit"])
def test_diffusers_reads_the_folder_unchanged(arch, tmp_path):
    generator, adapter = trained(Lora(rank=2, alpha=5.0), arch)
    save_adapter(adapter, tmp_path)
    fresh = base(arch)
    fresh.denoiser.load_lora_adapter(
        str(tmp_path), weight_name="adapter_model.safetensors", prefix="base_model.model"
    )
    assert torch.equal(predicted(fresh), predicted(generator))


def test_the_header_holds_the_scale_for_diffusers(tmp_path):
    save_adapter(trained(METHODS["lora"])[1], tmp_path)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        told = json.loads(file.metadata()["lora_adapter_metadata"])
    assert told["base_model.model.lora_alpha"] == 5.0 and told["base_model.model.r"] == 2


@pytest.mark.parametrize("key", ["method", "config", "base", "process", "condition", "facts", "tensors"])
def test_a_config_that_lacks_something_is_told_in_three_lines(key, tmp_path):
    save_adapter(trained(METHODS["bitfit"])[1], tmp_path)
    config = tmp_path / "adapter_config.json"
    told = json.loads(config.read_text())
    (told["base"] if key == "tensors" else told).pop(key)
    config.write_text(json.dumps(told))
    with pytest.raises(UserError, match=f"it lacks .*{key}") as caught:
        load_adapter(tmp_path, base())
    assert len(str(caught.value).splitlines()) == 3


def test_a_folder_that_is_being_written_again_has_no_config(tmp_path, monkeypatch):
    adapter = trained(METHODS["bitfit"])[1]
    save_adapter(adapter, tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        save_adapter(adapter, tmp_path)
    with pytest.raises(UserError, match="no adapter"):
        load_adapter(tmp_path, base())


def test_facts_that_no_tensor_tells_survive_a_second_saving(tmp_path):
    adapter = trained(METHODS["adalora"])[1]
    adapter.kept_facts = {"started": "like this", "layers": -1}
    save_adapter(adapter, tmp_path / "one")
    loaded = load_adapter(tmp_path / "one", base())
    save_adapter(loaded, tmp_path / "two")
    facts = json.loads((tmp_path / "two" / "adapter_config.json").read_text())["facts"]
    assert facts["started"] == "like this" and facts["layers"] == len(loaded.sites) and facts["ranks"]


def test_an_adapter_is_found_in_a_run_or_as_it_is(tmp_path):
    save_adapter(trained(METHODS["bitfit"])[1], tmp_path / "adapter")
    assert adapter_folder(tmp_path) == adapter_folder(tmp_path / "adapter") == tmp_path / "adapter"
    with pytest.raises(UserError, match="no adapter in"):
        adapter_folder(tmp_path / "elsewhere")


def test_another_schedule_is_not_sampled_under(tmp_path):
    generator, adapter = trained(METHODS["bitfit"])
    generator.process = dataclasses.replace(generator.process, betas=cosine_power(2))
    save_adapter(adapter, tmp_path)
    fresh = base()
    load_adapter(tmp_path, fresh)
    cond = fresh.condition.encode([0])
    sample_latents(fresh, cond, 1, 1.0, [0])
    fresh.process = dataclasses.replace(fresh.process, betas=linear())
    with pytest.raises(UserError, match="another noise schedule"):
        sample_latents(fresh, cond, 1, 1.0, [0])
