"""advice.jsonl: what was answered and what was advised, and the replay that proves the one from the other.

    info.json     schema, drive, model, and the settings that turn an answer into advice
    advice.jsonl  a row per answered frame; a frame that does not decode leaves a row with `skipped`

A row's advice is a function of the raw answers up to it and of info.json, of nothing else.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

from edgekit import __version__
from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl, write_json
from edgekit.core.label import UNKNOWN, parse_answer
from edgekit.demo.advice import Advice, Shown, advise, shown
from edgekit.demo.config import Window
from edgekit.demo.memory import Memory

SCHEMA = "edgekit/advice/1"


class Adviser:
    """Raw answers in, one after the other; rows and what is to be shown out. Deterministic."""

    def __init__(self, window: Window, deadline_ms: float, ttl_ms: float, lap_frames: int | None = None):
        """lap_frames: of a drive that begins again, its length: no window reaches over the seam."""
        self.deadline_s, self.ttl_s = deadline_ms / 1e3, ttl_ms / 1e3
        self.memory, self._window = Memory(window), window
        self._lap_frames, self._lap = lap_frames, 0

    def hear(
        self, frame: int, t_s: float, speed_mps: float | None, raw: str, age_s: float
    ) -> tuple[dict, Current]:
        """The row of one answer and the advice that stands from now on.

        t_s: the frame's capture; age_s: from there to the answer (0 in a replay, where the clock
        stands still while the model answers).
        """
        if self._lap_frames and (lap := frame // self._lap_frames) != self._lap:
            self.memory, self._lap = Memory(self._window), lap
        label = parse_answer(raw) or UNKNOWN
        smoothed = self.memory.push(t_s, speed_mps, label)
        current = Current(
            advise(smoothed, speed_mps), smoothed, t_s, t_s + age_s, self.deadline_s, self.ttl_s
        )
        now = current.at(t_s + age_s)
        row = {
            "frame": frame,
            "t_s": t_s,
            "age_s": age_s,
            "speed_mps": speed_mps,
            "raw": raw,
            "label": label.model_dump(),
            "smoothed": smoothed.model_dump(),
            "state": now.state,
            **now.advice.record(),
            "valid_until_s": round(t_s + self.ttl_s, 6),
        }
        return row, current


class Current:
    """The advice that stands, until it is replaced or outlives its time."""

    def __init__(
        self, advice: Advice, label, captured_s: float, answered_s: float, deadline_s: float, ttl_s: float
    ):
        self.advice, self.label = advice, label
        self.captured_s, self.answered_s = captured_s, answered_s
        self.deadline_s, self.ttl_s = deadline_s, ttl_s

    def at(self, now_s: float) -> Shown:
        return shown(
            self.advice, self.label, self.captured_s, self.answered_s, now_s, self.deadline_s, self.ttl_s
        )


class Log:
    """Writes advice.jsonl line by line: what a killed run leaves is whole up to its last line."""

    def __init__(self, folder: Path):
        self._file = open(folder / "advice.jsonl", "w", buffering=1)  # noqa: SIM115 (closed by close)
        self._lock = threading.Lock()
        self.last: dict | None = None

    def write(self, row: dict) -> None:
        with self._lock:
            if self._file.closed:  # an answer that came after the end
                return
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            if "skipped" not in row:
                self.last = row

    def skip(self, frame: int, t_s: float) -> None:
        self.write({"frame": frame, "t_s": t_s, "skipped": "the frame does not decode"})

    def close(self) -> None:
        with self._lock:
            self._file.close()


def write_info(folder: Path, *, drive: str, fps: float, model: str, contract: str, prompt: dict,
               realtime: bool, window: Window, deadline_ms: float, ttl_ms: float,
               lap_frames: int | None = None) -> None:  # fmt: skip
    """info.json: everything that ``replay`` needs beside the rows."""
    write_json(
        folder / "info.json",
        {
            "schema": SCHEMA, "drive": drive, "fps": fps, "model": model, "contract": contract,
            "prompt": prompt, "realtime": realtime, "window": window.model_dump(),
            "deadline_ms": deadline_ms, "ttl_ms": ttl_ms,
            **({"lap_frames": lap_frames} if lap_frames else {}),
        },
    )  # fmt: skip


def replay(folder: str | Path) -> tuple[int, list[int]]:
    """Recomputes every advice of a demo log from its raw answers.

    Returns (rows, frames whose row differs). Raises UserError where the log is of another schema.
    """
    folder = Path(folder)
    try:
        info = read_json(folder / "info.json")
    except OSError:
        raise UserError(
            f"{folder}: not a demo log", "it has no info.json", "name the out/ of a demo run"
        ) from None
    if info.get("schema") != SCHEMA:
        raise UserError(
            f"{folder}: schema {info.get('schema')!r} is not read here",
            f"edgekit {__version__} reads {SCHEMA}",
            "use the edgekit that wrote it",
        )
    adviser = Adviser(Window(**info["window"]), info["deadline_ms"], info["ttl_ms"], info.get("lap_frames"))
    rows, differ = 0, []
    for row in read_jsonl(folder / "advice.jsonl", torn=True):
        if "skipped" in row:
            continue
        rows += 1
        again, _ = adviser.hear(row["frame"], row["t_s"], row["speed_mps"], row["raw"], row["age_s"])
        if again != row:
            differ.append(row["frame"])
    return rows, differ
