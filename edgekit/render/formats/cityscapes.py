"""Cityscapes' train ids: out/cityscapes/<stem>_labelTrainIds.png (8 bit, 255 = ignored) and <split>.txt, stems."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from edgekit.core.files import write_bytes, write_text
from edgekit.render.classes import train_ids
from edgekit.render.formats.frame import by_split, frames_of, fresh


def write(out: Path, records: list[dict[str, Any]], cfg: Any) -> None:
    """One picture a frame, at the frame's size; which class is which train id: edgekit/render/classes.py."""
    folder = fresh(out, "cityscapes")
    for split, frames in by_split(frames_of(out, records)).items():
        for frame in frames:
            buffer = io.BytesIO()
            Image.fromarray(train_ids(frame.ids())).save(buffer, "PNG")
            write_bytes(folder / f"{frame.stem}_labelTrainIds.png", buffer.getvalue())
        write_text(folder / f"{split}.txt", "".join(f"{frame.stem}\n" for frame in frames))
