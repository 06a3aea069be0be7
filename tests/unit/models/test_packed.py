"""int4 codes unpack to exactly what compressed-tensors packs; a wrong nibble order must show."""

import json

import pytest
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from safetensors.torch import load_file, save_file

from edgekit.core.errors import UserError
from edgekit.models.checkpoint import load_checkpoint, save_checkpoint
from edgekit.models.compressed import codes
from edgekit.models.nano import WINDOWED_CONTRACT

GROUP = 128


def quantized(weight: torch.Tensor, symmetric: bool):
    """(tensors as stored, the weight that they stand for): round to nearest, groups of 128."""
    rows, columns = weight.shape
    grouped = weight.reshape(rows, columns // GROUP, GROUP)
    if symmetric:
        scale = grouped.abs().amax(-1) / 7.5
        zero = torch.zeros_like(scale, dtype=torch.int8)
    else:
        low, high = grouped.amin(-1).clamp(max=0), grouped.amax(-1).clamp(min=0)
        scale = (high - low) / 15
        zero = (-8 - low / scale).round().clamp(-8, 7).to(torch.int8)
    codes = (grouped / scale[..., None] + zero[..., None]).round().clamp(-8, 7)
    plain = ((codes - zero[..., None]) * scale[..., None]).reshape(rows, columns)
    stored = {
        "weight_packed": pack_to_int32(codes.reshape(rows, columns).to(torch.int8), 4),
        "weight_scale": scale,
        "weight_shape": torch.tensor([rows, columns]),
    }
    if not symmetric:
        stored["weight_zero_point"] = pack_to_int32(zero, 4, packed_dim=0).contiguous()
    return stored, plain


@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_unpack_to_their_weights(symmetric, tmp_path):
    def unpacked(stored):
        save_file({f"a.{part}": tensor for part, tensor in stored.items()}, tmp_path / "model.safetensors")
        return codes(tmp_path)["a"].weight()

    weight = torch.randn(96, 384, generator=torch.Generator().manual_seed(0)) + 0.3
    stored, plain = quantized(weight, symmetric)
    assert torch.equal(unpacked(stored), plain)
    swapped = stored["weight_packed"].view(torch.uint8)
    swapped = ((swapped >> 4) | (swapped << 4)).view(torch.int32)
    assert (unpacked(stored | {"weight_packed": swapped}) - plain).abs().max() > 0.1


def write_packed(folder, model, symmetric: bool) -> dict[str, torch.Tensor]:
    """A pack-quantized Checkpoint; returns the weights that its linears stand for."""
    save_checkpoint(folder, model, WINDOWED_CONTRACT)
    file = folder / "model.safetensors"
    weights, want = load_file(file), {}
    for name in [n for n in weights if n.endswith("_proj.weight") and "visual" not in n]:
        stored, plain = quantized(weights.pop(name), symmetric)
        want[name] = plain
        weights |= {f"{name.removesuffix('.weight')}.{k}": v for k, v in stored.items()}
    save_file(weights, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"format": None, "targets": ["Linear"], "weights": {"num_bits": 4}}},
        "ignore": ["re:.*visual.*", "re:.*lm_head"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    return want


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_quantized_checkpoint_loads_as_a_plain_model(model, tmp_path, symmetric):
    want = write_packed(tmp_path, model, symmetric)
    assert len(want) == 14
    loaded = load_checkpoint(tmp_path).model
    mine = dict(loaded.named_parameters())
    for layer in (0, 1):
        for part in ("self_attn.q_proj", "mlp.down_proj"):
            stored_name = next(n for n in want if f"layers.{layer}.{part}" in n)
            assert torch.equal(mine[f"model.language_model.layers.{layer}.{part}.weight"], want[stored_name])
    assert torch.equal(mine["lm_head.weight"], model.lm_head.weight)
    assert not hasattr(loaded.config, "quantization_config")
    save_checkpoint(tmp_path / "again", loaded, WINDOWED_CONTRACT)
    assert torch.equal(load_checkpoint(tmp_path / "again").model.lm_head.weight, model.lm_head.weight)


Q = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ([f"{Q}.weight_scale"], "missing weight_scale"),
        ([f"{Q}.weight_packed", f"{Q}.weight_scale", f"{Q}.weight_shape"], "1 tensors are missing: .*q_proj"),
    ],
)
def test_a_quantized_checkpoint_that_is_not_whole_is_refused(model, tmp_path, lost, says):
    write_packed(tmp_path, model, symmetric=True)
    weights = load_file(tmp_path / "model.safetensors")
    for name in lost:
        weights.pop(name)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=says):
        load_checkpoint(tmp_path)


def test_an_activation_order_is_refused(model, tmp_path):
    write_packed(tmp_path, model, symmetric=True)
    weights = load_file(tmp_path / "model.safetensors") | {f"{Q}.weight_g_idx": torch.zeros(256)}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="activation order"):
        load_checkpoint(tmp_path)
