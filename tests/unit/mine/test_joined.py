"""Mining with everything switched on: motion, detectors, gold, selection, the review queue, Ray."""

import json
from importlib.util import find_spec

import numpy as np
import pytest

from edgekit.core.box import Box
from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import read_jsonl
from edgekit.dataset import open_dataset
from edgekit.dataset.queue import read_queue
from edgekit.engine.answerer import Answer
from edgekit.mine import mine
from edgekit.mine import run as story
from tests.unit.mine.test_mine import RGB, ColourTeacher, config_of, run_of, write

EXPERT = {
    "kind": "onnx",
    "model": "eye.onnx",
    "head": "ssd",
    "classes": {0: "light", 1: "cone"},
    "name": "eye",
}


class Eye:
    """Finds a cone wherever a picture's upper left corner is white; dies when it is told to."""

    name, sees = "eye", frozenset({"cone"})

    def __init__(self, die_after=None):
        self.seen, self.die_after = 0, die_after

    def detect(self, images):
        if self.seen == self.die_after:
            raise KeyboardInterrupt
        self.seen += 1
        return [[Box("cone", 2, 4, 12, 24, 0.9)] if image[0, 0].min() > 200 else [] for image in images]


@pytest.fixture
def drives(tmp_path):
    """d1: red for 2 s and then away; the picture changes with the light alone."""
    true = ["none"] * 10 + ["red"] * 10
    write(tmp_path / "set", "d1", true, true, scene="s1", tags=("night",))
    write(tmp_path / "set", "d2", ["none"] * 8, scene="s2")
    return tmp_path / "set"


def mined(tmp_path, config, name="run", teacher=None):
    run = run_of(tmp_path, config, name)
    mine(config, run, teacher or ColourTeacher())
    return run


def rows_of(run):
    return {row.id: row for row in open_dataset(run.out).rows("train")}


RULE = """
schema: edgekit/motion/1
rules:
  - name: red_at_speed
    why: a test's rule, which says that nobody drives so fast at a red light
    task: light
    when: {light: [red]}
    motion: {speed_mps: {above: 3}}
    action: review
"""


def test_a_rule_that_fires_is_in_the_row_the_queue_and_the_report(tmp_path, drives):
    (tmp_path / "rules.yaml").write_text(RULE)
    run = mined(tmp_path, config_of(drives, motion={"rules": str(tmp_path / "rules.yaml")}))
    mark = rows_of(run)["d1/000015"].tasks["light"]
    assert mark.status == "review" and mark.history[-1]["rule"] == "red_at_speed"
    assert [s["step"] for s in mark.history] == ["vlm", "smoothed", "motion"]
    queue = read_queue(run.out)
    assert len(queue) == 10 and {entry.task for entry in queue} == {"light"}
    first = next(entry for entry in queue if entry.id == "d1/000010")
    assert "red_at_speed" in first.why and "d1/000010" in first.strip and len(first.strip) > 3
    assert json.loads((run.out / "mining.json").read_text())["rules"]["red_at_speed"]["frames"] == 10


def test_edited_rules_are_another_run(tmp_path, drives):
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULE)
    run_of(tmp_path, config_of(drives, motion={"rules": str(rules)}))
    rules.write_text(RULE.replace("above: 3", "above: 4"))
    with pytest.raises(UserError, match="holds another run"):
        run_of(tmp_path, config_of(drives, motion={"rules": str(rules)}))


def test_another_detector_in_the_same_file_is_another_run(tmp_path, drives):
    file = tmp_path / "eye.onnx"

    def started():
        return run_of(tmp_path, config_of(drives, experts=[EXPERT | {"model": str(file)}]))

    file.write_bytes(b"trained once")
    started()
    started()
    file.write_bytes(b"trained longer")
    with pytest.raises(UserError, match="holds another run"):
        started()


@pytest.fixture
def eye(monkeypatch):
    eyes = []

    def opened(config):
        eyes.append(Eye())
        return eyes[-1]

    monkeypatch.setattr(story, "open_expert", opened)
    return eyes


def white(image):
    image[:6, :6] = 255
    return image


@pytest.fixture
def coned(tmp_path):
    """A drive in whose last frames a cone stands that the teacher does not see."""
    from edgekit.drives import DriveInfo, write_drive

    frames = [np.full((56, 112, 3), RGB["none"], np.uint8) for _ in range(8)]
    frames = frames[:4] + [white(f) for f in frames[4:]]
    write_drive(tmp_path / "coned" / "drives" / "c", DriveInfo(id="c", fps=5, scene="c"), frames)
    return tmp_path / "coned"


def gold_of(tmp_path, right: bool):
    """Gold frames of cones, on which the teacher is always wrong, and the detector right, or wrong."""
    from edgekit.dataset import DatasetWriter, Sample
    from tests.unit.mine.test_mine import label

    out = tmp_path / f"gold-{right}"
    writer = DatasetWriter(out, Contract(width=112, height=56))
    for n in range(30):
        image = np.full((56, 112, 3), RGB["none"], np.uint8)
        name = f"g{n}"
        writer.add("test", Sample.of(
            id=name, prompt_text="?", source="human", scene=name,
            label=label("none").model_copy(update={"cones": "yes"}),
            images=[writer.image(name, white(image) if right else image)],
        ))  # fmt: skip
    writer.finish()
    return out


def test_a_detector_that_the_gold_set_trusts_corrects_the_teacher(tmp_path, coned, eye):
    gold = gold_of(tmp_path, right=True)
    config = config_of(coned, experts=[EXPERT], gold=str(gold))
    run = mined(tmp_path, config)
    rows = rows_of(run)
    last = rows["c/000007"]
    assert last.label.cones == "yes" and last.tasks["obstacles"].source == "expert"
    step = next(s for s in last.tasks["obstacles"].history if s["step"] == "expert")
    assert step["by"] == "eye" and step["boxes"] == [
        {"name": "cone", "x0": 2, "y0": 4, "x1": 12, "y1": 24, "score": 0.9}
    ]
    assert rows["c/000000"].label.cones == "no"
    report = json.loads((run.out / "mining.json").read_text())
    assert report["steps"][-1] == "fused" and report["tasks"]["obstacles"]["changed"]["fused"] == 4
    assert json.loads((run.out / "reliability.json").read_text())["counts"]
    curves = json.loads((run.out / "coverage.json").read_text())["curves"]
    # The gold frames' obstacles: the teacher never right, the detector always.
    assert curves["vlm: obstacles"][-1][1:] == [1, 0] and curves["eye: obstacles"][-1][1:] == [1, 1]


def test_a_number_of_workers_is_a_rays(drives):
    with pytest.raises(UserError, match="workers") as told:
        config_of(drives, workers=2)
    assert "workers={ray: 2}" in told.value.why


def test_a_detector_that_is_not_there_is_in_the_plan(drives):
    assert config_of(drives, experts=[EXPERT]).plan().refused == ["the detector eye.onnx is not here"]


def test_two_detectors_of_one_name_are_refused(coned):
    with pytest.raises(UserError, match="two experts are called eye"):
        config_of(coned, experts=[EXPERT, EXPERT])


def test_without_gold_nobody_is_overruled_and_a_person_is_asked(tmp_path, coned, eye):
    run = mined(tmp_path, config_of(coned, experts=[EXPERT]))
    assert any("believed alike" in note for note in run.notes)
    assert {row.label.cones for row in rows_of(run).values()} == {"no"}
    queue = read_queue(run.out)
    assert {entry.id for entry in queue} == {f"c/{n:06d}" for n in range(4, 8)}
    assert all("disagree" in entry.why for entry in queue)


def test_what_a_detector_never_found_is_noted(tmp_path, drives, coned, eye, monkeypatch):
    def noted(config, name):
        return [note for note in mined(tmp_path, config, name).notes if note.startswith("detector")]

    both = config_of(coned, experts=[EXPERT]).model_copy(update={"drives": [str(drives), str(coned)]})
    assert noted(both, "both") == [], "one frame of one drive is enough"
    monkeypatch.setattr(Eye, "sees", frozenset({"cone", "person", "light"}))
    assert noted(both, "more") == ["detector eye: found no light, no person in 36 frames"]
    assert noted(config_of(drives, experts=[EXPERT], every=2), "none") == [
        "detector eye: found no cone, no light, no person in 14 frames"
    ]


def test_what_was_detected_is_not_detected_again(tmp_path, coned, eye, monkeypatch):
    whole = mined(tmp_path, config_of(coned, experts=[EXPERT]), "whole")
    dying = Eye(die_after=5)
    monkeypatch.setattr(story, "open_expert", lambda config: dying)
    with pytest.raises(KeyboardInterrupt):
        mined(tmp_path, config_of(coned, experts=[EXPERT]), "broken")
    again = Eye()
    monkeypatch.setattr(story, "open_expert", lambda config: again)
    broken = mined(tmp_path, config_of(coned, experts=[EXPERT]), "broken")
    assert again.seen == 8 - 5 and broken.finish() == whole.finish()


def test_repeats_go_but_a_light_that_changed_stays(tmp_path, drives):
    run = mined(tmp_path, config_of(drives, keep={"aligned": False}))
    rows = rows_of(run)
    # Every frame is of one colour, and so all repeat each other; labels tell three kinds of them apart.
    assert set(rows) == {"d1/000000", "d1/000010"}
    assert rows["d1/000010"].label.light == "red"
    left = {row["id"]: row["why"] for row in read_jsonl(run.out / "left-out.jsonl")}
    assert left["d1/000011"] == "repeats d1/000010" and len(left) == 26
    kept = json.loads((run.out / "mining.json").read_text())["kept"]
    assert (kept["rows"], kept["taken"], kept["repeats"]) == (28, 2, 26)


def test_a_picture_that_shows_nothing_and_a_label_that_tells_do_not_belong_together(tmp_path, drives):
    run = mined(tmp_path, config_of(drives, keep={"repeats_within": None}))
    left = list(read_jsonl(run.out / "left-out.jsonl"))
    assert len(left) == 28 and all("shows nothing" in row["why"] for row in left)


def test_what_a_limit_leaves_out_is_named(tmp_path, drives):
    run = mined(tmp_path, config_of(drives, keep={"repeats_within": None, "aligned": False, "most": 5}))
    left = list(read_jsonl(run.out / "left-out.jsonl"))
    assert len(rows_of(run)) == 5 and len(left) == 23 and {row["why"] for row in left} == {
        "beyond keep.quota or keep.most"
    }  # fmt: skip


def test_a_frame_that_is_out_takes_no_other_with_it(tmp_path, drives, monkeypatch):
    from edgekit.mine import keeping

    first = iter([True])
    monkeypatch.setattr(
        keeping, "misaligned", lambda label, marks, image: "out" if next(first, False) else None
    )
    run = mined(tmp_path, config_of(drives, keep={}))
    assert "d1/000001" in rows_of(run), "the first frame is out, and the next of its kind stays"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_stills_and_drives_are_told_together(tmp_path, drives, order):
    both = [str(drives / "drives" / "d1"), str(drives / "drives" / "d2" / "frames")]
    config = config_of(drives).model_copy(update={"drives": [both[i] for i in order]})
    run = mined(tmp_path, config)
    told = json.loads((run.out / "mining.json").read_text())
    assert told["steps"] == ["raw", "smoothed", "motion"] and told["tasks"]["light"]["frames"] == 28


def test_a_budget_that_is_too_small_is_refused_before_the_first_question(tmp_path, drives):
    teacher = ColourTeacher()
    with pytest.raises(UserError, match="budget is too small"):
        mined(tmp_path, config_of(drives, prompts="dynamic", dynamic={"budget_tokens": 3}), teacher=teacher)
    assert teacher.batches == 0


def test_a_run_goes_on_at_another_port_and_pace(tmp_path, drives):
    def with_port(url, **more):
        raw = {"teacher": None, "kind": "endpoint", "endpoint": {"url": url, "model": "m", **more}}
        return run_of(tmp_path, config_of(drives, **raw), "port")

    with_port("http://127.0.0.1:1/v1")
    with_port("http://127.0.0.1:2/v1", parallel=1, timeout_s=5, tries=1)
    with pytest.raises(UserError, match="holds another run"):
        with_port("http://127.0.0.1:1/v1", width=224)


def test_a_teacher_that_never_answers_is_told_with_its_words(tmp_path, drives):
    class Talker(ColourTeacher):
        def answer(self, images, prompts):
            return [Answer("I see a nice road.", None) for _ in images]

    with pytest.raises(UserError, match="none of 28 answers parsed") as told:
        mined(tmp_path, config_of(drives), teacher=Talker())
    assert "I see a nice road." in told.value.why


def test_a_quota_that_is_not_reached_is_noted(tmp_path, drives):
    keep = {"repeats_within": None, "aligned": False, "quota": {"light=red": 12, "nigth": 1}}
    run = mined(tmp_path, config_of(drives, keep=keep))
    notes = [note for note in run.notes if "quota" in note]
    assert len(notes) == 2 and "10 of 12 rows" in notes[0] and "0 of 1 rows, 0 frames" in notes[1]


def test_a_quota_is_checked_before_anything_is_asked(drives):
    with pytest.raises(UserError, match="did you mean 'red'"):
        config_of(drives, keep={"quota": {"light=rd": 3}})


def test_a_task_may_have_a_window_of_its_own(tmp_path, drives):
    wide = {"distance_m": 10, "tasks": {"speed": {"distance_m": 40.0, "t_max_s": 8.0}}}
    run = mined(tmp_path, config_of(drives, smoothing=wide))
    marks = rows_of(run)["d1/000010"].tasks
    assert marks["light"].history[-1]["window_s"] == 2.0
    assert marks["speed"].history[-1]["window_s"] > 3.0


class Silent:
    """The shipped teacher by its name, who says nothing: whoever asks must have been told by others."""

    name, contract = "package:nano-teacher", Contract()

    def answer(self, images, prompts):
        raise AssertionError("the workers' logs lack an answer")


def test_many_workers_change_no_byte(tmp_path):
    """Two Ray workers with the shipped teacher on the shipped drives: they alone ask it."""
    if not find_spec("ray"):  # not imported: it reads its settings while it is
        pytest.skip("ray is not installed")
    raw = {"teacher": "package:nano-teacher", "frames_per_drive": 3, "batch": 4, "motion": None}
    alone = run_of(tmp_path, config_of("package:drives", **raw), "alone")
    mine(alone.config, alone)
    two = run_of(tmp_path, config_of("package:drives", **raw, workers={"ray": 2}), "two")
    mine(two.config, two, Silent())
    assert two.finish() == alone.finish()


def test_a_gap_in_the_yaw_rate_does_not_silence_a_rule_on_speed(tmp_path, drives):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "rules.yaml").write_text(RULE)
    here = drives / "drives" / "d1"
    (here / "telemetry.csv").unlink()
    yaw = [None if 10 < i < 15 else 0.0 for i in range(20)]
    rows = {"t_s": np.arange(20) / 5, "speed_mps": np.full(20, 5.0), "yaw_rate_rps": yaw}
    pq.write_table(pa.table(rows), here / "telemetry.parquet")
    reading = {"tolerance_s": 0.1, "gap_s": 4}
    run = mined(tmp_path, config_of(drives, motion={"rules": str(tmp_path / "rules.yaml")}, reading=reading))
    assert len(read_queue(run.out)) == 10
