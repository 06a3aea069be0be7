"""Out to another tool, corrected there, and back: the corrections are the person's."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, TASKS
from edgekit.review import ReviewConfig, review
from edgekit.review.human import Answers, Correction
from edgekit.review.queue import Review, place_of_answers
from tests.unit.review.test_page import LIGHT


def out_to(dataset, tool, folder, **more):
    review(ReviewConfig(what=str(dataset), export=tool, out=folder, **more))
    return folder


def back_from(dataset, tool, file):
    review(ReviewConfig(what=str(dataset), take=tool, file=file, by="ann"))
    return {(c.id, c.task): c.slots for c in Answers(place_of_answers(str(dataset), dataset)).given()}


# --- CVAT -------------------------------------------------------------------------------------------


def cvat_set(root, image, slot, value):
    for attribute in root.iterfind(f"image[@name='{image}']/tag/attribute[@name='{slot}']"):
        attribute.text = value


def test_cvat_there_and_back(dataset, tmp_path):
    folder = out_to(dataset, "cvat", tmp_path / "cvat")
    tree = ET.parse(folder / "annotations.xml")
    root = tree.getroot()
    names = [image.get("name") for image in root.iterfind("image")]
    assert names == sorted(names) == ["d/000005.jpg", "d/000006.jpg", "d/000007.jpg"]
    assert [image.get("id") for image in root.iterfind("image")] == ["0", "1", "2"]
    assert all((folder / "images" / name).is_file() for name in names)
    labels = {x.findtext("name"): x for x in root.iterfind("meta/task/labels/label")}
    assert list(labels) == list(TASKS)
    values = labels["light"].find("attributes/attribute[name='light']").findtext("values").split("\n")
    assert tuple(values) == SLOTS["light"]
    spec = json.loads((folder / "labels.json").read_text())
    assert [x["name"] for x in spec] == list(TASKS) and all(x["type"] == "tag" for x in spec)

    assert back_from(dataset, "cvat", folder / "annotations.xml") == {}  # untouched: no answer
    cvat_set(root, "d/000005.jpg", "light", "green")
    cvat_set(root, "d/000006.jpg", "seen", "true")  # looked at, and right
    cvat_set(root, "d/000007.jpg", "cones", "yes")  # nobody asked about it
    tree.write(tmp_path / "back.xml")
    wanted = {
        ("d/000005", "light"): LIGHT | {"light": "green"},
        ("d/000006", "speed"): {"recommended_speed_kmh": "0"},
        ("d/000007", "obstacles"): {"cones": "yes", "obstacle": "none"},
    }
    assert back_from(dataset, "cvat", tmp_path / "back.xml") == wanted
    log = place_of_answers(str(dataset), dataset).read_text()
    assert back_from(dataset, "cvat", tmp_path / "back.xml") == wanted
    assert place_of_answers(str(dataset), dataset).read_text() == log  # taken in twice is taken in once
    assert '"by": "ann (cvat)"' in log


LAUGHS = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotations><image name="d/000005.jpg"><tag label="light">
<attribute name="light">&b;</attribute></tag></image></annotations>"""
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "document type"),
        (OUTSIDE, "document type"),
        ("<annotations><image", "unclosed token"),
        ("<a>" * 40 + "</a>" * 40, "nested"),
        ("<other/>", "its top is <other>"),
        ("<annotations><image name='nobody.jpg'/></annotations>", "of no row"),
    ],
)
def test_cvat_files_that_are_not_taken_in(dataset, tmp_path, text, why):
    (tmp_path / "back.xml").write_text(text)
    with pytest.raises(UserError) as told:
        back_from(dataset, "cvat", tmp_path / "back.xml")
    assert why in told.value.why


# --- Label Studio -----------------------------------------------------------------------------------


def annotated(task, updated="2026-01-02", cancelled=False, **slots):
    """As its JSON export holds it: the prediction's result, submitted with changes."""
    result = [dict(part, value={"choices": [slots.get(part["from_name"], part["value"]["choices"][0])]})
              for part in task["predictions"][0]["result"]]  # fmt: skip
    note = {"updated_at": updated, "was_cancelled": cancelled, "result": result, "completed_by": 1}
    return {**task, "id": 7, "annotations": [*task.get("annotations", []), note]}


def test_label_studio_there_and_back(dataset, tmp_path):
    folder = out_to(dataset, "labelstudio", tmp_path / "ls")
    tasks = json.loads((folder / "tasks.json").read_text())
    assert [task["data"]["edgekit_id"] for task in tasks] == ["d/000005", "d/000006", "d/000007"]
    assert tasks[0]["data"]["asked"] == "light: light is doubted"
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=images/d/000005.jpg"
    assert (folder / "images/d/000005.jpg").is_file()
    shown = ET.parse(folder / "labelling.xml").getroot()
    choices = {c.get("name"): tuple(x.get("value") for x in c) for c in shown.iter("Choices")}
    assert choices == SLOTS
    controls = {part["from_name"] for part in tasks[0]["predictions"][0]["result"]}
    assert controls == set(choices)

    done = [
        annotated(annotated(tasks[0], light="yellow"), "2026-01-03", light="green"),  # the newest counts
        annotated(tasks[1]),  # submitted as it was: accepted
        annotated(tasks[2], cancelled=True, crossroad="no"),  # skipped
    ]
    (tmp_path / "export.json").write_text(json.dumps(done))
    assert back_from(dataset, "labelstudio", tmp_path / "export.json") == {
        ("d/000005", "light"): LIGHT | {"light": "green"},
        ("d/000006", "speed"): {"recommended_speed_kmh": "0"},
    }


def test_what_no_label_can_say_takes_nothing_in(dataset, tmp_path):
    tasks = json.loads((out_to(dataset, "labelstudio", tmp_path / "ls") / "tasks.json").read_text())
    (tmp_path / "export.json").write_text(
        json.dumps([annotated(tasks[1]), annotated(tasks[0], light="none")])
    )
    with pytest.raises(UserError, match="d/000005, light: not a label"):
        back_from(dataset, "labelstudio", tmp_path / "export.json")
    assert not place_of_answers(str(dataset), dataset).exists()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"annotations": [{}]}]', "[" * 100_000])
def test_what_is_no_export_of_label_studio_is_told(dataset, tmp_path, text):
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(UserError, match="cannot be taken in"):
        back_from(dataset, "labelstudio", tmp_path / "export.json")


# --- FiftyOne ---------------------------------------------------------------------------------------


def test_fiftyone_there_and_back(dataset, tmp_path):
    folder = out_to(dataset, "fiftyone", tmp_path / "fo")
    metadata = json.loads((folder / "metadata.json").read_text())
    assert "version" not in metadata and metadata["media_type"] == "image"
    samples = json.loads((folder / "samples.json").read_text())["samples"]
    assert [sample["edgekit_id"] for sample in samples] == ["d/000005", "d/000006", "d/000007"]
    assert samples[0]["tags"] == ["night", "review:light"]
    assert samples[0]["light"] == {"_cls": "Classification", "tags": [], "label": "red", "confidence": 0.55}
    assert all((folder / sample["filepath"]).is_file() for sample in samples)

    samples[0]["light"]["label"] = "green"
    samples[1]["tags"].append("seen")
    for sample in samples:  # as its own export writes them
        sample |= {"_id": {"$oid": "5f"}, "_rand": 0.5, "metadata": None}
        sample["light"]["_id"] = {"$oid": "6f"}
    (folder / "samples.json").write_text(json.dumps({"samples": samples}))
    assert back_from(dataset, "fiftyone", folder) == {
        ("d/000005", "light"): LIGHT | {"light": "green"},
        ("d/000006", "speed"): {"recommended_speed_kmh": "0"},
    }
    (folder / "samples.json").write_text('{"samples": [{"filepath": "x"}]}')
    with pytest.raises(UserError, match="cannot be taken in"):
        back_from(dataset, "fiftyone", folder)


# --- what they share --------------------------------------------------------------------------------


def test_what_was_answered_before_goes_out_as_answered(dataset, tmp_path):
    folder = out_to(dataset, "fiftyone", tmp_path / "first")
    samples = json.loads((folder / "samples.json").read_text())
    samples["samples"][0]["light"]["label"] = "green"
    (folder / "samples.json").write_text(json.dumps(samples))
    back_from(dataset, "fiftyone", folder)
    again = json.loads((out_to(dataset, "fiftyone", tmp_path / "second") / "samples.json").read_text())
    assert again["samples"][0]["light"]["label"] == "green"


GREEN, YELLOW = (LIGHT | {"light": light} for light in ("green", "yellow"))


class Sheet:
    """An export of one of the tools as a person there finds it, whatever its form: change, submit, bring back."""

    def __init__(self, dataset, tool, folder):
        self.dataset, self.tool, self.file = dataset, tool, folder / "back"
        out_to(dataset, tool, folder)
        if tool == "cvat":
            self.root = ET.parse(folder / "annotations.xml").getroot()
        elif tool == "labelstudio":
            self.tasks = json.loads((folder / "tasks.json").read_text())
            self.said = {}
        else:
            self.samples = json.loads((folder / "samples.json").read_text())["samples"]

    def light(self, value):
        if self.tool == "cvat":
            cvat_set(self.root, "d/000005.jpg", "light", value)
        elif self.tool == "labelstudio":
            self.said["light"] = value
        else:
            self.samples[0]["light"]["label"] = value

    def forget(self):
        """As a tool that drops what it does not know, or an export of an earlier edgekit."""
        if self.tool == "cvat":
            for tag in self.root.iter("tag"):
                tag.remove(tag.find("attribute[@name='exported']"))
        for fields in [t["data"] for t in getattr(self, "tasks", [])] + getattr(self, "samples", []):
            del fields["edgekit_exported"]

    def back(self):
        if self.tool == "cvat":
            ET.ElementTree(self.root).write(self.file)
        elif self.tool == "labelstudio":
            self.file.write_text(json.dumps([annotated(self.tasks[0], **self.said)]))
        else:
            self.file.write_text(json.dumps({"samples": self.samples}))
        return back_from(self.dataset, self.tool, self.file).get(("d/000005", "light"))


def on_the_page(dataset, slots):
    Review(str(dataset)).answer([Correction("d/000005", "light", slots, "anna", 1.0)])


TOOLS = pytest.mark.parametrize("tool", ["cvat", "labelstudio", "fiftyone"])
FORGETS = pytest.mark.parametrize("forgets", [False, True])


@TOOLS
@FORGETS
def test_what_came_back_as_it_went_out_leaves_a_persons_answer(dataset, tmp_path, tool, forgets, capsys):
    sheet = Sheet(dataset, tool, tmp_path / "out")  # red
    if forgets:
        sheet.forget()
    on_the_page(dataset, GREEN)
    assert sheet.back() == GREEN
    told = "1 tasks were accepted there" in capsys.readouterr().err
    assert told == (tool == "labelstudio")  # there a person submitted it: two do not agree, and that is told


@TOOLS
def test_an_answer_that_went_out_and_was_given_anew_since_stands(dataset, tmp_path, tool):
    on_the_page(dataset, GREEN)
    sheet = Sheet(dataset, tool, tmp_path / "out")
    on_the_page(dataset, YELLOW)
    assert sheet.back() == YELLOW


@TOOLS
def test_a_person_may_go_back_to_what_the_machine_said(dataset, tmp_path, tool):
    on_the_page(dataset, GREEN)
    sheet = Sheet(dataset, tool, tmp_path / "out")
    sheet.light("red")
    assert sheet.back() == LIGHT


@TOOLS
def test_what_was_changed_there_is_the_newest_word_once(dataset, tmp_path, tool):
    sheet = Sheet(dataset, tool, tmp_path / "first")
    on_the_page(dataset, LIGHT | {"light": "off"})
    sheet.light("green")
    assert sheet.back() == GREEN
    on_the_page(dataset, YELLOW)
    assert sheet.back() == YELLOW  # the same file once more
    fresh = Sheet(dataset, tool, tmp_path / "second")  # shows yellow
    fresh.light("green")
    assert fresh.back() == GREEN


@pytest.mark.parametrize("text", ["[", "[1]", '{"light": "blue"}', '{"colour": "red"}', "[" * 9000])
def test_what_went_out_may_not_be_edited(dataset, tmp_path, text):
    for tool in ("cvat", "labelstudio", "fiftyone"):
        sheet = Sheet(dataset, tool, tmp_path / tool)
        if tool == "cvat":
            sheet.root.find("image/tag/attribute[@name='exported']").text = text
        elif tool == "labelstudio":
            sheet.tasks[0]["data"]["edgekit_exported"] = text
        else:
            sheet.samples[0]["edgekit_exported"] = text
        with pytest.raises(UserError) as told:
            sheet.back()
        assert "was edited" in told.value.why


def test_all_rows_go_out_where_all_are_asked_for(dataset, tmp_path):
    folder = out_to(dataset, "labelstudio", tmp_path / "all", everything=True)
    tasks = json.loads((folder / "tasks.json").read_text())
    assert len(tasks) == 12 and tasks[0]["data"]["asked"] == "nothing is asked of this frame"


@pytest.mark.parametrize("tool", ["cvat", "labelstudio", "fiftyone", "rerun"])
def test_an_export_overwrites_nothing(dataset, tmp_path, tool):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds something"):
        out_to(dataset, tool, tmp_path / "full")
    with pytest.raises(UserError, match="no file"):
        back_from(dataset, "cvat", tmp_path / "nowhere.xml")


def test_a_row_of_another_dataset_is_told(dataset, tmp_path):
    folder = out_to(dataset, "fiftyone", tmp_path / "fo")
    (folder / "samples.json").write_text(
        (folder / "samples.json").read_text().replace("d/000005", "e/000005")
    )
    with pytest.raises(UserError, match="not in this Dataset"):
        back_from(dataset, "fiftyone", folder)


# --- Rerun ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_a_recording_holds_the_drive(dataset, tmp_path):
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    folder = out_to(dataset, "rerun", tmp_path / "rrd")
    reader = RrdReader(folder / "d.rrd")
    assert len(reader.recordings()) == 1
    rows: dict[str, list] = {}
    for chunk in reader.stream():
        if not chunk.is_static:
            rows.setdefault(chunk.entity_path, []).append(chunk)

    def values(entity, component):
        found = []
        for chunk in rows[entity]:
            batch = chunk.to_record_batch()
            (column,) = [n for n in batch.schema.names if n.endswith(component)]
            (frames,) = [n for n in batch.schema.names if n == "frame"]
            found += zip(batch[frames].to_pylist(), batch[column].to_pylist(), strict=True)
        return sorted(found, key=lambda pair: pair[0])

    images = values("/camera", "blob")
    assert len(images) == 12
    assert bytes(images[5][1][0]) == (dataset / "images/d/000005.jpg").read_bytes()
    assert values("/labels/light/label", "state") == [(0, ["none"]), (3, ["red"]), (8, ["green"])]
    assert values("/labels/light/vlm", "state") == [
        (0, ["none"]), (3, ["red"]), (5, ["green"]), (6, ["red"]), (8, ["green"])
    ]  # fmt: skip
    # said of frames 5 to 7 only: an empty state ends the lane
    assert values("/labels/light/motion", "state") == [(5, ["red"]), (8, [""])]
    measured = values("/speed/measured", "scalars")
    assert len(measured) == 11 and measured[0] == (0, [14.4])  # frame 2 was not measured
    assert values("/review", "text") == [
        (5, ["light: light is doubted"]), (6, ["speed: speed is doubted"]), (7, ["crossroad: crossroad is doubted"])
    ]  # fmt: skip
    assert {"time", "frame"} <= set(rows["/camera"][0].timeline_names)
