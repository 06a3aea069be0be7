"""ONNX files without a trace of the machine that wrote them, and the same bytes each time."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import onnx
import onnx_ir as ir
import torch

# Weights together above this go to a `.data` file beside the graph, but for tensors up to SMALL bytes.
LARGE, SMALL = 4 << 20, 1024


def trace(
    module: torch.nn.Module, args: tuple, inputs: list[str], outputs: list[str], shapes: dict, opset: int
) -> ir.Model:
    """torch.onnx's dynamo export of ``module``, cleaned.

    args: example inputs; inputs, outputs: names; shapes: which axes are dynamic (torch.export's form).
    """
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)  # it tells for every torchvision operator that there is no torchvision
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module, args, input_names=inputs, output_names=outputs, dynamo=True,
                dynamic_shapes=shapes, opset_version=opset, verbose=False,
            )  # fmt: skip
    finally:
        loud.setLevel(level)
    return clean(program.model)


def clean(model: ir.Model) -> ir.Model:
    """Takes out doc strings and metadata: torch writes source paths and stack traces into them."""
    model.producer_name, model.producer_version = "edgekit", None
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    for item in (model, *graphs, *model.functions.values()):
        _strip(item)
    for graph in graphs:
        for value in (*graph.inputs, *graph.initializers.values()):
            _strip(value)
        for node in graph.all_nodes():
            _strip(node)
            for value in node.outputs:
                _strip(value)
            for inner in (a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH):
                _strip(inner)
    for value in model.graph.initializers.values():
        value.const_value.doc_string = None
        value.const_value.metadata_props.clear()
    return model


def _strip(item) -> None:
    item.doc_string = None
    item.metadata_props.clear()


def count(model: ir.Model, operator: str) -> int:
    return sum(node.op_type == operator for node in model.graph.all_nodes())


def save(model: ir.Model, path: Path) -> None:
    """Writes ``path``, and ``<path>.data`` where the weights are many. Streams: no 2 GB limit."""
    many = sum(value.const_value.nbytes for value in model.graph.initializers.values()) > LARGE
    for old in (path, path.with_name(path.name + ".data")):
        old.unlink(missing_ok=True)
    ir.save(model, path, external_data=path.name + ".data" if many else None, size_threshold_bytes=SMALL)


def save_fast(exact: Path, path: Path, accuracy_level: int) -> None:
    """Writes a variant of the graph ``exact`` whose MatMulNBits may compute in int8; shares its ``.data``."""
    model = onnx.load(exact, load_external_data=False)
    for node in (node for node in model.graph.node if node.op_type == "MatMulNBits"):
        kept = [a for a in node.attribute if a.name != "accuracy_level"]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute("accuracy_level", accuracy_level)])
    path.write_bytes(model.SerializeToString(deterministic=True))
