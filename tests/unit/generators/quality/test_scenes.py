"""The scene classifier: learns what is there to learn, repeats, is small, says what it stands for."""

import numpy as np
import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.generators.quality.distance import frechet
from edgekit.generators.quality.scenes import SceneNet, targets_of, train_scene_net
from tests.unit.generators.quality.pictures import coloured

torch.set_num_threads(1)
NAMES = {"colour": ["red", "blue"]}
QUICK = {"steps": 30, "batch": 16, "threads": 1, "size": 16}


@pytest.fixture(scope="module")
def net():
    images, kinds = coloured()
    return train_scene_net(images, {"colour": kinds}, NAMES, **QUICK)


def test_it_learns_what_shuffled_targets_do_not_teach(net):
    images, kinds = coloured(40, seed=9)
    assert net.accuracy(images, {"colour": kinds})["colour"] == 1
    seen, truth = coloured()
    shuffled = np.random.default_rng(0).permutation(truth)
    control = train_scene_net(seen, {"colour": shuffled}, NAMES, **QUICK)
    assert control.accuracy(images, {"colour": kinds})["colour"] < 0.9


def test_brightness_is_seen():
    """Night and day differ in nothing else: norms must not take it out."""
    draw = np.random.default_rng(0)
    light = np.arange(40) % 2
    images = draw.random((40, 16, 16, 3)) * 60 + 20
    images = (images * np.where(light, 3.0, 1.0)[:, None, None, None]).astype(np.uint8)
    found = train_scene_net(
        images[:30], {"time": light[:30]}, {"time": ["night", "day"]}, **QUICK | {"steps": 60}
    )
    assert found.accuracy(images[30:], {"time": light[30:]})["time"] == 1


def test_unknown_targets_teach_nothing_and_are_not_scored(net):
    images, kinds = coloured()
    some = np.where(np.arange(len(kinds)) % 3 == 0, -1, kinds)
    names, targets = NAMES | {"other": ["a", "b"]}, {"colour": some, "other": np.r_[[0, 1], [-1] * 46]}
    found = train_scene_net(images, targets, names, **QUICK)
    assert found.accuracy(images, targets) == {"colour": 1, "other": 1}
    assert np.isnan(net.accuracy(images[:3], {"colour": [-1] * 3})["colour"])
    wrong = found.accuracy(images[:2], {"colour": [1 - kinds[0], -1], "other": [-1, -1]})
    assert wrong["colour"] == 0


def test_the_same_seed_gives_the_same_bytes(net):
    images, kinds = coloured()
    again = train_scene_net(images, {"colour": kinds}, NAMES, **QUICK)
    other = train_scene_net(images, {"colour": kinds}, NAMES, seed=1, **QUICK)
    assert again.source == net.source != other.source
    assert np.array_equal(again(images).pooled, net(images).pooled)


def test_training_leaves_the_callers_randomness_and_threads_alone():
    images, kinds = coloured()
    torch.manual_seed(5)
    want = torch.rand(1)
    torch.manual_seed(5)
    train_scene_net(images, {"colour": kinds}, NAMES, **QUICK | {"steps": 1, "threads": 2})
    assert torch.equal(torch.rand(1), want) and torch.get_num_threads() == 1


def test_features_and_sizes(net):
    assert sum(p.numel() for p in SceneNet({"a": list("abcde"), "b": list("abcd")}).net.parameters()) < 60_000
    for size in (16, 40, 64):
        found = net(coloured(5, size)[0], batch=2)
        assert found.pooled.shape == (5, 64) and found.spatial.shape == (5, 7 * 4 * 4)
        assert found.pooled.dtype == np.float32
    images = coloured(5)[0]
    assert np.array_equal(net.features(images).pooled, net(images).pooled)
    assert net.stand_in and net.name == "scene classifier, stand-in"


def test_its_distances_tell_pictures_apart(net):
    (a, kinds), (b, _) = coloured(60, seed=1), coloured(60, seed=2)
    same, apart = frechet(net(a).pooled, net(b).pooled), frechet(net(a).pooled, net(b[kinds == 0]).pooled)
    assert same * 3 < apart


def test_a_folder_keeps_it(net, tmp_path):
    net.save(tmp_path / "net")
    again, images = SceneNet.load(tmp_path / "net"), coloured(4)[0]
    assert again.source == net.source and again.names == net.names and again.size == 16
    assert np.array_equal(again.predict(images)["colour"], net.predict(images)["colour"])
    with pytest.raises(UserError, match="no scene classifier"):
        SceneNet.load(tmp_path)


def test_tags_become_targets():
    tags = [["rain", "night"], ["clear"], ["low_sun"], [], ["fog", "night"]]
    targets, names = targets_of(tags)
    assert names == {"weather": ["clear", "rain", "fog"], "time": ["day", "low sun", "night"]}
    assert targets == {"weather": [1, 0, 0, 0, 2], "time": [2, 0, 1, 0, 2]}
    assert targets_of([["snow"], ["rain"]], {"weather": ["clear", "rain"]})[0] == {"weather": [-1, 1]}
    assert targets_of([["night"], ["clear"]])[1] == {"time": ["day", "night"]}, (
        "one weather tells nothing apart"
    )


@pytest.mark.parametrize("targets", [[0, 1], [2] * 48, [-1] * 48, [-2] * 48])
def test_targets_that_do_not_fit_are_refused(targets):
    with pytest.raises(UserError, match="colour"):
        train_scene_net(coloured()[0], {"colour": targets}, NAMES, **QUICK)
