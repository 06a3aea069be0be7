"""distill: the student learns from labels and from a teacher, then through LoRA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from edgekit.core.contract import Contract, require_same
from edgekit.core.errors import UserError
from edgekit.core.files import write_json, write_jsonl
from edgekit.core.run import Run
from edgekit.dataset import open_dataset
from edgekit.distill.adapter import tune_lora
from edgekit.distill.batches import Batcher, Row, training_device
from edgekit.distill.config import DistillConfig
from edgekit.distill.losses import common_vocabulary
from edgekit.distill.study import study
from edgekit.distill.trainer import Trainer
from edgekit.models.checkpoint import Loaded, load_checkpoint, save_checkpoint
from edgekit.models.nano import build_nano, shrink
from edgekit.models.tokenizer import NANO_TOKENIZER, grammar_of, nano_tokenizer


def distill(config: DistillConfig, run: Run) -> None:
    """Reads Datasets (and a teacher Checkpoint); writes the student's Checkpoint to ``run.out``,
    ``before/`` (the student before learning), ``adapter/`` and ``curves.jsonl``; or a study's result."""
    if config.study:
        return study(config, run, distill)
    torch.set_num_threads(config.train.threads)
    datasets = [open_dataset(i.out) for i in run.inputs["data"]]
    contract = datasets[0].contract
    for data in datasets[1:]:
        require_same(data.contract, contract, f"{data.root} beside {datasets[0].root}")
    # A teacher that only teaches takes two bytes a weight where numbers are that wide; one that the
    # student is cut from is read whole first.
    narrow, cut = config.train.precision == "bf16", config.student.kind == "shrink"
    width = "bfloat16" if narrow and not cut else "float32"
    teacher = load_checkpoint(run.input("teacher"), width, contract) if config.teacher else None
    if teacher:
        require_same(teacher.contract, contract, f"teacher {config.teacher} on {datasets[0].root}")
    student = _student(config, run, teacher, contract)
    if teacher:
        if teacher.tokenizer.to_str() != student.tokenizer.to_str():
            raise UserError(
                "teacher and student differ in tokenizer", "their files differ", "use one tokenizer"
            )
        sizes = [m.config.text_config.vocab_size for m in (student.model, teacher.model)]
        common_vocabulary(*sizes, student.tokenizer.get_vocab_size())
        teacher.model.eval().requires_grad_(False)
        for weight in teacher.model.parameters() if narrow else ():
            weight.data = weight.data.bfloat16()
    rows = {split: _rows(datasets, split) for split in ("train", "dev")}
    if not rows["train"]:
        raise UserError("distill: nothing to learn from", "the train splits hold 0 frames", "name other data")
    if config.dense.weight and all(row.ids() is None for row in rows["train"]):
        raise UserError(
            "distill: dense.weight > 0, and nothing to learn it from",
            f"none of {len(rows['train'])} train frames has a map of class ids",
            "name data that edgekit render wrote, or set dense.weight: 0",
        )
    run.say(f"{len(rows['train'])} train and {len(rows['dev'])} dev frames from {len(datasets)} datasets")

    tokenizer_file = _tokenizer_file(config, run)
    _save(run, "before", student.model, contract, tokenizer_file, config)
    device = training_device()
    batcher = Batcher(contract, student.tokenizer, student.grammar, config.loss.skeleton_weight, device)
    trainer = Trainer(config, run, batcher, teacher.model if teacher else None)
    curve = trainer.phase(
        "distill", student.model, rows["train"], rows["dev"],
        config.train.steps, config.train.learning_rate, config.loss.alpha, dense=True,
    )  # fmt: skip
    curve = [{"phase": "distill"} | row for row in curve]
    model, report = student.model, {}
    if config.lora.steps:
        exact = [r for r in rows["train"] if _exact(r)]
        if not exact:
            run.note("no train frame's labels are rendered or a person's: LoRA learns from all of them")
        model, report, more = tune_lora(
            trainer, model, config.lora, exact or rows["train"], rows["dev"], run, run.out / "adapter"
        )
        # Steps go on where distilling ended, so that both are one line when they are drawn.
        curve += [{"phase": "lora"} | row | {"step": config.train.steps + row["step"]} for row in more]
    write_jsonl(run.out / "curves.jsonl", curve)
    report |= trainer.look(model, rows["dev"]) if rows["dev"] else {}
    write_json(run.out / "distill.json", report)
    _save(run, "", model, contract, tokenizer_file, config)


def _student(config: DistillConfig, run: Run, teacher: Loaded | None, contract: Contract) -> Loaded:
    """The student where it starts; seeded, so a restart builds the same one."""
    kind = config.student.kind
    if kind == "checkpoint":
        student = load_checkpoint(run.input("student_from"), contract=contract)
        require_same(student.contract, contract, f"student {config.student_from}")
        return student
    if kind == "shrink":
        run.say(f"student: the teacher's vision tower and its decoder layers {config.student.decoder_layers}")
        return replace(teacher, model=shrink(teacher.model, config.student.decoder_layers))
    tokenizer = nano_tokenizer()
    model = build_nano(config.student.nano, config.seed)
    return Loaded(model, tokenizer, contract, grammar_of(tokenizer), "nano")


def _rows(datasets, split: str) -> list[Row]:
    rows = []
    for data in datasets:
        classes = data.info.get("classes")
        rows += [Row(sample, data, classes) for sample in data.rows(split)]
    return rows


def _exact(row: Row) -> bool:
    """Labels that are true by birth or by a person: what the last, small adjustment learns from."""
    return all(mark.source in ("render", "human") for mark in row.sample.tasks.values())


def _tokenizer_file(config: DistillConfig, run: Run) -> Path:
    """The student's: that of the model it starts from."""
    source = {"checkpoint": "student_from", "shrink": "teacher"}.get(config.student.kind)
    return run.input(source) / "tokenizer.json" if source else NANO_TOKENIZER


def _save(
    run: Run, name: str, model, contract: Contract, tokenizer_file: Path, config: DistillConfig
) -> None:
    started = name == "before"
    base = "student_from" if config.student_from else "teacher" if config.teacher else None
    card = {
        "title": "A driving student, before learning" if started else "A driving student",
        "base_model": base and run.named(base),
        "text": "Written by `edgekit distill`; the run's recipe.yaml and manifest.json tell from what.",
    }
    save_checkpoint(run.out / name, model, contract, tokenizer_file, card, dtype=config.save_dtype)
