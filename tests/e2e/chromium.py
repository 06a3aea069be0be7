"""A headless Chromium through chromedriver's own protocol (W3C WebDriver): no further package."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


class Chromium:
    """``with Chromium() as browser: browser.open(url); browser.ask("return document.title")``."""

    def __init__(self, size: tuple[int, int] = (1280, 900)):
        driver = shutil.which("chromedriver")
        binary = next(
            (b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None
        )
        if driver is None or binary is None:
            pytest.skip(f"no Chromium here: chromedriver {driver}, browser {binary}")
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)
        self._session = ""
        self._options = {
            "binary": binary,
            "args": [*FLAGS, f"--user-data-dir={self._profile.name}", f"--window-size={size[0]},{size[1]}"],
        }

    def __enter__(self) -> Chromium:
        try:
            self._wait_for_driver()
            asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": self._options}}}
            self._session = self._post("/session", asked)["sessionId"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._session:
                self._http.delete(f"/session/{self._session}")
        except httpx.HTTPError:
            pass  # it is ended below in any case
        finally:
            self._http.close()
            self._driver.terminate()
            self._driver.wait(20)
            self._profile.cleanup()

    def open(self, url: str) -> None:
        self._post(f"/session/{self._session}/url", {"url": url})

    def ask(self, script: str) -> Any:
        """What a piece of JavaScript returns; a promise is waited for."""
        return self._post(f"/session/{self._session}/execute/sync", {"script": script, "args": []})

    def until(self, script: str, good: Callable[[Any], bool], seconds: float = 60) -> Any:
        """Asks until the answer is good; fails with the last one when ``seconds`` are over."""
        end = time.monotonic() + seconds
        while True:
            value = self.ask(script)
            if good(value):
                return value
            assert time.monotonic() < end, f"{script!r} still gives {value!r} after {seconds} s"
            time.sleep(0.1)

    def screenshot(self, path: Path) -> None:
        answer = self._http.get(f"/session/{self._session}/screenshot").json()
        path.write_bytes(base64.b64decode(answer["value"]))

    def _post(self, path: str, body: dict) -> Any:
        answer = self._http.post(path, json=body).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{answer['error']}: {answer['message'][:300]}")
        return answer

    def _wait_for_driver(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if self._http.get("/status").json()["value"]["ready"]:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver did not start")
