import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from edgekit.core.contract import read_contract
from edgekit.core.errors import UserError
from edgekit.core.run import digest_tree
from edgekit.engine.pixels import pixel_values
from edgekit.models.checkpoint import load_checkpoint, save_checkpoint
from edgekit.models.nano import WINDOWED, WINDOWED_CONTRACT, NanoConfig, build_nano


def test_round_trip_is_exact(model, checkpoint):
    loaded = load_checkpoint(checkpoint)
    assert loaded.contract == WINDOWED_CONTRACT
    for (name, a), b in zip(model.named_parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not loaded.model.training


def test_same_weights_same_bytes(model, tmp_path):
    for name in "ab":
        save_checkpoint(tmp_path / name, model, WINDOWED_CONTRACT, card={"title": "T", "base_model": "x/y"})
    assert digest_tree(tmp_path / "a") == digest_tree(tmp_path / "b")


def test_bfloat16_is_stored_and_declared_and_the_model_is_not_changed(model, tmp_path):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    save_checkpoint(tmp_path, model, WINDOWED_CONTRACT, dtype="bfloat16")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert {file.get_tensor(k).dtype for k in file.keys()} == {torch.bfloat16}  # noqa: SIM118
        assert file.metadata() == {"format": "pt"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert {part["dtype"] for part in (config, config["text_config"], config["vision_config"])} == {
        "bfloat16"
    }
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    loaded = load_checkpoint(tmp_path).model
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.lm_head.weight, before["lm_head.weight"].bfloat16().float())


def test_tied_models_round_trip(tmp_path):
    model = build_nano(WINDOWED.model_copy(update={"tied": True}))
    loaded = load_checkpoint(save_checkpoint(tmp_path, model, WINDOWED_CONTRACT)).model
    assert loaded.lm_head.weight.data_ptr() == loaded.model.language_model.embed_tokens.weight.data_ptr()
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_transformers_reads_every_file(checkpoint, frames):
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint)
    assert model.generation_config.eos_token_id == [2028, 2026]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"
    assert (
        tokenizer("前方是红灯。<|im_end|>")["input_ids"]
        == load_checkpoint(checkpoint).tokenizer.encode("前方是红灯。<|im_end|>").ids
    )
    processor = Qwen2VLImageProcessorPil.from_pretrained(checkpoint)
    theirs = processor(frames[0], return_tensors="np")
    ours, grid = pixel_values(frames[:1], WINDOWED_CONTRACT)
    assert abs(theirs["pixel_values"] - ours).max() < 1e-6 and (theirs["image_grid_thw"] == grid).all()


def test_card_has_front_matter(model, tmp_path):
    save_checkpoint(
        tmp_path, model, WINDOWED_CONTRACT, card={"title": "Student", "base_model": "t/eacher", "text": "Hi."}
    )
    head, _, body = (tmp_path / "README.md").read_text().removeprefix("---\n").partition("---\n")
    assert "base_model: t/eacher" in head and "pipeline_tag: image-text-to-text" in head
    assert "# Student" in body and "Hi." in body


def test_only_weights_of_our_own_are_said_to_be_under_our_licence(model, tmp_path):
    for base, ours in (
        (None, True),
        ("package:nano-teacher", True),
        ("hub:o/model", False),
        ("0123abcd", False),
    ):
        save_checkpoint(tmp_path, model, WINDOWED_CONTRACT, card={"base_model": base})
        assert ("license: apache-2.0" in (tmp_path / "README.md").read_text()) is ours


def spoiled(checkpoint, tmp_path, spoil):
    folder = tmp_path / "spoiled"
    shutil.copytree(checkpoint, folder)
    spoil(folder)
    return folder


def edit_config(**changes):
    def spoil(folder):
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(config))

    return spoil


def edit_weights(change):
    def spoil(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def lose_a_shard(folder):
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (folder / "model.safetensors").rename(folder / names[0])
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


UP = "model.layers.1.mlp.up_proj.weight"
FLOAT8 = {"quant_method": "compressed-tensors", "format": "float-quantized"}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "contract.json").unlink(), "no Checkpoint or Bundle"),
        (lambda f: (f / "contract.json").write_text('{"schema_id": "edgekit/contract/1", "colour": 3}'), "colour"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickled weights"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is not there"),
        (edit_config(model_type="llama"), "another architecture"),
        (edit_config(quantization_config={"quant_method": "awq"}), "'awq'"),
        (edit_config(quantization_config=FLOAT8), "float-quantized"),
        (edit_weights(lambda w: w.pop(UP)), "1 tensors are missing: .*layers.1.mlp.up_proj"),
        (edit_weights(lambda w: w.pop("lm_head.weight")), "1 tensors are missing: lm_head"),
        (edit_weights(lambda w: w.update({UP: w[UP][1:].contiguous()})), "of another shape.*layers.1.mlp.up_proj"),
        (lose_a_shard, "1 of 2 shards .*model-00002-of-00002"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused_in_words(checkpoint, tmp_path, spoil, says):
    with pytest.raises(UserError, match=says):
        load_checkpoint(spoiled(checkpoint, tmp_path, spoil))


def flat_config(folder):
    """As Qwen's own models on the hub are: without text_config, its keys at the top."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config.pop("text_config") | config))


def test_a_hubs_flat_config_is_read(model, checkpoint, tmp_path):
    loaded = load_checkpoint(spoiled(checkpoint, tmp_path, flat_config)).model
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_an_unknown_contract_version_is_refused(checkpoint, tmp_path):
    folder = spoiled(
        checkpoint,
        tmp_path,
        lambda f: (f / "contract.json").write_text(
            json.dumps(WINDOWED_CONTRACT.model_dump(mode="json") | {"schema_id": "edgekit/contract/9"})
        ),
    )
    with pytest.raises(UserError, match="contract/9"):
        read_contract(folder)


def test_default_config_saves_what_it_says(tmp_path):
    text = json.loads(
        (
            save_checkpoint(tmp_path, build_nano(NanoConfig(layers=1)), WINDOWED_CONTRACT) / "config.json"
        ).read_text()
    )["text_config"]
    assert text["num_hidden_layers"] == 1 and text["vocab_size"] == 2048 != text["intermediate_size"]
