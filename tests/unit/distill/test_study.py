"""A study's mistakes are told before its first training, and it says what the arms' difference is."""

import pytest

from edgekit.core.errors import UserError
from edgekit.core.files import read_json
from edgekit.core.recipe import load_recipe
from edgekit.core.run import start
from edgekit.distill import DistillConfig, distill

from .conftest import write_dataset

TRAIN = "train: {steps: 1, batch: 2, save_every: 1, dev_every: 1, warmup_steps: 0, threads: 1}\n"
ARMS = "study: {seeds: [0], arms: {plain: {dense.weight: 0}, dense: {dense.weight: 1}}}\n"


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """Rows of which the scenes f008 and f009 are the test split."""
    return write_dataset(tmp_path_factory.mktemp("held"), frames=8, held_out="test")


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("trained"), frames=4)


def config_of(recipe, more: str) -> DistillConfig:
    return load_recipe(DistillConfig, recipe(f"loss: {{alpha: 0}}\n{TRAIN}{more}"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("test_data: t\nstudy: {arms: {a: {}, b: {loss.temprature: 2}}}", "did you mean 'temperature'"),
        ("test_data: t\nstudy: {arms: {a: {}, b: {los.alpha: 0}}}", "unknown key 'los'"),
        ("test_data: t\nstudy: {arms: {a: {}, b: {seed.x: 0}}}", "'seed' holds a value"),
        ("test_data: t\nstudy: {arms: {a: {}, b: {loss.alpha: 0.5}}}", "study arm 'b'.*"),
        ("study: {arms: {a: {}, b: {}}}", "study asks for test_data"),
        ("test_data: t", "add study"),
        ("student_from: m", "student_from is read with student.kind: checkpoint alone"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_as_it_is_read(recipe, more, says):
    with pytest.raises(UserError, match=says):
        config_of(recipe, f"data: [d]\n{more}\n")


def test_test_data_that_cannot_score_are_refused_before_a_training(recipe, tmp_path, held_out, trained_on):
    other = write_dataset(tmp_path / "other", frames=4, held_out="test")
    info = (other / "info.json").read_text().replace('"width": 308', '"width": 280')
    (other / "info.json").write_text(info)
    for k, (data, test, says) in enumerate(
        [
            (trained_on, trained_on, "its test split holds 0 frames"),
            (trained_on, other, "contracts differ"),
            (write_dataset(tmp_path / "all", frames=9), held_out, "1 of its 2 test scenes are train scenes"),
        ]
    ):
        config = config_of(recipe, f"data: ['{data}']\ntest_data: '{test}'\n{ARMS}")
        run = start("distill", config, "r", tmp_path / str(k))
        with pytest.raises(UserError, match=says):
            distill(config, run)
        assert not (run.path / "arms").exists()


def test_arms_are_trained_scored_and_compared(recipe, tmp_path, held_out, trained_on):
    config = config_of(recipe, f"data: ['{trained_on}']\ntest_data: '{held_out}'\n{ARMS}")
    run = start("distill", config, "r", tmp_path / "run")
    distill(config, run)
    told = read_json(run.out / "study.json")
    assert (
        told["test_frames"] == 2 and told["control"] == "plain" and list(told["arms"]) == ["plain", "dense"]
    )
    assert set(told["differences"]) == {"dense"}
    recipes = [(run.path / f"arms/{arm}-0/recipe.yaml").read_text() for arm in ("plain", "dense")]
    assert ["  weight: 1.0" in text for text in recipes] == [False, True]
