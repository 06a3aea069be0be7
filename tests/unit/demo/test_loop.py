"""A drive that begins again until a signal ends it: the log is whole, and the next start is afresh."""

import json
import os
import signal

import pytest

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.core.recipe import build
from edgekit.demo.config import DemoConfig
from edgekit.demo.log import replay
from edgekit.demo.source import Source, choose_drive
from tests.unit.demo.fakes import Fake


class Stopped(Fake):
    """Sends this process a signal at its n-th answer."""

    def __init__(self, at: int, number: int, delay_s: float = 0.0):
        super().__init__(delay_s)
        self.at, self.number = at, number

    def answer(self, images, prompts):
        if self.calls + 1 == self.at:
            os.kill(os.getpid(), self.number)
        return super().answer(images, prompts)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("realtime", [False, True])
def test_it_goes_round_until_a_signal_and_ends_whole(go, drive, tmp_path, number, realtime):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    keys = {"realtime": realtime, "fps": 60, "loop": True, "video": False}
    with pytest.raises(SystemExit) as left:
        go(drive, Stopped(60, number, 0.01), **keys)
    assert left.value.code == 0
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    run = tmp_path / "run"
    text = (run / "out" / "advice.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n") and rows[-1]["frame"] >= 48  # in its third lap at least
    assert all(b["frame"] > a["frame"] and b["t_s"] > a["t_s"] for a, b in zip(rows, rows[1:], strict=False))
    assert replay(run / "out") == (len(rows), [])
    assert read_json(run / "out" / "timing.json")["answered"] == len(rows)
    assert not (run / "manifest.json").exists()  # the same command starts it again
    with pytest.raises(SystemExit):
        go(drive, Stopped(10, number), **keys)
    assert len(list(read_jsonl(run / "out" / "advice.jsonl"))) < 10


def test_an_answer_under_way_at_the_end_is_logged(go, drive, tmp_path):
    """The signal comes at the beginning of an answer that takes longer than the display looks away."""
    with pytest.raises(SystemExit):
        go(drive, Stopped(6, signal.SIGTERM, 0.6), realtime=True, loop=True, video=False)
    rows = list(read_jsonl(tmp_path / "run" / "out" / "advice.jsonl"))
    assert len(rows) == 4 == read_json(tmp_path / "run" / "out" / "timing.json")["answered"]


def test_no_vote_reaches_over_the_seam(go, drive, tmp_path):
    """The drive ends in red and begins clear: its second beginning is heard as the first was."""
    with pytest.raises(SystemExit):
        go(drive, Stopped(52, signal.SIGTERM), loop=True, video=False)
    heard = [row["smoothed"]["light"] for row in read_jsonl(tmp_path / "run" / "out" / "advice.jsonl")]
    assert heard[24:48] == heard[:24] == ["none"] * 17 + ["red"] * 7
    assert read_json(tmp_path / "run" / "out" / "info.json")["lap_frames"] == 24


def test_a_lap_has_the_drives_own_frames_and_speeds(drive):
    chosen, _ = choose_drive(drive, None)
    shots = []
    for shot in Source(chosen, max_frames=3, loop=True):
        shots.append(shot)
        if len(shots) == 7:
            break
    assert [shot.frame for shot in shots] == list(range(7)) and shots[6].t_s == 0.3
    assert (shots[3].load() == shots[0].load()).all() and len(list(Source(chosen, max_frames=3))) == 3


def test_a_drive_of_which_no_frame_decodes_does_not_go_round_for_ever(go, drive):
    for path in (drive / "frames").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="no frame of street decodes"):
        go(drive, loop=True, video=False)


def test_a_loop_has_no_film():
    with pytest.raises(UserError, match="set video: false"):
        build(DemoConfig, {"model": "m", "drive": "d", "loop": True}, "here")
