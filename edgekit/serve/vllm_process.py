"""vLLM as a child: its command, its start, and an end that leaves nothing behind.

vLLM is three processes (server, engine, worker). SIGTERM to the server ends them all, measured;
killing the server outright orphans the others with gigabytes each. So: SIGTERM first, the whole
process group afterwards, and the kernel sends the SIGTERM if this process itself is killed.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

from edgekit.core.alone import dies_with_parent
from edgekit.core.environments import python_of
from edgekit.core.environments.contents import has_nvidia
from edgekit.core.errors import UserError
from edgekit.core.files import read_json
from edgekit.core.progress import bar
from edgekit.serve.config import Vllm

# Without the backend's name vLLM refuses the flag; without the flag an unsure model writes blanks
# between two keys until its tokens are spent.
_STRUCTURED = {"backend": "xgrammar", "disable_any_whitespace": True}
_DEFAULT_LENGTH = 2048
_STOP_S, _ASK_AGAIN_S = 40.0, 10.0


def command(program: Path, folder: Path, socket: Path, name: str, settings: Vllm, gpu: bool) -> list[str]:
    """The ``vllm serve`` command line: one image a request, safetensors only, nothing fetched."""
    line = [
        str(program), "serve", str(folder),
        "--uds", str(socket),
        "--served-model-name", name,
        "--load-format", "safetensors",
        "--dtype", settings.dtype if settings.dtype != "auto" else stored_dtype(folder),
        "--max-model-len", str(settings.max_model_len or model_length(folder)),
        "--max-num-seqs", str(settings.max_num_seqs),
        "--limit-mm-per-prompt", json.dumps({"image": 1, "video": 0}),
        "--mm-processor-cache-gb", "0",  # frames do not repeat; the default cache is 4 GB
        "--structured-outputs-config", json.dumps(_STRUCTURED),
        "--seed", "0",
    ]  # fmt: skip
    if gpu:
        return [*line, "--gpu-memory-utilization", str(settings.gpu_memory)]
    return [*line, "--enforce-eager", "--kv-cache-memory-bytes", str(int(settings.kv_cache_gb * 2**30))]


def environment(inherited: dict[str, str], settings: Vllm, gpu: bool) -> dict[str, str]:
    """Offline, without telemetry, without our token and without the main environment's paths.

    Bytecode is kept: three processes import vLLM, and without it each takes twice as long.
    """
    dropped = (
        "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV",
        "EDGEKIT_TOKEN", "VLLM_API_KEY", "VLLM_CPU_KVCACHE_SPACE",
    )  # fmt: skip
    out = {k: v for k, v in inherited.items() if k not in dropped}
    out |= {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if not gpu:
        out["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # binding wants rights that containers lack
        out["OMP_NUM_THREADS"] = str(settings.threads or os.cpu_count() or 1)
    return out


def model_length(folder: Path) -> int:
    """Tokens of context: 2048, or the model's own limit where that is less."""
    config = read_json(folder / "config.json")
    limits = [c.get("max_position_embeddings") for c in (config, config.get("text_config") or {})]
    return min([_DEFAULT_LENGTH, *(limit for limit in limits if limit)])


def stored_dtype(folder: Path) -> str:
    """The dtype that the weights were saved in; vLLM's own ``auto`` would round float32 to bfloat16.

    Quantized weights are left to ``auto``: their kernels want a half precision around them.
    """
    config = read_json(folder / "config.json")
    dtype = config.get("dtype") or config.get("torch_dtype") or "auto"
    return "auto" if "quantization_config" in config else dtype


class VllmProcess:
    """A started vLLM; a context manager that stops it. ``log``: its output, appended."""

    def __init__(self, folder: Path, name: str, settings: Vllm, log: Path):
        """Starts it, without waiting. Raises UserError where the serve environment is missing."""
        gpu = has_nvidia()
        program = python_of("serve").with_name("vllm")
        # A socket's path is at most 107 bytes, so not below the run; mkdtemp lets only this user in.
        self.place = Path(tempfile.mkdtemp(prefix="edgekit-", dir="/tmp"))
        self.socket, self.log, self.settings = self.place / "vllm.sock", log, settings
        with open(log, "ab") as output:
            self.log_start = output.tell()
            self.child = subprocess.Popen(
                command(program, folder, self.socket, name, settings, gpu),
                env=environment(dict(os.environ), settings, gpu),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,  # its own process group: Ctrl-C reaches us, not it
                preexec_fn=dies_with_parent(),
            )  # fmt: skip

    def __enter__(self) -> VllmProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_ready(self) -> float:
        """Seconds until /health answers. Raises UserError where it dies or takes too long."""
        began = time.monotonic()
        client = httpx.Client(transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=5)
        with client, bar("vLLM starts", total=None, unit="s") as shown:
            while (spent := time.monotonic() - began) < self.settings.start_s:
                if failure := self.failure():
                    raise UserError("vLLM did not start", failure, f"read {self.log}")
                try:
                    if client.get("http://vllm/health").status_code == 200:
                        return spent
                except httpx.TransportError:
                    pass  # not listening yet
                time.sleep(0.5)
                shown.update(int(time.monotonic() - began) - shown.n)
        raise UserError(
            "vLLM did not start",
            f"no answer within {self.settings.start_s:.0f} s",
            f"read {self.log}, or allow more with vllm.start_s",
        )

    def failure(self) -> str | None:
        """Why it has ended, or None while it runs."""
        code = self.child.poll()
        if code is None:
            return None
        with open(self.log, "rb") as file:
            file.seek(self.log_start)
            return explain(code, file.read().decode(errors="replace"))

    def stop(self) -> list[int]:
        """Ends it and all its processes; returns those that SIGTERM did not end (they were killed).

        Asked every few seconds: a SIGTERM that comes while vLLM is starting up can get lost.
        """
        asked, deadline = -math.inf, time.monotonic() + _STOP_S
        while (now := time.monotonic()) < deadline and (self.child.poll() is None or members(self.child.pid)):
            if self.child.poll() is None and now - asked > _ASK_AGAIN_S:
                self.child.send_signal(signal.SIGTERM)
                asked = now
            time.sleep(0.1)
        left = members(self.child.pid)
        if left:
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        shutil.rmtree(self.place, ignore_errors=True)
        return left


def members(group: int) -> list[int]:
    """Living processes of a process group (zombies left out), read from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # "pid (name) state ppid pgrp …"; the name may hold blanks and brackets.
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it ended while we looked
        if int(pgrp) == group and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def explain(code: int, log: str) -> str:
    """The cause in one line, from vLLM's exit code and log."""
    if code == -signal.SIGKILL or re.search(
        r"exit(code| code)?[ =:]*-9|Out of memory|Cannot allocate memory", log
    ):
        return "it was killed, most likely for memory: use a smaller model, kv_cache_gb or max_num_seqs"
    # The first error is the cause; what follows are the processes that fall with it.
    errors = re.findall(r"(?m)^.*?\b((?:\w+\.)*\w*(?:Error|Exception): .+)$", log)
    own = [e for e in errors if not e.startswith(("RuntimeError: Engine core", "RuntimeError: Worker"))]
    return (own or errors or [f"it ended with code {code}"])[0].strip()[:300]
