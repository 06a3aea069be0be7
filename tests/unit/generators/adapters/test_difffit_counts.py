"""Counts of trained parameters on denoisers of real sizes, on the meta device: the audit of the paper's tables."""

import pytest

from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.difffit.attach import gamma_sites
from edgekit.generators.adapters.difffit.config import DiffFit
from edgekit.generators.adapters.difffit.gamma import channels
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator, arch_of, share_embeddings
from tests.unit.generators.adapters.bases import base
from tests.unit.generators.shapes import meta_denoiser

L, D, FINAL, FINAL_ADALN = 28, 1152, 32, 2 * 1152
BIASES = D + 2 * D + L * 15 * D + (FINAL + 2 * D)  # patch, timestep MLP, blocks, final layer
EVERYWHERE = ["block", "qkv", "proj", "final_linear"]


def on_meta(name: str, shared: bool = True) -> Generator:
    denoiser = meta_denoiser(name)
    arch = arch_of(denoiser)
    if arch == "dit" and shared:
        assert share_embeddings(denoiser)
    condition = LabelCondition([str(i) for i in range(1000)]) if arch == "dit" else None
    return Generator(arch, denoiser, condition, None, None, (32, 32), 4)


@pytest.fixture(scope="module")
def dit():
    return on_meta("dit-xl-2")


def count(generator, classes: int | None = None, **keys) -> int:
    """Trained parameters; classes: how many new labels the table is rebuilt for."""
    labels = [] if classes is None else [f"class {i}" for i in range(classes)]
    adapter = attach(DiffFit(labels=labels, **keys), generator, 0)
    try:
        assert sum(adapter.facts()["parameters"].values()) == sum(
            p.numel() for p in adapter.trainable().values()
        )
        return sum(p.numel() for p in adapter.trainable().values())
    finally:
        adapter.detach()


def total(generator) -> int:
    return sum(p.numel() for p in generator.denoiser.parameters())


def test_the_model_is_the_papers(dit):
    assert total(dit) == 674_834_720
    adapter = attach(DiffFit(gammas=[], labels=[str(i) for i in range(101)]), dit, 0)
    assert total(dit) == 673_799_072  # the paper's 673.8 M: 101 classes
    adapter.detach()
    assert total(dit) == 674_834_720


def test_biases_and_table(dit):
    assert BIASES == 489_632
    assert count(dit, gammas=[], table=False) == BIASES
    assert count(dit, 101, gammas=[]) == 607_136 == BIASES + 102 * D  # the paper's "BitFit", 0.61 M
    assert count(dit, gammas=[], table=False, norms="all") == BIASES  # a DiT has no affine norms


@pytest.mark.parametrize(
    "keys, trained, percent",
    [
        ({"gammas": []}, 607_136, 0.0901),
        ({"gammas": EVERYWHERE[:3]}, 703_904, 0.1045),
        ({}, 703_936, 0.1045),
        ({"gammas": [*EVERYWHERE, "final_adaln"]}, 706_240, 0.1048),
        ({"gammas": EVERYWHERE[:3], "depth": 28}, 800_672, 0.1188),
    ],
)
def test_food101_rows(dit, keys, trained, percent):
    found = count(dit, 101, **keys)
    assert found == trained
    assert round(100 * found / 673_799_072, 4) == percent


@pytest.mark.parametrize(
    "classes, trained",
    [(397, 1_044_896), (182, 797_216), (200, 817_952), (10, 599_072), (102, 705_056), (196, 813_344)],
)
def test_tables_of_the_other_datasets(dit, classes, trained):
    assert count(dit, classes, gammas=EVERYWHERE[:3]) == trained


def test_a_frozen_table_at_higher_resolution(dit):
    """The ImageNet-512 run: labels unchanged, their table frozen."""
    assert count(dit, gammas=EVERYWHERE[:3], table=False) == 586_400
    both = [*EVERYWHERE, "final_adaln"]
    assert count(dit, gammas=both, table=False) == 586_400 + 2_336


@pytest.mark.parametrize("side", ["first", "last"])
def test_each_block_adds_2d_of_algorithm_1(dit, side):
    """Tables 4a and 4b count 738,496 + 2,304 k: attention's scales in all blocks and the final ones always in."""
    fixed = count(dit, 101, gammas=["qkv", "proj", "final_linear", "final_adaln"], depth=28)
    assert fixed == 738_496
    for k in (0, 1, 14, 28):
        assert count(dit, 101, gammas=["block"], depth=k, side=side) - 607_136 == 2_304 * k


def test_each_place_counts_what_it_should(dit):
    per_block = {"block": 2 * D, "qkv": 3 * D, "proj": D, "ff": 4 * D}
    once = {"final_linear": FINAL, "final_adaln": FINAL_ADALN, "patch": D, "time": D}
    for place, each in per_block.items():
        assert count(dit, gammas=[place], table=False) - BIASES == 14 * each
    for place, each in once.items():
        assert count(dit, gammas=[place], table=False) - BIASES == each
    six = count(dit, gammas=EVERYWHERE[:3], table=False) - BIASES
    assert six == 14 * 6_912 == 96_768
    assert count(dit, gammas=EVERYWHERE[:3], table=False, depth=28) - BIASES == 193_536


def test_the_share_of_a_nano_is_far_larger():
    nano = base("dit", width=64, layers=4, patch=2, heads=4)
    adapter = attach(DiffFit(labels=list("abcde"), depth=4), nano, 0)
    parts = adapter.facts()["parameters"]
    assert (parts["biases"], parts["table"], parts["gammas"]) == (4_184, 384, 1_536 + 24)
    added = sum(p.numel() for name, p in adapter.added.items() if "gamma" in name)
    assert total(nano) - added == 330_456


def test_naive_names_would_train_hundreds_of_millions():
    """The paper's own rule on diffusers' names: "norm" is in norm1.linear and norm1.emb, "y_embed" in nothing."""
    unshared = on_meta("dit-xl-2", shared=False)
    assert total(unshared) == 749_826_464
    named = [
        (n, p) for n, p in unshared.denoiser.named_parameters()
        if any(word in n for word in ("bias", "norm", "gamma", "y_embed"))
    ]  # fmt: skip
    assert sum(p.numel() for _, p in named) == 301_210_016
    assert not any("y_embed" in name for name, _ in named)
    ours = count(unshared, gammas=[], table=False)
    assert ours == 551_840 == BIASES + 27 * 2 * D  # each block's own timestep MLP
    assert ours < 301_210_016 / 500


def test_pixart():
    generator = on_meta("pixart")
    # self- and cross-attention: 2 (3D + D), their residual sums 2D, the feed-forward's D
    assert gammas_of(generator) == 14 * (8 * D + 3 * D) + 32
    tables = count(generator, gammas=[], biases=False, scale_shift=True)
    assert tables == 28 * 6 * D + 2 * D


def test_sd3():
    generator, width, depth = on_meta("sd3"), 1536, 24
    # two streams: 2 (3D + D), two attention outputs and two feed-forwards
    both = 8 * width + 4 * width
    assert gammas_of(generator) == depth // 2 * both + 64
    text_only_last = gammas_of(generator, depth=depth)
    # the last block reads the text stream and does not write it: no added_out, no feed-forward there
    assert text_only_last == depth * both - 3 * width + 64


def test_sdxl():
    generator = on_meta("sdxl")
    # 70 blocks: 10 of width 640 and 60 of 1280; 11 widths a block as in PixArt
    assert gammas_of(generator, depth=70) == 11 * (10 * 640 + 60 * 1280) + 4
    # down: 2 x 2 blocks of width 640, 2 x 10 of 1280; the middle's 10; 1 on the way up
    first_35 = 4 * 640 + (20 + 10 + 1) * 1280
    assert gammas_of(generator) == 11 * first_35 + 4


def gammas_of(generator, **keys) -> int:
    places = gamma_sites(generator.denoiser, DiffFit(**keys))
    return sum(channels(layer) for layer in places.values())
