"""What mining holds in memory: one drive at a time, and of that no picture."""

import gc
import weakref

import pytest

from edgekit.mine import mine
from edgekit.mine.story import Story
from tests.unit.mine.test_mine import ColourTeacher, config_of, run_of, write

DRIVES = 6


@pytest.mark.parametrize("keep", [None, {}, {"repeats_within": None, "aligned": False}])
def test_a_fleet_takes_the_memory_of_one_drive(tmp_path, monkeypatch, keep):
    for n in range(DRIVES):
        write(tmp_path / "set", f"d{n}", ["none"] * 4 + ["red"] * 4, scene=f"s{n}")
    alive, held = weakref.WeakSet(), []
    tell = Story.__init__

    def counted(self, *args, **more):
        tell(self, *args, **more)
        alive.add(self)
        gc.collect()
        held.append(len(alive))

    monkeypatch.setattr(Story, "__init__", counted)
    config = config_of(tmp_path / "set", keep=keep)
    run = run_of(tmp_path, config)
    mine(config, run, ColourTeacher())
    assert len(held) == (1 if keep is None else 2) * DRIVES
    assert max(held) <= 2  # the one that is told, and the one before it
