"""What a model is asked and shown about a Dataset's rows, and what is asked once only."""

import numpy as np
import pytest

from edgekit.core.contract import Contract
from edgekit.dataset import DatasetWriter, Sample, TaskMark, open_dataset
from edgekit.library import Dynamic, compose, load_library
from edgekit.library.aids import MAGENTA
from edgekit.prompts.cache import Asker
from edgekit.prompts.edits import Edit, apply
from tests.unit.prompts.test_leaves import RED, answer, label

CONTRACT = Contract(width=224, height=112)
HEAD = {"name": "light", "x0": 100, "y0": 10, "x1": 108, "y1": 26, "score": 0.9}
BLUE = (30, 40, 220)  # of the picture where HEAD is


class Model:
    """Sees a red light in every picture; keeps what it was asked: (prompt, pictures)."""

    contract = CONTRACT

    def __init__(self, name="m", pictures=1):
        self.name, self.pictures, self.asked = name, pictures, []

    def answer(self, images, prompts):
        shown = [image if isinstance(image, list) else [image] for image in images]
        self.asked += zip(prompts, shown, strict=True)
        return [answer(**RED) for _ in images]


def picture(grey: int) -> np.ndarray:
    image = np.full((CONTRACT.height, CONTRACT.width, 3), grey, np.uint8)
    image[HEAD["y0"] : HEAD["y1"], HEAD["x0"] : HEAD["x1"]] = BLUE
    return image


@pytest.fixture
def dataset(tmp_path):
    """Two rows of dev; and in test one of the first one's name with another picture, one with its picture."""
    writer = DatasetWriter(tmp_path / "data", CONTRACT)
    named = {"grey": writer.image("grey", picture(90)), "dark": writer.image("dark", picture(40))}
    named["again"] = writer.image("again", picture(90))
    rows = [("dev", "0", "grey"), ("dev", "1", "dark"), ("test", "0", "dark"), ("test", "2", "again")]
    for split, name, image in rows:
        row = Sample.of(
            id=name, prompt_text="?", label=label(**RED), source="expert", scene=split, images=[named[image]]
        )
        history = [{"step": "expert", "value": "red", "boxes": [HEAD]}]
        row.tasks["light"] = TaskMark(source="expert", history=history)
        writer.add(split, row)
    writer.finish()
    return open_dataset(tmp_path / "data")


def asker(dataset, model, dynamic=None):
    return Asker(model, dataset, dynamic, dataset.root / "log.jsonl", batch=4, budget=100)


def test_an_answer_belongs_to_its_picture_and_not_to_the_rows_name(dataset):
    model, library = Model(), load_library("library")
    asks = asker(dataset, model)
    asks.ask(library, dataset.rows("dev"))
    asks.ask(library, dataset.rows("test"))
    assert asks.spent == 2 and [shown[0][0, 0, 0] for _, shown in model.asked] == [90, 40]


def test_a_row_whose_name_another_split_has_too_is_asked_about_itself(dataset):
    model, library = Model(), load_library("library")
    asks = asker(dataset, model)
    asks.ask(library, dataset.rows("dev")[:1])
    asks.ask(library, dataset.rows("test")[:1])
    assert [shown[0][0, 0, 0] for _, shown in model.asked] == [90, 40]


def test_another_model_is_asked_itself_and_the_same_one_not_again(dataset):
    library, rows = load_library("library"), dataset.rows("dev")
    asked = []
    for name in ("one", "two", "one"):
        model = Model(name)
        asks = asker(dataset, model)
        asks.ask(library, rows)
        asked.append(len(model.asked))
        assert asks.spent == 2  # needed, whether or not the log had it
    assert asked == [2, 2, 0]


@pytest.mark.parametrize("first", ["label", "probe"])
def test_the_first_look_is_each_librarys_own(dataset, first):
    """With a probe it is that, which no edit changes; else its default prompt, edited or not."""
    given, model = load_library("long-en"), Model()
    edit = Edit(operator="clarify", how="append", entry="light", value="Find the lamp first.")
    edited, rows = apply(given, edit), dataset.rows("dev")
    asks = asker(dataset, model, Dynamic(first=first))
    looks = []
    for library in (given, edited):
        model.asked.clear()
        asks.ask(library, rows)
        looks.append({prompt for prompt, _ in model.asked[:2]})
    if first == "probe":
        assert looks[0] == {given.probe} and "Find the lamp first." in next(iter(looks[1]))
    else:
        assert looks == [{compose(given).text}, {compose(edited).text}]


@pytest.mark.parametrize("pictures", [1, 2])
def test_what_an_expert_found_is_shown_once_more(dataset, pictures):
    """The boxes are in the row's history; the library cuts a light out where an answer saw one."""
    model, rows = Model(pictures=pictures), dataset.rows("dev")[:1]
    asks = asker(dataset, model, Dynamic())
    asks.ask(load_library("long-en"), rows)
    (_, (plain,)), (prompt, shown) = model.asked
    assert "signal head is shown once more" in prompt and "1 × traffic light" in prompt
    assert not (plain == MAGENTA).all(axis=2).any() and len(shown) == pictures
    if pictures == 2:
        crop = shown[1]
        middle = crop[crop.shape[0] // 2, crop.shape[1] // 2].astype(int)
        assert max(crop.shape) >= 224 and np.abs(middle - BLUE).max() < 30
    else:  # an inset in the lower right corner
        ys, xs = np.nonzero((shown[0] == MAGENTA).all(axis=2))
        assert (ys.max(), xs.max()) == (CONTRACT.height - 1, CONTRACT.width - 1)


def test_without_boxes_nothing_is_cut_out(dataset):
    model, rows = Model(), dataset.rows("dev")[:1]
    rows[0].tasks["light"].history = []
    asker(dataset, model, Dynamic()).ask(load_library("long-en"), rows)
    prompt, (shown,) = model.asked[-1]
    assert "shown once more" not in prompt and not (shown == MAGENTA).all(axis=2).any()
