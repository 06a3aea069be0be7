"""A drive to go along, and the station with a model that is not one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.run import start
from edgekit.demo import run as station
from edgekit.demo.config import DemoConfig
from tests.unit.demo.fakes import Fake, make_drive


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """24 frames at 20 fps: clear, then red from frame 12 on."""
    return make_drive(tmp_path / "street", [i >= 12 for i in range(24)])


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the station with a Fake and gives the run's folder; the run is finished as the CLI does it."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("none")

    def call(
        drive: Path, answerer: Fake | None = None, out: str = "run", finish: bool = True, **keys
    ) -> Path:
        monkeypatch.setattr(station, "open_answerer", lambda kind, path, threads: answerer or Fake())
        config = DemoConfig(model=str(tmp_path / "model"), drive=str(drive), **{"width": 280, **keys})
        run = start("demo", config, "test", tmp_path / out)
        station.demo(config, run)
        if finish:
            run.finish()
        return tmp_path / out

    return call
