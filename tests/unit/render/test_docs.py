"""docs/render.md says what the code does."""

from pathlib import Path

from edgekit.render.config import RenderConfig
from edgekit.render.rules import rules_table

PAGE = (Path(__file__).parents[3] / "docs" / "render.md").read_text()


def test_the_rules_are_those_of_the_code():
    told = PAGE.partition("<!-- rules -->")[2].partition("<!-- /rules -->")[0]
    assert told.strip() == rules_table().strip()


def test_every_key_that_is_named_is_one():
    table = PAGE.partition("## What a recipe says")[2].partition("\n\n`x`")[0]
    named = {
        word.strip("` ") for line in table.strip().splitlines()[2:] for word in line.split("|")[1].split(",")
    }
    assert len(named) > 10
    assert named <= set(RenderConfig.model_fields)
