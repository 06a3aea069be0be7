"""The plan says what runs: one device, every arm, LoRA too; and nano as it was measured."""

import pytest

from edgekit.core.places import shipped
from edgekit.core.recipe import load_recipe
from edgekit.distill import DistillConfig


def planned(name: str, *overrides: str):
    return load_recipe(DistillConfig, shipped("recipes") / "distill" / f"{name}.yaml", list(overrides)).plan()


def test_the_quickstarts_student_takes_about_two_minutes():
    assert 1.5 <= planned("nano").minutes <= 2.5


def test_lora_steps_count_and_so_does_every_arm_and_seed():
    assert planned("nano", "lora.steps=120").minutes > 1.3 * planned("nano", "lora.steps=0").minutes
    study, alone = planned("study"), planned("study", "study=null", "test_data=null")
    assert study.minutes == pytest.approx(6 * alone.minutes, rel=0.1) and "6 trainings" in study.notes[0]
    assert study.disk_gb > alone.disk_gb


def test_a_72b_is_told_not_to_fit_one_device():
    real = planned("qwen2_5_vl_7b")
    # 73.4 B in 2 bytes, 8.29 B in 16 but for the frozen vision tower.
    assert 260 < real.memory_gb < 285 and "do not fit one device" in real.notes[0]
    assert not any("8 GPUs" in note for note in real.notes)
    assert real.disk_gb == pytest.approx(8.29 * (24 + 2 * 2), rel=0.01)
    small = planned("qwen2_5_vl_7b", "teacher=hub:Qwen/Qwen2.5-VL-7B-Instruct", "student_from=Qwen2.5-VL-3B")
    assert "fit" not in small.notes[0] and small.memory_gb < 80
    wide = planned("qwen2_5_vl_7b", "train.freeze_vision_tower=false")
    assert wide.memory_gb > real.memory_gb
