"""What the live page may see: the newest annotated frame and a few numbers. Written by one, read by many."""

from __future__ import annotations

import io
import threading

from PIL import Image

from edgekit.demo.advice import Shown


class View:
    """Holds one JPEG and one dict; both are replaced whole."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jpeg: bytes = b""
        self._state: dict = {"frame": None}

    def show(self, image: Image.Image, shown: Shown, **numbers: object) -> None:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        with self._lock:
            self._jpeg = buffer.getvalue()
            self._state = {**shown.record(), **numbers}

    def end(self) -> None:
        with self._lock:
            self._state = {**self._state, "ended": True}

    def jpeg(self) -> bytes:
        with self._lock:
            return self._jpeg

    def state(self) -> dict:
        with self._lock:
            return self._state
