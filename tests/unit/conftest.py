"""What the costly steps make, once per test session: a windowed nano, its data, its 4-bit form, its Bundle."""

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.label import SLOTS, coherent
from edgekit.core.run import start

COUNTS = {"train": 8, "dev": 1, "test": 2}


def _dataset(out: Path, contract) -> Path:
    from edgekit.dataset import DatasetWriter, Sample

    writer = DatasetWriter(out, contract)
    for split, frames in COUNTS.items():
        for i in range(frames):
            random = np.random.default_rng([len(split), i])
            cells = random.integers(0, 255, (contract.height // 28, contract.width // 28, 3), dtype=np.uint8)
            image = cells.repeat(28, axis=0).repeat(28, axis=1)
            label = coherent({slot: values[random.integers(len(values))] for slot, values in SLOTS.items()})
            sample = Sample.of(
                id=f"{split}/{i:03d}", prompt_text="Look at the road and answer.", label=label,
                source="render", images=[writer.image(f"{split}-{i:03d}", image)], scene=f"{split}-{i}",
                tags=["night"] if i % 3 == 0 else [],
            )  # fmt: skip
            writer.add(split, sample)
    writer.finish()
    return out


@pytest.fixture(scope="session")
def windowed(tmp_path_factory) -> dict[str, Path]:
    """{"checkpoint": an untrained windowed nano, "data": a Dataset of its contract}."""
    from edgekit.models.checkpoint import save_checkpoint
    from edgekit.models.nano import WINDOWED, WINDOWED_CONTRACT, build_nano

    root = tmp_path_factory.mktemp("windowed")
    small = WINDOWED.model_copy(update={"vision_depth": 2, "full_attention_blocks": [1]})
    save_checkpoint(root / "nano", build_nano(small), WINDOWED_CONTRACT)
    return {"checkpoint": root / "nano", "data": _dataset(root / "data", WINDOWED_CONTRACT)}


@pytest.fixture(scope="session")
def quantized(windowed, tmp_path_factory) -> Path:
    """A complete quantize Run of the windowed nano."""
    from edgekit.quantize import QuantizeConfig, quantize

    config = QuantizeConfig(
        checkpoint=str(windowed["checkpoint"]), calibration=str(windowed["data"]),
        frames=4, check_frames=2, grid=4,
    )  # fmt: skip
    run = start("quantize", config, "test", tmp_path_factory.mktemp("runs") / "quantize")
    quantize(config, run)
    run.finish()
    return run.path


@pytest.fixture(scope="session")
def bundle(quantized, windowed, tmp_path_factory) -> Path:
    """A complete export Run of the quantized windowed nano, with a fast decoder beside."""
    pytest.importorskip("onnxruntime")
    from edgekit.export import ExportConfig, export

    config = ExportConfig(
        checkpoint=str(quantized), golden=str(windowed["data"]), frames=2, max_tokens=24, accuracy_level=4
    )
    run = start("export", config, "test", tmp_path_factory.mktemp("runs") / "export")
    export(config, run)
    run.finish()
    return run.path
