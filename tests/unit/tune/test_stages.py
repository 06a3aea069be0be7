"""A method with stages (TimeStep Master) through the station: what each stage moves, and a run killed between."""

import pytest
import torch

from edgekit.core.files import read_jsonl
from edgekit.tune.trainer import Trainer

METHOD = {"kind": "tsm", "core": 2, "contexts": [1], "rank": 2}
STAGES = ["expert-1-0", "expert-2-0", "expert-2-1", "routers"]


def test_each_stage_moves_its_own_part_alone_even_with_weight_decay(base, tuned, tmp_path, monkeypatch):
    run_phase, moved = Trainer.run_phase, {}

    def watched(self, phase):
        before = self.adapter.state()
        curve = run_phase(self, phase)
        now = self.adapter.state()
        moved[phase.name] = {name for name in before if not torch.equal(before[name], now[name])}
        moved["all"] = set(before)
        return curve

    monkeypatch.setattr(Trainer, "run_phase", watched)
    train = {"steps": 16, "weight_decay": 0.1}
    run = tuned(tmp_path / "run", base=str(base), method=METHOD, train=train)
    every = moved.pop("all")
    assert list(moved) == STAGES
    for stage, part in zip(STAGES, ("experts.1.0", "experts.2.0", "experts.2.1", "router"), strict=True):
        assert moved[stage] == {name for name in every if f".tsm.{part}." in name} != set(), stage
    curve = list(read_jsonl(run.out / "curves.jsonl"))
    assert [(row["phase"], row["step"]) for row in curve] == [(stage, 4) for stage in STAGES]


class Killed(Exception):
    pass


def test_a_run_killed_in_its_third_stage_goes_on_to_the_same_bytes(base, tuned, tmp_path, monkeypatch):
    recipe = dict(base=str(base), method=METHOD, train={"steps": 16})
    whole = tuned(tmp_path / "whole", **recipe)
    gradients = Trainer._gradients

    def dies(self, step, phase):
        if (phase.name, step) == ("expert-2-1", 3):
            raise Killed
        return gradients(self, step, phase)

    with monkeypatch.context() as m, pytest.raises(Killed):
        m.setattr(Trainer, "_gradients", dies)
        tuned(tmp_path / "killed", **recipe)
    taken = []

    def told(self, step, phase):
        taken.append((phase.name, step))
        return gradients(self, step, phase)

    monkeypatch.setattr(Trainer, "_gradients", told)
    again = tuned(tmp_path / "killed", **recipe)
    assert taken == [("expert-2-1", 2), ("expert-2-1", 3), *(("routers", step) for step in range(4))]
    assert again.digest == whole.digest
