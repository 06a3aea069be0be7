"""A quantized linear as one ``com.microsoft::MatMulNBits`` node that holds exactly AWQ's codes.

Re-quantizing a dequantised graph would choose other scales, and other answers; the codes are taken
over as they are, and the node computes  y = x · W^T (+ bias)  with  W = (q - zero) · scale.
"""

from __future__ import annotations

import torch
from torch import nn

from edgekit.core.errors import EdgekitError
from edgekit.models.compressed import Codes, module_name


def pairs(values: torch.Tensor) -> torch.Tensor:
    """uint8 codes (…, even) → (…, half) bytes, the first code in the low nibble."""
    return values[..., 0::2] | (values[..., 1::2] << 4)


class NBitsLinear(nn.Module):
    """Stands in for an nn.Linear while the graph is traced. Not for running in torch.

    The node has no ``accuracy_level``: activations stay float, as in torch.
    """

    def __init__(self, linear: nn.Linear, codes: Codes):
        super().__init__()
        rows, columns = codes.q.shape
        if (linear.out_features, linear.in_features) != (rows, columns):
            raise EdgekitError(
                "export: a quantized linear does not fit its module",
                f"codes are {rows}×{columns}, the module {linear.out_features}×{linear.in_features}",
                "this is a defect of edgekit: please report it with the checkpoint's config",
            )
        groups = columns // codes.group
        self.attributes = {"K": columns, "N": rows, "bits": 4, "block_size": codes.group}
        zero = torch.nn.functional.pad(codes.zero, (0, groups % 2))
        self.register_buffer("q4", pairs(codes.q).reshape(rows, groups, codes.group // 2).contiguous())
        self.register_buffer("scale", codes.scale.float().contiguous())  # (N, groups)
        self.register_buffer("zero", pairs(zero).contiguous())  # (N, ceil(groups / 2))
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().float())
        self.out_features = rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (…, K) → (…, N)."""
        out = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (x, self.q4, self.scale, self.zero),
            self.attributes,
            dtype=torch.float32,
            shape=(*x.shape[:-1], self.out_features),
            version=1,
        )
        return out if self.bias is None else out + self.bias


@torch.no_grad()
def put_weights(model: nn.Module, linears: dict[str, Codes]) -> None:
    """Writes each linear's float32 weight, (q - zero) · scale unrounded, as the node will compute it.

    A no-op for float32 scales; a checkpoint with bfloat16 scales loads with the product rounded.
    """
    for name, codes in linears.items():
        model.get_submodule(module_name(name)).weight.copy_(codes.weight())


def put_codes(model: nn.Module, linears: dict[str, Codes]) -> None:
    """Replaces the quantized linears of ``model`` by their codes."""
    for name, codes in linears.items():
        parent, _, own = module_name(name).rpartition(".")
        module = model.get_submodule(parent)
        setattr(module, own, NBitsLinear(getattr(module, own), codes))
