"""The story of a tuning: a generator, frames, a method; train; measure against the start; save."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from accelerate import PartialState

from edgekit.core.errors import UserError
from edgekit.core.files import write_json, write_jsonl
from edgekit.core.run import Run
from edgekit.dataset import Dataset, open_dataset
from edgekit.generators.adapters.adapter import Adapter, supports
from edgekit.generators.adapters.files import save_adapter
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator
from edgekit.generators.nano import build_nano_generator
from edgekit.generators.open import open_generator, save_generator
from edgekit.generators.process import STAGES, Betas, Process, difference, linear, stage_betas
from edgekit.tune import report
from edgekit.tune.attached import attached
from edgekit.tune.config import TuneConfig
from edgekit.tune.data import Frame, read_frames
from edgekit.tune.trainer import Phase, Trainer

SCHEMA = "edgekit/tune/1"


def tune(config: TuneConfig, run: Run) -> None:
    """Reads a base and Datasets; writes ``adapter/`` (from a nano start ``generator/``, a whole one),
    curves.jsonl, tune.json and samples.png to ``run.out``.

    Resumes from ``run.state``; the same recipe gives the same bytes at a fixed number of threads. Raises
    UserError before the first step for data, labels, sizes or schedules that do not go together. With ``study``
    see edgekit/tune/study.
    """
    if config.study:
        from edgekit.tune.study.run import study  # the drawing of figures is slow to import

        return study(config, run, tune)
    torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.seed)
    datasets = [open_dataset(i.out) for i in run.inputs["data"]]
    if not any(data.rows("train") for data in datasets):
        raise UserError(
            "tune: nothing to learn from",
            f"the train splits of {len(datasets)} Dataset(s) hold 0 frames",
            "name other data",
        )
    generator = _base(config, run, datasets)
    frames = _frames(config, generator, datasets)
    _check(config, generator)
    total = sum(p.numel() for p in generator.denoiser.parameters())
    adapter = attached(config, run, generator, frames["train"])
    stretches = phases(config, adapter)
    encoders = generator.text_encoders() if config.nano else []
    trainer = Trainer(config, run, adapter, frames["train"], encoders)
    _say(run, config, generator, frames, datasets)

    measured = "dev" if frames["dev"] else "train"
    if not frames["dev"]:
        run.note("no dev frames: the loss is measured on train frames, which flatters it")
    looked_at = frames[measured][: config.report.frames]
    shown = report.asked_of(frames["train"], config.report.samples)
    at_end = _process_at_end(config, generator)  # both losses are told over its noise times
    before = _before(trainer, looked_at, shown, at_end)
    curve = []
    for phase in stretches:
        curve += trainer.run_phase(phase)
    _still(adapter, encoders)
    if adapter.changes_nothing():
        raise UserError(
            f"tune: this {adapter.kind} adapter changes nothing",
            f"after {config.train.steps} steps every trained tensor has no effect",
            "raise train.learning_rate or train.steps",
        )

    # What it did, on the same noise and from the same seeds.
    with trainer.autocast():
        after = report.loss_by_t(generator, trainer.latents, looked_at, at_end, config.seed)
        painted = report.paint(generator, [f.asked for f in shown], config.report, config.seed)
    facts = adapter.all_facts()
    trainable = sum(trainer.learned.values())
    if config.nano:
        adapter.fold()
        save_generator(generator, run.out / "generator")
    else:
        if awareness := getattr(adapter, "awareness", None):  # CA-LoRA: the whole table that it chose from
            awareness.save(run.out / "adapter" / "awareness.json")
        save_adapter(adapter, run.out / "adapter")  # its config is what says that the folder is whole
    write_jsonl(run.out / "curves.jsonl", curve)
    bounds = report.edges(at_end)
    bins = zip(bounds, bounds[1:], before["loss"], after, strict=False)
    write_json(
        run.out / "tune.json",
        {
            "schema": SCHEMA,
            "method": config.method.kind,
            "arch": generator.arch,
            "base": run.named("base") if config.base else "nano",
            "parameters": {
                "trainable": trainable,
                "denoiser": total,
                "share": round(trainable / total, 6),
            },
            "frames": {split: len(rows) for split, rows in frames.items()},
            "loss": {
                "measured_on": f"{len(looked_at)} {measured} frames",
                "before": round(float(np.mean(before["loss"])), 6),
                "after": round(float(np.mean(after)), 6),
                "by_t": [{"from": a, "to": b, "before": x, "after": y} for a, b, x, y in bins],
            },
            "effect": report.effect(before["pictures"], painted),
            "signal_left": round(at_end.signal_left, 6),  # of the picture at the last t: its brightness leaks
            "facts": facts,
        },
    )
    _sheet(run, config, trainer, shown, before["pictures"], painted)
    run.say(f"loss {np.mean(before['loss']):.4f} before, {np.mean(after):.4f} after, over all noise times")


def phases(config: TuneConfig, adapter: Adapter) -> list[Phase]:
    """One stretch of all steps; a method with stages (tsm) has one after another, by their shares.

    Raises UserError for an interval or schedules of the recipe beside such stages.
    """
    steps, stages = config.train.steps, getattr(adapter, "stages", None)
    if not stages:
        return [Phase("tune", steps, config.objective.interval)]
    for key, given in (
        ("interval", config.objective.interval is not None),
        ("stages: progressive", config.objective.stages == "progressive"),
    ):
        if given:
            raise UserError(
                f"tune: objective.{key} with method.kind: {adapter.kind}",
                f"the method trains in {len(stages)} stages, each with noise times of its own",
                "leave it out",
            )
    from edgekit.generators.adapters.tsm.stages import schedule

    parts = zip(stages, schedule(stages, steps), strict=True)
    return [Phase(stage.name, len(part), stage.interval, stage, part.start) for stage, part in parts]


def _base(config: TuneConfig, run: Run, datasets: list[Dataset]) -> Generator:
    """The generator where it starts, on the device that Accelerate chooses."""
    if (processes := PartialState().num_processes) > 1:
        raise UserError(
            f"tune: {processes} processes",
            "a tuning is one process on one device",
            "start it without a launcher",
        )
    device = PartialState().device
    if config.nano:
        labels = config.nano.arch == "dit"
        frames = read_frames(datasets, "train", labels, config.condition, config.objective)
        return build_nano_generator(config.nano, config.seed, sorted({f.asked for f in frames})).to(device)
    # What is trained in place as a whole stays wide; a frozen base takes half the memory.
    narrow = config.train.precision == "bf16" and config.method.kind != "full"
    generator = open_generator(run.input("base"), torch.bfloat16 if narrow else torch.float32, device=device)
    if reason := supports(config.method.kind, generator.arch):
        raise UserError(
            f"tune: {config.method.kind} on {generator.arch}: not applicable",
            reason,
            "choose another method or base",
        )
    return generator


def _frames(config: TuneConfig, generator: Generator, datasets: list[Dataset]) -> dict[str, list[Frame]]:
    """By split; dev frames of a label that train does not show are left out: nothing could be said of them."""
    labels = isinstance(generator.condition, LabelCondition)
    train, dev = (
        read_frames(datasets, split, labels, config.condition, config.objective) for split in ("train", "dev")
    )
    learned = {frame.asked for frame in train}
    return {"train": train, "dev": [f for f in dev if not labels or f.asked in learned]}


def _check(config: TuneConfig, generator: Generator) -> None:
    """What would fail in the first step, before anything is spent."""
    process, why = generator.process, None
    if config.objective.stages == "progressive":
        if not isinstance(process, Betas):
            why = "its noise process is a flow, and the stages are tables of betas"
        elif gap := difference(process, replace(process, betas=linear(len(process)))):
            why = f"the stages begin with a linear table, and the base knows another: {gap}"
    if why:
        raise UserError(
            f"tune: objective.stages: progressive on {generator.arch}", why, "set objective.stages: fixed"
        )
    process.sample_t(1, torch.Generator().manual_seed(0), config.objective.interval)


def _process_at_end(config: TuneConfig, generator: Generator) -> Process:
    """The noise process that the adapter will be saved with."""
    process = generator.process
    if config.objective.stages == "progressive":
        return replace(process, betas=stage_betas(len(STAGES) - 1, len(process)))
    return process


def _before(trainer: Trainer, frames: list[Frame], shown: list[Frame], at_end: Process) -> dict:
    """The loss and the samples at the start; kept, so that a resumed run compares with the same.

    The loss at the noise of ``at_end``'s times, under the schedule that is known at the start: what is said under
    one that was never seen tells nothing.
    """
    path, config, generator = trainer.run.state / "before.pt", trainer.config, trainer.generator
    if path.exists():
        return torch.load(path, weights_only=True)
    with trainer.autocast():
        told = {
            "loss": report.loss_by_t(generator, trainer.latents, frames, at_end, config.seed),
            "pictures": report.paint(generator, [f.asked for f in shown], config.report, config.seed),
        }
    torch.save(told, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return told


def _still(adapter: Adapter, encoders: list) -> None:
    """Nothing is trained any more: texts are encoded once again with what the encoders became."""
    generator = adapter.generator
    if hasattr(adapter, "finish"):
        adapter.finish()
    for encoder in encoders:
        encoder.requires_grad_(False)
    if encoders:
        generator.condition.to(generator.device)  # forgets the encodings that it kept


def _say(run: Run, config: TuneConfig, generator: Generator, frames, datasets: list[Dataset]) -> None:
    height, width = (side * generator.codec.factor for side in generator.size)
    run.say(
        f"{config.method.kind} on {generator.arch}, {width} x {height} pixels; "
        f"{len(frames['train'])} train and {len(frames['dev'])} dev frames"
    )
    small = [d for d in datasets if d.contract.height < height and d.contract.width < width]
    for data in small:
        run.note(
            f"a Dataset's frames of {data.contract.width} x {data.contract.height} pixels are enlarged: "
            "the adapter learns their blur"
        )


def _sheet(run: Run, config: TuneConfig, trainer: Trainer, shown: list[Frame], base, painted) -> None:
    rows = {"data": np.stack([frame.pixels(*trainer.latents.size) for frame in shown])}
    if not config.nano:
        rows["base"] = base.numpy()
    rows["trained" if config.nano else "adapted"] = painted.numpy()
    report.sheet(rows, [frame.asked for frame in shown], run.out / "samples.png")
