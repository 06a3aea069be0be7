"""The story of a painting: open the generator, paint what is missing, write a Dataset of what was asked."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import write_jsonl
from edgekit.core.label import TASKS, coherent
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.dataset import DatasetWriter, Sample
from edgekit.dataset.sample import TaskMark
from edgekit.generate.config import Ask, GenerateConfig
from edgekit.generators.adapters.files import adapter_folder, load_adapter, read_config
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator
from edgekit.generators.open import open_generator
from edgekit.generators.sampling import sample
from edgekit.library import default_prompt


class Picture:
    """The ``number``-th picture of an ask: its name, its seed, its split."""

    def __init__(self, config: GenerateConfig, asked: int, number: int):
        self.ask: Ask = config.ask[asked]
        self.name = f"a{asked:03d}_{number:05d}"
        self.id = f"a{asked:03d}/{number:05d}"
        draw = np.random.default_rng([config.seed, asked, number])
        self.seed = int(draw.integers(2**31))
        self.split = _split(config.splits, draw.random())


def generate(config: GenerateConfig, run: Run) -> None:
    """Fills ``run.out`` with a Dataset and asked.jsonl (what each picture was asked with, and its seed).

    Resumes: a batch whose pictures are all there is not painted again. Raises UserError, before the first
    picture, for an adapter of another base or another noise schedule, and for a label that is not known.
    """
    torch.set_num_threads(config.threads)
    generator = opened(config, run)
    _check(config, generator)
    run.say(f"{sum(a.count for a in config.ask)} pictures of {config.steps} steps on {generator.arch}")
    prompt = default_prompt(config.student_library)
    writer = DatasetWriter(
        run.out,
        Contract(width=config.width, height=config.height),
        made_by="generate",
        base=run.named("base"),
        adapter=run.named("adapter") if config.adapter else None,
        prompt={**prompt.record(), "text": prompt.text},
    )
    pictures = [Picture(config, a, n) for a, ask in enumerate(config.ask) for n in range(ask.count)]
    with bar("generate", len(pictures), "image") as shown:
        for at in range(0, len(pictures), config.batch):
            part = pictures[at : at + config.batch]
            _paint(config, generator, writer, part)
            shown.update(len(part))
    for picture in pictures:
        writer.add(picture.split, _row(picture, prompt))
    writer.finish()
    write_jsonl(
        run.out / "asked.jsonl",
        [
            {"id": p.id, "kind": "label" if p.ask.label is not None else "prompt", "asked": p.ask.words,
             "seed": p.seed, "slots": p.ask.slots}
            for p in pictures
        ],
    )  # fmt: skip
    run.say(f"a sheet of them: edgekit view {run.path}")


def opened(config: GenerateConfig, run: Run) -> Generator:
    """The base with its adapter on it, on the accelerator where there is one.

    Raises UserError for another base.
    """
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    folder = adapter_folder(run.input("adapter")) if config.adapter else None
    told = read_config(folder) if folder else {}
    narrow = config.precision == "bf16"
    if config.precision is None and told:  # the fingerprint holds for the numbers that it was trained on
        narrow = next(iter(told["base"]["tensors"].values()), "").startswith("bfloat16")
    generator = open_generator(run.input("base"), torch.bfloat16 if narrow else torch.float32, device)
    if folder:
        load_adapter(folder, generator)
    return generator


def _check(config: GenerateConfig, generator: Generator) -> None:
    """Each ask is of the kind that the generator takes, and its label known."""
    by_label = isinstance(generator.condition, LabelCondition)
    for number, ask in enumerate(config.ask):
        if by_label != (ask.label is not None):
            raise UserError(
                f"generate: ask[{number}] is a {'prompt' if by_label else 'label'}",
                f"a {generator.arch} is asked with {'labels' if by_label else 'prompts'}",
                f"write {'label' if by_label else 'prompt'}: ... instead"
                + (f"; it knows {', '.join(generator.condition.names)[:200]}" if by_label else ""),
            )
        if by_label:
            generator.condition.encode([ask.words])


def _paint(config: GenerateConfig, generator: Generator, writer: DatasetWriter, part: list[Picture]) -> None:
    """A batch, unless it is all there. A batch that a kill cut short is painted as a whole: the same company,
    the same rounding."""
    if all((writer.out / "images" / f"{p.name}.jpg").exists() for p in part):
        return
    narrow = generator.dtype == torch.bfloat16
    with torch.autocast(generator.device.type, torch.bfloat16) if narrow else nullcontext():
        cond = generator.condition.encode([p.ask.words for p in part])
        images = sample(
            generator,
            cond,
            config.steps,
            config.guidance,
            [p.seed for p in part],
            config.sampler,
            batch=len(part),
        )
    for picture, image in zip(part, images.cpu().numpy(), strict=True):
        writer.image(picture.name, image)


def _row(picture: Picture, prompt) -> Sample:
    """A task is learned from only where a slot of it was asked for: of the rest nobody knows the truth."""
    ask = picture.ask
    label = coherent({slot: "unknown" for slots in TASKS.values() for slot in slots} | ask.slots)
    tasks = {
        task: TaskMark(source="asked", status="kept" if set(slots) & set(ask.slots) else "dropped")
        for task, slots in TASKS.items()
    }
    return Sample.of(
        id=picture.id, prompt_text=prompt.text, label=label, source="asked", tasks=tasks,
        images=[f"images/{picture.name}.jpg"], scene=picture.name, tags=list(ask.tags), prompt=prompt.record(),
    )  # fmt: skip


def _split(splits: dict[str, float], at: float) -> str:
    for split, share in splits.items():
        at -= share
        if at < 0:
            return split
    return next(reversed([s for s, share in splits.items() if share > 0]))
