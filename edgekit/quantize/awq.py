"""AWQ by llm-compressor: activation-aware scaling, then symmetric 4-bit groups of 128.

Method: Lin et al. 2024, "AWQ: Activation-aware Weight Quantization", eq. 4-5 (the scale search).
Symmetric because vehicle runtimes want it: TensorRT's INT4 has no zero point, and repackers that
shift asymmetric codes to the centre clip some of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import torch
from torch.utils.data import DataLoader

from edgekit.core.progress import bar
from edgekit.quantize.llmcompressor_0_14 import require_version, without_pinning

BITS, GROUP = 4, 128
IGNORE = ["re:.*visual.*", "re:.*lm_head"]  # the vision tower and the head stay float
LAYER = "Qwen2_5_VLDecoderLayer"


def quantize_weights(
    model, tokenizer, batches: Sequence[dict[str, torch.Tensor]], grid: int = 20,
    terminal: TextIO | None = None,
) -> None:  # fmt: skip
    """Calibrates and fake-quantizes ``model``'s decoder linears in place, layer by layer.

    batches: one dict per frame of what ``model.forward`` takes (input_ids (1, S), pixel_values, …).
    grid: points of AWQ's scale search for each group of linears that share an input.
    terminal: where the progress bar is drawn, stderr unless told.
    Raises UserError for another llm-compressor than the pinned one.
    """
    require_version()
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    recipe = [
        AWQModifier(duo_scaling="both", n_grid=grid),
        QuantizationModifier(scheme="W4A16", targets=["Linear"], ignore=IGNORE),
    ]
    loader = DataLoader(list(batches), batch_size=1, shuffle=False, collate_fn=lambda rows: rows[0])
    with without_pinning(), _progress(model, len(batches), terminal):
        oneshot(
            model=model,
            processor=tokenizer,
            dataset=loader,
            recipe=recipe,
            num_calibration_samples=len(batches),
            max_seq_length=max(batch["input_ids"].shape[1] for batch in batches),
            pipeline="sequential",
            sequential_targets=[LAYER],
            log_dir=None,
        )


@contextmanager
def _progress(model, frames: int, terminal: TextIO | None) -> Iterator[None]:
    """A bar over the frames' ways through the decoder layers: each layer hears every frame twice."""
    layers = [module for module in model.modules() if type(module).__name__ == LAYER]
    with bar("calibrating", 2 * frames * len(layers), "pass", file=terminal) as shown:
        hooks = [layer.register_forward_hook(lambda *_: shown.update() and None) for layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def effective_weights(model) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of every parameter, quantized linears as what they multiply by, by name."""
    from compressed_tensors.quantization.lifecycle.forward import forward_quantize

    for name, module in sorted(model.named_modules()):
        scheme = getattr(module, "quantization_scheme", None)
        for part, tensor in sorted(module.named_parameters(recurse=False)):
            if part.startswith("weight_"):  # scales and zero points
                continue
            if part == "weight" and scheme is not None:
                tensor = forward_quantize(module, tensor.data, "weight", scheme.weights)
            yield f"{name}.{part}", tensor.detach()


def narrow(model, dtype: torch.dtype) -> None:
    """Parameters that are not packed get ``dtype`` where it holds them exactly, so that nothing is lost.

    A checkpoint of bfloat16 is calibrated in float32; what AWQ left alone (vision tower, embeddings,
    head) would otherwise be written twice as wide as it came.
    """
    for module in model.modules():
        packed = getattr(module, "quantization_scheme", None) is not None
        for part, tensor in module.named_parameters(recurse=False):
            if packed and part.startswith("weight"):  # the codes' weights, scales and zero points
                continue
            if not tensor.is_floating_point() or dtype.itemsize >= tensor.dtype.itemsize:
                continue
            if torch.equal(tensor.to(dtype).to(tensor.dtype), tensor):
                tensor.data = tensor.data.to(dtype)


def fingerprints(model) -> dict[str, str]:
    """{parameter: sha256 of its effective values}: two models of equal ones compute the same.

    Rounding leaves -0.0 where codes give 0.0: equal numbers, and + 0 makes them equal bytes.
    """
    found = {}
    for name, tensor in effective_weights(model):
        plain = (tensor + 0).cpu().contiguous().reshape(-1).view(torch.uint8)
        found[name] = hashlib.sha256(plain.numpy()).hexdigest()
    return found
