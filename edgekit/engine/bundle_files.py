"""A Bundle's files: opened and checked, before any runtime is loaded.

bundle.json       schema, kind, digests of every file, shapes, versions, parents, parity
vision.onnx, embedding.onnx, decoder.onnx (+ .data)      decoder-fast.onnx where asked for
tokenizer.json    contract.json    golden/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgekit import __version__
from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.files import inside, read_json, sha256_file
from edgekit.core.places import asset

SCHEMA = "edgekit/bundle/1"
KINDS = ("onnx",)


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
    contract that this edgekit does not read.
    """
    root = find_bundle(path)
    try:
        info = read_json(root / "bundle.json")
        schema, kind, files = info["schema"], info["kind"], info["files"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{root}/bundle.json: not readable", str(error), "export it again") from None
    if schema != SCHEMA or kind not in KINDS:
        raise UserError(
            f"{root}: this Bundle is not read here",
            f"it is {schema!r}, kind {kind!r}; edgekit {__version__} reads {SCHEMA}, kind {', '.join(KINDS)}",
            "use the edgekit that wrote it, or export it again",
        )
    for name, digest in files.items():
        _check(root, name, digest)
    try:
        contract = Contract(**read_json(root / "contract.json"))
    except (ValidationError, TypeError) as error:
        raise UserError(
            f"{root}/contract.json: not read here", str(error).replace("\n", " "), "export it again"
        ) from None
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
