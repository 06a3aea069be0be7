"""The same codes in AutoAWQ's `gemm` layout, which vLLM's awq kernels and TensorRT-Edge-LLM read.

Beside compressed-tensors nothing is decided anew: codes and zero points are laid out otherwise,
scales and the float rest are rounded to float16.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from edgekit.core.errors import EdgekitError
from edgekit.core.files import read_json, write_json
from edgekit.models.checkpoint import COMPANIONS, with_dtype
from edgekit.models.compressed import codes, plain_tensors

# Which of a word's eight columns stands in which nibble, lowest first (AutoAWQ's interleaving).
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def pack(values: torch.Tensor, order: tuple[int, ...] = ORDER) -> torch.Tensor:
    """Codes 0..15 (R, C) → int32 (R, C/8)."""
    words = values.reshape(values.shape[0], -1, 8)[:, :, list(order)].to(torch.int64)
    packed = (words << (torch.arange(8) * 4)).sum(-1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


def unpack(packed: torch.Tensor, order: tuple[int, ...] = ORDER) -> torch.Tensor:
    """int32 (R, C/8) → uint8 codes (R, C)."""
    nibbles = (packed.to(torch.int64)[..., None] >> (torch.arange(8) * 4)) & 15
    back = [order.index(i) for i in range(8)]
    return nibbles[..., back].reshape(packed.shape[0], -1).to(torch.uint8)


def write_gemm(source: Path, target: Path) -> dict:
    """Repacks the compressed-tensors checkpoint ``source`` into ``target``; returns what rounding cost.

    Raises EdgekitError where the codes do not come back the same, or a scale overflows float16.
    """
    target.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.to(torch.float16) if tensor.is_floating_point() else tensor
        for name, tensor in plain_tensors(source).items()
    }
    worst, group = 0.0, 0
    linears = codes(source)
    for name, linear in linears.items():
        qweight = pack(linear.q.T.contiguous())  # (K, N/8)
        qzeros = pack(linear.zero.T.contiguous())  # (K/G, N/8)
        scales = linear.scale.T.contiguous().to(torch.float16)  # (K/G, N)
        tensors |= {f"{name}.qweight": qweight, f"{name}.qzeros": qzeros, f"{name}.scales": scales}
        back = scales.T.to(torch.float64) / linear.scale.to(torch.float64)
        worst = max(worst, float((back - 1).abs().nan_to_num(posinf=1e9).max()))
        group = linear.group
        same = torch.equal(unpack(qweight).T, linear.q) and torch.equal(unpack(qzeros).T, linear.zero)
        if not same or not torch.isfinite(scales).all():
            raise EdgekitError(
                f"quantize: {name} does not come back from the gemm layout",
                "codes differ after packing" if not same else "a scale overflows float16",
                "this is a defect of edgekit: please report it with the checkpoint's config",
            )
    save_file(dict(sorted(tensors.items())), target / "model.safetensors", metadata={"format": "pt"})
    (target / "model.safetensors").chmod(0o644)
    config = dict(read_json(source / "config.json"))
    config["quantization_config"] = {
        "quant_method": "awq",
        "bits": 4,
        "group_size": group,
        "zero_point": True,  # the zeros are stored; symmetric codes have them all at 8
        "version": "gemm",
        "modules_to_not_convert": ["visual", "lm_head"],
    }
    write_json(target / "config.json", with_dtype(config, "float16"))
    for name in (*COMPANIONS, "generation_config.json"):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    return {"linears": len(linears), "group": group, "worst_scale_rounding": worst}
