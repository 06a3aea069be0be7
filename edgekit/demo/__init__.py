"""The on-vehicle loop over a drive or a video: advice on the frame, with a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.demo.config import DemoConfig
    from edgekit.demo.run import demo

__all__ = ["DemoConfig", "demo"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "DemoConfig":
        return import_module("edgekit.demo.config").DemoConfig
    if name == "demo":
        return import_module("edgekit.demo.run").demo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
