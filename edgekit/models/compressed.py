"""The codes of a compressed-tensors `pack-quantized` checkpoint, and the plain weights that they stand for.

A weight W (N out, K in) is kept as 4-bit codes q in 0..15, one scale s and one zero point z for
each row and group of G columns:  W[n, k] = (q[n, k] - z[n, k // G]) * s[n, k // G].
Symmetric checkpoints hold no zero points: z = 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open

from edgekit.core.errors import UserError
from edgekit.core.files import read_json

_PARTS = ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point")


class Codes(NamedTuple):
    """q: uint8 (N, K), values 0..15; scale: float (N, K/G); zero: uint8 (N, K/G)."""

    q: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return self.q.shape[1] // self.scale.shape[1]

    def weight(self) -> torch.Tensor:
        """(q - z) · s in float32, (N, K)."""
        centred = self.q.float() - self.zero.float().repeat_interleave(self.group, 1)
        return centred * self.scale.float().repeat_interleave(self.group, 1)


def quantization(folder: str | Path) -> dict | None:
    """config.json's quantization_config, or None for a float checkpoint."""
    return read_json(Path(folder) / "config.json").get("quantization_config")


def module_name(name: str) -> str:
    """A name in the file → the name in transformers' model: ``visual.…`` is ``model.visual.…`` there."""
    if name.startswith("visual."):
        return "model." + name
    if name.startswith("model.") and not name.startswith(("model.visual.", "model.language_model.")):
        return "model.language_model." + name.removeprefix("model.")
    return name


def read_unpacked(folder: Path, quantization: dict) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors by name, packed weights as (q - z)·s in the scale's dtype.

    quantization: config.json's quantization_config. Raises UserError for formats other than
    pack-quantized, for weights that are not 4 bit, and for a packed weight that is not whole.
    """
    groups = quantization.get("config_groups", {}).values()
    kinds = {quantization.get("format"), *(g.get("format") or "pack-quantized" for g in groups)}
    if kinds != {"pack-quantized"}:
        raise UserError(
            f"{folder}: quantized in a format that is not read here",
            f"format is {sorted(map(str, kinds))}; edgekit reads 'pack-quantized'",
            "quantize the float checkpoint with edgekit quantize",
        )
    bits = {g["weights"]["num_bits"] for g in groups}
    if bits != {4}:
        raise UserError(
            f"{folder}: weights of {sorted(bits)} bits",
            "edgekit reads 4-bit weights",
            "quantize with scheme W4A16",
        )
    plain = plain_tensors(folder)
    for name in plain:
        if name.endswith(".weight_g_idx"):
            raise UserError(
                f"{folder}: {name}",
                "weights with an activation order are not read",
                "quantize without actorder",
            )
    for name, linear in codes(folder).items():
        plain[f"{name}.weight"] = linear.weight().to(linear.scale.dtype)
    return plain


def nibbles(words: torch.Tensor, dim: int) -> torch.Tensor:
    """int32 words → int32 codes 0…15, eight for one along ``dim``, lowest bits first."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    codes = (words.unsqueeze(-1) >> shifts) & 15  # (rows, columns, 8)
    if dim == 1:
        return codes.reshape(words.shape[0], -1)
    return codes.transpose(1, 2).reshape(-1, words.shape[1])


def _tensors(folder: str | Path) -> Iterator[tuple[str, torch.Tensor]]:
    for path in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (a handle, not a dict)
                yield name, file.get_tensor(name)


def plain_tensors(folder: str | Path) -> dict[str, torch.Tensor]:
    """The tensors that are not quantized, names as in the file."""
    return {name: t for name, t in _tensors(folder) if name.rpartition(".")[2] not in _PARTS}


def codes(folder: str | Path) -> dict[str, Codes]:
    """{linear's name in the file: its codes}, sorted by name; empty for a float checkpoint.

    Raises UserError where a packed weight is not whole or does not fit its shape.
    """
    found: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in _tensors(folder):
        stem, _, part = name.rpartition(".")
        if part in _PARTS:
            found.setdefault(stem, {})[part] = tensor
    return {name: _codes(name, parts) for name, parts in sorted(found.items())}


def _codes(name: str, parts: dict[str, torch.Tensor]) -> Codes:
    missing = [p for p in _PARTS[:3] if p not in parts]
    if missing:
        raise UserError(
            f"{name}: not a whole packed linear", f"missing {', '.join(missing)}", "quantize again"
        )
    rows, columns = parts["weight_shape"].tolist()
    scale, words = parts["weight_scale"], parts["weight_packed"]
    if tuple(words.shape) != (rows, columns // 8) or columns % scale.shape[1]:
        raise UserError(
            f"{name}: the packed weight does not fit its shape",
            f"{rows}×{columns} in {scale.shape[1]} groups, words {tuple(words.shape)}",
            "only 4-bit group checkpoints are read; quantize again with edgekit",
        )
    q = nibbles(words, dim=1)[:, :columns].to(torch.uint8)
    if "weight_zero_point" in parts:
        zero = nibbles(parts["weight_zero_point"], dim=0)[:rows].to(torch.uint8)
    else:
        zero = torch.full(scale.shape, 8, dtype=torch.uint8)
    return Codes(q, scale, zero)
