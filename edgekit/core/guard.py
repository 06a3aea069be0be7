"""Every way a command can end, in words on stderr and an exit code."""

from __future__ import annotations

import errno
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from edgekit.core.errors import EdgekitError, UserError

# Which extra brings a module that may be missing.
EXTRAS = {
    "torch": "train", "transformers": "train", "peft": "train", "accelerate": "train", "safetensors": "train",
    "jinja2": "train", "huggingface_hub": "train", "llmcompressor": "quantize", "compressed_tensors": "quantize",
    "onnx": "export", "onnxscript": "export", "onnxruntime": "onnxruntime", "cv2": "opencv", "av": "video",
    "fastapi": "serve", "uvicorn": "serve", "openai": "openai", "diffusers": "diffusers", "ray": "ray",
    "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx", "matplotlib": "diffusers", "qwen_vl_utils": "qwen-vl-utils",
    "mcap": "mcap", "mcap_ros2": "mcap", "mcap_protobuf": "mcap", "pyarrow": "parquet", "rerun": "rerun",
    "gepa": "gepa",
}  # fmt: skip
TERMINATED = 143  # the exit code of a process that SIGTERM ended
SIDES = {"bpy": "blender", "libsumo": "blender", "vllm": "serve"}


def guarded(work: Callable[[], None], debug: bool = False) -> int:
    """Runs ``work``; turns every way it can end into words on stderr and an exit code."""
    try:
        with _sigterm_stops():
            work()
        return 0
    except KeyboardInterrupt:
        say("stopped; run the same command again to resume")
        return 130
    except SystemExit as stopped:  # argparse's 2, SIGTERM's 143
        if stopped.code == TERMINATED:
            say("stopped; run the same command again to resume")
        return int(stopped.code or 0)
    except EdgekitError as error:
        if debug:
            traceback.print_exc()
        say(f"error: {error}")
        return error.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        known = translate(error)
        say(f"error: {known or _fault(error)}")
        return known.exit_code if known else 1


def translate(error: Exception) -> UserError | None:
    """The three lines for a full disk, a file that is not ours to touch, or a package that is not installed; None
    for anything else."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return UserError(
            f"the disk is full: {error.filename or 'while writing'}", "no space is left on the device",
            "free some space, then run the same command again: it resumes",
        )  # fmt: skip
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(
            f"not allowed: {error.filename or 'a file'}", error.strerror,
            "change its permissions, or choose another place with --out",
        )  # fmt: skip
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        if module in SIDES:
            return UserError(
                f"{module} is not installed",
                "it lives in a side environment",
                f"edgekit setup {SIDES[module]}",
            )
        if module in EXTRAS and find_spec(module) is None:
            return UserError(
                f"{module} is not installed",
                f"it belongs to the extra {EXTRAS[module]!r}",
                f"pip install 'edgekit[{EXTRAS[module]}]'",
            )
    return None


def _fault(error: Exception) -> EdgekitError:
    return EdgekitError(
        f"{type(error).__name__}: {error}",
        "a fault in edgekit, or in a library below it",
        "run it again with --debug for the traceback",
    )


def say(text: str) -> None:
    print(f"edgekit: {text}" if not text.startswith("error") else text, file=sys.stderr, flush=True)


@contextmanager
def _sigterm_stops() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: whole, and ready to resume."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return

    def stop(*_: object) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
