"""vLLM reads the two 4-bit layouts that quantize writes, and the teacher that ships, and says what torch says."""

from __future__ import annotations

import pytest

from edgekit.core.run import start
from tests.e2e.serving import (
    PROMPT,
    Server,
    data_url,
    message,
    need_vllm,
    pictures,
    write_checkpoint,
    write_dataset,
)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]  # starts vLLM three times; make test starts it once
openai = pytest.importorskip("openai")


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
