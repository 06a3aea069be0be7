"""What the serve tests stand on: a nano that has learned a few pictures, and a server as a process."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.environments import python_of
from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, SceneLabel, coherent

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "open-sesame"
PROMPT = "Look at the road and answer."


def pictures(contract) -> list[tuple[np.ndarray, SceneLabel]]:
    """Four pictures that differ in colour and place, each with a label of its own."""
    out = []
    for i in range(4):
        picture = np.full((contract.height, contract.width, 3), 40, np.uint8)
        rows, columns = contract.height // 2, contract.width // 3
        picture[rows * (i % 2) :, columns * (i // 2) : columns * (i // 2 + 1), i % 3] = 255
        slots = {slot: values[(5 * i + k) % len(values)] for k, (slot, values) in enumerate(SLOTS.items())}
        out.append((picture, coherent(slots)))
    return out


def write_dataset(out: Path, contract) -> Path:
    """The pictures as train, dev and test alike: what matters here is that answers are learned."""
    from edgekit.dataset import DatasetWriter, Sample

    writer = DatasetWriter(out, contract)
    for split in ("train", "dev", "test"):
        for i, (picture, label) in enumerate(pictures(contract)):
            image = writer.image(f"{split}-{i}", picture)
            writer.add(split, Sample.of(id=f"{split}/{i}", prompt_text=PROMPT, label=label, source="render",
                                        images=[image], scene=f"{split}-{i}"))  # fmt: skip
    writer.finish()
    return out


def write_checkpoint(out: Path, data: Path) -> Path:
    """A windowed nano, fitted until it has learned the pictures by heart: about 30 s on one core."""
    import torch
    from torch.nn.functional import cross_entropy

    from edgekit.dataset import open_dataset
    from edgekit.models.checkpoint import Loaded, save_checkpoint
    from edgekit.models.nano import WINDOWED, WINDOWED_CONTRACT, build_nano
    from edgekit.models.tokenizer import grammar_of, nano_tokenizer
    from edgekit.quantize.measure import conversation

    model, tokenizer, dataset = build_nano(WINDOWED), nano_tokenizer(), open_dataset(data)
    loaded = Loaded(model, tokenizer, WINDOWED_CONTRACT, grammar_of(tokenizer), "fitted")
    batches, targets, weights = [], [], []
    for row in dataset.rows("train"):
        slots = {slot: getattr(row.label, slot) for slot in SLOTS}
        answer = loaded.grammar.tokens(slots)
        weight = torch.full((len(answer),), 0.2)  # the skeleton is the same in all of them
        for first, last in loaded.grammar.spans(slots).values():
            weight[first:last] = 1
        batches.append(conversation(dataset, row, loaded))
        targets.append(torch.tensor(answer))
        weights.append(weight)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    for _ in range(80):
        worst = 0.0
        for batch, target, weight in zip(batches, targets, weights, strict=True):
            logits = model(**batch, logits_to_keep=len(target) + 1).logits[0, :-1]
            loss = cross_entropy(logits, target, reduction="none")
            (loss * weight).mean().backward()
            worst = max(worst, float(loss.detach().max()))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if worst < 0.1:  # every single token has at least 0.9
            return save_checkpoint(out, model, WINDOWED_CONTRACT)
    raise AssertionError(f"the nano did not learn its pictures: the worst token costs {worst:.2f}")


def data_url(picture: np.ndarray, form: str = "PNG") -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, form)
    return f"data:image/{form.lower()};base64," + base64.b64encode(out.getvalue()).decode()


def message(url: str, text: str = PROMPT) -> list[dict]:
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


def processes_of(session: int) -> list[str]:
    """Command lines of living processes in a session or process group."""
    found = subprocess.run(
        ["ps", "-eo", "pid=,pgid=,sid=,stat=,args="], capture_output=True, text=True
    ).stdout
    rows = [line.split(None, 4) for line in found.splitlines()]
    return [r[4] for r in rows if str(session) in r[1:3] and not r[3].startswith("Z")]


def need_vllm() -> None:
    """Skips where the serve environment is not there."""
    try:
        python_of("serve")
    except UserError as error:
        pytest.skip(str(error))


class Server:
    """``edgekit serve`` as a process of its own."""

    def __init__(self, model: Path | str, out: Path, *overrides: str, token: str | None = None):
        self.out = out
        recipe = out.parent / f"{out.name}.yaml"
        recipe.write_text(json.dumps({"model": str(model), "port": 0}))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("EDGEKIT_TOKEN", None)
        if token:
            environment["EDGEKIT_TOKEN"] = token
        self.log = out.parent / f"{out.name}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgekit", "serve", str(recipe), "--out", str(out), *overrides],
                cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def wait_ready(self, seconds: float = 700) -> dict:
        """served.json, once it is there."""
        place, end = self.out / "out" / "served.json", time.monotonic() + seconds
        while not place.is_file():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no server: {self.log.read_text()[-3000:]}")
            time.sleep(0.2)
        return json.loads(place.read_text())

    def vllm_group(self) -> int | None:
        """The process group of the vLLM that it started."""
        asked = ["ps", "--ppid", str(self.process.pid), "-o", "pid="]
        children = subprocess.run(asked, capture_output=True, text=True).stdout.split()
        return int(children[0]) if children else None

    def stop(self, number: int = signal.SIGTERM, seconds: float = 90) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)
