"""benchmarks/tune.py: its arithmetic and verdicts, and once over two steps of two methods."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "tune.py"


@pytest.fixture(scope="module")
def bench():
    found = importlib.util.spec_from_file_location("benchmark_of_tune", SCRIPT)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def report(bench, ratios):
    quart = {"low": 0.5, "high": 2.0, "rounds": 30}
    rows = [
        {"method": name, "trained": 1000, "step_ms": 2.0, "images_per_s": 3.0, "memory_mb": None,
         "ratio": {"median": ratio, **quart}, "verdict": bench.verdict(name, ratio)}
        for name, ratio in ratios.items()
    ]  # fmt: skip
    machine = bench.machine("cpu")
    asked = {"device": "cpu", "threads": 1, "batch": 2, "steps": 30}
    return {
        "machine": machine, "asked": asked, "load_after": 0.0, "bases": [{"base": "dit", "rows": rows}]
    }  # fmt: skip


def test_only_what_is_slow_is_given_a_reason_and_without_one_it_fails(bench):
    assert bench.verdict("full", 1.15) == "" and bench.verdict("lora", 1.0) == ""
    assert bench.verdict("full", 1.16) == bench.WHY["full"]
    assert bench.verdict("lora", 1.16) == "TOO SLOW"
    told = report(bench, {"full": 1.3, "lora": 1.2, "bitfit": 1.1})
    assert bench.too_slow(told) == ["lora on dit"]
    text = bench.table(told)
    assert "1.20 (0.50 to 2.00) | — | TOO SLOW |" in text and bench.WHY["full"] in text
    assert "Fewer than" not in text


def test_reasons_are_of_methods_and_no_light_method_has_one(bench):
    assert bench.WHY.keys() <= bench.METHODS.keys()
    assert not bench.WHY.keys() & {"lora", "difffit", "bitfit", "vpt", "adapter", "calora", "tsm-expert"}


def test_quartiles(bench):
    found = bench.quartiles([1.0, 4.0, 2.0, 3.0, 5.0])
    assert found == {"median": 3.0, "low": 2.0, "high": 4.0, "rounds": 5}


def test_a_step_trains_what_the_row_says(bench, monkeypatch):
    small = {"size": 8, "width": 32, "layers": 1, "heads": 2}
    monkeypatch.setitem(bench.BASES, "dit", bench.NanoGenerator(arch="dit", **small))
    device = torch.device("cpu")
    lora, full = (bench.Learner(name, bench.built("dit", device)) for name in ("lora", "full"))
    plain = bench.Learner(bench.REFERENCE, bench.built("dit", device))
    assert lora.trained == plain.trained == 4 * 2 * 32 * bench.RANK
    assert full.trained == sum(p.numel() for p in full.generator.denoiser.parameters())

    # The same targets at the same scale: with B zero at the start, both give the base's loss.
    x0, eps = bench.batch(plain.generator, 4, 0)
    assert torch.equal(lora.step(x0, eps, 0), plain.step(x0, eps, 0))
    moved = [name for name, p in plain.generator.denoiser.named_parameters() if "lora_B" in name and p.any()]
    assert len(moved) == 4


def test_one_expert_learns_its_interval_and_routers_learn_all_of_it(bench, monkeypatch):
    small = {"size": 8, "width": 32, "layers": 1, "heads": 2}
    monkeypatch.setitem(bench.BASES, "dit", bench.NanoGenerator(arch="dit", **small))
    seen = {}
    for name in ("tsm-expert", "tsm-routers"):
        learner = bench.Learner(name, bench.built("dit", torch.device("cpu")))
        told = learner.adapter.moment

        def kept(t, name=name, told=told):
            seen[name] = (t, told(t))
            return seen[name][1]

        monkeypatch.setattr(learner.adapter, "moment", kept)
        learner.step(*bench.batch(learner.generator, 16, 0), 0)
    t, moment = seen["tsm-expert"]
    assert moment.picks == ((8, 4),) and t.min() >= 500 and t.max() < 625
    t, moment = seen["tsm-routers"]
    (n, each), context = moment.picks
    assert n == 8 and len(each.unique()) > 4 and context == (1, 0)  # one gather, not one call for each sample


def test_two_steps_of_two_methods(tmp_path):
    command = [
        sys.executable, str(SCRIPT), "--base", "unet", "--methods", "vpt", "bitfit", "--steps", "2",
        "--batch", "1", "--out", str(tmp_path / "out.json"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert (done.returncode != 0) == ("TOO SLOW" in done.stdout), done.stderr[-2000:]
    (unet,) = json.loads((tmp_path / "out.json").read_text())["bases"]
    plain, vpt, bitfit = unet["rows"]
    assert (plain["method"], plain["ratio"]["median"], plain["ratio"]["rounds"]) == ("peft-lora", 1.0, 2)
    assert "convolutions" in vpt["not_for"] and "ratio" not in vpt
    assert bitfit["trained"] > 0 and bitfit["step_ms"] > 0
    if sys.platform == "linux":
        assert bitfit["memory_mb"] > 0
    assert "Fewer than 30 rounds" in done.stdout and "| vpt | n/a |" in done.stdout


def test_the_large_base_is_for_a_gpu(bench, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tune.py", "--xl"])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == 2 and "--device cuda" in capsys.readouterr().err
