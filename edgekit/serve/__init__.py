"""serve: a model behind a port, in OpenAI's words; vLLM or a Bundle behind it."""

from typing import Any

from edgekit.serve.config import ServeConfig

__all__ = ["ServeConfig", "serve"]


def __getattr__(name: str) -> Any:
    if name == "serve":
        from edgekit.serve.run import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
