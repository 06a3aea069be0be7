"""Opening whatever answers: a Checkpoint in torch, a Bundle, or a port. Light until it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.engine.answerer import Answerer
from edgekit.engine.endpoint import Endpoint, EndpointAnswerer

Kind = Literal["auto", "torch", "bundle", "endpoint"]


def open_answerer(
    kind: Kind,
    folder: Path | None,
    endpoint: Endpoint | None = None,
    contract: Contract | None = None,
    threads: int | None = None,
    batch: int = 16,
) -> Answerer:
    """The Answerer of a recipe's (kind, directory, endpoint).

    auto: a port where one is named, a Bundle where the folder holds a bundle.json, else a Checkpoint.
    contract: the size at which a port is sent images, and a Checkpoint without a contract of its own
    is fed; threads: of the runtime on this machine, its own choice where None; batch: images at a
    time in torch. Raises UserError where there is nothing to open.
    """
    if kind == "auto":
        bundle = folder is not None and (folder / "bundle.json").is_file()
        kind = "endpoint" if folder is None else "bundle" if bundle else "torch"
    if kind == "endpoint":
        if endpoint is None:
            raise UserError("no model to ask", "neither a directory nor an endpoint is named", "name one")
        return EndpointAnswerer.of(endpoint, contract)
    if folder is None:
        raise UserError(
            f"kind: {kind}, and no directory", "a model on disk is asked for", "name its directory"
        )
    if kind == "bundle":
        from edgekit.engine.bundle import BundleAnswerer

        return BundleAnswerer(folder, threads=threads)
    from edgekit.models.answerer import TorchAnswerer
    from edgekit.models.checkpoint import load_checkpoint

    return TorchAnswerer(load_checkpoint(folder, contract=contract), batch, threads)
