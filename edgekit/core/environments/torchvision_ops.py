"""Copied into the serve environment by edgekit/core/environments/vllm_cpu.py; see there for why.

torchvision registers fake kernels for ``torchvision::nms`` and ``qnms`` while it is imported. The
operators themselves come with its C++ library, which a CPU torch cannot load when it is the CUDA
build. Here they are declared (not implemented: nothing that vLLM needs calls them) just before
torchvision's import, and only if that library does not load.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _BeforeTorchvision:
    """A finder that finds nothing: it only gets a word in before the import of torchvision."""

    library = None

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            found = PathFinder.find_spec(name)
            if found is not None and found.origin:
                self.declare(Path(found.origin).with_name("_C.so"))
        return None

    def declare(self, compiled):
        import torch

        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            # The library object owns the declarations: it must outlive this call.
            _BeforeTorchvision.library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                self.library.define(operator + _SCHEMA)


sys.meta_path.insert(0, _BeforeTorchvision())
