"""Reading a Dataset: its contract, its rows, its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from edgekit import __version__
from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import inside, read_json, read_jsonl
from edgekit.dataset.sample import SPLITS, Sample
from edgekit.dataset.write import SCHEMA
from edgekit.engine.pixels import read_image


class Dataset:
    """An opened Dataset directory. ``rows(split)`` are read on demand."""

    def __init__(self, root: Path, info: dict, contract: Contract):
        self.root, self.info, self.contract = root, info, contract

    def rows(self, split: str) -> list[Sample]:
        """The split's rows. Raises UserError where a row does not fit the schema, or where they are not
        as many as info.json says."""
        if split not in SPLITS:
            raise UserError(f"no split {split!r}", f"splits are {', '.join(SPLITS)}", "choose one")
        path = self.root / f"{split}.jsonl"
        out: list[Sample] = []
        for number, raw in enumerate(read_jsonl(path) if path.is_file() else (), start=1):
            try:
                out.append(Sample(**raw))
            except ValidationError as error:
                first = error.errors()[0]
                raise UserError(
                    f"{path}:{number}: not a row of {SCHEMA}",
                    f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
                    "write the Dataset with edgekit.dataset.DatasetWriter",
                ) from None
        wanted = self.info.get("counts", {}).get(split, {}).get("frames", len(out))
        if len(out) != wanted:
            raise UserError(
                f"{path}: not the whole split",
                f"{len(out)} rows, and info.json says {wanted}",
                "copy the Dataset again, or make it again: it was cut short or edited",
            )
        return out

    def image_path(self, row: Sample) -> Path:
        """The row's (first) image; a path that leads out of the Dataset is refused."""
        try:
            return inside(self.root, row.images[0])
        except ValueError as error:
            raise UserError(f"row {row.id}: image path refused", str(error), "keep images inside") from None

    def image(self, row: Sample) -> np.ndarray:
        """RGB uint8 (H, W, 3)."""
        return read_image(self.image_path(row))


def open_dataset(root: str | Path) -> Dataset:
    """Opens a Dataset directory (a Run's ``out/``). Raises UserError."""
    root = Path(root)
    path = root / "info.json"
    if not path.is_file():
        raise UserError(
            f"{root}: not a Dataset", "it has no info.json", "name a run of mine, render or generate"
        )
    try:
        info = dict(read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not a JSON object", str(error), "copy the Dataset again") from None
    if info.get("schema") != SCHEMA:
        raise UserError(
            f"{path}: schema {info.get('schema')!r} is not read here",
            f"edgekit {__version__} reads {SCHEMA}",
            "use the edgekit that wrote it",
        )
    try:
        contract = Contract(**info["contract"])
        for counted in info.get("counts", {}).values():
            int(counted.get("frames", 0))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: its contract or counts are damaged",
            f"{type(error).__name__}: {error}".replace("\n", " ")[:160],
            "copy the Dataset again",
        ) from None
    return Dataset(root, info, contract)
