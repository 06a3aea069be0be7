"""What one may ask of the serve station. Light: no web framework, no model library."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from edgekit.core.recipe import Config, Plan


class Limits(Config):
    """What a client may send; beyond it the answer is an error, never a crash."""

    body_mb: float = Field(16, gt=0)  # of a request; an image in base64 takes 4/3 of its file
    image_megapixels: float = Field(16, gt=0, le=64)  # looked at before the image is decoded
    prompt_chars: int = Field(8000, ge=1)
    queue: int = Field(64, ge=0)  # requests that may wait beside those at work; more get a 429
    read_s: float = Field(30, gt=0)  # for a body to arrive
    answer_s: float = Field(120, gt=0)  # for an answer, once it is a request's turn


class Vllm(Config):
    """vLLM's own settings; used where a Checkpoint is served."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int = Field(0, ge=0)  # tokens of prompt and answer; 0 = 2048, or the model's own limit
    max_num_seqs: int = Field(8, ge=1)  # requests at work at once
    kv_cache_gb: float = Field(1.0, ge=0.1)  # on a CPU; a GPU goes by gpu_memory
    gpu_memory: float = Field(0.9, gt=0, le=1)  # share of the GPU that vLLM takes
    threads: int = Field(0, ge=0)  # on a CPU; 0 = all cores
    start_s: float = Field(600, gt=0)  # until it must answer /health


class ServeConfig(Config):
    """A Checkpoint (float, compressed-tensors, AWQ) behind vLLM, or a Bundle in this process."""

    inputs: ClassVar[tuple[str, ...]] = ("model",)

    model: str
    kind: Literal["auto", "vllm", "bundle"] = "auto"  # auto: by what the input is
    name: str = Field("edgekit", min_length=1)  # how requests call the model
    host: str = "127.0.0.1"  # another than loopback asks for a token in $EDGEKIT_TOKEN
    port: int = Field(8000, ge=0, le=65535)  # 0 = any free one, told in the log
    drain_s: float = Field(20, gt=0)  # on SIGTERM, for requests that are under way
    limits: Limits = Limits()
    vllm: Vllm = Vllm()

    def plan(self) -> Plan:
        notes = ("runs until it is stopped; start-up of vLLM on two idle cores: 35 to 90 s, measured",)
        folders = (Path(self.model), Path(self.model) / "out")
        weights_gb = sum(f.stat().st_size for folder in folders for f in folder.glob("*.safetensors")) / 1e9
        # Measured with nano models: server 0.6 + engine 0.6 + worker 0.6 GB, and the KV cache.
        memory = 0.5 if self.kind == "bundle" else 2.0 + self.vllm.kv_cache_gb + weights_gb
        return Plan(memory, 0.01, 1.5, notes)
