"""``dynamic.first``: which question every frame is asked before the composed one."""

from edgekit.dataset import open_dataset
from edgekit.library import load_library
from edgekit.mine import mine
from tests.unit.mine.test_mine import ColourTeacher, config_of, label, run_of, write
from tests.unit.mine.test_resumed import gone_on

PROBE = {"library": "long-en", "prompts": "dynamic", "dynamic": {"first": "probe"}}


def test_a_probe_first_and_then_every_frame(tmp_path):
    write(tmp_path / "set", "d1", ["none"] * 5 + ["red"] * 3)
    run, teacher = run_of(tmp_path, config_of(tmp_path / "set", **PROBE, smoothing=None)), ColourTeacher()
    mine(run.config, run, teacher)
    probe = load_library("long-en").probe
    assert teacher.prompts.count(probe) == 8 and len(teacher.prompts) == 16
    rows = open_dataset(run.out).rows("train")
    assert [row.label.light for row in rows] == ["none"] * 5 + ["red"] * 3
    assert all([s["step"] for s in row.tasks["light"].history] == ["first", "vlm"] for row in rows)
    assert {row.teacher.partition("long-en")[2] for row in rows} >= {"/default"}, "also where no entry fits"
    assert rows[7].label == label("red")


def test_what_was_answered_before_is_counted_by_the_probe(tmp_path, capsys):
    write(tmp_path / "set", "d1", ["none"] * 5 + ["red"] * 3)
    assert gone_on(tmp_path, config_of(tmp_path / "set", **PROBE), 3, capsys) == [
        "[mine] 8 of 8 frames were answered before, 4 of them a second time: going on"
    ]
