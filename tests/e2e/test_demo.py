"""The demo as it is used: through the CLI on an exported Bundle, on real clips, and seen in a browser."""

from __future__ import annotations

import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.files import read_json, read_jsonl
from edgekit.core.label import SceneLabel
from edgekit.core.run import start
from edgekit.dataset import DatasetWriter, Sample
from edgekit.demo import run as station
from edgekit.demo.config import DemoConfig
from edgekit.demo.log import replay
from edgekit.library import default_prompt
from tests.e2e.chromium import Chromium
from tests.unit.demo.fakes import Fake, make_drive

ROOT = Path(__file__).resolve().parents[2]
REAL = os.environ.get("EDGEKIT_REAL_DATA")
VEHICLE = (
    "import sys; sys.modules |= dict.fromkeys(('torch', 'transformers', 'cv2')); from edgekit.cli import main"
)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """An exported, untrained nano: its answers are worth nothing, its loop is the real one."""
    pytest.importorskip("onnx")
    from edgekit.export.config import ExportConfig
    from edgekit.export.run import export
    from edgekit.models.checkpoint import save_checkpoint
    from edgekit.models.nano import WINDOWED, WINDOWED_CONTRACT, build_nano

    root = tmp_path_factory.mktemp("bundle")
    save_checkpoint(root / "checkpoint", build_nano(WINDOWED), WINDOWED_CONTRACT)
    data = DatasetWriter(root / "data", WINDOWED_CONTRACT)
    image = np.random.default_rng(0).integers(0, 255, (196, 308, 3)).astype(np.uint8)
    row = Sample.of(
        prompt_text=default_prompt().text, label=SceneLabel(), source="render", id="a/0", scene="a",
        images=[data.image("a0", image)],
    )  # fmt: skip
    data.add("test", row)
    data.finish()
    config = ExportConfig(checkpoint=str(root / "checkpoint"), golden=str(root / "data"), frames=1)
    run = start("export", config, "test", root / "run")
    export(config, run)
    run.finish()
    return root / "run"


def recipe(folder: Path, **keys: object) -> Path:
    path = folder / "demo.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
    return path


def command(*words: object) -> list[str]:
    """The CLI in a process that has no torch, no transformers and no OpenCV: a vehicle."""
    return [sys.executable, "-c", f"{VEHICLE}; sys.exit(main({[str(w) for w in words]!r}))"]


def cli(*words: object, cwd: Path) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command(*words), cwd=cwd, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.onnx
def test_killed_and_started_again_gives_the_same_digest(bundle, tmp_path):
    drive = make_drive(tmp_path / "street", [i % 8 >= 4 for i in range(16)], fps=10)
    path = recipe(tmp_path, model=bundle, drive=drive, width=280)
    whole = cli("demo", path, "--out", tmp_path / "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    for end, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        out = tmp_path / end.name
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        running = subprocess.Popen(
            command("demo", path, "--out", out), cwd=tmp_path, env=env, stderr=subprocess.DEVNULL
        )
        log = out / "out" / "advice.jsonl"
        patience = time.monotonic() + 300
        while not (log.exists() and log.read_text().count("\n") >= 3):
            assert running.poll() is None and time.monotonic() < patience
            time.sleep(0.02)
        running.send_signal(end)
        assert running.wait(120) == code
        assert not (out / "manifest.json").exists()
        again = cli("demo", path, "--out", out, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert (
            read_json(out / "manifest.json")["digest"]
            == read_json(tmp_path / "whole/manifest.json")["digest"]
        )


@pytest.mark.parametrize("realtime", [False, True])
@pytest.mark.parametrize("clip", ["solidWhiteRight.mp4", "test_video.mp4"])
@pytest.mark.skipif(not REAL, reason="EDGEKIT_REAL_DATA is not set: no real clips here")
def test_real_clips_do_not_make_it_fall_over(bundle, tmp_path, clip, realtime):
    """What an untrained model says of them proves nothing, and is not looked at."""
    video = Path(REAL).resolve() / "real" / "video_mit" / clip
    path = recipe(
        tmp_path, model=bundle, drive=video, realtime=str(realtime).lower(), max_frames=60, width=448
    )
    done = cli("demo", path, "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "run" / "out"
    timing = read_json(out / "timing.json")
    assert timing["answered"] > 0 and timing["broken"] == 0
    assert timing["answered"] + timing["dropped"] == timing["frames"]
    assert replay(out)[1] == []
    assert {"decode_frame", "preprocess", "vision", "prefill", "decode_answer", "draw"} <= set(
        timing["stages_ms"]
    )


def serve(folder: Path) -> http.server.ThreadingHTTPServer:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def drive_with(fake: Fake, drive: Path, out: Path, monkeypatch, **keys) -> None:
    monkeypatch.setattr(station, "open_answerer", lambda kind, path, threads: fake)
    config = DemoConfig(model=str(drive), drive=str(drive), width=448, **keys)
    run = start("demo", config, "test", out)
    station.demo(config, run)
    run.finish()


@pytest.mark.browser
@pytest.mark.parametrize("how", ["http", "file"])
def test_the_annotated_video_plays_in_chromium(tmp_path, monkeypatch, how):
    drive = make_drive(tmp_path / "street", [i % 20 >= 10 for i in range(80)], fps=10)
    drive_with(Fake(), drive, tmp_path / "run", monkeypatch)
    server = serve(tmp_path / "run" / "out")
    url = f"http://127.0.0.1:{server.server_address[1]}" if how == "http" else (tmp_path / "run/out").as_uri()
    try:
        with Chromium() as browser:
            browser.open(f"{url}/watch.html")
            state = "const v = document.getElementById('video'); return [v.readyState, v.error && v.error.message]"
            browser.until(state, lambda got: got[0] >= 2 and got[1] is None)
            assert browser.ask("return [video.videoWidth, video.duration]") == [448, 8]
            browser.ask("video.play()")
            first = browser.until("return video.currentTime", lambda t: t > 0.2)
            browser.until("return video.currentTime", lambda t: t > first + 0.5)
            now = "return document.getElementById('now').textContent"
            browser.until(now, lambda text: text.startswith("Recommended speed 50"))
            browser.until(now, lambda text: text.startswith("Red light"))
            browser.screenshot(tmp_path / "watch.png")
    finally:
        server.shutdown()
        server.server_close()
    assert (tmp_path / "watch.png").stat().st_size > 10_000


@pytest.mark.browser
def test_the_live_page_shows_advice_that_changes(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGEKIT_TOKEN", raising=False)
    drive = make_drive(tmp_path / "street", [i % 20 >= 10 for i in range(250)], fps=10)
    keys = {"realtime": True, "page": {"port": 0}, "video": False, "deadline_ms": 5000, "ttl_ms": 9000}
    failure: list[BaseException] = []

    def work() -> None:
        try:
            drive_with(Fake(0.02), drive, tmp_path / "run", monkeypatch, **keys)
        except BaseException as error:
            failure.append(error)

    with Chromium() as browser:
        running = threading.Thread(target=work)
        running.start()
        log = tmp_path / "run" / "log.jsonl"
        url = ""
        while not url and running.is_alive():
            told = [row.get("text", "") for row in read_jsonl(log, torn=True)] if log.exists() else []
            url = next((text.split(": ", 1)[1] for text in told if text.startswith("live page")), "")
            time.sleep(0.05)
        browser.open(url)
        said = set()
        browser.until("return document.getElementById('first').textContent",
                      lambda text: said.add(text) or len(said) >= 3, seconds=25)  # fmt: skip
        assert any("Red light" in text for text in said)
        width = "return document.getElementById('frame').naturalWidth"
        assert browser.until(width, lambda value: value > 0) == 448
        stages = browser.ask("return document.querySelectorAll('#stages progress').length")
        assert stages >= 6
        assert "%" in browser.ask("return document.getElementById('missed').textContent")
        asked = browser.ask("return performance.getEntriesByType('resource').map(entry => entry.name)")
        assert asked and all(name.startswith((url, f"blob:{url}", "data:")) for name in asked)
        browser.screenshot(tmp_path / "live.png")
        running.join(120)
    assert not failure and not running.is_alive()
