import json

import pytest

from edgekit.core.places import shipped
from edgekit.core.recipe import load_recipe
from edgekit.export import ExportConfig
from edgekit.models.sizes import PUBLISHED, count
from edgekit.quantize import QuantizeConfig


@pytest.mark.parametrize("mark, billions", [("qwen2.5-vl-3b", 3.75), ("qwen2.5-vl-7b", 8.29)])
def test_counts_are_those_of_the_model_cards(mark, billions):
    assert count(PUBLISHED[mark]).all / 1e9 == pytest.approx(billions, rel=2e-3)


def test_a_hubs_flat_config_counts_alike():
    whole = dict(PUBLISHED["qwen2.5-vl-7b"])
    assert count(whole.pop("text_config") | whole) == count(PUBLISHED["qwen2.5-vl-7b"])


def test_counts_are_those_of_the_model_in_memory(windowed):
    from edgekit.models.checkpoint import load_checkpoint

    model = load_checkpoint(windowed["checkpoint"]).model
    sizes = count(json.loads((windowed["checkpoint"] / "config.json").read_text()))
    assert sizes.all == sum(p.numel() for p in model.parameters())
    assert sizes.vision == sum(p.numel() for p in model.model.visual.parameters())


@pytest.mark.parametrize("kind, verb", [(QuantizeConfig, "quantize"), (ExportConfig, "export")])
def test_shipped_recipes_load_and_plan(kind, verb):
    recipes = sorted((shipped("recipes") / verb).glob("*.yaml"))
    assert len(recipes) >= 2
    for path in recipes:
        plan = load_recipe(kind, path).plan()
        assert (
            plan.memory_gb > 0
            and plan.minutes > 0
            and any("estimate" in n or "nano" in n for n in plan.notes)
        )


def test_a_7b_is_planned_from_its_published_shape():
    plan = QuantizeConfig(
        checkpoint="models/Qwen2.5-VL-7B-Instruct", calibration="d", dtype="bfloat16"
    ).plan()
    assert 30 < plan.memory_gb < 40 and "8.29 B" in plan.notes[0]
