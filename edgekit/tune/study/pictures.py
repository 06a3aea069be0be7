"""The toy world as Datasets, so that a study trains by the same way as every tuning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.files import write_jsonl
from edgekit.core.label import UNKNOWN
from edgekit.core.progress import bar
from edgekit.dataset import DatasetWriter, Sample
from edgekit.tune.study.world import SIZE, STYLES, VIEWS, Picture, draw

UNSEEN = (("night", "street"), ("snow", "street"))  # of the source: the weather target's
GAIN = np.array([0.55, 1.0, 1.35], np.float32)  # of the gain target's red, green and blue


def combinations(of: str) -> list[tuple[str, str]]:
    """(style, view) of the source or of a drawn target."""
    seen = [(style, view) for style in STYLES for view in VIEWS if (style, view) not in UNSEEN]
    known = [pair for pair in seen if pair[1] == "street"]
    return {
        "source": seen, "weather": list(UNSEEN), "gain": known,
        "tunnel": [(style, "tunnel") for style, _ in known],
    }[of]  # fmt: skip


def pictures(of: str, count: int, seed: int) -> Iterator[Picture]:
    """``count`` pictures whose factors go round evenly; another ``seed`` is other pictures."""
    pairs, number = combinations(of), sum(of.encode())
    for i in range(count):
        style, view = pairs[i % len(pairs)]
        picture = draw(style, view, [seed, number, i])
        if of == "gain":
            rgb = np.clip(picture.rgb * GAIN, 0, 255).round().astype(np.uint8)
            picture = Picture(rgb, picture.mask, picture.boxes, picture.style, picture.view, picture.thing)
        yield picture


def write_world(out: Path, of: str, train: int, dev: int, seed: int = 0) -> None:
    """A Dataset of ``of``; its truth.jsonl holds captions and boxes. The two splits share no picture."""
    writer = DatasetWriter(out, Contract(width=SIZE, height=SIZE), made_by="tune study", world=of)
    told = []
    with bar(f"drawing {of}", train + dev, "image") as shown:
        for split, count in (("train", train), ("dev", dev)):
            drawn = pictures(of, count, 2 * seed + (split == "dev"))
            for number, picture in enumerate(drawn):
                name = f"{split}_{number:05d}"
                writer.add(split, Sample.of(
                    id=name, prompt_text="Look.", label=UNKNOWN, source="render", scene=name,
                    images=[writer.image(name, picture.rgb)], tags=picture.tags,
                ))  # fmt: skip
                things = [{"class": c, "box": [round(v, 2) for v in box]} for c, *box in picture.boxes]
                told.append({"id": name, "description": picture.caption, "things": things})
                shown.update()
    writer.finish()
    write_jsonl(out / "truth.jsonl", told)
