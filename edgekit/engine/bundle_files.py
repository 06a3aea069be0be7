"""A Bundle's files: opened and checked, before any runtime is loaded.

bundle.json       schema, kind, digests of every file, shapes, versions, parents, parity
vision.onnx, embedding.onnx, decoder.onnx (+ .data)      decoder-fast.onnx where asked for
tokenizer.json    contract.json    golden/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, NonNegativeInt, PositiveInt

from edgekit import __version__
from edgekit.core.contract import Contract, read_contract
from edgekit.core.errors import UserError
from edgekit.core.files import inside, read_json, sha256_file
from edgekit.core.places import asset
from edgekit.engine.vision_inputs import VisionShape

SCHEMA = "edgekit/bundle/1"
KINDS = ("onnx",)
NEEDED = ("vision.onnx", "embedding.onnx", "decoder.onnx", "tokenizer.json", "contract.json")


class _Shapes(BaseModel):
    layers: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    image_token_id: NonNegativeInt
    stop_token_ids: list[NonNegativeInt]
    vision: VisionShape


class _Info(BaseModel):
    """What is asked of bundle.json before anything is opened; it may hold more."""

    contract_sha256: str
    files: dict[str, str]
    model: _Shapes


@dataclass(frozen=True)
class BundleFiles:
    """An opened Bundle directory: ``info`` is bundle.json."""

    root: Path
    info: dict
    contract: Contract

    def path(self, name: str) -> Path:
        return self.root / name

    @property
    def name(self) -> str:
        """How it is called in logs: the run's name where the folder is a run's out/."""
        root = self.root.resolve()
        return root.parent.name if root.name == "out" else root.name


def find_bundle(path: str | Path) -> Path:
    """The folder with bundle.json: ``path`` itself, a complete Run's out/, or ``package:NAME``."""
    text = str(path)
    folder = asset(text.removeprefix("package:")) if text.startswith("package:") else Path(text)
    if (folder / "bundle.json").is_file():
        return folder
    if (folder / "manifest.json").is_file() and (folder / "out" / "bundle.json").is_file():
        return folder / "out"
    raise UserError(f"{path}: not a Bundle", "it has no bundle.json", "name a run of edgekit export")


def open_bundle(path: str | Path) -> BundleFiles:
    """Opens a Bundle and holds every file against its digest.

    Raises UserError for an unknown schema or kind, a missing, foreign or changed file, and a
    contract that this edgekit does not read, or that is not the one it was exported with.
    """
    root = find_bundle(path)
    try:
        info = read_json(root / "bundle.json")
        schema, kind = info["schema"], info["kind"]
        known = schema == SCHEMA and kind in KINDS
        told = _Info.model_validate(info) if known else None
    except (ValueError, KeyError, TypeError) as error:  # JSON's and pydantic's errors are ValueErrors
        raise UserError(
            f"{root}/bundle.json: not readable",
            f"{type(error).__name__}: {error}".replace("\n", " "),
            "copy the Bundle again, or export it again",
        ) from None
    if told is None:
        raise UserError(
            f"{root}: this Bundle is not read here",
            f"it is {schema!r}, kind {kind!r}; edgekit {__version__} reads {SCHEMA}, kind {', '.join(KINDS)}",
            "use the edgekit that wrote it, or export it again",
        )
    for name, digest in told.files.items():
        _check(root, name, digest)
    if missing := [name for name in NEEDED if name not in told.files]:
        raise UserError(
            f"{root}/bundle.json: not a whole Bundle",
            f"it does not list {', '.join(missing)}",
            "export it again",
        )
    contract = read_contract(root)
    if contract.digest() != told.contract_sha256:
        raise UserError(
            f"{root}/contract.json: not the contract of this Bundle",
            f"its digest is {contract.digest()[:12]}…, bundle.json says {told.contract_sha256[:12]}…",
            "copy the Bundle again, or export it again",
        )
    return BundleFiles(root, info, contract)


def _check(root: Path, name: str, digest: str) -> None:
    try:
        path = inside(root, name)
    except ValueError as error:
        raise UserError(f"{root}: file name refused", str(error), "do not use this Bundle") from None
    if not path.is_file():
        raise UserError(f"{root}: {name} is missing", "bundle.json lists it", "copy the whole Bundle")
    found = sha256_file(path)
    if found != digest:
        raise UserError(
            f"{root}: {name} is not the file that was exported",
            f"sha256 is {found[:12]}…, bundle.json says {digest[:12]}…",
            "copy the Bundle again, or export it again",
        )
