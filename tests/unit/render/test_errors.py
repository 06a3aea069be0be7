"""Mistakes are told in three lines before the first frame."""

import pytest

from edgekit.core.errors import UserError
from edgekit.core.recipe import build, find_recipe, load_recipe
from edgekit.core.run import start
from edgekit.render.config import RenderConfig
from edgekit.render.launch import blender_python, bpy_version
from edgekit.render.run import render


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"weather": {"fog": 1.0}}, "weather"),
        ({"shares": {"cones": -0.1}}, "shares.cones"),
        ({"cones_min": -1}, "cones_min"),
        ({"cones_min": 5, "cones_max": 3}, "above"),
        ({"shares": {"red": 0.9}}, "must be 1"),
        ({"splits": {"train": 0.5}}, "shares of 1"),
        ({"width": 450}, "width"),
        ({"weathr": {}}, "weather"),
        ({"passes": {"ids": False}}, "ids"),
    ],
)
def test_recipe_mistakes(raw, said):
    with pytest.raises(UserError) as caught:
        build(RenderConfig, raw, "mine.yaml")
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


def test_no_blender_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_BLENDER_PYTHON", str(tmp_path / "nowhere/python"))
    run = start("render", RenderConfig(), "x", tmp_path / "run")
    with pytest.raises(UserError) as caught:
        render(run.config, run)
    assert "EDGEKIT_BLENDER_PYTHON" in caught.value.do
    assert not (run.out / "images").exists()


def test_an_environment_without_bpy(tmp_path):
    import sys

    with pytest.raises(UserError) as caught:
        bpy_version(blender_python(sys.executable))
    assert "not complete" in str(caught.value)


@pytest.mark.parametrize("name", ["nano", "nano-drives", "quick"])
def test_shipped_recipes_load(name):
    cfg = load_recipe(RenderConfig, find_recipe(name, "render"))
    assert cfg.plan().minutes > 0


def test_recipes_do_not_share_scenes():
    seeds = []
    for name in ("nano", "nano-drives", "quick"):
        cfg = load_recipe(RenderConfig, find_recipe(name, "render"))
        seeds += range(cfg.seed, cfg.seed + cfg.scenes)
    assert len(seeds) == len(set(seeds))
