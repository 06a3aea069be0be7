"""SSEI: the most similar class by cosine of mean features, whatever the encoder; rows copied, the null row too."""

from __future__ import annotations

import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.adapters.driveditfit.ssei import (
    Choice,
    Encoder,
    choose,
    clip,
    colour_histogram,
    mean_feature,
    nearest,
    network,
    start_rows,
)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _grey(level, n=3, size=8):
    return torch.full((n, size, size, 3), level, dtype=torch.uint8)


def _noisy(colour, n=12, seed=0):
    noise = torch.randint(-12, 13, (n, 8, 8, 3), generator=_rng(seed))
    return (torch.tensor(colour) + noise).clamp(0, 255).to(torch.uint8)


def test_argmax_on_made_features():
    classes = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    scenarios = torch.tensor([[0.1, 5, 0], [3, 3, 0.1], [0, -1, 0.2]])
    rows, cosines = nearest(classes, scenarios)
    assert rows.tolist() == [1, 3, 2]
    assert cosines[0] == pytest.approx(5 / (25 + 0.01) ** 0.5)


def test_lengths_do_not_count():
    classes, scenarios = torch.randn(9, 5, generator=_rng()), torch.randn(4, 5, generator=_rng(1))
    rows, cosines = nearest(classes, scenarios)
    longer = classes * torch.logspace(-3, 3, 9)[:, None]
    again, same = nearest(longer, scenarios * torch.tensor([[9.0], [1], [0.01], [4]]))
    assert torch.equal(rows, again) and torch.allclose(cosines, same)
    assert not torch.equal(rows, (scenarios @ longer.T).argmax(1))  # the dot product would take the longest


def test_ties_go_to_the_first_class():
    rows, _ = nearest(torch.tensor([[0.0, 1], [2, 0], [1, 0]]), torch.tensor([[3.0, 0]]))
    assert rows.tolist() == [1]


def test_each_image_counts_alike_whatever_its_features_length():
    """Normalised before the mean: one image with long features does not outvote two with short ones."""
    table = {1: [1.0, 0.0], 2: [0.0, 100.0]}
    encoder = Encoder("made", lambda images: torch.tensor([table[i] for i in images[:, 0, 0, 0].tolist()]))
    images = torch.cat([_grey(1, 2), _grey(2, 1)])
    mean = mean_feature(images, encoder, 100, _rng())
    assert torch.allclose(mean, torch.tensor([2.0, 1.0], dtype=torch.float64) / 5**0.5)


def test_colours_find_their_class_and_collisions_are_told():
    classes = [_noisy(c) for c in ((200, 30, 30), (30, 30, 200), (230, 230, 230))]
    scenarios = [_noisy(c, seed=7) for c in ((225, 225, 232), (30, 30, 190), (232, 232, 228))]
    choice = choose(classes, scenarios, colour_histogram())
    assert choice.rows == [2, 1, 2]
    assert choice.collisions() == {2: [0, 2]}
    assert choice.stand_in and "colour histogram" in choice.encoder
    assert all(0.5 < c <= 1 + 1e-9 for c in choice.cosines)


def test_the_sample_is_drawn_with_the_seed():
    seen = []

    def features(images):
        seen.append(images[:, 0, 0, 0].tolist())
        return torch.ones(len(images), 2)

    encoder = Encoder("made", features)
    images = torch.arange(200, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 2, 2, 3)
    for seed in (0, 0, 1):
        choose([images], [images], encoder, per=30, seed=seed)
    first, second, third = seen[:2], seen[2:4], seen[4:]
    assert first == second != third
    assert all(len(set(drawn)) == 30 for drawn in seen)


def test_without_images_it_is_refused():
    with pytest.raises(UserError, match="without images"):
        choose([_grey(3)], [_grey(3, n=0)], colour_histogram())


def test_rows_are_copied_and_so_is_the_null_row():
    old = torch.randn(6, 4, generator=_rng())
    rows = start_rows(old, "ssei", 3, Choice([4, 0, 4], [0.9, 0.8, 0.7], "made", True), _rng())
    assert torch.equal(rows, old[[4, 0, 4, 5]])
    rows[0] += 1
    assert not torch.equal(rows[0], old[4])  # a copy, not a view


@pytest.mark.parametrize("how", ["random_rows", "zero", "kaiming", "xavier"])
def test_the_starts_that_the_paper_compares_with(how):
    old = torch.randn(6, 40, generator=_rng())
    rows = start_rows(old, how, 5, None, _rng(3))
    assert rows.shape == (6, 40) and torch.equal(rows[-1], old[-1])
    assert torch.equal(rows, start_rows(old, how, 5, None, _rng(3)))
    if how == "zero":
        assert rows[:-1].abs().max() == 0
    elif how == "random_rows":
        assert all(any(torch.equal(row, one) for one in old[:-1]) for row in rows[:-1])
    else:
        assert rows[:-1].std() > 0 and not torch.equal(rows, start_rows(old, how, 5, None, _rng(4)))


def test_ssei_without_a_choice_is_refused():
    with pytest.raises(UserError, match="SSEI for 3 scenarios"):
        start_rows(torch.zeros(6, 4), "ssei", 3, None, _rng())
    with pytest.raises(UserError, match="chosen for 2"):
        start_rows(torch.zeros(6, 4), "ssei", 3, Choice([1, 2], [1, 1], "made", True), _rng())


def test_a_colour_histogram_is_a_distribution_of_each_colour():
    images = torch.randint(0, 256, (5, 6, 7, 3), generator=_rng(), dtype=torch.uint8)
    features = colour_histogram(4).features(images)
    assert features.shape == (5, 12) and torch.allclose(features.view(5, 3, 4).sum(-1), torch.ones(5, 3))
    green = images[2, ..., 1].flatten()
    shares = [((green // 64) == b).float().mean().item() for b in range(4)]
    assert features[2, 4:8].tolist() == pytest.approx(shares)


def test_features_of_a_network():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 3)
    images = torch.randint(0, 256, (2, 8, 8, 3), generator=_rng(), dtype=torch.uint8)
    encoder = network(conv, "a little classifier")
    want = conv(images.permute(0, 3, 1, 2) / 127.5 - 1).mean((2, 3))
    assert torch.allclose(encoder.features(images), want, atol=1e-6)
    assert encoder.stand_in and encoder.name == "a little classifier"


def test_a_clip_tower_from_a_folder(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=16, projection_dim=6, num_hidden_layers=1,
                              num_attention_heads=2, image_size=14, patch_size=7)  # fmt: skip
    torch.manual_seed(0)
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path)
    encoder = clip(str(tmp_path))
    with torch.no_grad():
        features = encoder.features(_noisy((100, 100, 100), n=3))
    assert features.shape == (3, 6) and not encoder.stand_in and "CLIP" in encoder.name
