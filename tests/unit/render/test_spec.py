"""What is drawn: the same for a seed, balanced, and independent of weather, hour and town."""

import importlib.util
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

import edgekit.render
from edgekit.render.classes import CLASSES
from edgekit.render.config import RenderConfig
from edgekit.render.labels import truth_of
from edgekit.render.spec import SCHEMA, camera_of, sample_scene, spec_text, split_of
from edgekit.render.town import zebra_bands


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


def test_the_worker_paints_the_zebras_where_the_labels_have_them(monkeypatch):
    """The worker cannot import edgekit: its own drawing is asked, with stand-ins for all that needs Blender."""
    painted = defaultdict(list)

    class Soup:
        def __init__(self):
            self.flats = []

        def flat(self, x0, y0, x1, y1, z, material):
            self.flats.append((x0, y0, x1, y1))

        def place(self, name, number):
            painted[name] += self.flats

    for name in ("bpy", "soup", "surfaces"):
        monkeypatch.setitem(sys.modules, name, MagicMock(Soup=Soup))
    path = Path(edgekit.render.__file__).parent / "worker" / "street.py"
    plan = importlib.util.spec_from_file_location("street", path)
    street = importlib.util.module_from_spec(plan)
    plan.loader.exec_module(street)
    for seed in range(20):
        spec = sample_scene(RenderConfig(), seed)
        painted.clear()
        street._markings(spec["town"], spec["junction"], CLASSES)
        across = {
            (y0, y1) for x0, y0, x1, y1 in painted["zebra"] if abs(x0 + x1) / 2 < spec["town"]["half_m"]
        }
        assert across == set(zebra_bands(spec["junction"]))


def test_in_a_drive_yaw_and_yaw_rate_agree_and_who_stands_does_not_slide():
    cfg, stood = RenderConfig(mode="drive", frames_per_scene=100, fps=10), 0
    for seed in range(32):
        frames = sample_scene(cfg, seed)["frames"]
        x, y, yaw = (np.array([f["camera"][key] for f in frames]) for key in ("x", "y", "yaw_deg"))
        rate, speed = (np.array([f[key] for f in frames]) for key in ("yaw_rate_rps", "speed_mps"))
        turned = np.radians(yaw[2:] - yaw[:-2]) * cfg.fps / 2
        assert np.abs(rate[1:-1] - turned).max() < 4e-4  # yaw_deg has three decimals; rates reach 1e-2
        assert np.abs(rate).max() > 1e-3
        assert np.abs(np.diff(x) + np.tan(np.radians(yaw[:-1])) * np.diff(y)).max() < 3e-3
        stood += (speed < 0.1).sum()
        assert np.abs(rate[speed < 0.1]).max(initial=0) < 2e-4
    assert stood > 20


@pytest.mark.parametrize("share", [0, 1])
def test_in_a_drive_the_share_of_barriers_is_obeyed(share):
    cfg = RenderConfig(mode="drive", frames_per_scene=2, shares={"barrier": share})
    for seed in (*range(6, 99, 8), *range(7, 99, 8)):  # where the light stops nobody: bare, open
        assert bool(sample_scene(cfg, seed)["frames"][0]["barrier"]) == bool(share)
