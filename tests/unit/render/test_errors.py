"""Mistakes are told in three lines before the first frame."""

import subprocess
import sys

import pytest

from edgekit.core.errors import UserError
from edgekit.core.recipe import build, find_recipe, load_recipe
from edgekit.core.run import start
from edgekit.render import blender
from edgekit.render.blender import blender_python, bpy_version
from edgekit.render.config import RenderConfig
from edgekit.render.run import render


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"weather": {"sleet": 1.0}}, "weather"),
        ({"time": {"noon": 1.0}}, "time"),
        ({"camera": {"noise": -0.1}}, "camera.noise"),
        ({"camera": {"dirt": 1.5}}, "camera.dirt"),
        ({"camera": {"jpeg_quality": 0}}, "camera.jpeg_quality"),
        ({"camera": {"glair": 0.1}}, "glare"),
        ({"roadworks": {"cones": -0.1}}, "roadworks.cones"),
        ({"roadworks": {"cones_min": -1}}, "roadworks.cones_min"),
        ({"roadworks": {"cones_min": 5, "cones_max": 3}}, "above"),
        ({"lights": {"red": 0.9}}, "must be 1"),
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
    assert "there is no Blender environment" in str(caught.value)
    assert "EDGEKIT_BLENDER_PYTHON" in caught.value.do
    assert not (run.out / "images").exists()


def test_an_environment_without_bpy(tmp_path, monkeypatch):
    for name in ("bpy", "OpenEXR", "pillow"):  # that the user's own PYTHONPATH has them does not count
        (tmp_path / f"{name}-9.9.dist-info").mkdir()
        (tmp_path / f"{name}-9.9.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 9.9\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        bpy_version(blender_python(sys.executable))
    assert "not complete" in str(caught.value)


def test_what_is_no_python_is_told_so(tmp_path, monkeypatch):
    text = tmp_path / "notes.txt"
    text.write_text("not a program")
    text.chmod(0o755)
    for asked in (tmp_path, text):
        with pytest.raises(UserError, match="does not run as a Python"):
            bpy_version(blender_python(str(asked)))

    def hangs(command, **_):
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(blender.subprocess, "run", hangs)
    with pytest.raises(UserError, match="timed out after 60 seconds"):
        bpy_version(sys.executable)


SHIPPED = ("nano", "nano-gate", "nano-drives", "quick", "conditions")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_load(name):
    cfg = load_recipe(RenderConfig, find_recipe(name, "render"))
    assert cfg.plan().minutes > 0


def test_recipes_do_not_share_scenes():
    seeds = []
    for name in SHIPPED:
        cfg = load_recipe(RenderConfig, find_recipe(name, "render"))
        seeds += range(cfg.seed, cfg.seed + cfg.scenes)
    assert len(seeds) == len(set(seeds))
