"""The workarounds are for defects that are still there: where one is gone, these fail, and so it goes."""

import json
import shutil

import pytest
import torch

from edgekit.core.errors import EdgekitError, UserError
from edgekit.quantize import llmcompressor_0_14 as workarounds

no_device = pytest.mark.skipif(torch.accelerator.is_available(), reason="the defect needs no accelerator")


@no_device
def test_pinning_without_an_accelerator_still_fails():
    assert workarounds.pinning_fails()


@no_device
def test_pinning_is_put_back_and_its_absence_is_told(monkeypatch):
    from llmcompressor.pipelines.cache import IntermediatesCache

    original = IntermediatesCache.pin_memory
    with workarounds.without_pinning():
        assert IntermediatesCache.pin_memory is not original
        IntermediatesCache().pin_memory(0)
    assert IntermediatesCache.pin_memory is original
    monkeypatch.setattr(workarounds, "pinning_fails", lambda: False)
    with pytest.raises(EdgekitError, match="a known defect is gone"), workarounds.without_pinning():
        pass


def test_a_right_ignore_list_is_told_as_a_defect_gone():
    config = {"quantization_config": {"ignore": ["model.visual.blocks.0.attn.qkv", "lm_head"]}}
    with pytest.raises(EdgekitError, match="a known defect is gone"):
        workarounds.mend_ignore(config, ["re:.*visual.*"])


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(workarounds, "VERSION", "0.13.0")
    with pytest.raises(UserError, match="0.13.0 is wanted, 0.14.0.1 is installed"):
        workarounds.require_version()


def test_transformers_reads_the_mended_list_and_not_the_one_with_file_names(quantized, tmp_path):
    """The quantize run itself stops where llm-compressor's list is right; here is why it must be mended."""
    from transformers import Qwen2_5_VLForConditionalGeneration as Model

    from edgekit.models.checkpoint import load_checkpoint

    ours = load_checkpoint(quantized / "out").model.state_dict()
    theirs = Model.from_pretrained(quantized / "out", dtype=torch.float32)
    theirs(input_ids=torch.tensor([[1, 2, 3]]))  # unpacks on first use
    own = dict(theirs.named_parameters())
    for name in (
        "model.language_model.layers.1.mlp.down_proj.weight",
        "model.visual.blocks.0.attn.qkv.weight",
    ):
        assert torch.equal(own[name].data, ours[name])

    unmended = tmp_path / "unmended"
    shutil.copytree(quantized / "out", unmended)
    config = json.loads((unmended / "config.json").read_text())
    names = [n.removeprefix("model.").removesuffix(".weight") for n in ours if ".visual." in n]
    config["quantization_config"]["ignore"] = [*names, "lm_head"]
    (unmended / "config.json").write_text(json.dumps(config))
    with pytest.raises((ValueError, RuntimeError, AttributeError)):
        Model.from_pretrained(unmended, dtype=torch.float32)(
            pixel_values=torch.zeros(16, 1176), image_grid_thw=torch.tensor([[1, 4, 4]]),
            input_ids=torch.tensor([[2038] * 4]), mm_token_type_ids=torch.ones(1, 4, dtype=torch.int),
        )  # fmt: skip
