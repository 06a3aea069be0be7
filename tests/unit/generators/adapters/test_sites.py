"""Roles by module type: complete on four architectures, and the parameter counts that the papers pin."""

from __future__ import annotations

import functools

import pytest
from torch import nn

from edgekit.generators.adapters.sites import (
    ADDED_ATTENTION,
    ATTENTION,
    affine_norms,
    biases,
    blocks,
    label_tables,
    scale_shift_tables,
    sites,
)
from edgekit.generators.generator import share_embeddings
from tests.unit.generators.shapes import meta_denoiser

D = 1152  # width of DiT-XL/2


@functools.cache
def shape(name: str, shared: bool = False) -> nn.Module:
    denoiser = meta_denoiser(name)
    if shared:
        share_embeddings(denoiser)
    return denoiser


def counted(parameters) -> int:
    return sum(p.numel() for p in dict(parameters).values())


def roles(name: str, shared: bool = False) -> dict[str, int]:
    found: dict[str, int] = {}
    for site in sites(shape(name, shared)):
        found[site.role] = found.get(site.role, 0) + 1
    return found


@pytest.mark.parametrize("name", ["dit-xl-2", "pixart", "sd15", "sdxl", "kolors", "sd3"])
def test_every_layer_has_a_role_and_is_named_once(name):
    denoiser = shape(name)
    found = sites(denoiser)
    layers = [m for m in denoiser.modules() if isinstance(m, (nn.Linear, nn.Conv2d, nn.Embedding))]
    assert len(found) == len(layers) == len({s.name for s in found})
    assert [s.name for s in found if s.role == "other"] == []
    assert all(denoiser.get_submodule(s.name) is s.module for s in found)


def test_roles_of_the_dit():
    per_block = dict.fromkeys([*ATTENTION, "ff_in", "ff_out", "adaln"], 28)
    outside = {"patch": 1, "final": 1, "final_adaln": 1}
    assert roles("dit-xl-2", shared=True) == per_block | outside | {"time": 2, "label_table": 1}
    assert roles("dit-xl-2") == per_block | outside | {"time": 56, "label_table": 28}


def test_roles_of_pixart():
    found = roles("pixart")
    assert {r: found[r] for r in ATTENTION} == dict.fromkeys(ATTENTION, 56)  # self- and cross-attention
    assert found["adaln"] == 1 and found["caption"] == 2 and found["final"] == 1
    tables = scale_shift_tables(shape("pixart"))
    assert len(tables) == 29 and counted(tables) == 28 * 6 * D + 2 * D


def test_roles_of_sd3_with_its_text_stream():
    found = roles("sd3")
    assert {r: found[r] for r in ATTENTION} == dict.fromkeys(ATTENTION, 24)
    # The last block reads the text and puts none out.
    assert {r: found[r] for r in ADDED_ATTENTION} == dict.fromkeys(ADDED_ATTENTION, 24) | {"added_out": 23}
    assert (found["adaln"], found["added_adaln"], found["ff_in"], found["added_ff_in"]) == (24, 24, 24, 23)
    assert (found["final"], found["final_adaln"], found["caption"], found["pooled"]) == (1, 1, 1, 2)


def test_roles_of_sdxl():
    found = roles("sdxl")
    assert sum(found[r] for r in ATTENTION) == 560
    assert len(blocks(shape("sdxl"))) == 70
    assert sum(s.parent.heads for s in sites(shape("sdxl"), ["q"])) == 2600
    assert found["patch"] == found["final"] == 1 and found["pooled"] == 2


def test_a_unets_blocks_are_in_the_order_of_the_data():
    stages = [name.split(".")[0] for name, _ in blocks(shape("sdxl"))]
    assert sorted(set(stages), key=stages.index) == ["down_blocks", "mid_block", "up_blocks"]


def test_depth_keeps_the_first_blocks_and_what_lies_outside():
    dit = shape("dit-xl-2", shared=True)
    found = sites(dit, ["q", "time", "final"], depth=14)
    assert sorted(s.block for s in found if s.role == "q") == list(range(14))
    assert {s.role for s in found if s.block == -1} == {"time", "final"}
    # An unshared copy inside block 20 serves as that of block 0 does: it is no part of a block's depth.
    assert len(sites(shape("dit-xl-2"), ["time"], depth=14)) == 56


def test_bias_counts_of_dit_xl_2():
    assert counted(biases(shape("dit-xl-2", shared=True))) == 489_632
    assert counted(biases(shape("dit-xl-2"))) == 551_840  # 27 more timestep MLPs
    assert counted(affine_norms(shape("dit-xl-2"))) == 0
    assert counted(label_tables(shape("dit-xl-2", shared=True))) == 1001 * D
    hundred = meta_denoiser("dit-xl-2", num_embeds_ada_norm=101)
    share_embeddings(hundred)
    assert counted(biases(hundred)) + counted(label_tables(hundred)) == 607_136
    assert hundred.get_parameter(next(iter(label_tables(hundred)))).shape == (102, D)


def test_matching_names_by_substring_would_train_half_of_the_model():
    words = ("bias", "norm", "gamma", "y_embed")  # the paper's rule, made for another repository's names
    dit = shape("dit-xl-2")
    naive = {n: p for n, p in dit.named_parameters() if any(w in n for w in words)}
    by_type = biases(dit) | affine_norms(dit) | label_tables(dit)
    assert counted({n: p for n, p in naive.items() if "norm" in n and "bias" not in n}) > 300_000_000
    assert counted(naive) == 301_210_016
    assert counted(by_type) == 551_840 + 28 * 1001 * D


def test_affine_norms_of_a_unet_and_of_sd35():
    norms = affine_norms(shape("sd15"))
    groups = [m for m in shape("sd15").modules() if isinstance(m, (nn.GroupNorm, nn.LayerNorm))]
    assert len(norms) == 2 * len(groups) > 0
    with_qk = affine_norms(meta_denoiser("sd3", qk_norm="rms_norm"))
    assert counted(with_qk) == 24 * 4 * 64  # q, k and the text stream's, one weight per channel of a head


def lora_counted(found, rank: int) -> int:
    return sum(rank * (s.module.in_features + s.module.out_features) for s in found)


def test_lora_counts_of_the_papers_with_split_and_fused_projections():
    dit = shape("dit-xl-2", shared=True)
    # q and v alone: a fused qkv layer costs the same (each slice has its own pair)
    assert lora_counted(sites(dit, ["q", "v"]), 8) + 102 * D == 1_149_696
    assert lora_counted(sites(dit, ["q", "v"]), 16) + 102 * D == 2_181_888
    # A fused qkv of 3D rows has one A where split q, k, v have three: 2D * rank less a block.
    saved = 28 * 4 * 2 * D
    attention, linears = sites(dit, ATTENTION), [s for s in sites(dit) if isinstance(s.module, nn.Linear)]
    assert lora_counted(attention, 4) == 1_032_192 == 774_144 + saved
    assert lora_counted(linears, 4) == 3_259_008 == 3_000_960 + saved


def test_the_time_adapter_of_the_driveditfit_paper_is_seven_square_linears_a_block():
    assert 28 * 7 * (D * D + D) == 260_338_176
