import numpy as np
import pytest
import torch
from torch import nn

from edgekit.core.errors import EdgekitError
from edgekit.export.nbits import NBitsLinear, pairs
from edgekit.models.compressed import Codes

pytestmark = pytest.mark.onnx


def linear_of(columns: int, rows: int = 48, seed: int = 0) -> tuple[nn.Linear, Codes]:
    random = torch.Generator().manual_seed(seed)
    groups = columns // 128
    codes = Codes(
        torch.randint(0, 16, (rows, columns), generator=random).to(torch.uint8),
        torch.rand(rows, groups, generator=random) * 0.1 + 0.01,
        torch.randint(5, 11, (rows, groups), generator=random).to(torch.uint8),
    )
    linear = nn.Linear(columns, rows)
    with torch.no_grad():
        linear.weight.copy_(codes.weight())
    return linear, codes


def run_graph(module: nn.Module, x: torch.Tensor, path) -> np.ndarray:
    import onnxruntime

    from edgekit.export.onnx_file import count, save, trace

    model = trace(module.eval(), (x,), ["x"], ["y"], {"x": {1: torch.export.Dim("n", min=1)}}, 20)
    assert count(model, "MatMulNBits") == 1
    save(model, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.numpy()})[0]


def test_the_first_code_is_the_low_nibble():
    assert pairs(torch.tensor([[1, 2, 15, 0]], dtype=torch.uint8)).tolist() == [[0x21, 0x0F]]


@pytest.mark.parametrize("columns", [256, 384])  # an even and an odd number of groups
def test_the_node_computes_the_dequantised_linear(columns, tmp_path):
    linear, codes = linear_of(columns)
    x = torch.randn(1, 5, columns, generator=torch.Generator().manual_seed(1))
    got = run_graph(NBitsLinear(linear, codes), x, tmp_path / "a.onnx")
    np.testing.assert_allclose(got, linear(x).detach().numpy(), atol=2e-4, rtol=1e-5)


def test_swapped_nibbles_are_seen(tmp_path):
    """Control: the comparison above fails where two codes of a byte change places."""
    linear, codes = linear_of(256)
    module = NBitsLinear(linear, codes)
    module.q4.copy_((module.q4 >> 4) | (module.q4 << 4))
    x = torch.randn(1, 5, 256, generator=torch.Generator().manual_seed(1))
    assert np.abs(run_graph(module, x, tmp_path / "a.onnx") - linear(x).detach().numpy()).max() > 1


def test_codes_of_another_module_are_refused():
    _, codes = linear_of(256)
    with pytest.raises(EdgekitError, match="48×256.*48×384|does not fit"):
        NBitsLinear(nn.Linear(384, 48), codes)
