"""Trainable parameters on the shapes of real models, on the meta device, against the paper's Table 5."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.driveditfit.config import DriveDiTFit
from edgekit.generators.codec import PixelCodec
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator, share_embeddings
from edgekit.generators.process import Betas, linear
from tests.unit.generators.adapters.test_driveditfit_modulation import count
from tests.unit.generators.shapes import meta_denoiser

ITHACA = ["cloud", "night", "rain", "snow", "sunny"]
# q, k and v as three linears cost three in-factors in place of one, in each of 28 blocks.
SPLIT = {rank: 28 * (3 * count((1152, 1152), rank) - count((3456, 1152), rank)) for rank in (2, 4)}


@pytest.fixture(scope="module")
def dit():
    denoiser = meta_denoiser("dit-xl-2")
    share_embeddings(denoiser)
    condition = LabelCondition([str(i) for i in range(1000)])
    return Generator(
        "dit", denoiser, condition, PixelCodec(), Betas(linear(), learned_range=True), (32, 32), 4
    )


def _counts(generator, **keys):
    """(all, of them by the name's ending) with the operator that the published counts are of."""
    config = DriveDiTFit(**{"add": False, "labels": ITHACA, **keys})
    adapter = attach(config, generator, seed=0)
    sizes = {name: p.numel() for name, p in adapter.trainable().items()}
    adapter.detach()
    return sizes


def _only(sizes, *parts):
    return sum(n for name, n in sizes.items() if any(part in name for part in parts))


def test_split_qkv_costs_more_than_fused():
    assert SPLIT == {4: 258_048, 2: 129_024}


def test_attention_and_the_condition_mlp(dit):
    sizes = _counts(dit)
    assert _only(sizes, ".attn1.") == 28 * (25_344 + 11_520) + SPLIT[4]
    assert _only(sizes, ".norm1.linear.") == 1_290_240
    assert _only(sizes, "timestep_embedder") == 19_456
    assert _only(sizes, "proj_out_1", "proj_out_2") == 23_232
    assert _only(sizes, "embedding_table") == 6_912
    assert sum(sizes.values()) == 2_372_032 + SPLIT[4] == 2_630_080
    # MHSA, Table 5's first row: everything but the blocks' condition MLP.
    assert sum(sizes.values()) - _only(sizes, ".norm1.linear.") == 1_081_792 + SPLIT[4]


def test_feed_forward_and_patch(dit):
    assert sum(_counts(dit, feed_forward=True).values()) == 3_984_832 + SPLIT[4]
    released = _counts(dit, init="released", feed_forward=True, patch=True)
    assert _only(released, "pos_embed") == 6_992
    assert sum(released.values()) == 3_991_824 + SPLIT[4]


def test_ranks_labels_and_depth(dit):
    assert sum(_counts(dit, rank=2).values()) == 1_516_672 + SPLIT[2]
    assert sum(_counts(dit, labels=[*ITHACA, "fog"]).values()) == 2_373_184 + SPLIT[4]
    half = _counts(dit, depth=14)
    assert _only(half, ".attn1.", ".norm1.linear.") == 14 * (36_864 + 46_080) + SPLIT[4] // 2


def test_the_papers_equation_taken_literally(dit):
    """Both parts, no biases, q, k, v and the condition MLP alone: 2,838,528 with a fused qkv, not what was run."""
    sizes = _counts(dit, add=True, bias_mod=False)
    qkv = _only(sizes, "to_q.", "to_k.", "to_v.") + _only(sizes, ".norm1.linear.")
    assert qkv == 2_838_528 + 2 * SPLIT[4]


def test_nothing_stays_behind(dit):
    assert sum(p.numel() for p in dit.denoiser.parameters()) == 674_834_720
    assert dit.condition.null(1)["labels"].tolist() == [1000]


def test_the_recipes_class_is_light():
    code = (
        "import sys; from edgekit.generators.adapters.driveditfit.config import DriveDiTFit; DriveDiTFit();"
        "heavy = {'torch', 'diffusers', 'peft'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
