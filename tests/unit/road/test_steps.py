"""A list of steps: what is wrong with it is said before anything is spent."""

import pytest

from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.road.config import RoadConfig
from edgekit.road.steps import place, resolve

RENDER = {"name": "draw", "verb": "render", "recipe": "quick"}
SCORE = {
    "name": "score",
    "verb": "evaluate",
    "recipe": "nano",
    "reads": {"model": "theirs", "dataset": "draw"},
}


def road(*steps, **more):
    return build(RoadConfig, {"steps": list(steps), **more}, "here")


def test_what_no_step_writes_is_an_input_of_the_road():
    config = road(RENDER, SCORE)
    assert config.foreign == ["theirs"] and list(config.digests) == ["draw", "score"]


def test_the_name_is_the_verb_unless_it_is_said():
    assert road({"name": "render", "recipe": "quick"}).steps[0].verb == "render"


def test_a_resolved_road_is_the_same_road():
    config = road(RENDER, SCORE)
    assert build(RoadConfig, config.model_dump(mode="json"), "again") == config


def test_another_recipe_below_is_another_road(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("scenes: 2")
    first = road({**RENDER, "recipe": str(own)})
    own.write_text("scenes: 3")
    assert road({**RENDER, "recipe": str(own)}).digests != first.digests
    assert road({**RENDER, "recipe": str(own), "set": {"scenes": 2}}).digests == first.digests


def test_names_become_the_paths_that_steps_wrote(tmp_path):
    written = {"distill": tmp_path / "steps" / "distill"}
    assert place("distill", written) == str(tmp_path / "steps" / "distill")
    assert place("distill/before", written) == str(tmp_path / "steps" / "distill" / "out" / "before")
    assert place("package:sample", written) == "package:sample"
    assert place("my/folder", written) == "my/folder"
    config = resolve(road(RENDER, SCORE).steps[1], {"draw": tmp_path})
    assert (config.dataset, config.model) == (str(tmp_path), "theirs")


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([SCORE, RENDER], "does not come before it"),
        ([RENDER, RENDER], "two steps are called 'draw'"),
        ([{**RENDER, "verb": "rendr"}], "did you mean 'render'?"),
        ([{**RENDER, "verb": "road"}], "no station 'road'"),
        ([{**RENDER, "recipe": "quik"}], "did you mean 'quick'?"),
        ([{**RENDER, "set": {"scnes": 1}}], "did you mean 'scenes'?"),
        ([{**RENDER, "set": {"scenes": 0}}], "scenes is not valid"),
        ([RENDER, {**SCORE, "reads": {"modle": "draw"}}], "did you mean 'model'?"),
        ([RENDER, {**SCORE, "reads": {"split": "test"}}], "'split' is no input of evaluate"),
        ([{**RENDER, "name": "Draw it"}], "name is not valid"),
        ([], "steps is not valid"),
        ([RENDER, {**SCORE, "row": "one", "against": "two"}], "against 'two' is no earlier row"),
        ([RENDER, {**SCORE, "row": "one"}, {**SCORE, "name": "more", "against": "one"}], "has no row itself"),
        ([{**RENDER, "row": "one"}], "a row is of an evaluate step, its verb is render"),
        (
            [RENDER, {**SCORE, "row": "one"}, {**SCORE, "name": "more", "row": "one"}],
            "another step's already",
        ),
    ],
)
def test_mistakes(steps, says):
    with pytest.raises(UserError) as caught:
        road(*steps)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("gates", "says"),
    [
        ({"studnet": {"f1": 0.5}}, "did you mean 'student'?"),
        ({"student": {"sight": 0.2}}, "set shuffles"),
        ({"student": {"control_margin": 0.05}}, "set shuffles"),
        ({"student": {"f2": 0.5}}, "f2"),
    ],
)
def test_gates_that_could_never_be_held_are_refused_before_anything_is_spent(gates, says):
    row = {**SCORE, "row": "student", "set": {"shuffles": 0}}
    with pytest.raises(UserError) as caught:
        road(RENDER, row, gates=gates)
    assert says in str(caught.value)
    road(RENDER, row, gates={"student": {"f1": 0.5}})


def test_the_plan_is_the_sum_and_the_largest():
    one, two = road(RENDER).plan(), road(RENDER, {**RENDER, "name": "more", "set": {"scenes": 20}}).plan()
    assert two.minutes > one.minutes and two.disk_gb > one.disk_gb and two.memory_gb >= one.memory_gb
    assert len(two.notes) == 2


def test_the_plan_tells_what_would_end_a_step_that_reads_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "draw").mkdir()
    (tmp_path / "draw" / "cut.mp4").write_bytes(b"cut")
    ask = {"name": "mine", "recipe": "nano", "reads": {"drives": ["draw"]}}
    (told,) = road(ask).plan().refused
    assert told.startswith("step mine: ") and "cut.mp4" in told
    assert road(RENDER, ask).plan().refused == [], "here it is the step's name, and nothing is drawn yet"
