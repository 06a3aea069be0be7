"""The label table rebuilt for new classes: rows, null index, the way back."""

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import attach
from edgekit.generators.adapters.difffit.config import DiffFit
from edgekit.generators.adapters.labels import rebuild_label_table, relabel
from edgekit.generators.generator import Generator
from tests.unit.generators.adapters.bases import LABELS, base, batch
from tests.unit.generators.shapes import meta_denoiser

torch.set_num_threads(1)
NEW = ["snow", "tunnel", "dawn", "dusk", "hail"]


def table(generator) -> torch.nn.Embedding:
    return generator.denoiser.transformer_blocks[0].norm1.emb.class_embedder.embedding_table


def for_null(generator: Generator) -> torch.Tensor:
    x, t, _ = batch(generator)
    with torch.no_grad():
        return generator.predict(x, t, generator.condition.null(len(x)))


def test_k_plus_one_rows_and_null_is_the_last():
    generator = base("dit")
    null, said = table(generator).weight[-1].detach().clone(), for_null(generator)
    relabel(generator, NEW, seed=3)
    assert table(generator).weight.shape == (6, 32)
    assert generator.condition.names == NEW
    assert generator.condition.null(2)["labels"].tolist() == [5, 5]
    assert torch.equal(table(generator).weight[5], null)
    assert torch.equal(for_null(generator), said)  # guidance starts from what the base knows
    assert generator.denoiser.config.num_embeds_ada_norm == 5  # a saved denoiser is built with 5 + 1 rows
    embedder = generator.denoiser.transformer_blocks[0].norm1.emb.class_embedder
    assert embedder.num_classes == 5  # diffusers' own dropping of labels, should it be on, means row K


def test_new_rows_are_drawn_from_the_seed():
    rows = []
    for seed in (3, 3, 4):
        generator = base("dit")
        relabel(generator, [f"class {i}" for i in range(400)], seed=seed)
        rows.append(table(generator).weight[:-1].detach().clone())
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    assert rows[0].std().item() == pytest.approx(0.02, rel=0.02)  # 12,800 draws: 0.6 % is one sigma
    assert abs(rows[0].mean().item()) < 4 * 0.02 / 12_800**0.5


def test_rows_may_be_given_and_the_null_row_too():
    generator = base("dit")
    rows, null = torch.randn(5, 32), torch.randn(32)
    rebuild_label_table(generator.denoiser, NEW, rows, null)
    assert torch.equal(table(generator).weight, torch.cat([rows, null[None]]))


def test_the_way_back_is_bit_for_bit():
    generator = base("dit")
    embedding, weight = table(generator), table(generator).weight.detach().clone()
    digest, config = generator.digest(), dict(generator.denoiser.config)
    undo = relabel(generator, NEW)
    assert generator.digest() != digest
    undo()
    assert table(generator) is embedding and torch.equal(embedding.weight, weight)
    assert generator.digest() == digest
    assert dict(generator.denoiser.config) == config
    assert generator.condition.names == LABELS


def test_unshared_tables_get_the_same_rows():
    denoiser = meta_denoiser("dit-xl-2", num_layers=2, num_attention_heads=2, attention_head_dim=8)
    denoiser = type(denoiser).from_config(denoiser.config)  # off the meta device
    rebuild_label_table(denoiser, NEW, seed=1)
    first, second = (b.norm1.emb.class_embedder.embedding_table.weight for b in denoiser.transformer_blocks)
    assert first is not second
    assert torch.equal(first[:5], second[:5])
    assert not torch.equal(first[5], second[5])  # each keeps its own null row


@pytest.mark.parametrize(
    "arch, names, init, why",
    [
        ("unet", NEW, "normal", "no label table"),
        ("dit", [], "normal", "0 names"),
        ("dit", ["a", "a"], "normal", "1 different"),
        ("dit", NEW, torch.zeros(6, 32), r"\(6, 32\)"),
    ],
)
def test_what_fits_no_table_is_refused(arch, names, init, why):
    with pytest.raises(UserError, match=why):
        rebuild_label_table(base(arch).denoiser, names, init)


def test_difffit_brings_its_labels_and_takes_them_away():
    generator = base("dit")
    adapter = attach(DiffFit(labels=NEW), generator, 0)
    assert generator.condition.names == NEW
    x, t, _ = batch(generator)
    generator.predict(x, t, generator.condition.encode(["hail", "snow", "hail"])).square().mean().backward()
    name = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    gradient = adapter.trainable()[name].grad
    assert gradient.abs().sum(1).nonzero().flatten().tolist() == [0, 4]
    assert adapter.state()[name].shape == (6, 32)
    adapter.detach()
    assert generator.condition.names == LABELS and table(generator).weight.shape == (4, 32)


def test_labels_that_the_base_has_keep_their_rows():
    generator = base("dit")
    weight = table(generator).weight.detach().clone()
    attach(DiffFit(labels=LABELS), generator, 0)
    assert torch.equal(table(generator).weight, weight)


def test_folded_labels_stay():
    generator = base("dit")
    attach(DiffFit(labels=NEW), generator, 0).fold()
    assert generator.condition.names == NEW and table(generator).weight.shape == (6, 32)


def test_a_name_that_the_base_knows_keeps_its_row():
    generator = base("dit")
    old = table(generator).weight.detach().clone()
    names = ["snow", LABELS[2], LABELS[0]]
    relabel(generator, names, seed=3)
    rows = table(generator).weight
    assert torch.equal(rows[1:], old[[2, 0, 3]])
    assert not any(torch.equal(rows[0], row) for row in old)
    assert generator.condition.encode([LABELS[2]])["labels"].tolist() == [1]


def test_each_of_unshared_tables_keeps_its_own_rows():
    denoiser = meta_denoiser("dit-xl-2", num_layers=2, num_attention_heads=2, attention_head_dim=8)
    denoiser = type(denoiser).from_config(denoiser.config)
    of = [b.norm1.emb.class_embedder for b in denoiser.transformer_blocks]
    old = [each.embedding_table.weight.detach().clone() for each in of]
    rebuild_label_table(denoiser, ["new", "7"], known=[str(i) for i in range(1000)])
    assert all(torch.equal(each.embedding_table.weight[1], was[7]) for each, was in zip(of, old, strict=True))
