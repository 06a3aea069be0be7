"""What the search for prompts asks about a mined Dataset's rows is what mining asked about their frames."""

import pytest

from edgekit.core.box import Box, merged
from edgekit.core.errors import UserError
from edgekit.core.recipe import build
from edgekit.dataset import open_dataset
from edgekit.engine.answerer import Answer
from edgekit.library import Dynamic, compose, load_library, probe_prompt
from edgekit.mine import mine
from edgekit.prompts import PromptsConfig
from edgekit.prompts.cache import Asker
from edgekit.prompts.edits import Edit, apply
from edgekit.prompts.known import accel_of, boxes_of, in_drives, known_of
from edgekit.prompts.promote import promote
from edgekit.prompts.shares import Costs
from tests.unit.mine.test_mine import ColourTeacher, config_of, run_of, write
from tests.unit.prompts.test_leaves import Scripts, held, row, words


@pytest.fixture
def drives(tmp_path):
    """A light for one frame: its entries stay for some more. The second drive's must not stay over from the first."""
    write(
        tmp_path / "set", "d1", ["none"] * 3 + ["red"] + ["none"] * 9 + ["red"], scene="s1", tags=("night",)
    )
    write(tmp_path / "set", "d2", ["none"] * 6 + ["green"], scene="s2", speed=18.0)
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("library", "dynamic"),
    [
        ("long-en", {}), ("long-en", {"first": "probe"}), ("long-en", {"hold_frames": 1, "release_frames": 1}),
        ("long-en", {"budget_tokens": 1000}), ("library", {}),
    ],
)  # fmt: skip
def test_the_prompts_are_those_of_mining(tmp_path, drives, library, dynamic):
    run = run_of(
        tmp_path,
        config_of(drives, library=library, prompts="dynamic", dynamic=dynamic, smoothing=None, motion=None),
    )
    mine(run.config, run, ColourTeacher())
    dataset = open_dataset(run.out)
    rows = dataset.rows("train")[::-1]  # the order of rows says nothing
    mined = [row.tasks["light"].history[-1]["prompt"] for row in rows]
    asker = Asker(ColourTeacher(), dataset, Dynamic(**dynamic), tmp_path / "log.jsonl", 4, 1000)
    prompts = asker.prompts(load_library(library), rows)
    assert [prompt.sha256[:16] for prompt in prompts] == mined
    assert len({prompt.id for prompt in prompts}) > 2, "the frames must differ for this to tell anything"
    answers = asker.ask(load_library(library), rows)
    assert [answer.label for answer in answers] == [row.label for row in rows]


def test_one_prompt_for_all_is_minings_default_one(tmp_path, drives):
    run = run_of(tmp_path, config_of(drives, smoothing=None, motion=None))
    mine(run.config, run, ColourTeacher())
    dataset, library = open_dataset(run.out), load_library("long-en")
    asker = Asker(ColourTeacher(), dataset, None, tmp_path / "log.jsonl", 4, 1000)
    assert set(asker.prompts(library, dataset.rows("train"))) == {compose(library)}


def test_a_quick_look_asks_about_the_looked_at_rows_alone(tmp_path, drives):
    run = run_of(tmp_path, config_of(drives, smoothing=None, motion=None))
    mine(run.config, run, ColourTeacher())
    dataset, library = open_dataset(run.out), load_library("library")
    rows = dataset.rows("train")
    asker = Asker(ColourTeacher(), dataset, Dynamic(), tmp_path / "log.jsonl", 4, 1000)
    asker.ask(library, rows)
    spent = asker.spent
    after = apply(library, Edit(operator="write", how="set", entry="light", value="lamps;"))
    assert asker.differ(library, after, rows) and not asker.differ(library, library, rows)
    assert asker.spent == spent, "to see whether an edit changes a prompt asks nothing"
    asker.ask_some(after, rows, [3, 5], library, "a look")
    assert asker.spent == spent + 2


def test_a_second_answer_that_does_not_parse_leaves_the_first(tmp_path, drives):
    class Confused(ColourTeacher):
        def answer(self, images, prompts):
            found = zip(super().answer(images, prompts), prompts, strict=True)
            return [a if p == compose(library).text else Answer("too much", None) for a, p in found]

    run = run_of(tmp_path, config_of(drives, smoothing=None, motion=None))
    mine(run.config, run, ColourTeacher())
    dataset, library = open_dataset(run.out), load_library("library")
    asker = Asker(Confused(), dataset, Dynamic(), tmp_path / "log.jsonl", 4, 1000)
    rows = dataset.rows("train")
    assert [answer.label for answer in asker.ask(library, rows)] == [row.label for row in rows]


def test_rows_go_by_drive_and_time_and_those_without_a_drive_alone():
    rows = [row(i) for i in range(5)]
    for i, (drive, t_s, frame) in enumerate(
        [("b", 2.0, 0), (None, 0, 0), ("b", 1.0, 9), (None, 0, 0), ("a", 0, 0)]
    ):
        rows[i] = rows[i].model_copy(update={"drive": drive, "t_s": t_s, "frame": frame})
    assert in_drives(rows) == [[2, 0], [1], [3], [4]]


def test_how_hard_the_car_brakes_is_told_by_the_speeds_around():
    speeds, times = [10.0, 8.0, None, 5.0, 5.0], [0.0, 0.5, 1.0, 1.5, 9.0]
    drive = [
        row(i).model_copy(update={"speed_mps": speed, "t_s": t_s})
        for i, (speed, t_s) in enumerate(zip(speeds, times, strict=True))
    ]
    assert accel_of(drive, 0) == -4 and accel_of(drive, 2) == -3
    assert accel_of(drive, 3) is None and accel_of(drive, 4) is None, "nothing near enough to compare with"
    known = list(known_of(drive, [Answer("?", None)] * 5, True, "en"))
    braking = [context is not None and "braking" in context for context, _, _ in known]
    assert braking == [True, True, False, False, False], "of the third not even the speed is known"
    (nothing,) = known_of([row(0)], [Answer("?", None)], True, "en")
    assert nothing[0] is None


def box(name, x0, y0, score=0.9):
    return {"name": name, "x0": x0, "y0": y0, "x1": x0 + 10, "y1": y0 + 10, "score": score}


def test_boxes_of_all_tasks_and_all_detectors_each_thing_once():
    one = row(0, cones="yes")
    one.tasks["light"].history += [
        {"step": "expert", "by": "a", "boxes": [box("light", 0, 0, 0.8)]},
        {"step": "expert", "by": "b", "boxes": [box("light", 1, 0), box("light", 40, 0, 0.7)]},
    ]
    one.tasks["obstacles"].history += [
        {"step": "expert", "by": "a", "boxes": [box("cone", 0, 0), box("person", 20, 20)]}, {"step": "fused"},
    ]  # fmt: skip
    assert sorted((b.name, b.x0) for b in boxes_of(one)) == [
        ("cone", 0), ("light", 1), ("light", 40), ("person", 20)
    ]  # fmt: skip
    ((context, values, aids),) = known_of([one], [Answer("?", None)], True, "en")
    assert aids == {"crop", "mark"} and {"cones", "person", "many_lights"} <= context
    assert values["seen"] == "1 × traffic cone, 2 × traffic light, 1 × person"
    ((_, _, none),) = known_of([one], [Answer("?", None)], False, "en")
    assert none == frozenset()
    one.tasks["light"].history[0]["boxes"] = [[1, 2]]
    assert boxes_of(one) == []
    assert merged([Box("a", 0, 0, 2, 2), Box("a", 1, 0, 3, 2, 0.5), Box("b", 0, 0, 2, 2)]) == [
        Box("a", 0, 0, 2, 2), Box("b", 0, 0, 2, 2), Box("a", 1, 0, 3, 2, 0.5)
    ]  # fmt: skip


def test_what_a_budget_must_hold():
    def costs(**more):
        given = {"model": "m", "dataset": "d", "edits": 2, "search": {"screen": 5}, **more}
        return tuple(Costs.of(build(PromptsConfig, given, "test"), 10, 20, 30))

    assert costs() == (30, 25, 90)
    assert costs(prompts="dynamic") == (
        60,
        45,
        180,
    )  # an edit of the default prompt changes the first question, too
    assert costs(prompts="dynamic", dynamic={"first": "probe"}) == (60, 25, 120)  # none changes the probe


def test_a_probe_that_is_not_there_is_refused_before_anything_is_asked(tmp_path, drives):
    assert not load_library("library").probe and probe_prompt(load_library("long-en")).id.endswith("/probe")
    teacher, config = ColourTeacher(), config_of(drives, prompts="dynamic", dynamic={"first": "probe"})
    run = run_of(tmp_path, config)
    with pytest.raises(UserError, match="has no probe"):
        mine(config, run, teacher)
    assert teacher.batches == 0


def test_an_edit_that_is_over_the_token_budget_by_itself_is_not_promoted():
    rows = held()
    first = load_library("library")
    ask = Scripts(rows, misses=range(0, len(rows), 3))
    done = promote(
        first,
        words("a cure."),
        rows,
        ask,
        30.0,
        resamples=100,
        seed=0,
        margin=0.01,
        fits=lambda lib: lib == first,
    )
    assert done.library == first and "over the token budget" in done.steps[0].why
