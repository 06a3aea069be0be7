"""Every shipped recipe is short, true on its own, and can be previewed; real sizes included."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from edgekit.cli import built, main
from edgekit.core.recipe import REFUSED, dump_recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def verb_of(path: Path) -> str:
    return path.relative_to(ROOT / "recipes").parts[0]


def config_of(path: Path):
    verb = verb_of(path)
    return load_recipe(
        getattr(importlib.import_module(f"edgekit.{verb}.config"), f"{verb.title()}Config"), path
    )


def test_every_station_ships_a_recipe():
    verbs = {verb_of(path) for path in RECIPES}
    assert {p.name for p in (ROOT / "edgekit").iterdir() if built(p.name)} == verbs


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recipe_is_short_and_previews(path, tmp_path, monkeypatch, capsys):
    lines = path.read_text().splitlines()
    assert len(lines) <= 40 and lines[0].startswith("# "), (
        "at most 40 lines, and the first says what it is for"
    )
    config = config_of(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump_recipe(config))
    assert load_recipe(type(config), again) == config, "the resolved recipe must repeat the run"
    monkeypatch.chdir(tmp_path)
    code = main([verb_of(path), str(path), "--dry-run"])
    shown = capsys.readouterr().out
    assert code == (2 if "MISSING" in shown or REFUSED in shown else 0)
    assert "nothing was run" in shown and "memory" in shown
    assert [p.name for p in tmp_path.iterdir()] == ["again.yaml"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_what_a_recipe_takes_from_the_package_is_there(path, monkeypatch, capsys):
    main([verb_of(path), str(path), "--dry-run"])
    missing = [
        line for line in capsys.readouterr().out.splitlines() if "package:" in line and "MISSING" in line
    ]
    assert missing == []


@pytest.mark.parametrize(
    "path", [p for p in RECIPES if "7b" in p.stem], ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_a_real_size_costs_more_than_a_nano(path):
    nano = config_of(path.with_name("nano.yaml")).plan()
    assert config_of(path).plan().memory_gb > nano.memory_gb
