import pytest
import torch
from pydantic import ValidationError

from edgekit.core.errors import UserError
from edgekit.models.nano import WINDOWED, NanoConfig, build_nano, shrink


def test_same_seed_same_weights():
    a, b, c = (build_nano(WINDOWED, seed) for seed in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.lm_head.weight, c.lm_head.weight)


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    want = torch.rand(3)
    torch.manual_seed(0)
    build_nano(WINDOWED)
    assert torch.equal(torch.rand(3), want)


def test_the_teacher_fits_its_budget_and_starts_near_uniform():
    model = build_nano()
    assert sum(p.numel() for p in model.parameters()) < 4.3e6
    ids = torch.arange(300)[None] % 2000
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
    assert abs(loss - torch.log(torch.tensor(2048.0)).item()) < 0.6


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": 250},
        {"kv_heads": 3},
        {"full_attention_blocks": [9]},
        {"full_attention_blocks": [-1, 2]},
        {"window_px": 100},
    ],
)
def test_widths_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValidationError):
        NanoConfig(**wrong)


def test_a_student_is_the_teacher_without_some_layers():
    teacher = build_nano(NanoConfig(vision_hidden=64, vision_heads=2), seed=1)
    student = shrink(teacher, [0, 3], [0, 1, 3])
    mine, theirs = student.state_dict(), teacher.state_dict()
    layer = "model.language_model.layers.{}.mlp.up_proj.weight"
    block = "model.visual.blocks.{}.attn.qkv.weight"
    assert torch.equal(mine[layer.format(1)], theirs[layer.format(3)])
    assert torch.equal(mine[block.format(2)], theirs[block.format(3)])
    assert torch.equal(mine["lm_head.weight"], theirs["lm_head.weight"])
    assert student.config.text_config.num_hidden_layers == 2
    assert student.config.vision_config.fullatt_block_indexes == [1, 2]
    assert teacher.config.text_config.num_hidden_layers == 4
    assert layer.format(2) not in mine
    with torch.no_grad():
        student.lm_head.weight.zero_()
    assert teacher.lm_head.weight.abs().sum() > 0


def test_keeping_every_layer_keeps_the_function(model):
    ids = torch.arange(20)[None]
    with torch.no_grad():
        same = shrink(model, [0, 1])(input_ids=ids).logits
        assert torch.equal(same, model(input_ids=ids).logits)
        assert not torch.allclose(shrink(model, [1])(input_ids=ids).logits, same)


@pytest.mark.parametrize("kept", [([], None), ([0, 9], None), ([1, 0], None), ([0, 0], None), ([0], [0, 2])])
def test_layers_that_cannot_be_kept_are_refused(model, kept):
    with pytest.raises(UserError):
        shrink(model, *kept)
