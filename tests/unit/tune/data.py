"""A Dataset of 56 x 56 pixels whose pictures tell night from day, and nano sizes that train in seconds."""

import numpy as np

from edgekit.core.contract import Contract
from edgekit.core.files import write_jsonl
from edgekit.core.label import UNKNOWN
from edgekit.dataset import DatasetWriter, Sample

NANO = {"arch": "dit", "size": 8, "patch": 4, "width": 32, "layers": 2, "heads": 2}
TRAIN = {"steps": 4, "batch": 2, "learning_rate": 1e-2, "warmup_steps": 0, "threads": 1, "save_every": 2}
REPORT = {"frames": 2, "samples": 2, "steps": 2}
TAGS = (["clear"], ["rain", "night"])


def write_dataset(out, frames=6, dev=2, tags=TAGS, truth=True):
    writer, told = DatasetWriter(out, Contract(width=56, height=56)), []
    for number in range(frames + dev):
        night = "night" in tags[number % len(tags)]
        image = np.full((56, 56, 3), 20 if night else 200, np.uint8)
        image[30:50, 4:24] = (250, 80, 60)  # something on the left
        split, name = ("train", "dev")[number >= frames], f"f{number}"
        writer.add(split, Sample.of(
            id=name, prompt_text="Look.", label=UNKNOWN, source="render", scene=name,
            images=[writer.image(name, image)], tags=list(tags[number % len(tags)]),
        ))  # fmt: skip
        side = "A car on the left." if number % 2 else "A car ahead."
        told.append({"id": name, "description": side, "things": [{"class": "car", "box": [4, 30, 24, 50]}]})
    writer.finish()
    if truth:
        write_jsonl(out / "truth.jsonl", told)
    return out
