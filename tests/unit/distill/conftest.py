"""A tiny Dataset drawn in numpy: a coloured disc is the light, an orange bar the cones."""

import numpy as np
import pytest
from PIL import Image

from edgekit.core.files import write_text
from edgekit.core.label import SceneLabel
from edgekit.dataset import DatasetWriter, Sample
from edgekit.library import default_prompt
from edgekit.models.nano import WINDOWED_CONTRACT

CLASSES = {"road": 1, "lamp_red": 10, "lamp_green": 12, "cone": 14}
COLOURS = {"red": (230, 20, 10), "green": (10, 220, 90)}


def draw(light: str, cones: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """RGB uint8 and class·1000 uint16, (H, W)."""
    height, width = WINDOWED_CONTRACT.height, WINDOWED_CONTRACT.width
    image = np.full((height, width, 3), 90, np.uint8) + rng.integers(
        0, 30, (height, width, 1), dtype=np.uint8
    )
    ids = np.full((height, width), 1000, np.uint16)
    y, x = rng.integers(10, 90), rng.integers(10, width - 40)
    image[y : y + 22, x : x + 22] = COLOURS[light]
    ids[y : y + 22, x : x + 22] = CLASSES[f"lamp_{light}"] * 1000
    if cones:
        image[150:180, 100:130] = (240, 120, 0)
        ids[150:180, 100:130] = CLASSES["cone"] * 1000
    return image, ids


def write_dataset(folder, frames: int = 16, seed: int = 0, held_out: str = "dev", source: str = "render"):
    """``frames`` train rows and a quarter as many of another split, a scene each."""
    rng = np.random.default_rng(seed)
    writer = DatasetWriter(folder, WINDOWED_CONTRACT, classes=CLASSES)
    (folder / "ids").mkdir(parents=True, exist_ok=True)
    for k in range(frames + frames // 4):
        light, cones = ("red", "green")[k % 2], bool(k // 2 % 2)
        image, ids = draw(light, cones, rng)
        name = f"f{k:03d}"
        label = SceneLabel(
            recommended_speed_kmh="0" if light == "red" else "40", light=light, light_arrow="any",
            light_kind="intersection", other_left="none", other_straight="none", other_right="none",
            cones="yes" if cones else "no", obstacle="none", crossroad="yes", zebra="no",
        )  # fmt: skip
        row = Sample.of(
            prompt_text=default_prompt().text, label=label, source=source,
            id=name, images=[writer.image(name, image)], scene=name,
        )  # fmt: skip
        Image.fromarray(ids).save(folder / "ids" / f"{name}.png")
        writer.add("train" if k < frames else held_out, row)
    writer.finish()
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def recipe(tmp_path):
    """A recipe file for a windowed nano; ``more`` goes below it."""

    def write(more: str, name: str = "r.yaml"):
        path = tmp_path / name
        nano = "{layers: 2, vision_hidden: 64, vision_intermediate: 96, vision_heads: 2}"
        write_text(path, f"student: {{kind: nano, nano: {nano}}}\n{more}")
        return path

    return write
