"""Every frame in order: deterministic, replayable, not thrown by a broken frame."""

import json
import os
import shutil
import signal
import threading

import pytest

from edgekit.core.errors import EdgekitError, UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.core.places import shipped
from edgekit.core.run import digest_tree
from edgekit.demo.config import DemoConfig
from edgekit.demo.log import replay
from edgekit.drives import encode_video
from tests.unit.demo.fakes import RED, Fake, frame, make_drive


def rows(run):
    return list(read_jsonl(run / "out" / "advice.jsonl"))


def test_every_frame_is_answered_and_the_vote_looks_back_only(go, drive):
    told = rows(go(drive))
    assert [row["frame"] for row in told] == list(range(24))
    raw = [row["label"]["light"] for row in told]
    assert raw == ["none"] * 12 + ["red"] * 12
    smoothed = [row["smoothed"]["light"] for row in told]
    # 10 m at 10 m/s: half a second behind = 11 frames at 20 fps, so red has its majority at the 6th.
    assert smoothed == ["none"] * 17 + ["red"] * 7
    assert told[0]["text"] == "Recommended speed 50 km/h"
    assert told[-1]["level"] == "stop" and told[-1]["text"].startswith("Red light")


def test_without_a_window_the_raw_label_speaks(go, drive):
    told = rows(go(drive, window={"enabled": False}))
    assert all(row["smoothed"] == row["label"] for row in told)


def test_two_runs_have_one_digest_however_slow_the_model(go, drive):
    one = go(drive, Fake(), out="one", max_frames=8, video=False)
    two = go(drive, Fake(0.02), out="two", max_frames=8, deadline_ms=200, video=False)
    assert read_json(one / "manifest.json")["digest"] == read_json(two / "manifest.json")["digest"]


def test_replay_gives_the_same_advice_and_notices_a_changed_row(go, drive):
    out = go(drive, video=False) / "out"
    assert replay(out) == (24, [])
    told = list(read_jsonl(out / "advice.jsonl"))
    told[5]["text"] = "Green light: go when clear"
    (out / "advice.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    assert replay(out) == (24, [5])


def test_late_answers_are_misses_in_the_timing_and_not_in_the_log(go, drive):
    run = go(drive, Fake(0.03), deadline_ms=10, max_frames=6, video=False)
    timing = read_json(run / "out" / "timing.json")
    assert (timing["answered"], timing["missed"], timing["miss_rate"]) == (6, 6, 1.0)
    assert {row["state"] for row in rows(run)} == {"fresh"}


def test_warm_up_is_not_counted(go, drive):
    fake = Fake()
    run = go(drive, fake, max_frames=5, warmup_answers=3, video=False)
    timing = read_json(run / "out" / "timing.json")
    assert fake.calls == 8
    assert timing["stages_ms"]["answer"]["n"] == 5
    assert "3 answers" in timing["warmup"]


def test_the_stages_that_the_model_tells_are_kept(go, drive):
    stages = read_json(go(drive, max_frames=4) / "out" / "timing.json")["stages_ms"]
    assert list(stages) == [
        "decode_frame", "preprocess", "vision", "prefill", "decode_answer", "answer", "draw"
    ]  # fmt: skip
    assert stages["vision"] == {"n": 4, "p50": 2.0, "p95": 2.0, "p99": 2.0, "max": 2.0}


def test_a_broken_frame_is_logged_and_skipped(go, drive):
    (drive / "frames" / "000003.jpg").write_bytes(b"\xff\xd8 torn")
    whole = (drive / "frames" / "000004.jpg").read_bytes()
    (drive / "frames" / "000004.jpg").write_bytes(whole[: len(whole) // 2])
    run = go(drive, max_frames=8)
    told = rows(run)
    assert [row["frame"] for row in told if "skipped" in row] == [3, 4]
    assert [row["frame"] for row in told if "skipped" not in row] == [0, 1, 2, 5, 6, 7]
    assert read_json(run / "out" / "timing.json")["broken"] == 2
    assert replay(run / "out") == (6, [])


def test_a_video_with_torn_packets_goes_on(go, tmp_path):
    path = tmp_path / "clip.mp4"
    encode_video((frame(i >= 12) for i in range(24)), path, fps=12)
    data = bytearray(path.read_bytes())
    media = data.index(b"mdat")
    middle = media + (len(data) - media) // 2
    data[middle : middle + 60] = os.urandom(60)
    path.write_bytes(data)
    run = go(path, video=False)
    timing = read_json(run / "out" / "timing.json")
    assert timing["answered"] + timing["broken"] <= 24
    assert timing["answered"] >= 12
    assert "no measured speed" in " ".join(read_json(run / "manifest.json")["notes"])


def test_no_frame_that_decodes(go, drive):
    for path in (drive / "frames").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="no frame of street decodes"):
        go(drive)


def test_a_drive_without_frames(go, tmp_path):
    empty = make_drive(tmp_path / "empty", [])
    with pytest.raises(UserError) as error:
        go(empty)
    assert len(str(error.value).split("\n")) == 3


def test_which_of_several_drives(go, tmp_path):
    for name, red in (("a", False), ("b", True)):
        make_drive(tmp_path / "set" / "drives" / name, [red] * 3)
    run = go(tmp_path / "set", video=False)
    assert "2 drives: the first, a, is taken" in " ".join(read_json(run / "manifest.json")["notes"])
    run = go(tmp_path / "set", out="other", drive_id="b", video=False)
    assert rows(run)[0]["label"]["light"] == "red"
    with pytest.raises(UserError, match="no drive 'c'"):
        go(tmp_path / "set", out="third", drive_id="c")


def test_what_is_assumed_of_a_strangers_frames_is_noted(go, drive):
    (drive / "drive.json").unlink()
    run = go(drive, max_frames=2, video=False)
    notes = " ".join(read_json(run / "manifest.json")["notes"])
    assert "street has no drive.json: its frames are taken by name, 10 a second" in notes


def test_a_changed_prompt_file_is_another_run(go, drive, tmp_path):
    mine = tmp_path / "mine.yaml"
    shutil.copy(shipped("prompts") / "library.yaml", mine)
    by_name, by_file = (DemoConfig(model="m", drive="d", prompts=p) for p in ("library", str(mine)))
    assert by_name.digests == by_file.digests != {}
    go(drive, max_frames=2, video=False, prompts=str(mine))
    mine.write_text(mine.read_text().replace("You drive", "You steer"))
    with pytest.raises(UserError, match="its recipe or inputs differ"):
        go(drive, max_frames=2, video=False, prompts=str(mine))


def test_a_model_that_fails_ends_the_run_in_words(go, drive):
    with pytest.raises(EdgekitError, match="the model failed on a frame"):
        go(drive, Fake(fails_at=6), warmup_answers=0)


def test_sigterm_leaves_143_and_the_next_start_is_as_if_nothing_had_been(go, drive, tmp_path):
    whole = go(drive, Fake(), out="whole")
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        go(drive, Fake(0.05), out="ended")
    assert left.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    ended = tmp_path / "ended"
    assert not (ended / "manifest.json").exists()
    assert 0 < len(rows(ended)) < 24
    (ended / "out" / ".annotated.mp4.1.part").write_bytes(b"what SIGKILL would have left")
    again = go(drive, Fake(), out="ended")
    assert digest_tree(again / "out") == digest_tree(whole / "out")
    assert sorted(p.name for p in (again / "out").iterdir()) == sorted(
        p.name for p in (whole / "out").iterdir()
    )


def test_the_video_has_a_frame_per_frame_and_plays_everywhere(go, drive):
    import av

    run = go(drive)
    with av.open(str(run / "out" / "annotated.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (280, 168)
        assert sum(1 for _ in container.decode(stream)) == 24
    page = (run / "out" / "watch.html").read_text()
    assert "{{" not in page and "http://" not in page and "https://" not in page


def test_the_answer_is_the_labels(go, drive):
    assert rows(go(drive, video=False))[20]["label"] == RED.model_dump()
