"""The server as clients see it: OpenAI's own client, one suite, both back ends."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.label import SceneLabel, json_schema, parse_answer, to_answer
from edgekit.core.run import open_input
from edgekit.dataset import open_dataset
from edgekit.engine.answerer import Answer
from edgekit.library import default_prompt
from tests.e2e.serving import TOKEN, Server, data_url, message, need_vllm, processes_of

openai = pytest.importorskip("openai")
PROMPT = default_prompt().text

BACKENDS = [
    pytest.param("bundle", marks=pytest.mark.onnx),
    pytest.param("vllm", marks=pytest.mark.vllm),
]


@pytest.fixture(scope="session")
def student(walked) -> Path:
    """The quickstart's student in 4 bits, and the Bundle that was made of it."""
    return walked.step("quantize")


@pytest.fixture(scope="session")
def bundle(walked) -> Path:
    return walked.step("export")


@pytest.fixture(scope="session")
def golden(student) -> list[tuple[np.ndarray, SceneLabel, Answer]]:
    """One held-out frame of each scene: picture, truth, and what torch answers from the same weights."""
    from edgekit.models.answerer import TorchAnswerer

    data = open_dataset(open_input("package:sample").out)
    rows = list({row.scene: row for row in data.rows("test")}.values())
    pictures = [data.image(row) for row in rows]
    assert {row.user_text for row in rows} == {PROMPT}
    answers = TorchAnswerer(student / "out", batch=8, threads=1).answer(pictures, [PROMPT] * len(rows))
    return [
        (picture, row.label, answer) for picture, row, answer in zip(pictures, rows, answers, strict=True)
    ]


@pytest.fixture(scope="session")
def frames(golden) -> list[tuple[np.ndarray, SceneLabel]]:
    """Six pictures with six different answers, those that torch is surest of: vLLM computes 4-bit weights
    in bfloat16, which may tip a close call.
    """

    def confidence(answer: Answer) -> float:
        return min(answer.confidence.values())

    rising = sorted(golden, key=lambda row: confidence(row[2]))
    surest = {answer.text: (picture, answer) for picture, _, answer in rising}  # the last of a text stays
    assert len(surest) >= 6, "six different answers: the tests can fail"
    chosen = sorted(surest.values(), key=lambda row: confidence(row[1]))[-6:]
    return [(picture, answer.label) for picture, answer in chosen]


@pytest.fixture(scope="session")
def torch_answers(frames) -> list[str]:
    return [to_answer(label) for _, label in frames]


@pytest.fixture(scope="session", params=BACKENDS)
def served(request, tmp_path_factory):
    """(kind, base URL) of a running server with a token; at the end it must leave nothing behind."""
    kind, out = request.param, tmp_path_factory.mktemp("serve") / request.param
    if kind == "vllm":
        need_vllm()
    model = request.getfixturevalue("student" if kind == "vllm" else "bundle")
    server = Server(model, out, "limits.body_mb=1", "limits.image_megapixels=1", "vllm.threads=1",
                    "vllm.kv_cache_gb=0.25", token=TOKEN)  # fmt: skip
    try:
        told = server.wait_ready()
        group = server.vllm_group() if kind == "vllm" else None
        assert told["kind"] == kind and (kind == "bundle" or len(processes_of(group)) >= 3)
        yield kind, told["url"]
    finally:
        code = server.stop()
    assert code == 0, server.log.read_text()[-2000:]
    assert not processes_of(server.process.pid) and not (group and processes_of(group))
    assert not (out / "out" / "served.json").exists() and not (out / "manifest.json").exists()


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=served[1], api_key=TOKEN, max_retries=0, timeout=120)


def ask(client, picture, **more):
    return client.chat.completions.create(
        model="edgekit", messages=message(data_url(picture), PROMPT), **more
    )


def text_of(completion) -> str:
    return completion.choices[0].message.content


def test_the_model_is_listed(client):
    assert [m.id for m in client.models.list()] == ["edgekit"]


def test_the_answer_is_a_scene_label(client, frames):
    done = ask(client, frames[0][0])
    assert parse_answer(text_of(done)) == frames[0][1]
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.prompt_tokens > 77 and 40 < done.usage.completion_tokens < 130
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_golden_frames_answer_as_torch_does(client, frames, torch_answers):
    assert [text_of(ask(client, picture)) for picture, _ in frames] == torch_answers


def test_the_trained_student_names_the_right_light(client, golden):
    """Held-out scenes, one frame each: better than the most common light by three standard errors of that guess."""
    told = [parse_answer(text_of(ask(client, picture))).light for picture, _, _ in golden]
    truth = [label.light for _, label, _ in golden]
    right = np.mean([t == true for t, true in zip(told, truth, strict=True)])
    guess = max(truth.count(light) for light in set(truth)) / len(truth)
    assert guess < 0.5
    wanted = guess + 3 * (guess * (1 - guess) / len(truth)) ** 0.5
    assert right >= wanted, (right, wanted, list(zip(told, truth, strict=True)))


def test_an_unsure_model_still_answers_in_the_schema(client):
    """Pictures that it never saw: whatever it says, it says it in the label's own form."""
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 256, (90, 160, 3), dtype=np.uint8)
        text = text_of(ask(client, noise))
        assert text == to_answer(parse_answer(text))


def test_the_schema_may_be_asked_for_by_name(client, frames):
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "scene_label", "strict": True, "schema": json_schema()},
    }
    assert parse_answer(text_of(ask(client, frames[1][0], response_format=wanted))) == frames[1][1]


def test_another_schema(client, served, frames):
    """vLLM holds any schema; a Bundle says that it cannot."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
              "required": ["n"], "additionalProperties": False}  # fmt: skip
    wanted = {"type": "json_schema", "json_schema": {"name": "number", "schema": schema}}
    if served[0] == "bundle":
        with pytest.raises(openai.BadRequestError):
            ask(client, frames[0][0], response_format=wanted)
    else:
        told = json.loads(text_of(ask(client, frames[0][0], response_format=wanted, max_tokens=32)))
        assert set(told) == {"n"} and 0 <= told["n"] <= 9


def test_a_stream_tells_the_same(client, frames, torch_answers):
    chunks = list(ask(client, frames[2][0], stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == torch_answers[2]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 40


def test_eight_at_once_are_all_answered(client, frames, torch_answers):
    which = [i % len(frames) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda i: text_of(ask(client, frames[i][0])), which))
    assert done == [torch_answers[i] for i in which]


def test_an_image_of_another_size_and_form(client, frames):
    large = frames[0][0].repeat(2, axis=0).repeat(2, axis=1)
    url = data_url(large, "JPEG")
    done = client.chat.completions.create(model="edgekit", messages=message(url))
    assert parse_answer(text_of(done)) is not None


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,aGVsbG8=", "https://example.com/road.jpg", "file:///etc/passwd"]
)
def test_a_bad_image_is_a_400(client, url):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="edgekit", messages=message(url))


def test_too_large_is_a_413(client):
    noise = np.random.default_rng(0).integers(0, 256, (800, 900, 3), dtype=np.uint8)  # 2 MB of PNG
    flat = np.zeros((1001, 1000, 3), np.uint8)  # few bytes, too many pixels
    for picture in (noise, flat):
        with pytest.raises(openai.APIStatusError) as error:
            ask(client, picture)
        assert error.value.status_code == 413


def test_a_wrong_model_is_a_404(client, frames):
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="gpt-9", messages=message(data_url(frames[0][0])))
    assert error.value.code == "model_not_found"


def test_without_the_token_it_is_a_401(served, frames):
    stranger = openai.OpenAI(base_url=served[1], api_key="guess", max_retries=0)
    for call in (lambda: ask(stranger, frames[0][0]), lambda: list(stranger.models.list())):
        with pytest.raises(openai.AuthenticationError):
            call()


def test_our_own_client_reads_it(served, frames):
    from edgekit.engine.endpoint import EndpointAnswerer

    answerer = EndpointAnswerer(served[1], "edgekit", TOKEN, contract=Contract())
    answers = answerer.answer([p for p, _ in frames], [PROMPT] * len(frames))
    answerer.close()
    assert [a.label for a in answers] == [label for _, label in frames]


def test_mining_asks_it(served, frames, tmp_path, monkeypatch):
    """A drive of these frames, asked about through the port as a fleet's would be, eight questions at once."""
    from edgekit.core.recipe import build
    from edgekit.core.run import start
    from edgekit.mine import MineConfig, mine

    folder = tmp_path / "drive"
    folder.mkdir()
    for n, (picture, _) in enumerate(frames):
        Image.fromarray(picture).save(folder / f"{n:03d}.png")
    monkeypatch.setenv("DRIVE_TOKEN", TOKEN)
    height, width = frames[0][0].shape[:2]
    port = {"url": served[1], "model": "edgekit", "api_key_env": "DRIVE_TOKEN", "parallel": 8,
            "width": width, "height": height}  # fmt: skip
    recipe = {
        "drives": [str(folder)],
        "kind": "endpoint",
        "endpoint": port,
        "smoothing": None,
        "motion": None,
    }
    config = build(MineConfig, recipe, "test")
    run = start("mine", config, "test", tmp_path / "run")
    mine(config, run)
    rows = list(open_dataset(run.out).rows("train"))
    assert [row.label for row in rows] == [label for _, label in frames]
    assert {row.teacher.split()[0] for row in rows} == {"edgekit"}
    assert not [note for note in run.notes if "did not parse" in note]


def test_health_and_metrics(served, client, frames):
    ask(client, frames[0][0])
    root = served[1].removesuffix("/v1")
    assert urllib.request.urlopen(f"{root}/health").read() == b"ok"
    asked = urllib.request.Request(f"{root}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    page = urllib.request.urlopen(asked).read().decode()
    assert f'edgekit_requests_total{{backend="{served[0]}",status="200"}}' in page
    assert f'edgekit_requests_waiting{{backend="{served[0]}"}} 0' in page


@pytest.mark.onnx
def test_a_port_in_use_and_a_missing_model_are_told_in_three_lines(bundle, tmp_path):
    first = Server(bundle, tmp_path / "first")
    port = first.wait_ready()["url"].split(":")[-1].removesuffix("/v1")
    second = Server(bundle, tmp_path / "second", f"port={port}")
    assert second.process.wait(60) == 2 and "cannot listen" in second.log.read_text()
    assert first.stop(signal.SIGINT) == 0
    third = Server(tmp_path / "nothing", tmp_path / "third")
    assert third.process.wait(60) == 2 and "there is no such directory" in third.log.read_text()


def arrived(url: str) -> int:
    """Requests that the server has answered, works on, or lets wait."""
    page = urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics").read().decode()
    return sum(int(line.split()[-1]) for line in page.splitlines() if line.startswith("edgekit_requests_"))


@pytest.mark.onnx
def test_what_is_under_way_is_answered_before_it_stops_and_it_starts_again(bundle, frames, tmp_path):
    """SIGTERM with eight requests inside: every one is answered, none is cut off."""
    for _ in range(2):
        server = Server(bundle, tmp_path / "drain")
        url = server.wait_ready()["url"]
        client = openai.OpenAI(base_url=url, api_key="x", max_retries=0, timeout=60)
        with ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(ask, client, frames[i % len(frames)][0]) for i in range(8)]
            # One that is still on its way may be refused at the door.
            while arrived(url) < 8 and not all(f.done() for f in waiting):
                time.sleep(0.01)
            early = sum(f.done() for f in waiting)
            assert server.stop() == 0
        assert early < 8, "all were answered before the signal: this shows nothing"
        assert all(parse_answer(text_of(f.result())) for f in waiting)
