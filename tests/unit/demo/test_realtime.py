"""Against the clock: the newest frame wins, what is late is called late, and nothing hangs."""

import threading
import time

import pytest

from edgekit.core.errors import EdgekitError
from edgekit.core.files import read_json, read_jsonl
from edgekit.demo import realtime
from edgekit.demo.log import replay
from edgekit.demo.slot import NewestSlot
from edgekit.demo.source import Source
from tests.unit.demo.fakes import Fake, make_drive


def rows(run):
    return list(read_jsonl(run / "out" / "advice.jsonl"))


def timing(run):
    return read_json(run / "out" / "timing.json")


def test_the_slot_keeps_the_newest_and_counts_the_rest():
    slot = NewestSlot()
    for item in (1, 2, 3):
        slot.put(item)
    assert (slot.take(), slot.dropped) == (3, 2)
    assert slot.take(timeout_s=0.01) is None
    slot.put(4)
    slot.close()
    assert not slot.finished
    assert slot.take() == 4
    assert slot.finished and slot.take() is None


def test_a_waiting_take_wakes_when_the_slot_closes():
    slot = NewestSlot()
    threading.Timer(0.05, slot.close).start()
    began = time.monotonic()
    assert slot.take() is None
    assert time.monotonic() - began < 5


def test_a_slow_model_drops_frames_and_never_queues_them(go, drive):
    run = go(drive, Fake(0.18), realtime=True, video=False, deadline_ms=5000, ttl_ms=9000)
    told, counted = rows(run), timing(run)
    frames = [row["frame"] for row in told]
    assert frames == sorted(set(frames))
    assert counted["answered"] == len(told) < 24
    assert counted["answered"] + counted["dropped"] == 24
    # A queue of 24 frames would end 3 s behind; the newest frame is never older than one answer and its own.
    assert max(row["age_s"] for row in told) < 2.0
    assert replay(run / "out") == (len(told), [])


def test_a_model_in_time_misses_nothing(go, tmp_path):
    slow_camera = make_drive(tmp_path / "slow", [False] * 6, fps=5)
    run = go(slow_camera, Fake(0.01), realtime=True, video=False, deadline_ms=2000, ttl_ms=4000)
    assert timing(run)["miss_rate"] == 0
    assert {row["state"] for row in rows(run)} == {"fresh"}


def test_what_comes_after_the_deadline_is_late_and_after_its_time_is_not_said(go, drive):
    late = go(drive, Fake(0.1), realtime=True, video=False, deadline_ms=50, ttl_ms=60_000)
    assert timing(late)["miss_rate"] == 1
    assert {row["state"] for row in rows(late)} == {"late"}
    gone = go(drive, Fake(0.1), out="gone", realtime=True, video=False, deadline_ms=20, ttl_ms=60)
    assert {(row["state"], row["text"]) for row in rows(gone)} == {("none", "No advice")}
    counted = timing(gone)
    assert counted["shown_without_advice"] == counted["shown"] > 0


def test_the_video_keeps_the_drives_time(go, drive):
    import av

    run = go(drive, Fake(0.05), realtime=True)
    with av.open(str(run / "out" / "annotated.mp4")) as container:
        count = sum(1 for _ in container.decode(container.streams.video[0]))
    assert 16 <= count <= 24  # the last ones may have been dropped, those between are stood for


def test_a_broken_frame_in_the_middle(go, drive):
    (drive / "frames" / "000005.jpg").write_bytes(b"torn")
    run = go(drive, realtime=True, video=False, fps=10)
    assert [row["frame"] for row in rows(run) if "skipped" in row] == [5]


def test_a_reader_that_dies_ends_the_run_in_words(go, drive, monkeypatch):
    shots = Source.__iter__

    def dying(self):
        for shot in shots(self):
            if shot.frame == 4 and threading.current_thread().name == "demo-reader":
                raise OSError("the disk is gone")
            yield shot

    monkeypatch.setattr(Source, "__iter__", dying)
    began = time.monotonic()
    with pytest.raises(EdgekitError) as error:
        go(drive, realtime=True)
    assert "the reader died" in str(error.value) and "the disk is gone" in str(error.value)
    assert time.monotonic() - began < 20


def test_a_model_that_fails_ends_the_run_in_words(go, drive):
    with pytest.raises(EdgekitError, match="the model failed on a frame"):
        go(drive, Fake(fails_at=3), realtime=True, warmup_answers=0)


def test_a_model_that_hangs_is_an_error(go, drive, monkeypatch):
    monkeypatch.setattr(realtime, "HANG_S", 0.2)
    with pytest.raises(EdgekitError, match="the model hangs"):
        go(drive, Fake(4.0), realtime=True, warmup_answers=0, max_frames=4, video=False)
