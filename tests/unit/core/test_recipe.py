from typing import ClassVar

import pytest
from pydantic import Field

from edgekit.core.errors import UserError
from edgekit.core.recipe import Config, build, dump_recipe, find_recipe, load_recipe


class Train(Config):
    steps: int = Field(10, ge=1)
    rate: float = 1e-3


class Blur(Config):
    sigma: float = 1.0


class Probe(Config):
    inputs: ClassVar[tuple[str, ...]] = ("data",)
    data: list[str] = []
    train: Train = Field(default_factory=Train)
    blur: Blur | None = None
    shares: dict[str, float] = {}
    word: str = "x"
    shown: bool = True


@pytest.fixture
def recipe(tmp_path):
    def write(text):
        path = tmp_path / "r.yaml"
        path.write_text(text)
        return path

    return write


def test_defaults_live_in_the_type(recipe):
    assert load_recipe(Probe, recipe("")) == Probe()
    assert load_recipe(Probe, recipe("train: {steps: 3}")).train == Train(steps=3)


def test_overrides_reach_nested_keys_and_are_yaml(recipe):
    config = load_recipe(
        Probe,
        recipe("word: a"),
        ["train.steps=7", "train.rate=1e-4", "blur.sigma=2", "data=[a, b]", "shown=false"],
    )
    assert (config.train.steps, config.train.rate, config.blur, config.data, config.shown) == (
        7, 1e-4, Blur(sigma=2), ["a", "b"], False,
    )  # fmt: skip
    assert load_recipe(Probe, recipe("blur: {sigma: 3}"), ["blur=null"]).blur is None


def test_off_and_yes_are_words_not_booleans(recipe):
    config = load_recipe(Probe, recipe("shares: {off: 0.5, yes: 0.5}\nword: no"), [])
    assert config.shares == {"off": 0.5, "yes": 0.5} and config.word == "no"
    assert load_recipe(Probe, recipe(""), ["word=off"]).word == "off"


def test_the_resolved_recipe_repeats_the_run(recipe):
    config = load_recipe(Probe, recipe("shares: {off: 0.1}\ndata: [a]\nword: 'yes'"), ["train.rate=1e-5"])
    assert load_recipe(Probe, recipe(dump_recipe(config))) == config


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        ("trian: {steps: 1}", [], ["unknown key 'trian'", "did you mean 'train'?"]),
        ("train: {step: 1}", [], ["unknown key 'train.step'", "did you mean 'steps'?"]),
        ("blur: {sigm: 1}", [], ["unknown key 'blur.sigm'", "did you mean 'sigma'?"]),
        ("train: {steps: 0}", [], ["train.steps is not valid", "greater than or equal to 1", "'0'"]),
        ("word: [1]", [], ["word is not valid"]),
        ("- a", [], ["not a recipe", "the top is list"]),
        ("a: [", [], ["not YAML"]),
        ("", ["steps"], ["is not key=value"]),
        ("", ["=3"], ["is not key=value"]),
        ("", ["word=[1"], ["its value is not YAML"]),
        ("word: a", ["word.deep=3"], ["'word' holds a value, not a group"]),
    ],
)
def test_mistakes_are_told_in_words(recipe, text, overrides, says):
    with pytest.raises(UserError) as caught:
        load_recipe(Probe, recipe(text), overrides)
    assert len(str(caught.value).splitlines()) == 3
    for part in says:
        assert part in str(caught.value)


def test_a_recipe_that_is_no_text_is_told_in_words(tmp_path):
    (tmp_path / "r.yaml").write_bytes(b"word: \xff\xfe")
    with pytest.raises(UserError, match="not YAML"):
        load_recipe(Probe, tmp_path / "r.yaml")


def test_keys_that_do_not_go_together_are_told_by_name():
    from edgekit.render.config import RenderConfig

    with pytest.raises(UserError) as caught:
        build(RenderConfig, {"weather": {"clear": 0.5}}, "here")
    assert caught.value.what == "here: it is not valid as a whole" and "weather must be" in caught.value.why
    assert "(whole)" not in str(caught.value) and "more problem" not in str(caught.value)


def test_what_was_typed_is_named_beside_the_file(recipe):
    with pytest.raises(UserError) as caught:
        load_recipe(Probe, recipe("word: a"), ["train.steps=0", "data=x"])
    assert "with train.steps=0 data=x" in caught.value.what
    with pytest.raises(UserError, match=r"write data=\[…\]"):
        load_recipe(Probe, recipe("word: a"), ["data=x"])


def test_build_counts_the_other_problems():
    with pytest.raises(UserError, match="1 more problem"):
        build(Probe, {"train": {"steps": 0, "rate": "fast"}}, "here")


def test_an_unknown_recipe_gets_a_suggestion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="did you mean 'quick'"):
        find_recipe("quik", "render")
    assert find_recipe("recipes/render/quick.yaml", "render") == find_recipe("quick", "render")
    own = tmp_path / "mine.yaml"
    own.write_text("")
    assert find_recipe(str(own), "render") == own
