"""What is drawn: the same for a seed, balanced, and independent of weather, hour and town."""

import json
from collections import Counter, defaultdict

import pytest

from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.labels import truth_of
from edgekit.render.spec import SCHEMA, camera_of, sample_scene, spec_text, split_of


def test_same_seed_same_text_and_json_changes_nothing():
    cfg = RenderConfig(frames_per_scene=5)
    spec = sample_scene(cfg, 7)
    assert spec_text(spec) == spec_text(sample_scene(cfg, 7))
    assert json.loads(spec_text(spec)) == spec
    assert spec["schema"] == SCHEMA
    assert spec_text(spec) != spec_text(sample_scene(cfg, 8))


def test_classes_fit_a_pass_index():
    assert max(CLASSES.values()) * 1000 + 999 <= 32767


def test_splits_depend_on_the_seed_alone_and_keep_their_shares():
    splits = {"train": 0.8, "dev": 0.04, "test": 0.16}
    found = Counter(split_of(seed, splits) for seed in range(1000, 1300))
    assert found["train"] == pytest.approx(240, abs=3)
    assert found["test"] >= 45
    assert set(split_of(seed, splits) for seed in range(1000, 1030)) == set(splits)


@pytest.fixture(scope="module")
def drawn():
    """(weather, time, lanes) and labels of 2000 scenes, four frames each."""
    cfg, rows = RenderConfig(frames_per_scene=4), []
    for seed in range(2000):
        spec = sample_scene(cfg, seed)
        where = (spec["conditions"]["weather"], spec["conditions"]["time"], spec["town"]["lanes_each_way"])
        rows += [(where, truth_of(spec, f, camera_of(spec, f))["label"]) for f in spec["frames"]]
    return rows


@pytest.mark.parametrize("slot", ["light", "cones", "crossroad", "obstacle", "zebra"])
def test_surroundings_tell_nothing(drawn, slot):
    """A majority vote in every cell of weather x time x town gains under 5 points over one for all."""
    cells = defaultdict(Counter)
    for where, label in drawn:
        cells[where][label[slot]] += 1
    by_cell = sum(max(cell.values()) for cell in cells.values()) / len(drawn)
    chance = max(Counter(label[slot] for _, label in drawn).values()) / len(drawn)
    assert len(cells) == 12
    assert by_cell <= chance + 0.05


def test_shares(drawn):
    light = Counter(label["light"] for _, label in drawn)
    for state, share in (("none", 0.40), ("red", 0.17), ("yellow", 0.17), ("green", 0.17), ("off", 0.09)):
        assert light[state] / len(drawn) == pytest.approx(share, abs=0.02)
    assert Counter(label["cones"] for _, label in drawn)["yes"] / len(drawn) == pytest.approx(0.45, abs=0.02)
    assert Counter(label["obstacle"] for _, label in drawn)["barrier"] / len(drawn) == pytest.approx(
        0.15, abs=0.02
    )
