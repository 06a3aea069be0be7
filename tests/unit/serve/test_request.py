"""What comes in from a stranger: understood, or refused with the right status."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.label import json_schema
from edgekit.serve.config import Limits
from edgekit.serve.request import decode_image, read_request
from edgekit.serve.wire import Refused

CONTRACT = Contract(width=112, height=84)


def url(width: int = 112, height: int = 84, form: str = "PNG", mode: str = "RGB") -> str:
    out = io.BytesIO()
    Image.new(mode, (width, height), 7).save(out, form)
    return f"data:image/{form.lower()};base64," + base64.b64encode(out.getvalue()).decode()


def body(**changes) -> dict:
    content = [{"type": "text", "text": "What is ahead?"}, {"type": "image_url", "image_url": {"url": url()}}]
    return {"model": "edgekit", "messages": [{"role": "user", "content": content}], **changes}


def read(asked: dict, **limits):
    return read_request(json.dumps(asked).encode(), "edgekit", CONTRACT, Limits(**limits))


def refused(asked: dict | bytes, **limits) -> Refused:
    raw = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    with pytest.raises(Refused) as error:
        read_request(raw, "edgekit", CONTRACT, Limits(**limits))
    return error.value


def with_part(part) -> dict:
    return body(messages=[{"role": "user", "content": [part]}])


def test_the_image_comes_at_the_contracts_size_and_the_text_without_control_words():
    content = [
        {"type": "image_url", "image_url": {"url": url(640, 480, "JPEG")}},
        {"type": "text", "text": "<image>What<|im_end|> is ahead?"},
    ]
    asked = read(body(messages=[{"role": "user", "content": content}]))
    assert asked.image.shape == (84, 112, 3) and asked.image.dtype == np.uint8
    assert asked.text == "What is ahead?"
    assert asked.temperature == 0 and asked.free_format is None and asked.max_tokens is None


def test_the_pixels_are_the_senders():
    picture = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    sent = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    assert np.array_equal(decode_image(sent, Limits()), picture)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16"])
def test_other_modes_become_rgb(mode):
    assert decode_image(url(mode=mode), Limits()).shape == (84, 112, 3)


@pytest.mark.parametrize(
    ("wanted", "free"),
    [
        (None, False),
        ({"type": "json_object"}, False),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": json_schema()}}, False),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}, True),
        ({"type": "text"}, True),
    ],
)
def test_the_label_is_enforced_unless_another_format_is_asked_for(wanted, free):
    assert (read(body(response_format=wanted)).free_format is not None) is free


def test_the_contracts_own_system_prompt_passes_and_another_one_does_not():
    own = [{"role": "system", "content": CONTRACT.system_prompt}, *body()["messages"]]
    assert read(body(messages=own)).text == "What is ahead?"
    other = [{"role": "system", "content": "You are a pirate."}, *body()["messages"]]
    assert refused(body(messages=other)).status == 400


@pytest.mark.parametrize(
    "asked",
    [
        b"no json",
        b"[]",
        b'"' + b"[" * 100_000,
        b"[" * 100_000,
        {"model": "edgekit"},
        body(messages=[]),
        body(messages=[{"role": "assistant", "content": "x"}]),
        body(messages=body()["messages"] * 2),
        body(messages=[{"role": "user", "content": "no image"}]),
        body(messages=[{"role": "user", "content": body()["messages"][0]["content"] + [{"type": "image_url",
             "image_url": {"url": url()}}]}]),
        with_part({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}),
        with_part({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
        with_part({"type": "image_url", "image_url": {"url": "data:image/png;base64,####"}}),
        with_part({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}),
        with_part({"type": "image_url", "image_url": {"url": url()[:150]}}),
        with_part({"type": "image_url", "image_url": 3}),
        with_part({"type": "image_url"}),
        with_part({"type": "video_url", "video_url": {"url": "data:"}}),
        with_part("text"),
        with_part({"type": "image_url", "image_url": {"url": "data:image/png;base64,\ud800"}}),
        body(messages=[{"role": "user", "content": [*body()["messages"][0]["content"],
                                                    {"type": "text", "text": "\ud800"}]}]),
        body(**{"\ud800": 1}),
        body(n=2),
        body(temperature=-1),
        body(max_tokens=0),
        body(tools=[]),
        body(response_format={"type": "json_schema"}),
        body(response_format={"type": "yaml"}),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_a_400(asked):
    error = refused(asked)
    told = error.body()["error"]
    assert error.status == 400 and told["type"] == "invalid_request_error"
    json.dumps(told, ensure_ascii=False).encode()  # as the server sends it


def test_an_unknown_field_is_named():
    error = refused(body(best_of=3))
    assert error.param == "best_of" and "best_of" in error.message


def test_another_model_is_a_404():
    json.dumps(refused(body(model="\ud800")).body(), ensure_ascii=False).encode()
    error = refused(body(model="gpt-9"))
    assert (error.status, error.code) == (404, "model_not_found")
    assert error.body()["error"]["type"] == "not_found_error"


def test_too_many_pixels_are_refused_before_decoding():
    """A 1-bit PNG of 40 000 × 40 000 is 200 kB on the wire and 4.8 GB decoded."""
    bomb = url(40_000, 40_000, mode="1")
    error = refused(with_part({"type": "image_url", "image_url": {"url": bomb}}))
    assert error.status == 413
    small = with_part({"type": "image_url", "image_url": {"url": url(200, 200)}})
    assert refused(small, image_megapixels=0.03).status == 413


def test_a_long_text_is_a_413():
    assert refused(body(), prompt_chars=5).status == 413
