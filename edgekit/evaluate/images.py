"""The story of evaluating pictures: open the features, look at both sides, compare, report.

A metric's own name stands for the network that it is defined on: FID, sFID, KID, precision and recall for
Inception, CMMD and the CLIP score for CLIP. Other networks' numbers have names of their own, and the metric
stays empty ("—").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgekit.core.errors import UserError
from edgekit.core.files import write_json
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.dataset import Dataset, open_dataset
from edgekit.dataset.bootstrap import draw, interval
from edgekit.evaluate.config import EvaluateConfig, places_of
from edgekit.evaluate.images_report import write_images_report
from edgekit.evaluate.pictures import Pictures, painted_pictures, real_pictures
from edgekit.generators.quality import distance
from edgekit.generators.quality.config import FeatureConfig, Scenes
from edgekit.generators.quality.features import (
    AlexFeatures,
    ClipFeatures,
    Extractor,
    Features,
    OnnxFeatures,
    joined,
)
from edgekit.generators.quality.scenes import UNKNOWN, SceneNet, targets_of, train_scene_net

SCHEMA = "edgekit/report/1"
COLUMNS = ("FID", "sFID", "KID", "precision", "recall", "CMMD", "CLIP score")
NEIGHBOURS = 3  # k of the balls of precision and recall
PAIRS = 100  # of pictures whose LPIPS is averaged
NOT_GIVEN = (
    "intervals of the Fréchet distances and of CMMD: both are biased by the number of pictures, and a resample, "
    "which holds each picture several times, is biased further",
    "intervals of KID: what stands behind ± is its standard deviation over subsets of the same pictures",
    "of precision and recall, how the balls themselves would move: only what lies in them is resampled, by scene",
)
RESIZE = (
    "every network sees the whole picture squeezed to its own square, bicubic and antialiased; FID depends on "
    "this filter, so compare with numbers of the same one"
)


def evaluate_images(config: EvaluateConfig, run: Run) -> None:
    """Fills ``run.out`` with metrics.json (kind: images) and report.html.

    Raises UserError for too few pictures on a side, and for features that cannot be opened or learned.
    """
    data = open_dataset(run.input("dataset"))
    real = real_pictures(data, config.split, config.dataset).part(config.frames)
    painted = painted_pictures(run.input("images"), config.images, real.size, run).part(config.frames)
    train = replace(real, items=()) if config.split == "train" else _train(data, config, real)
    run.say(f"{len(painted)} painted pictures against {len(real)} of split {config.split}")
    extractors = [(f, e) for f, e in zip(config.features, _opened(config, run, data), strict=True)]
    rows, first = [], None
    for feature, extractor in extractors:
        seen = look(extractor, real, config.batch), look(extractor, painted, config.batch)
        first = first or (extractor, *seen)
        rows.append(compared(feature.kind, extractor, *seen, real, painted, config))
        if feature.kind == "alexnet":
            rows[-1]["measures"] |= diversity(extractor, real, painted, config)
        if feature.kind == "clip":
            _clip_score(rows[-1], extractor, seen[1], painted)
    nets = [e for f, e in extractors if f.kind == "scenes"]
    found = {
        "schema": SCHEMA,
        "kind": "images",
        "images": run.inputs["images"][0].digest,
        "split": config.split,
        "painted": len(painted),
        "real": len(real),
        "overall": {
            name: next((r["measures"][name] for r in rows if r["measures"].get(name) is not None), None)
            for name in COLUMNS
        },
        "features": rows,
        "asked": asked(nets[0], painted, real, config) if nets else None,
        "nearest": neighbours(*first, train, config),
        "not_given": list(NOT_GIVEN),
        "resize": RESIZE,
    }
    _notes(found, config, run)
    write_json(run.out / "metrics.json", found)
    write_images_report(run.out / "report.html", config.report_frames, found, real, painted, train, run.notes)
    _tell(found, run)


def look(extractor: Extractor, pictures: Pictures, batch: int) -> Features:
    """Features of all pictures, which are read a batch at a time."""
    parts = []
    with bar(extractor.name, len(pictures), "image") as shown:
        for at in range(0, len(pictures), batch):
            parts.append(extractor(pictures.load(at, at + batch), batch))
            shown.update(len(parts[-1].pooled))
    return joined(parts)


def compared(
    kind: str, extractor: Extractor, real: Features, fake: Features, reals: Pictures, fakes: Pictures,
    config: EvaluateConfig,
) -> dict[str, Any]:  # fmt: skip
    """One extractor's row. Its measures have the metrics' own names only where the extractor is theirs."""
    measures: dict[str, float | None] = {}
    intervals: dict[str, list[float]] = {}
    spread: dict[str, float] = {}
    row = {
        "kind": kind,
        "name": extractor.name,
        "stand_in": extractor.stand_in,
        "source": extractor.source,
        "numbers": {
            "pooled": real.pooled.shape[1],
            "spatial": None if real.spatial is None else real.spatial.shape[1],
        },
        "measures": measures,
        "intervals": intervals,
        "std": spread,
    }
    if kind == "clip":
        measures["CMMD"] = _rounded(distance.cmmd(real.pooled, fake.pooled))
        return row
    named = names_of(extractor)
    measures[named["FID"]] = _rounded(distance.frechet(real.pooled, fake.pooled))
    if real.spatial is not None:
        measures[named["sFID"]] = _rounded(distance.frechet(real.spatial, fake.spatial))
    smaller = min(len(reals), len(fakes))
    if smaller > NEIGHBOURS:  # also as many as the unbiased estimate wants
        mean, std = distance.kernel(real.pooled, fake.pooled, seed=config.seed)
        measures[named["KID"]], spread[named["KID"]] = _rounded(mean), _rounded(std)
        for name, cloud, rows, pictures in (
            ("precision", real.pooled, fake.pooled, fakes),
            ("recall", fake.pooled, real.pooled, reals),
        ):
            flags = distance.inside(cloud, rows, NEIGHBOURS)
            measures[named[name]] = _rounded(flags.mean())
            if between := _between(flags, [p.scene for p in pictures.items], config):
                intervals[named[name]] = between
    return row


def names_of(extractor: Extractor) -> dict[str, str]:
    """What an extractor's distances are called: by the metric's name only where it is the metric's network."""
    if not extractor.stand_in:
        return {name: name for name in COLUMNS}
    words = {"FID": "Fréchet", "sFID": "spatial Fréchet", "KID": "kernel distance"}
    where = f"in {extractor.name.removesuffix(', stand-in')} features (stand-in)"
    return {
        name: f"{words.get(name, name)} {where}" for name in ("FID", "sFID", "KID", "precision", "recall")
    }


def diversity(
    extractor: AlexFeatures, real: Pictures, painted: Pictures, config: EvaluateConfig
) -> dict[str, float]:
    """LPIPS, with its own network, between two pictures of one side: the mean over random pairs."""
    found = {}
    for name, side in (("LPIPS between painted", painted), ("LPIPS between real", real)):
        random = np.random.default_rng([config.seed, len(side)])
        pairs = [
            random.choice(len(side), 2, replace=False)
            for _ in range(min(PAIRS, len(side) * (len(side) - 1) // 2))
        ]
        values = [
            extractor.lpips(
                *(np.stack([side.one(int(p[i])) for p in pairs[at : at + config.batch]]) for i in (0, 1))
            )
            for at in range(0, len(pairs), config.batch)
        ]
        found[name] = _rounded(np.concatenate(values).mean())
    return found


def asked(net: SceneNet, painted: Pictures, real: Pictures, config: EvaluateConfig) -> dict[str, Any]:
    """Of each factor: the share of painted pictures in which ``net`` sees the word that was asked for.

    of: pictures that asked for a word it knows; most_asked: the share that naming the commonest word would
    get; on_real: how often the net is right about the real pictures, without which the share says little.
    """
    said, seen = (_predicted(net, side, config.batch) for side in (painted, real))
    truth, _ = targets_of([p.tags for p in real.items], net.names)
    found = {}
    for factor, classes in net.names.items():
        words = [p.words[factor] if p.words else None for p in painted.items]
        wanted = np.array([classes.index(w) if w in classes else UNKNOWN for w in words])
        known = wanted != UNKNOWN
        right = said[factor][known] == wanted[known]
        scenes = [p.scene for p, k in zip(painted.items, known, strict=True) if k]
        true = np.array(truth[factor])
        sure = (seen[factor] == true)[true != UNKNOWN]
        found[factor] = {
            "right": _rounded(right.mean()) if known.any() else None,
            "interval": _between(right, scenes, config),
            "of": int(known.sum()),
            "most_asked": _rounded(np.bincount(wanted[known]).max() / known.sum()) if known.any() else None,
            "on_real": _rounded(sure.mean()) if len(sure) else None,
            "classes": classes,
        }
    return found


def _predicted(net: SceneNet, pictures: Pictures, batch: int) -> dict[str, np.ndarray]:
    parts = [net.predict(pictures.load(at, at + batch)) for at in range(0, len(pictures), batch)]
    return {factor: np.concatenate([part[factor] for part in parts]) for factor in net.names}


def neighbours(
    extractor: Extractor, real: Features, fake: Features, train: Pictures, config: EvaluateConfig
) -> dict[str, Any]:
    """How near painted pictures come to those of the train split, against how near held-out real ones do.

    copies: the share of painted ones that are nearer than 19 of 20 held-out ones; .05 where nothing is learned
    by heart. pairs: the painted pictures that come nearest, and to which. Where the evaluated split is train,
    or there is none, painted ones are compared with the evaluated pictures, and there is no yardstick.
    """
    learned = look(extractor, train, config.batch).pooled if len(train) else real.pooled
    near, which = distance.nearest_rows(fake.pooled, learned)
    held_out = distance.nearest(real.pooled, learned) if len(train) else None
    order = np.argsort(near, kind="stable")[:6]
    return {
        "features": extractor.name,
        "against": "train" if len(train) else config.split,
        "median": _rounded(np.median(near)),
        "median_of_real": None if held_out is None else _rounded(np.median(held_out)),
        "copies": None if held_out is None else _rounded((near < np.quantile(held_out, 0.05)).mean()),
        "pairs": [{"painted": int(i), "real": int(which[i]), "distance": _rounded(near[i])} for i in order],
    }


def _train(data: Dataset, config: EvaluateConfig, real: Pictures) -> Pictures:
    return real_pictures(data, "train", config.dataset, least=0).part(config.frames)


def _opened(config: EvaluateConfig, run: Run, data: Dataset) -> list[Extractor]:
    """The extractors of ``features``, in their order; all are opened before a picture is looked at."""
    places = iter(i.out for i in run.inputs.get("feature_files", []))
    return [_open(f, [next(places) for _ in places_of(f)], data, config, run) for f in config.features]


def _open(feature: FeatureConfig, places: list, data: Dataset, config: EvaluateConfig, run: Run) -> Extractor:
    if feature.kind == "inception":
        kept = feature.model_dump(include={"size", "low", "high", "pooled", "spatial"})
        return OnnxFeatures(places[0], **kept)
    if feature.kind == "clip":
        return ClipFeatures(places[0])
    if feature.kind == "alexnet":
        return AlexFeatures(places[0], feature.size)
    return _scene_net(feature, [open_dataset(p) for p in places] or [data], config, run)


def _scene_net(feature: Scenes, datasets: Sequence[Dataset], config: EvaluateConfig, run: Run) -> SceneNet:
    """Learned from the train splits. Raises UserError where there is none, or one weather and time alone."""
    where = ", ".join(feature.data) or config.dataset
    sides = [real_pictures(d, "train", where, least=0) for d in datasets]
    items = tuple(item for side in sides for item in side.items)
    side = Pictures(items, (feature.size, feature.size)).part(feature.pictures)
    targets, names = targets_of([p.tags for p in side.items])
    if not names:
        raise UserError(
            f"evaluate images: no scene classifier can be learned from {where}",
            f"its train split holds {len(items)} pictures, and their tags tell no two weathers or times apart",
            "set features: [{kind: scenes, data: [...]}] to Datasets with tags such as rain and night, or name "
            "other features",
        )
    run.say(f"learning {', '.join(f'{k} ({len(v)})' for k, v in names.items())} from {len(side)} pictures")
    return train_scene_net(
        side.load(0, len(side)), targets, names, config.seed, feature.steps, threads=feature.threads,
        size=feature.size,
    )  # fmt: skip


def _clip_score(row: dict[str, Any], extractor: ClipFeatures, seen: Features, painted: Pictures) -> None:
    """Fills the score over the pictures whose words are known."""
    known = [i for i, p in enumerate(painted.items) if p.asked]
    row["measures"]["CLIP score"] = (
        _rounded(
            distance.clip_score(seen.pooled[known], extractor.texts([painted.items[i].asked for i in known]))
        )
        if known
        else None
    )


def _between(flags: np.ndarray, scenes: Sequence[str], config: EvaluateConfig) -> list[float] | None:
    """95 % of a share, scenes resampled; None for fewer than two."""
    names, group = np.unique(np.asarray(scenes, dtype=str), return_inverse=True)
    if len(names) < 2:
        return None
    weights = draw(len(names), config.resamples, config.seed)
    hits, sizes = (np.bincount(group, w, len(names)) for w in (flags.astype(float), np.ones(len(flags))))
    return interval(weights @ hits / (weights @ sizes))


def _notes(found: dict[str, Any], config: EvaluateConfig, run: Run) -> None:
    smaller = min(found["painted"], found["real"])
    if empty := [name for name, value in found["overall"].items() if value is None]:
        run.note(f"no {', '.join(empty)}: each needs its own network, or more pictures, or known words")
    for row in found["features"]:
        if row["stand_in"]:
            run.note(f"{row['name']}: its distances compare painters on these pictures; they are no FID")
        if row["kind"] != "clip" and smaller <= (widest := max(n for n in row["numbers"].values() if n)):
            run.note(
                f"{row['name']}: {smaller} pictures on the smaller side, features of up to {widest} numbers: "
                "covariances are of lower rank, and the Fréchet distances too large by far"
            )
    if found["asked"] and config.split == "train":
        run.note(
            "the scene classifier learned from the pictures it is checked on: on_real is no held-out share"
        )


def _tell(found: dict[str, Any], run: Run) -> None:
    for row in found["features"]:
        told = (f"{name} {value:.4g}" for name, value in row["measures"].items() if value is not None)
        run.say(f"{row['name']}: {'; '.join(told)}")
    for factor, part in (found["asked"] or {}).items():
        if part["right"] is not None:
            run.say(
                f"{factor} as asked in {part['right']:.3f} of {part['of']} (real ones told: {part['on_real']})"
            )


def _rounded(value: float) -> float:
    """Six digits, whatever the size: a distance may be 1e-5 or 1e3."""
    return float(f"{value:.6g}")
