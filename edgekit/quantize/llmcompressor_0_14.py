"""llm-compressor 0.14.0.1 on a machine without an accelerator: its two defects, worked round here alone.

1. AWQ's smoothing pins its cached activations (``IntermediatesCache.pin_memory``), which torch
   refuses where there is no accelerator: "Cannot access accelerator device when none is available".
   Pinning only speeds host-to-device copies; without a device it means nothing, so it is left out.
2. The saved config's ``ignore`` list names the vision tower as the file does (``visual.blocks…``),
   but the modules are ``model.visual.blocks…``: a reload would take the float vision tower for
   quantized and fail. The list is written again as the patterns that the recipe gave.

Both are held to the pinned version, and looked for at each run: where one is gone, the run stops and
says that this file can go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import metadata

from edgekit.core.errors import EdgekitError, UserError

VERSION = "0.14.0.1"


def require_version() -> None:
    """Raises UserError for another llm-compressor than the one that the workarounds were written for."""
    try:
        found = metadata.version("llmcompressor")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != VERSION:
        raise UserError(
            "quantize: this llm-compressor is not the pinned one",
            f"{VERSION} is wanted, {found} is installed; its two CPU defects are worked round by version",
            f"install llmcompressor=={VERSION}",
        )


def pinning_fails() -> bool:
    """Defect 1, provoked: True where pinning a cached host tensor raises."""
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache, IntermediateValue

    try:
        IntermediatesCache._pin_intermediate(IntermediateValue(torch.zeros(1), device=None))
    except RuntimeError:
        return True
    return False


@contextlib.contextmanager
def without_pinning() -> Iterator[None]:
    """Inside, llm-compressor pins nothing, if this machine has no accelerator; otherwise no change.

    Raises EdgekitError where the defect is gone.
    """
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if torch.accelerator.is_available():
        yield
        return
    if not pinning_fails():
        raise _gone("pinning host memory without an accelerator")
    kept = IntermediatesCache.pin_memory
    IntermediatesCache.pin_memory = lambda self, *args, **kwargs: None
    try:
        yield
    finally:
        IntermediatesCache.pin_memory = kept


def mend_ignore(config: dict, patterns: list[str]) -> dict:
    """``config`` (a config.json) with ``ignore`` as the patterns. Raises EdgekitError where it was right."""
    written = config["quantization_config"]["ignore"]
    if not any(name.startswith("visual.") for name in written):
        raise _gone("file names instead of module names in quantization_config.ignore")
    section = {**config["quantization_config"], "ignore": list(patterns)}
    return {**config, "quantization_config": section}


def _gone(defect: str) -> EdgekitError:
    return EdgekitError(
        f"llm-compressor {VERSION}: a known defect is gone",
        f"{defect} does not happen any more, so the workaround could do harm",
        "delete its part of edgekit/quantize/llmcompressor_0_14.py, and its test",
    )
