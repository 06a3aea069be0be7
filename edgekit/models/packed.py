"""Packed int4 weights (compressed-tensors ``pack-quantized``) back into plain tensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from edgekit.core.errors import UserError


def read_unpacked(folder: Path, quantization: dict) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors by name, every packed weight as ``(code - zero point)·scale``.

    quantization: config.json's quantization_config. Raises UserError for formats other than
    pack-quantized, and for weights that are not 4 bit.
    """
    kinds = {quantization.get("format")}
    kinds |= {g.get("format") or "pack-quantized" for g in quantization.get("config_groups", {}).values()}
    if kinds != {"pack-quantized"}:
        raise UserError(
            f"{folder}: quantized in a format that is not read here",
            f"format is {sorted(map(str, kinds))}; edgekit reads 'pack-quantized'",
            "quantize the float checkpoint with edgekit quantize",
        )
    bits = {g["weights"]["num_bits"] for g in quantization["config_groups"].values()}
    if bits != {4}:
        raise UserError(
            f"{folder}: weights of {sorted(bits)} bits",
            "edgekit reads 4-bit weights",
            "quantize with scheme W4A16",
        )
    stored: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (a handle, not a dict)
                stored[name] = file.get_tensor(name)
    plain = {}
    for name, tensor in stored.items():
        stem, _, kind = name.rpartition(".")
        if kind == "weight_packed":
            plain[f"{stem}.weight"] = unpack(
                tensor,
                stored[f"{stem}.weight_scale"],
                stored[f"{stem}.weight_shape"].tolist(),
                stored.get(f"{stem}.weight_zero_point"),
            )
        elif kind not in ("weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"):
            plain[name] = tensor
        elif kind == "weight_g_idx":
            raise UserError(
                f"{folder}: {name}",
                "weights with an activation order are not read",
                "quantize without actorder",
            )
    return plain


def unpack(
    packed: torch.Tensor, scale: torch.Tensor, shape: list[int], zero: torch.Tensor | None
) -> torch.Tensor:
    """One weight (rows, columns) in the scale's dtype.

    packed: int32 (rows, columns/8), eight codes a word, the lowest four bits first; scale: (rows,
    groups); zero: int32 (rows/8, groups) packed along rows, or None for symmetric codes (8 = zero).
    """
    rows, columns = shape
    codes = nibbles(packed, dim=1)[:, :columns].float()
    groups = scale.shape[1]
    centre = 8.0 if zero is None else nibbles(zero, dim=0)[:rows].float()[:, :, None]
    weight = (codes.reshape(rows, groups, columns // groups) - centre) * scale.float()[:, :, None]
    return weight.reshape(rows, columns).to(scale.dtype)


def nibbles(words: torch.Tensor, dim: int) -> torch.Tensor:
    """int32 words → int32 codes 0…15, eight for one along ``dim``, lowest bits first."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    codes = (words.unsqueeze(-1) >> shifts) & 15  # (rows, columns, 8)
    if dim == 1:
        return codes.reshape(words.shape[0], -1)
    return codes.transpose(1, 2).reshape(-1, words.shape[1])
