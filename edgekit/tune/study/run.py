"""The story of a study: bases that know a drawn world; then every arm on every base, seed by seed, measured alike.

Each training is a run of its own below the study's directory, so that a killed study goes on with the one that
it was in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import read_json, write_json, write_text
from edgekit.core.run import Run, open_input, start
from edgekit.dataset import Dataset, open_dataset
from edgekit.generators.adapters.adapter import supports
from edgekit.tune.config import TuneConfig
from edgekit.tune.study.figures import draw_figures
from edgekit.tune.study.ground import Ground
from edgekit.tune.study.measure import measure
from edgekit.tune.study.pictures import write_world
from edgekit.tune.study.report import report
from edgekit.tune.study.words import WORLD

Tune = Callable[[TuneConfig, Run], None]


def study(config: TuneConfig, run: Run, tune: Tune) -> None:
    """Bases: fills ``run.out`` with world/, a folder a base and bases.json. Arms: study.json, report.md, figures."""
    (make_bases if config.study.kind == "bases" else compare)(config, run, tune)


def make_bases(config: TuneConfig, run: Run, tune: Tune) -> None:
    asked, world = config.study, run.out / "world"
    if not (world / "truth.jsonl").is_file():
        write_world(world, "source", asked.pictures, asked.held_out, config.seed)
    told = {}
    for name, nano in asked.nano.items():
        inner = _inner(
            config, run.path / "training" / name, tune, nano=nano.model_dump(mode="json"), data=[str(world)],
            condition=WORLD.model_dump(mode="json"),
            train=config.train.model_dump(mode="json") | {"steps": asked.steps.get(name, config.train.steps)},
        )  # fmt: skip
        if not (run.out / name / "model_index.json").is_file():
            shutil.copytree(inner / "out" / "generator", run.out / name, dirs_exist_ok=True)
            shutil.copy(inner / "out" / "samples.png", run.out / f"{name}.png")
        tuned = read_json(inner / "out" / "tune.json")
        told[name] = {
            "arch": nano.arch,
            "parameters": tuned["parameters"]["denoiser"],
            "loss": tuned["loss"]["after"],
        }
    write_json(run.out / "bases.json", told)
    run.say(", ".join(f"{name}: held-out loss {base['loss']:.4f}" for name, base in told.items()))


def compare(config: TuneConfig, run: Run, tune: Tune) -> None:
    asked, bases = config.study, _bases(config, run)
    results: list[dict[str, Any]] = []
    for on in asked.on:
        for target in asked.targets:
            data = _data(config, run, target)
            ground = None  # made when something is to be measured: a finished study opens nothing
            for arm in asked.arms:
                kind = config.inner(arm, data=data).method.kind
                if reason := supports(kind, bases[on]["arch"]):
                    results.append({"base": on, "target": target, "arm": arm, "not_applicable": reason})
                    continue
                for seed in asked.seeds:
                    run.say(f"study: {arm} on {on}, {target}, seed {seed}")
                    drawn = target != "drives"
                    changed = {"base": str(run.input("base") / on), "data": data, "seed": seed}
                    if drawn:
                        changed["condition"] = WORLD.model_dump(mode="json")
                    name = f"{on}-{target}-{arm}-{seed}"
                    inner = _inner(config, run.path / "arms" / name, tune, arm=arm, **changed)
                    place = inner / "measured.json"
                    if not place.is_file():
                        ground = ground or Ground(config, run, on, target, _opened(data))
                        write_json(place, measure(ground, inner))
                    results.append(
                        {"base": on, "target": target, "arm": arm, "seed": seed, "measured": read_json(place)}
                    )
    told = report(asked, results, run)
    write_json(run.out / "study.json", told)
    write_text(run.out / "report.md", told["text"])
    draw_figures(asked, results, run)


def _inner(config: TuneConfig, path: Path, tune: Tune, arm: str | None = None, **changed) -> Path:
    """The directory of one training of the study, finished."""
    one = config.inner(arm, **changed)
    run = start("tune", one, path.name, path)
    if not run.complete:
        tune(one, run)
        run.finish()
    return path


def _bases(config: TuneConfig, run: Run) -> dict[str, dict]:
    place = run.input("base") / "bases.json"
    if not place.is_file():
        raise UserError(
            f"study: {config.base} holds no bases of a study",
            "there is no bases.json in it",
            "edgekit tune study/bases --out runs/tune/study-bases makes them",
        )
    told = read_json(place)
    if strange := [name for name in config.study.on if name not in told]:
        raise UserError(f"study: no base {strange[0]!r}", suggestion(strange[0], told), "mend study.on")
    return told


def _data(config: TuneConfig, run: Run, target: str) -> list[str]:
    """Datasets of a target: the recipe's own, or drawn once below the study's directory."""
    if target == "drives":
        return config.data
    place = run.path / "world" / target
    if not (place / "truth.jsonl").is_file():
        write_world(place, target, config.study.pictures, config.study.held_out, config.seed)
    return [str(place)]


def _opened(data: list[str]) -> list[Dataset]:
    return [open_dataset(open_input(name).out) for name in data]
