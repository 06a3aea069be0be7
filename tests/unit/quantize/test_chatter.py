"""What llm-compressor prints goes into the run's quantize.log; the terminal keeps our own words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.core.files import read_json
from edgekit.core.run import digest_tree

ROOT = Path(__file__).resolve().parents[3]

PRINTS = """
import logging, os, sys
from pathlib import Path
from edgekit.quantize.chatter import printed_to
early = logging.StreamHandler()  # holds the stderr of now
show = len(sys.argv) > 2
print("before")
try:
    with printed_to(Path(sys.argv[1]), show) as terminal:
        print("python")
        print("python too", file=sys.stderr)
        early.emit(logging.makeLogRecord({"msg": "handler"}))
        os.write(1, b"native\\n")
        print("bar", file=terminal)
        raise KeyError("dies")
except KeyError:
    print("after")
    print("after too", file=sys.stderr)
"""


@pytest.mark.parametrize("show", [False, True])
def test_prints_of_every_kind_go_to_the_file_and_come_back_after_an_error(tmp_path, show):
    log = tmp_path / "x.log"
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, str(log), *(["show"] if show else [])],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    noise = {"python", "python too", "handler", "native"}
    if show:
        assert noise <= {*done.stdout.split("\n"), *done.stderr.split("\n")} and not log.exists()
    else:
        assert done.stdout == "before\nafter\n" and done.stderr == "bar\nafter too\n"
        assert set(log.read_text().splitlines()) == noise


@pytest.mark.parametrize("debug", [False, True])
def test_a_quantize_run_keeps_the_terminal_to_itself(windowed, tmp_path, debug):
    (tmp_path / "r.yaml").write_text(
        f"checkpoint: {windowed['checkpoint']}\ncalibration: {windowed['data']}\n"
        "frames: 2\ncheck_frames: 1\ngrid: 4\ngemm: false\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "quantize", "r.yaml", "--out", "o", *(["--debug"] if debug else [])],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    log = tmp_path / "o" / "quantize.log"
    said = done.stdout + done.stderr
    assert "calibrating: 100%" in done.stderr
    assert ("Compression lifecycle" in said) == debug and ("Grid search" in said) == debug
    assert log.exists() != debug
    if not debug:
        assert done.stdout == "o\n" and "Compression lifecycle finalized" in log.read_text()
        assert read_json(tmp_path / "o" / "manifest.json")["digest"] == digest_tree(tmp_path / "o" / "out")
