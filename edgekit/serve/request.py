"""A request's body to what a back end is asked: one RGB image, one text, and how to answer.

Everything comes from a stranger: sizes are looked at before anything is decoded, an image may only
come inside the request (``data:``), and no address is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.core.contract import Contract
from edgekit.core.label import json_schema
from edgekit.engine.chat import clean
from edgekit.engine.pixels import resize
from edgekit.serve.config import Limits
from edgekit.serve.wire import Refused

_FORMATS = ("JPEG", "PNG", "WEBP")


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class ChatRequest(BaseModel):
    """The fields of OpenAI's chat completions that are understood here; others are refused."""

    model_config = ConfigDict(extra="forbid")

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=8)
    stream: bool = False
    stream_options: _Options | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**31)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    n: Literal[1] | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None


@dataclass(frozen=True)
class Asked:
    """image: RGB uint8 (contract.height, contract.width, 3); text: the user's, without control words.

    free_format: a response_format other than the label's own, or None where the label's JSON is
    enforced; max_tokens: of the answer, or None.
    """

    image: np.ndarray
    text: str
    free_format: dict[str, Any] | None
    temperature: float
    top_p: float
    seed: int
    max_tokens: int | None
    stream: bool
    with_usage: bool


def read_request(body: bytes, name: str, contract: Contract, limits: Limits) -> Asked:
    """Raises Refused: 400 for what is not understood, 404 for another model, 413 for too large."""
    try:
        asked = ChatRequest.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        raise Refused(400, f"{param}: {first['msg']}", param) from None
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if asked.model != name:
        raise Refused(
            404, f"the model {asked.model!r} is not served here, {name!r} is", "model", "model_not_found"
        )
    url, text = _turn(asked.messages, contract)
    if not text.isascii() and text != text.encode("utf-8", "replace").decode():
        raise Refused(400, "the text is not valid Unicode: half a surrogate pair", "messages")
    if len(text) > limits.prompt_chars:
        raise Refused(413, f"the text has {len(text)} characters, over {limits.prompt_chars}", "messages")
    return Asked(
        image=resize(decode_image(url, limits), contract),
        text=clean(text),
        free_format=_free_format(asked.response_format),
        temperature=asked.temperature or 0.0,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        seed=asked.seed or 0,
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        stream=asked.stream,
        with_usage=bool(asked.stream_options and asked.stream_options.include_usage),
    )


def _turn(messages: list[dict[str, Any]], contract: Contract) -> tuple[str, str]:
    """(the image's URL, the text) of the one user turn; a system turn must be the contract's."""
    if messages[0].get("role") == "system":
        if messages[0].get("content") != contract.system_prompt:
            raise Refused(
                400,
                f"the system prompt belongs to the model's contract: {contract.system_prompt!r}",
                "messages.0",
            )
        messages = messages[1:]
    if len(messages) != 1 or messages[0].get("role") != "user":
        raise Refused(400, "one user message is answered here, with one image in it", "messages")
    content = messages[0].get("content")
    urls, texts = [], []
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            inner = part.get("image_url")
            urls.append(inner.get("url") if isinstance(inner, dict) else inner)
        else:
            raise Refused(400, "a part of the content is neither text nor image_url", "messages")
    if len(urls) != 1 or not isinstance(urls[0], str):
        raise Refused(400, f"one image is wanted, {len(urls)} came", "messages")
    return urls[0], "".join(texts)


def decode_image(url: str, limits: Limits) -> np.ndarray:
    """A ``data:image/…;base64,`` URL as RGB uint8 (H, W, 3). Raises Refused."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise Refused(
            400,
            "an image comes inside the request, as data:image/…;base64,…; no address is fetched",
            "image_url",
        )
    try:
        raw = base64.b64decode(data, validate=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=_FORMATS) as image:
                if image.width * image.height > limits.image_megapixels * 1e6:
                    raise _too_large(f"{image.width}×{image.height} pixels", limits)
                return np.array(image.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(str(error), limits) from None
    # Pillow's decoders report broken files with any of these.
    except (
        OSError,
        ValueError,
        SyntaxError,
        binascii.Error,
        EOFError,
        IndexError,
        MemoryError,
        TypeError,
    ) as error:
        raise Refused(
            400, f"not a readable JPEG, PNG or WebP: {error}"[:300], "image_url", "invalid_image"
        ) from None


def _too_large(what: str, limits: Limits) -> Refused:
    return Refused(
        413, f"the image is too large: {what}, over {limits.image_megapixels} megapixels", "image_url"
    )


def _free_format(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    """None where the label's own JSON is what is wanted: by default, and for its schema by name."""
    kind = (wanted or {}).get("type", "json_object")
    if kind == "json_object":
        return None
    if kind == "json_schema":
        inner = wanted.get("json_schema")
        if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
            raise Refused(400, "response_format.json_schema.schema is missing", "response_format")
        return None if inner["schema"] == json_schema() else wanted
    if kind == "text":
        return wanted
    raise Refused(400, f"response_format.type {kind!r} is not known", "response_format")
