"""What the serve tests stand on: a server as a process, and what is sent to it."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.environments import python_of
from edgekit.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "open-sesame"
PROMPT = "Look at the road and answer."


def data_url(picture: np.ndarray, form: str = "PNG") -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, form)
    return f"data:image/{form.lower()};base64," + base64.b64encode(out.getvalue()).decode()


def message(url: str, text: str = PROMPT) -> list[dict]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


def processes_of(session: int) -> list[str]:
    """Command lines of living processes in a session or process group."""
    found = subprocess.run(
        ["ps", "-eo", "pid=,pgid=,sid=,stat=,args="], capture_output=True, text=True
    ).stdout
    rows = [line.split(None, 4) for line in found.splitlines()]
    return [r[4] for r in rows if str(session) in r[1:3] and not r[3].startswith("Z")]


def need_vllm() -> None:
    """Skips where the serve environment is not there."""
    try:
        python_of("serve")
    except UserError as error:
        pytest.skip(str(error))


class Server:
    """``edgekit serve`` as a process of its own."""

    def __init__(self, model: Path | str, out: Path, *overrides: str, token: str | None = None):
        self.out = out
        recipe = out.parent / f"{out.name}.yaml"
        recipe.write_text(json.dumps({"model": str(model), "port": 0}))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("EDGEKIT_TOKEN", None)
        if token:
            environment["EDGEKIT_TOKEN"] = token
        self.log = out.parent / f"{out.name}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgekit", "serve", str(recipe), "--out", str(out), *overrides],
                cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self, seconds: float = 700) -> dict:
        """served.json, once it is there."""
        place, end = self.out / "out" / "served.json", time.monotonic() + seconds
        while not place.is_file():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no server: {self.log.read_text()[-3000:]}")
            time.sleep(0.2)
        return json.loads(place.read_text())

    def vllm_group(self) -> int | None:
        """The process group of the vLLM that it started."""
        asked = ["ps", "--ppid", str(self.process.pid), "-o", "pid="]
        children = subprocess.run(asked, capture_output=True, text=True).stdout.split()
        return int(children[0]) if children else None

    def stop(self, number: int = signal.SIGTERM, seconds: float = 90) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)
