"""The preprocessing contract: how a frame becomes numbers, hashed, carried by every artefact.

A Dataset, a Checkpoint and a Bundle each carry one; a mismatch is refused in words, because a
model that is fed with another resize or template answers quietly worse, not loudly wrong.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from edgekit.core.errors import UserError
from edgekit.core.files import read_json

SCHEMA = "edgekit/contract/1"

SYSTEM_PROMPT = "You are a helpful assistant."


class Contract(BaseModel):
    """Resize, normalisation, patching, template and box convention; immutable.

    Sizes are pixels and multiples of patch_size * merge_size, so that the reference processor's
    smart_resize is the identity (min_pixels = max_pixels = width * height).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_id: str = SCHEMA
    width: int = 448
    height: int = 252
    patch_size: int = 14
    merge_size: int = 2
    temporal_patch_size: int = 2
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, as Qwen2.5-VL
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    resample: str = "bicubic"
    template: str = "qwen2.5-vl/1"
    system_prompt: str = SYSTEM_PROMPT
    boxes: str = "absolute xyxy in the resized image"
    label: str = "edgekit/label/1"

    @model_validator(mode="after")
    def _multiples(self) -> Contract:
        unit = self.patch_size * self.merge_size
        for side in ("width", "height"):
            if getattr(self, side) % unit or getattr(self, side) < 2 * unit:
                raise ValueError(f"{side}={getattr(self, side)} is not a multiple of {unit} ≥ {2 * unit}")
        return self

    @property
    def grid(self) -> tuple[int, int, int]:
        """(t, h, w) in patches."""
        return 1, self.height // self.patch_size, self.width // self.patch_size

    @property
    def image_tokens(self) -> int:
        """Tokens that one image takes in the prompt, after the 2×2 merge."""
        _, h, w = self.grid
        return h * w // self.merge_size**2

    def digest(self) -> str:
        """sha256 over the canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def require_same(have: Contract, want: Contract, who: str) -> None:
    """Raises UserError naming every field that differs."""
    a, b = have.model_dump(), want.model_dump()
    differ = [f"{k}: {a[k]} against {b[k]}" for k in a if a[k] != b[k]]
    if differ:
        raise UserError(
            f"{who}: the preprocessing contracts differ",
            "; ".join(differ),
            "use data and model of one contract, or write the Dataset again at the other's size",
        )


def read_contract(folder: str | Path) -> Contract:
    """The contract that a Checkpoint or a Bundle carries. Raises UserError where there is none to read."""
    path = Path(folder) / "contract.json"
    if not path.is_file():
        raise UserError(
            f"{folder}: this is no Checkpoint or Bundle of edgekit",
            "contract.json is not there, so how frames became numbers is unknown",
            "name a Checkpoint that edgekit wrote, or save the model with edgekit.models.checkpoint.save_checkpoint",
        )
    try:
        contract = Contract(**read_json(path))
        if contract.schema_id != SCHEMA:
            raise ValueError(f"schema_id is {contract.schema_id!r}")
        return contract
    except (ValueError, TypeError) as error:  # JSON's and pydantic's errors are ValueErrors
        raise UserError(
            f"{path}: not a contract that this edgekit reads",
            str(error).replace("\n", " "),
            f"it reads {SCHEMA}",
        ) from None
