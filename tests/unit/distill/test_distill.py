"""The station as a whole: it learns to see, a control does not, and a kill changes nothing."""

import shutil
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
from edgekit.distill.trainer import Trainer
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
        "train: {steps: 140, batch: 8, learning_rate: 0.003, warmup_steps: 8, save_every: 140, dev_every: 140}\n"
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
    whole = list(read_jsonl(run.out / "curves.jsonl"))
    assert [row["step"] for row in whole] == [10, 20, 30, 36]
    assert [row["phase"] for row in whole] == ["distill"] * 3 + ["lora"]
    assert whole[-1]["dev_ce_true"] > 0
    curve = whole[:-1]
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


def test_where_the_teacher_lies_is_written_nowhere_and_changes_nothing(teacher, dataset, tmp_path):
    from peft import PeftModel

    digests = []
    for name in ("one", "two"):
        place = tmp_path / name / "teacher"
        shutil.copytree(teacher.out, place)
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(
            f"teacher: '{place}'\ndata: ['{dataset}']\nstudent: {{kind: shrink, decoder_layers: [1]}}\n"
            f"lora: {{steps: 2, lora_rank: 4}}\n{SMALL}"
        )
        run, digest = run_station(recipe, tmp_path / f"{name}-run", "train.steps=2")
        digests.append(digest)
        text = [p for p in run.out.rglob("*") if p.suffix in (".md", ".json", ".jsonl", ".jinja")]
        assert len(text) > 10 and [p for p in text if str(tmp_path) in p.read_text()] == []
    assert digests[0] == digests[1]
    said = read_json(run.out / "adapter/adapter_config.json")
    assert said["base_model_name_or_path"] == "student-before-lora" and len(said["revision"]) == 7 + 64
    assert said["revision"] in f"sha256:{(run.out / 'adapter/README.md').read_text().split('`')[3]}"
    head = (run.out / "README.md").read_text().split("---")[1]
    assert "base_model" in head and "license" not in head  # whose teacher this is, edgekit cannot tell
    base = load_checkpoint(run.out / "before").model
    assert PeftModel.from_pretrained(base, run.out / "adapter").peft_config["default"].r == 4


def test_lora_learns_from_answers_alone_however_long_the_dense_warmup(dataset, tmp_path, recipe):
    path = recipe(
        f"data: ['{dataset}']\nloss: {{alpha: 0}}\nlora: {{steps: 2}}\n{SMALL}"
        "dense: {weight: 1, warmup_steps: 4, warmup_crop: [140, 112], warmup_batch: 4}\n"
    )
    run, _ = run_station(path, tmp_path / "run", "train.steps=2")
    *_, last = read_jsonl(run.out / "curves.jsonl")
    assert last["phase"] == "lora" and "dense" not in last and last["ce"] > 0
    assert read_json(run.out / "distill.json")["effect_max_abs"] > 0


def test_a_look_at_dev_is_filed_under_the_step_it_was_taken_at(dataset, tmp_path, recipe):
    path = recipe(f"data: ['{dataset}']\nloss: {{alpha: 0}}\n{SMALL}")
    run, _ = run_station(path, tmp_path / "run", "train.dev_every=4")
    curve = list(read_jsonl(run.out / "curves.jsonl"))
    assert [row["step"] for row in curve] == [4, 8, 10, 12]
    assert [row["step"] for row in curve if "dev_ce_true" in row] == [4, 8, 12]
    assert [row["step"] for row in curve if "ce" in row] == [10, 12]


def test_labels_of_a_model_only_are_told(tmp_path, recipe):
    data = write_dataset(tmp_path / "data", frames=4, source="vlm")
    path = recipe(f"data: ['{data}']\nloss: {{alpha: 0}}\nlora: {{steps: 1}}\n{SMALL}")
    run, _ = run_station(path, tmp_path / "run", "train.steps=1", "train.warmup_steps=0")
    assert any("LoRA learns from all of them" in n for n in read_json(run.path / "manifest.json")["notes"])


def test_a_bf16_run_keeps_its_teacher_narrow_and_its_student_wide(teacher, dataset, tmp_path, monkeypatch):
    held = {}

    class Watched(Trainer):
        def phase(self, name, model, *args, **more):
            held.update(teacher=self.teacher, student=model)
            return super().phase(name, model, *args, **more)

    monkeypatch.setattr("edgekit.distill.run.Trainer", Watched)
    path = tmp_path / "r.yaml"
    path.write_text(
        f"teacher: '{teacher.path}'\ndata: ['{dataset}']\nstudent: {{kind: shrink, decoder_layers: [1]}}\n{SMALL}"
    )
    run_station(path, tmp_path / "run", "train.steps=1", "train.precision=bf16")
    assert {p.dtype for p in held["teacher"].parameters()} == {torch.bfloat16}
    assert {p.dtype for p in held["student"].parameters()} == {torch.float32}


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
    flat = write_dataset(tmp_path / "flat", frames=4)
    shutil.rmtree(flat / "ids")
    with pytest.raises(UserError, match="none of 4 train frames has a map"):
        run_station(
            recipe(f"data: ['{flat}']\nloss: {{alpha: 0}}\ndense: {{weight: 1}}\n{SMALL}"), tmp_path / "z"
        )
    with pytest.raises(UserError, match="LoRA found nothing"):
        run_station(
            recipe(
                f"data: ['{dataset}']\nloss: {{alpha: 0}}\n"
                f"lora: {{steps: 2, target_modules: nothing}}\n{SMALL}"
            ),
            tmp_path / "y",
            "train.steps=2",
        )
