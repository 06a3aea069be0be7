"""The mining station on drawn drives and a teacher that reads the colour of a square."""

import json

import numpy as np
import pytest
import yaml

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.label import TASKS, SceneLabel, coherent
from edgekit.core.places import shipped
from edgekit.core.recipe import build
from edgekit.core.run import start
from edgekit.dataset import open_dataset
from edgekit.drives import (
    DriveInfo,
    FrameTruth,
    Telemetry,
    encode_video,
    open_drive,
    write_drive,
    write_telemetry,
)
from edgekit.engine.answerer import Answer
from edgekit.library import default_prompt
from edgekit.mine import MineConfig, mine
from edgekit.mine.asking import Asked
from edgekit.mine.measure import Mined, Tally, event_counts, flips
from edgekit.mine.rows import answered, closed, smoothed, split_of

AT_ONCE = {"hold_frames": 1, "release_frames": 1}  # an entry goes with the frame that it was for
SURE = {"none": 0.9, "red": 0.8, "green": 0.6}
RGB = {"none": (90, 90, 90), "red": (230, 20, 20), "green": (20, 220, 60), "blank": (0, 0, 0)}


def label(colour: str) -> SceneLabel:
    values = {"light": colour, "light_arrow": "any", "light_kind": "intersection", "cones": "no",
              "obstacle": "none", "crossroad": "yes" if colour != "none" else "no", "zebra": "no",
              "other_left": "none", "other_straight": "none", "other_right": "none",
              "recommended_speed_kmh": "0" if colour == "red" else "40"}  # fmt: skip
    return coherent(values)


class ColourTeacher:
    """Says the colour in the middle of the image; black does not parse. ``die_after`` batches it stops."""

    name = "colours"
    contract = Contract(width=112, height=56)

    def __init__(self, die_after: int | None = None):
        self.batches, self.prompts, self.die_after = 0, [], die_after

    def answer(self, images, prompts):
        if self.batches == self.die_after:
            raise KeyboardInterrupt
        self.batches += 1
        self.prompts += prompts
        out = []
        for image in images:
            middle = image[image.shape[0] // 2, image.shape[1] // 2].astype(int)
            colour = min(RGB, key=lambda c: np.abs(middle - RGB[c]).sum())
            if colour == "blank":
                out.append(Answer("no idea", None))
            else:
                out.append(Answer(colour, label(colour), {"light": SURE[colour], "cones": 0.75}))
        return out


def write(folder, drive, shown, true=None, speed=5.0, **info):
    """A 5 fps drive whose frames show ``shown`` colours; truth where ``true`` is given."""
    frames = [np.full((56, 112, 3), RGB[c], np.uint8) for c in shown]
    n = len(frames)
    t = np.arange(n) / 5
    telemetry = None if speed is None else Telemetry(t, np.full(n, speed), np.zeros(n), np.zeros(n))
    truth = true and [{"frame": i, "t_s": i / 5, "label": label(c).model_dump()} for i, c in enumerate(true)]
    write_drive(folder / "drives" / drive, DriveInfo(id=drive, fps=5, **info), frames, telemetry, truth)


@pytest.fixture
def drives(tmp_path):
    root = tmp_path / "set"
    true = ["none"] * 10 + ["red"] * 10
    shown = list(true)
    shown[4], shown[15] = "green", "blank"  # a glitch, and an answer that does not parse
    write(root, "d1", shown, true, scene="s1", tags=("night",))
    write(
        root,
        "d2",
        ["none"] * 6 + ["green"] + ["none"] * 6,
        ["none"] * 6 + ["green"] + ["none"] * 6,
        scene="s2",
    )
    return root


def config_of(drives, **more) -> MineConfig:
    raw = {
        "drives": [str(drives)],
        "teacher": str(drives),
        "kind": "torch",
        "batch": 4,
        "smoothing": {"distance_m": 10},
    }
    return build(MineConfig, {**raw, **more}, "test")


def run_of(tmp_path, config, name="run"):
    return start("mine", config, "test", tmp_path / name)


def test_labels_are_smoothed_marked_and_measured(tmp_path, drives):
    run = run_of(tmp_path, config_of(drives))
    mine(run.config, run, ColourTeacher())
    dataset = open_dataset(run.out)
    rows = {row.id: row for row in dataset.rows("train")}
    assert len(rows) == 33 and dataset.image(rows["d1/000000"]).shape == (56, 112, 3)

    glitch = rows["d1/000004"]
    assert glitch.label.light == "none" and glitch.tasks["light"].status == "changed"
    steps = glitch.tasks["light"].history
    assert [(s["step"], s["value"]) for s in steps] == [("vlm", "green"), ("smoothed", "none")]
    assert [s["confidence"] for s in steps] == [0.6, 0.9]  # its own, and that of the frames that outvoted it
    assert steps[1]["window_s"] == 1.8  # 10 m at 5 m/s are ±1 s, cut at the drive's beginning
    assert rows["d1/000010"].tasks["light"].history[1]["window_s"] == 2.0
    assert steps[1]["votes"] == "9 of 10" and steps[0]["prompt"] == default_prompt().sha256[:16]
    assert glitch.tasks["light"].source == "smoothed" and glitch.tasks["light"].confidence == 0.9
    assert glitch.tasks["obstacles"].confidence == 0.75 and glitch.tasks["obstacles"].status == "kept"
    assert rows["d1/000000"].tasks["crossroad"].confidence == 1  # the teacher does not tell
    blank = rows["d1/000015"]
    assert blank.label == label("red")  # its neighbours fill in what did not parse
    assert [s["confidence"] for s in blank.tasks["light"].history] == [0, 0.8]
    assert (glitch.scene, glitch.tags, glitch.speed_mps) == ("s1", ["night"], 5.0)
    assert glitch.user_text == default_prompt().text and glitch.prompt == default_prompt().record()

    report = json.loads((run.out / "mining.json").read_text())
    light = report["tasks"]["light"]
    assert report["steps"] == ["raw", "smoothed", "motion"]
    assert light["flips"] == {"raw": 7, "smoothed": 1, "motion": 1, "truth": 3}
    assert light["changed"] == {"smoothed": 3, "motion": 0}
    assert (light["events"], light["short"], light["found"]["raw"], light["erased"]["smoothed"]) == (
        2,
        1,
        2,
        1,
    )
    assert light["short_erased"]["smoothed"] == 1, "a green of one frame in a window of eleven"
    raw, smoothed = (report["against_truth"][k]["metrics"]["light/recall"] for k in ("raw", "smoothed"))
    assert raw == pytest.approx(10 / 11, abs=1e-6) and smoothed == pytest.approx(10 / 11, abs=1e-6)
    assert report["against_truth"]["smoothed"]["metrics"]["light/precision"] == 1
    # d1 alone: raw 9 of 10 right and found, smoothed all; d2 alone: its green, which smoothing erases.
    f1 = report["against_truth"]["difference"]["smoothed"]["light/f1"]
    assert f1["value"] == pytest.approx(20 / 21 - 10 / 11, abs=1e-6)
    assert f1["interval"] == pytest.approx([-1, 0.1])
    assert report["against_truth"]["raw"]["intervals"]["light/recall"] == pytest.approx([0.9, 1])
    assert report["against_truth"]["smoothed"]["intervals"]["light/recall"] == pytest.approx([0, 1])
    assert run.notes == ["drive d1: 1 of 20 answers did not parse: all-unknown"]


def test_a_causal_run_hears_no_later_frame(tmp_path, drives):
    run = run_of(tmp_path, config_of(drives, smoothing={"causal": True, "distance_m": 10}))
    mine(run.config, run, ColourTeacher())
    rows = {row.id: row for row in open_dataset(run.out).rows("train")}
    lights = [rows[f"d1/{i:06d}"].label.light for i in range(9, 14)]
    assert lights == ["none", "none", "none", "red", "red"]  # half of the last second must be red
    assert rows["d1/000010"].tasks["light"].history[1]["window_s"] == 1.0


def smoothed_mark(window, own, after, task):
    """The mark of a task whose window's answers are ``window``."""
    mark, before = answered(window[own]), window[own].answer.seen
    if after is not None:
        smoothed(mark, before, after, dict.fromkeys(TASKS, window), dict.fromkeys(TASKS, 1.0))
    return closed(mark, after or before)[task]


def test_a_changed_tasks_confidence_is_the_mean_of_those_who_said_it():
    told = [Asked(Answer("", label("red"), {"light": c}), default_prompt()) for c in (0.5, 0.6, 0.95)]
    window = [*told, Asked(Answer("", label("green"), {"light": 0.2}), default_prompt())]
    mark = smoothed_mark(window, 3, label("red"), "light")
    assert (mark.confidence, mark.status, mark.history[-1]["votes"]) == (0.683, "changed", "3 of 4")
    # What did not parse is not sure of anything, and has no part in what becomes of it.
    half = Asked(Answer("", SceneLabel(cones="no", obstacle="none"), {"cones": 0.6}), default_prompt())
    window = [half, half, Asked(Answer("?", None), default_prompt())]
    assert smoothed_mark(window, 2, half.answer.seen, "obstacles").confidence == 0.6
    assert smoothed_mark(window, 2, None, "obstacles").confidence == 0


def test_killed_and_started_again_gives_the_same_digest(tmp_path, drives):
    whole = run_of(tmp_path, config_of(drives), "whole")
    mine(whole.config, whole, ColourTeacher())
    broken = run_of(tmp_path, config_of(drives), "broken")
    with pytest.raises(KeyboardInterrupt):
        mine(broken.config, broken, ColourTeacher(die_after=6))
    log = broken.state / "answers" / "d1.jsonl"
    key = json.loads(log.read_text().splitlines()[0])["id"]
    assert key == f"d1/000000?{default_prompt().sha256[:8]}"  # an answer belongs to its prompt
    log.write_text(log.read_text()[:-30])  # and the last line was cut short
    again = run_of(tmp_path, config_of(drives), "broken")
    teacher = ColourTeacher()
    mine(again.config, again, teacher)
    assert teacher.batches == 9 - 5  # five whole batches were kept, of ⌈20/4⌉ + ⌈13/4⌉ = 9
    assert again.finish() == whole.finish()


def test_without_smoothing_the_raw_answers_stand(tmp_path, drives):
    run = run_of(tmp_path, config_of(drives, smoothing=None))
    mine(run.config, run, ColourTeacher())
    rows = {row.id: row for row in open_dataset(run.out).rows("train")}
    assert rows["d1/000004"].label.light == "green"
    blank = rows["d1/000015"]
    assert blank.label == SceneLabel() and blank.tasks["light"].status == "dropped"
    assert all(mark.source == "vlm" for mark in blank.tasks.values())


def test_dynamic_prompts_ask_again_with_what_was_seen(tmp_path, drives):
    run = run_of(tmp_path, config_of(drives, prompts="dynamic", dynamic=AT_ONCE))
    teacher = ColourTeacher()
    mine(run.config, run, teacher)
    plain = default_prompt().text
    first, second = (sum((p == plain) is x for p in teacher.prompts) for x in (True, False))
    assert first == 33 and second == 20 + 1  # every frame of the night drive, and the green one
    assert any("dark" in p and "govern us" in p for p in teacher.prompts)
    rows = {row.id: row for row in open_dataset(run.out).rows("train")}
    assert {row.user_text for row in rows.values()} == {plain}
    steps = {i: [s["step"] for s in rows[i].tasks["light"].history] for i in rows}
    assert steps["d1/000000"] == ["first", "vlm", "smoothed"] and steps["d2/000000"] == ["vlm", "smoothed"]
    assert "night" in rows["d1/000000"].teacher and rows["d2/000000"].teacher.endswith("/default")
    # The blank one; a second answer that says what the first one said did parse.
    (note,) = (note for note in run.notes if "second answers" in note)
    assert note == "drive d1: 1 second answers did not parse: the first ones stand"


def test_a_second_answer_that_does_not_parse_leaves_the_first(tmp_path, drives):
    class Confused(ColourTeacher):
        def answer(self, images, prompts):
            plain = default_prompt().text
            found = zip(super().answer(images, prompts), prompts, strict=True)
            return [a if p == plain else Answer("too much", None) for a, p in found]

    run = run_of(tmp_path, config_of(drives, prompts="dynamic", smoothing=None))
    mine(run.config, run, Confused())
    rows = {row.id: row for row in open_dataset(run.out).rows("train")}
    red = rows["d1/000012"]
    assert red.label == label("red") and red.teacher.endswith("/default")
    assert [s["step"] for s in red.tasks["light"].history] == ["first", "vlm"]
    assert (red.tasks["light"].confidence, red.tasks["light"].status) == (0.8, "kept")
    assert "drive d1: 20 second answers did not parse: the first ones stand" in run.notes


def test_an_edited_library_is_another_run(tmp_path, drives):
    mine_yaml = tmp_path / "mine.yaml"
    shipped_text = (shipped("prompts") / "long-en.yaml").read_text()
    for key in ("library", "student_library"):
        mine_yaml.write_text(shipped_text)
        run = run_of(tmp_path, config_of(drives, **{key: str(mine_yaml)}), key)
        assert key in yaml.safe_load((run.path / "recipe.yaml").read_text())["digests"]
        mine_yaml.write_text("# the same words\n" + shipped_text)
        run_of(tmp_path, config_of(drives, **{key: str(mine_yaml)}), key)
        mine_yaml.write_text(shipped_text.replace("traffic light", "lamp"))
        with pytest.raises(UserError, match="holds another run"):
            run_of(tmp_path, config_of(drives, **{key: str(mine_yaml)}), key)


def test_what_is_assumed_of_a_drive_is_noted(tmp_path, drives):
    folder, video = drives / "drives" / "d1" / "frames", tmp_path / "clip.mp4"
    encode_video(open_drive(folder).frames(), video, 12.5)
    config = config_of(drives).model_copy(update={"drives": [str(folder), str(video)]})
    run = run_of(tmp_path, config)
    mine(config, run, ColourTeacher())
    assert (
        "drive frames has no drive.json: 10 frames per second, assumed, in the order of the numbers"
        in str(run.notes)
    )
    assert "drive clip has no drive.json: 12.5 frames per second, as its file says" in run.notes


@pytest.mark.parametrize("measured", [False, True])
def test_stills_are_not_smoothed_and_one_note_says_so(tmp_path, drives, measured):
    """A folder of pictures and nothing else; with telemetry beside them they are frames of a drive."""
    folder = drives / "drives" / "d1" / "frames"
    if measured:
        write_telemetry(folder / "telemetry.csv", Telemetry(np.arange(20) / 10, *np.full((3, 20), 5.0)))
    config = config_of(drives).model_copy(update={"drives": [str(folder)]})
    run = run_of(tmp_path, config)
    mine(config, run, ColourTeacher())
    glitch = {row.frame: row for row in open_dataset(run.out).rows("train")}[4]
    notes = [note for note in run.notes if "drive frames" in note and "parse" not in note]
    assert glitch.label.light == ("none" if measured else "green")
    assert [s["step"] for s in glitch.tasks["light"].history] == ["vlm", "smoothed"][: 1 + measured]
    assert len(notes) == 1 and ("nothing is smoothed" in notes[0]) == (not measured)


def test_a_video_alone_is_smoothed(tmp_path, drives):
    video = tmp_path / "clip.mp4"
    encode_video(open_drive(drives / "drives" / "d1").frames(), video, 5)
    config = config_of(drives).model_copy(update={"drives": [str(video)]})
    run = run_of(tmp_path, config)
    mine(config, run, ColourTeacher())
    assert {row.frame: row.label.light for row in open_dataset(run.out).rows("train")}[4] == "none"


def test_frames_without_a_measured_speed_are_noted(tmp_path, drives):
    path = drives / "drives" / "d1" / "telemetry.csv"
    write_telemetry(path, Telemetry(1000 + np.arange(9) / 5, *np.ones((3, 9))))  # another clock
    run = run_of(tmp_path, config_of(drives))
    mine(run.config, run, ColourTeacher())
    assert "drive d1 has no measured speed at 20 of 20 frames: their windows take 10 m/s" in run.notes
    assert not any("d2" in note for note in run.notes)


@pytest.mark.parametrize("name", ["truth.jsonl", "telemetry.csv", "frames/000009.jpg"])
def test_what_cannot_be_read_is_told_before_the_first_question(tmp_path, drives, name):
    (drives / "drives" / "d2" / name).write_text("torn")
    run, teacher = run_of(tmp_path, config_of(drives, smoothing=None)), ColourTeacher()
    with pytest.raises(UserError, match=name) as error:
        mine(run.config, run, teacher)
    assert teacher.batches == 0 and len(str(error.value).splitlines()) == 3
    if name.startswith("frames"):
        assert str(error.value).startswith("drive d2: frame 9 cannot be read")


def test_of_a_video_that_is_cut_short_the_rest_is_mined(tmp_path, drives):
    video = tmp_path / "clip.mp4"
    encode_video(open_drive(drives / "drives" / "d1").frames(), video, 5)
    video.write_bytes(video.read_bytes()[:-200])
    config = config_of(drives).model_copy(update={"drives": [str(video)]})
    run = run_of(tmp_path, config)
    mine(config, run, ColourTeacher())
    rows = open_dataset(run.out).rows("train")
    assert 0 < len(rows) < 20 and any("drive clip" in note and "lost" in note for note in run.notes), (
        run.notes
    )


def test_the_plan_counts_the_frames_that_are_there(tmp_path, drives):
    assert config_of(drives).plan().notes[0] == "33 frames, 33 questions"
    dynamic = config_of(drives, every=2, prompts="dynamic").plan()
    assert dynamic.notes[0].startswith("17 frames, 34 questions")
    assert config_of(drives, frames_per_drive=2).plan().notes[0].startswith("4 frames")
    later = config_of(drives).model_copy(update={"drives": [str(drives), "render"]}).plan()
    assert later.notes[0].startswith("1033 frames") and "render: not counted" in later.notes[1]
    assert later.disk_gb > config_of(drives).plan().disk_gb
    asked = config_of(drives, teacher=None, kind="endpoint", endpoint={"url": "http://x/v1", "model": "m"})
    assert any("port's own" in note for note in asked.plan().notes)


def test_every_nth_frame_and_drives_without_telemetry(tmp_path):
    root = tmp_path / "set"
    write(root, "d", ["none"] * 4 + ["red"] * 7, speed=None)
    run = run_of(tmp_path, config_of(root, every=3, frames_per_drive=3, smoothing=None))
    mine(run.config, run, ColourTeacher())
    rows = open_dataset(run.out).rows("train")
    assert [(r.frame, r.label.light, r.speed_mps) for r in rows] == [
        (0, "none", None),
        (3, "none", None),
        (6, "red", None),
    ]
    assert json.loads((run.out / "mining.json").read_text())["against_truth"] is None
    noted = run_of(tmp_path, config_of(root), "noted")
    mine(noted.config, noted, ColourTeacher())
    assert any("no telemetry" in note for note in noted.notes)


def test_a_packed_video_mines_as_its_frames_do(tmp_path, drives):
    from edgekit.drives import pack_drive

    for name in ("d1", "d2"):
        pack_drive(drives / "drives" / name, tmp_path / "packed" / "drives" / name)
    seen = []
    for n, root in enumerate((drives, tmp_path / "packed")):
        run = run_of(tmp_path, config_of(root, every=2, prompts="dynamic"), f"run{n}")
        mine(run.config, run, ColourTeacher())
        seen.append([(r.id, r.label, r.teacher) for r in open_dataset(run.out).rows("train")])
    assert seen[0] == seen[1] and len(seen[0]) == 17


def test_two_drives_of_one_id_are_refused_before_asking(tmp_path, drives):
    teacher = ColourTeacher()
    config = config_of(drives)
    config = config.model_copy(update={"drives": [str(drives), str(drives / "drives" / "d1")]})
    run = run_of(tmp_path, config)
    with pytest.raises(UserError, match="twice: d1"):
        mine(config, run, teacher)
    assert teacher.batches == 0


def test_a_change_of_any_slot_counts():
    raw = [SceneLabel(crossroad="yes", zebra=zebra) for zebra in ("yes", "no", "yes")]
    tally = Tally()
    tally.add(Mined("d", "s", {"raw": raw, "smoothed": [raw[0]] * 3}, [None] * 3))
    report = tally.report(100, 0)
    assert {task: row["changed"]["smoothed"] for task, row in report["tasks"].items()} == {
        "speed": 0, "light": 0, "obstacles": 0, "crossroad": 1
    }  # fmt: skip


def test_events_and_flips_by_hand():
    def truth(colour, visible=True):
        seen = {"speed": True, "light": visible, "obstacles": True, "crossroad": True}
        return FrameTruth(0, 0.0, label(colour), seen)

    true = [truth("red"), truth("red"), truth("green"), truth("none"), truth("red", visible=False)]
    raw = [label(c) for c in ("red", "none", "none", "none", "red")]
    after = [label(c) for c in ("none", "none", "green", "none", "none")]
    mined = Mined("d", "s", {"raw": raw, "smoothed": after}, true, {"light": [4, 5, 5, 5, 4]})
    assert event_counts(mined, "light") == {
        "events": 2, "short": 2, "found": {"raw": 1, "smoothed": 1},
        "erased": {"smoothed": 1}, "short_erased": {"smoothed": 1}, "rescued": {"smoothed": 1},
    }  # fmt: skip
    wide = mined._replace(windows={"light": [3, 3, 3, 3, 3]})
    assert event_counts(wide, "light")["short"] == 1, "two frames of three are a majority, one is none"
    assert flips(raw, "light") == 2


def test_splits_follow_the_scene_and_its_shares():
    assert {split_of(f"s{i}", {"train": 1.0}) for i in range(50)} == {"train"}
    found = [split_of(f"s{i}", {"train": 0.7, "test": 0.3}) for i in range(500)]
    assert 0.6 < found.count("train") / 500 < 0.8
    assert found == [split_of(f"s{i}", {"train": 0.7, "test": 0.3}) for i in range(500)]


@pytest.mark.parametrize(
    "more, said",
    [
        ({"teacher": None}, "name one of teacher"),
        ({"splits": {"train": 0.5}}, "sum to 1"),
        ({"kind": "endpoint"}, "does not go with teacher"),
        ({"smoothing": {"t_min_s": 4}}, "above t_max_s"),
        ({"bacth": 3}, "batch"),
    ],
)
def test_wrong_recipes_are_refused(drives, more, said):
    with pytest.raises(UserError) as error:
        config_of(drives, **more)
    assert said in str(error.value)
