import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.core.errors import GateError, UserError
from edgekit.core.run import start
from edgekit.dataset import open_dataset
from edgekit.models.checkpoint import load_checkpoint, save_checkpoint
from edgekit.models.compressed import codes, module_name
from edgekit.quantize import QuantizeConfig, quantize
from edgekit.quantize.awq import fingerprints
from edgekit.quantize.gemm import unpack
from edgekit.quantize.run import _gate

LINEARS = 14  # 2 layers of q, k, v, o, gate, up, down


def run_with(tmp_path, windowed, **changes):
    fields = {
        "checkpoint": str(windowed["checkpoint"]), "calibration": str(windowed["data"]),
        "frames": 4, "check_frames": 2,
    }  # fmt: skip
    config = QuantizeConfig(**(fields | changes))
    return config, start("quantize", config, "test", tmp_path / "run")


def test_what_is_written(quantized, windowed):
    out = quantized / "out"
    report = json.loads((out / "quantize.json").read_text())
    assert report["linears"] == LINEARS == len(codes(out))
    assert report["tensors_changed_by_reload"] == 0 and report["tensors"] > LINEARS
    assert 0 < report["mean_logit_change"] < 1
    assert report["weights_bytes"]["after"] < report["weights_bytes"]["before"]
    assert (out / "contract.json").read_bytes() == (windowed["checkpoint"] / "contract.json").read_bytes()
    for name in ("tokenizer.json", "chat_template.jinja", "preprocessor_config.json"):
        for folder in (out, out / "awq-gemm"):
            assert (folder / name).read_bytes() == (windowed["checkpoint"] / name).read_bytes()
    ours, gemm = ((folder / "README.md").read_text() for folder in (out, out / "awq-gemm"))
    assert "4 bits" in ours and "compressed-tensors" in ours and "in quantize.json" in ours
    for folder, dtype in ((out, "float32"), (out / "awq-gemm", "float16")):
        whole = json.loads((folder / "config.json").read_text())
        assert {part["dtype"] for part in (whole, whole["text_config"], whole["vision_config"])} == {dtype}
    assert "gemm layout" in gemm and "compressed-tensors" not in gemm and "of the folder above" in gemm


def test_a_foreign_models_folder_goes_all_the_way_in_bfloat16(windowed, tmp_path):
    """As the 7B recipe does it: a hub's flat config.json, no contract.json, its own template and card."""
    source = tmp_path / "hub"
    shutil.copytree(windowed["checkpoint"], source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config.pop("text_config") | config))
    (source / "contract.json").unlink()
    (source / "chat_template.jinja").write_text("another")
    (source / "README.md").write_text("---\nlicense: other\n---\nTheirs.")
    config, run = run_with(tmp_path, windowed, checkpoint=str(source), dtype="bfloat16", grid=4)
    quantize(config, run)
    report = json.loads((run.out / "quantize.json").read_text())
    assert report["linears"] == LINEARS and report["tensors_changed_by_reload"] == 0
    for name in ("contract.json", "chat_template.jinja", "preprocessor_config.json", "tokenizer.json"):
        for folder in (run.out, run.out / "awq-gemm"):
            assert (folder / name).read_bytes() == (windowed["checkpoint"] / name).read_bytes()
    card = (run.out / "README.md").read_text()
    assert "license" not in card and "Theirs" not in card and str(tmp_path) not in card
    for folder, dtype in ((run.out, "bfloat16"), (run.out / "awq-gemm", "float16")):
        whole = json.loads((folder / "config.json").read_text())  # llm-compressor keeps it flat
        assert {whole["dtype"], whole["vision_config"]["dtype"]} == {dtype}
    scales = load_file(run.out / "model.safetensors")["model.layers.0.mlp.down_proj.weight_scale"]
    assert scales.dtype == torch.bfloat16
    kept = {t.dtype for t in load_file(run.out / "model.safetensors").values() if t.is_floating_point()}
    assert kept == {torch.bfloat16}  # a source in float32 widens nothing


def test_what_is_not_packed_keeps_the_width_it_came_with(windowed, tmp_path):
    """A checkpoint stored in bfloat16, calibrated in float32: it must not come out larger, nor changed."""
    loaded = load_checkpoint(windowed["checkpoint"])
    source = save_checkpoint(tmp_path / "bf16", loaded.model, loaded.contract, dtype="bfloat16")
    config, run = run_with(tmp_path, windowed, checkpoint=str(source), grid=4, gemm=False)
    quantize(config, run)
    report = json.loads((run.out / "quantize.json").read_text())
    assert report["tensors_changed_by_reload"] == 0
    assert report["weights_bytes"]["after"] < 0.8 * report["weights_bytes"]["before"]
    found = load_file(run.out / "model.safetensors")
    theirs = load_file(source / "model.safetensors")
    same = [n for n in found if n in theirs and ("visual" in n or "embed" in n or "lm_head" in n)]
    assert len(same) > 10 and all(torch.equal(found[n], theirs[n]) for n in same)
    assert all(found[n].dtype == torch.bfloat16 for n in same)
    for name, tensor in found.items():  # what calibration moved is not rounded
        if name.endswith("weight_scale"):
            assert tensor.dtype == torch.float32, name


def test_calibration_never_sees_what_measures(quantized, windowed):
    used = {json.loads(line)["id"] for line in (quantized / "out" / "calibration.jsonl").open()}
    train = {row.id for row in open_dataset(windowed["data"]).rows("train")}
    assert len(used) == 4 and used < train


def test_more_than_one_group_per_row_and_an_odd_number_of_them(quantized):
    found = codes(quantized / "out")
    assert {c.scale.shape[1] for c in found.values()} == {2, 3}
    assert all(c.group == 128 and bool((c.zero == 8).all()) for c in found.values())


def test_loaded_weights_are_codes_times_scales(quantized):
    state = load_checkpoint(quantized / "out").model.state_dict()
    for name, linear in codes(quantized / "out").items():
        assert torch.equal(state[module_name(name) + ".weight"], linear.weight())


def test_gemm_holds_the_same_codes(quantized):
    gemm = load_file(quantized / "out" / "awq-gemm" / "model.safetensors")
    config = json.loads((quantized / "out" / "awq-gemm" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "awq" and config["dtype"] == "float16"
    for name, linear in codes(quantized / "out").items():
        assert torch.equal(unpack(gemm[f"{name}.qweight"]).T, linear.q)
        assert bool((unpack(gemm[f"{name}.qzeros"]) == 8).all())
        assert torch.allclose(gemm[f"{name}.scales"].T.float(), linear.scale, rtol=1e-3)
    assert all(t.dtype in (torch.float16, torch.int32) for t in gemm.values())


def test_a_swapped_nibble_is_caught(quantized, tmp_path):
    """Control: the proof of the reload is sensitive to the order of codes in a word."""
    wrong = tmp_path / "wrong"
    shutil.copytree(quantized / "out", wrong, ignore=shutil.ignore_patterns("awq-gemm"))
    tensors = load_file(wrong / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight_packed"
    words = tensors[name].numpy().view(np.uint32)
    swapped = ((words & 0x0F0F0F0F) << 4) | ((words >> 4) & 0x0F0F0F0F)
    tensors[name] = torch.from_numpy(swapped.view(np.int32).copy())
    save_file(tensors, wrong / "model.safetensors", metadata={"format": "pt"})

    right, bad = (fingerprints(load_checkpoint(f).model) for f in (quantized / "out", wrong))
    changed = [n for n in right if right[n] != bad[n]]
    assert changed == ["model.language_model.layers.0.mlp.down_proj.weight"]
    report = {"tensors_changed_by_reload": len(changed), "tensors": len(right), "answers_equal": 1.0}
    with pytest.raises(GateError, match=f"1 of {len(right)} tensors are read back changed"):
        _gate(report, QuantizeConfig(checkpoint="x", calibration="y"))


def test_too_many_changed_answers_stop_at_the_gate():
    report = {"tensors_changed_by_reload": 0, "answers_equal": 0.5, "check_frames": 8}
    with pytest.raises(GateError, match="50.0% of 8 stay the same, 90.0% were asked for"):
        _gate(report, QuantizeConfig(checkpoint="x", calibration="y", min_answers_equal=0.9))


def test_a_quantized_checkpoint_is_refused(quantized, windowed, tmp_path):
    config, run = run_with(tmp_path, windowed, checkpoint=str(quantized))
    with pytest.raises(UserError, match="quantized already"):
        quantize(config, run)


def test_what_the_sources_run_measured_of_itself_stays_there(windowed, tmp_path):
    source = tmp_path / "distilled"
    shutil.copytree(windowed["checkpoint"], source)
    for name in ("timing.json", "distill.json", "curves.jsonl"):
        (source / name).write_text("{}")
    config, run = run_with(tmp_path, windowed, checkpoint=str(source), frames=2, check_frames=1, grid=4)
    quantize(config, run)
    assert not [p for p in run.out.rglob("*") if p.name in ("timing.json", "distill.json", "curves.jsonl")]
    run.finish()
    assert json.loads((run.out / "timing.json").read_text())["wall_s"] > 0


def test_a_search_that_cannot_run_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 4"):
        QuantizeConfig(checkpoint="x", calibration="y", grid=3)


def test_odd_widths_are_refused_before_anything_is_loaded(windowed, tmp_path):
    from edgekit.models.nano import WINDOWED, WINDOWED_CONTRACT, build_nano

    narrow = WINDOWED.model_copy(update={"hidden": 192, "layers": 1, "vision_depth": 2})
    narrow = narrow.model_copy(update={"full_attention_blocks": [1]})
    save_checkpoint(tmp_path / "narrow", build_nano(narrow), WINDOWED_CONTRACT)
    config, run = run_with(tmp_path, windowed, checkpoint=str(tmp_path / "narrow"))
    with pytest.raises(UserError, match="hidden_size = 192"):
        quantize(config, run)


def test_another_contract_is_refused(windowed, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(windowed["checkpoint"], other)
    contract = json.loads((other / "contract.json").read_text())
    (other / "contract.json").write_text(json.dumps(contract | {"width": 336}))
    config, run = run_with(tmp_path, windowed, checkpoint=str(other))
    with pytest.raises(UserError, match="width: 308 against 336"):
        quantize(config, run)


def test_too_few_train_frames_are_refused(windowed, tmp_path):
    config, run = run_with(tmp_path, windowed, frames=7)
    with pytest.raises(UserError, match="too few train frames"):
        quantize(config, run)


def test_a_packed_weights_own_parts_are_never_narrowed():
    """Even where they could be: a scale's dtype is the one that the codes are unpacked in."""
    from edgekit.quantize.awq import narrow

    plain, packed = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    for linear in (plain, packed):
        for parameter in linear.parameters():
            parameter.data.fill_(0.5)  # exact in bfloat16
    plain.bias.data.fill_(0.1)
    packed.weight_scale = torch.nn.Parameter(torch.ones(2, 1))
    packed.quantization_scheme = object()
    narrow(torch.nn.ModuleList([plain, packed]), torch.bfloat16)
    assert (plain.weight.dtype, plain.bias.dtype) == (torch.bfloat16, torch.float32)
    assert {packed.weight.dtype, packed.weight_scale.dtype} == {torch.float32}
