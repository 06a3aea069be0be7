"""The station as a whole: it learns to see, a control does not, and a kill changes nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, read_jsonl
from edgekit.core.recipe import load_recipe
from edgekit.core.run import start
from edgekit.dataset import open_dataset
from edgekit.distill import DistillConfig, distill
from edgekit.models.answerer import TorchAnswerer
from edgekit.models.checkpoint import load_checkpoint

from .conftest import write_dataset

SMALL = "train: {steps: 12, batch: 4, save_every: 2, dev_every: 6, warmup_steps: 2, threads: 1}\n"


def run_station(path: Path, out: Path, *overrides: str):
    config = load_recipe(DistillConfig, path, list(overrides))
    run = start("distill", config, "r", out)
    distill(config, run)
    return run, run.finish()


def seen(run, dataset, blank=False) -> dict[str, float]:
    """Share of right answers per slot on the train rows."""
    data = open_dataset(dataset)
    rows = data.rows("train")
    images = [np.full_like(data.image(r), 127) if blank else data.image(r) for r in rows]
    answers = TorchAnswerer(run.out, batch=8).answer(images, [r.user_text for r in rows])
    return {
        slot: float(
            np.mean(
                [getattr(a.seen, slot) == getattr(r.label, slot) for a, r in zip(answers, rows, strict=True)]
            )
        )
        for slot in ("light", "cones", "recommended_speed_kmh")
    }


@pytest.fixture(scope="module")
def teacher(dataset, tmp_path_factory):
    """A nano that has learned the tiny Dataset, with the dense loss."""
    folder = tmp_path_factory.mktemp("teacher")
    nano = "{layers: 2, vision_hidden: 64, vision_intermediate: 96, vision_heads: 2}"
    recipe = folder / "r.yaml"
    recipe.write_text(
        f"data: ['{dataset}']\nstudent: {{kind: nano, nano: {nano}}}\nloss: {{alpha: 0}}\n"
        "dense: {weight: 1, warmup_steps: 10, warmup_crop: [140, 112], warmup_batch: 8}\n"
        "train: {steps: 90, batch: 8, learning_rate: 0.003, warmup_steps: 8, save_every: 90, dev_every: 90}\n"
    )
    return run_station(recipe, folder / "run")[0]


def test_a_nano_learns_to_see_and_a_blanked_image_undoes_it(teacher, dataset):
    right, blind = seen(teacher, dataset), seen(teacher, dataset, blank=True)
    assert min(right["light"], right["cones"], right["recommended_speed_kmh"]) >= 0.9, right
    assert max(blind["light"], blind["cones"]) <= 0.6, blind
    told = read_json(teacher.out / "distill.json")
    assert told["dev_ce_true"] < told["dev_ce_blank"]


def test_a_student_shrunk_from_its_teacher_learns_and_lora_is_merged_exactly(
    teacher, dataset, tmp_path, recipe
):
    path = tmp_path / "s.yaml"
    path.write_text(
        f"teacher: '{teacher.path}'\ndata: ['{dataset}']\nstudent: {{kind: shrink, decoder_layers: [1]}}\n"
        "loss: {alpha: 0.5, temperature: 2}\nlora: {steps: 6, lora_rank: 4}\n"
        "train: {steps: 30, batch: 8, learning_rate: 0.002, warmup_steps: 4, save_every: 30, dev_every: 30}\n"
    )
    run, _ = run_station(path, tmp_path / "run")
    before, after = load_checkpoint(run.out / "before").model, load_checkpoint(run.out).model
    assert len(before.model.language_model.layers) == len(after.model.language_model.layers) == 1
    curve = list(read_jsonl(run.out / "curves.jsonl"))
    assert curve[-1]["kl"] < curve[0]["kl"] and curve[-1]["ce"] < curve[0]["ce"]
    told = read_json(run.out / "distill.json")
    assert told["modules"] == 7 and told["effect_max_abs"] > 0 and told["merge_max_abs"] < 1e-4
    assert (run.out / "adapter/adapter_model.safetensors").is_file()
    frozen = dict(load_checkpoint(teacher.out).model.named_parameters())
    for name, weight in dict(after.named_parameters()).items():
        if "lm_head" in name:
            assert not torch.equal(weight, frozen[name])  # the student moved, the teacher stayed


def test_a_killed_run_goes_on_to_the_same_digest(dataset, tmp_path, recipe):
    path = recipe(
        f"data: ['{dataset}']\nloss: {{alpha: 0}}\ndense: {{weight: 1}}\nlora: {{steps: 4}}\n"
        f"augment: {{shift: 4, noise: 3}}\n{SMALL}"
    )
    _, whole = run_station(path, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "edgekit", "distill", str(path), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    saved = out / "state" / "distill.pt"
    until = time.monotonic() + 120
    while not saved.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert saved.exists() and not (out / "manifest.json").exists()
    subprocess.run(command, check=True, capture_output=True)
    assert read_json(out / "manifest.json")["digest"] == whole
    assert not (out / "state").exists()


def test_what_cannot_work_is_told_before_it_starts(dataset, tmp_path, recipe):
    with pytest.raises(UserError, match="alpha > 0 asks for a teacher"):
        load_recipe(DistillConfig, recipe(f"data: ['{dataset}']\nloss: {{alpha: 0.5}}\n"))
    with pytest.raises(UserError, match="did you mean 'temperature'"):
        load_recipe(DistillConfig, recipe(f"data: ['{dataset}']\nloss: {{temprature: 2}}\n"))
    other = write_dataset(tmp_path / "other", frames=4)
    info = (other / "info.json").read_text().replace('"width": 308', '"width": 280')
    (other / "info.json").write_text(info)
    with pytest.raises(UserError, match="contracts differ"):
        run_station(recipe(f"data: ['{dataset}', '{other}']\nloss: {{alpha: 0}}\n{SMALL}"), tmp_path / "x")
    with pytest.raises(UserError, match="LoRA found nothing"):
        run_station(
            recipe(
                f"data: ['{dataset}']\nloss: {{alpha: 0}}\n"
                f"lora: {{steps: 2, target_modules: nothing}}\n{SMALL}"
            ),
            tmp_path / "y",
            "train.steps=2",
        )
