"""vLLM reads the two 4-bit layouts that quantize writes, and the teacher that ships, and says what torch says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.label import SLOTS, SceneLabel, coherent
from edgekit.core.run import start
from tests.e2e.serving import PROMPT, Server, data_url, message, need_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.slow]  # starts vLLM three times; make test starts it once
openai = pytest.importorskip("openai")


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


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """A complete quantize Run of a nano that has learned four pictures."""
    need_vllm()
    from edgekit.models.nano import WINDOWED_CONTRACT
    from edgekit.quantize import QuantizeConfig, quantize

    root = tmp_path_factory.mktemp("quantized")
    data = write_dataset(root / "data", WINDOWED_CONTRACT)
    checkpoint = write_checkpoint(root / "nano", data)
    config = QuantizeConfig(
        checkpoint=str(checkpoint), calibration=str(data), frames=2, check_frames=2, grid=4
    )
    run = start("quantize", config, "test", root / "quantize")
    quantize(config, run)
    run.finish()
    return run.path


@pytest.mark.parametrize("layout", ["compressed-tensors", "awq-gemm"])
def test_it_answers_as_torch_does_with_the_same_codes(quantized, layout, tmp_path):
    from edgekit.models.answerer import TorchAnswerer

    frames = [picture for picture, _ in pictures(TorchAnswerer(quantized / "out").contract)]
    expected = TorchAnswerer(quantized / "out", threads=1).answer(frames, [PROMPT] * len(frames))
    model = quantized if layout == "compressed-tensors" else quantized / "out" / "awq-gemm"
    server = Server(model, tmp_path / layout, "vllm.kv_cache_gb=0.25", "vllm.threads=1")
    try:
        client = openai.OpenAI(base_url=server.wait_ready()["url"], api_key="x", max_retries=0, timeout=120)
        told = [
            client.chat.completions.create(model="edgekit", messages=message(data_url(frame)))
            for frame in frames
        ]
    finally:
        assert server.stop() == 0
    assert [t.choices[0].message.content for t in told] == [answer.text for answer in expected]
    assert len({answer.text for answer in expected}) == len(frames)  # a model that sees: the test can fail


def test_the_shipped_teacher_answers_as_torch_does(tmp_path):
    """Golden frames of the shipped sample, saved in bfloat16 and computed in float32 on both sides."""
    need_vllm()
    from edgekit.core.run import open_input
    from edgekit.dataset import open_dataset
    from edgekit.models.answerer import TorchAnswerer

    data, model = open_dataset(open_input("package:sample").out), open_input("package:nano-teacher").out
    rows = data.rows("test")[:24]
    expected = TorchAnswerer(model, threads=1).answer(
        [data.image(r) for r in rows], [r.user_text for r in rows]
    )
    server = Server("package:nano-teacher", tmp_path / "teacher", "vllm.dtype=float32", "vllm.kv_cache_gb=0.25",
                    "vllm.threads=1")  # fmt: skip
    try:
        client = openai.OpenAI(base_url=server.wait_ready()["url"], api_key="x", max_retries=0, timeout=120)
        told = [
            client.chat.completions.create(
                model="edgekit", messages=message(data_url(data.image(row)), row.user_text)
            )
            for row in rows
        ]
    finally:
        assert server.stop() == 0
    texts = [t.choices[0].message.content for t in told]
    assert len({answer.text for answer in expected}) > 5
    assert texts == [answer.text for answer in expected]
