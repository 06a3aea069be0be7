"""OpenAI's chat completions on the wire: errors, completions, stream chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass


class Refused(Exception):
    """A request that is not answered; becomes an error body in OpenAI's form.

    status: of HTTP; param: the field at fault; code: OpenAI's short name; headers: extra ones.
    """

    _KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None,
        headers: dict[str, str] | None = None,
    ):  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = headers or {}

    def body(self) -> dict:
        kind = self._KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        # A message may quote the request, and a request may hold half a surrogate pair.
        return {"error": {k: v and v.encode("utf-8", "replace").decode() for k, v in told.items()}}


@dataclass(frozen=True)
class Completion:
    """What a back end answers. finish: "stop" or "length"; tokens as its tokenizer counts them."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int

    def usage(self) -> dict:
        total = self.prompt_tokens + self.completion_tokens
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": total,
        }


def completion_body(identity: str, created: int, model: str, done: Completion) -> dict:
    message = {"role": "assistant", "content": done.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish}
    return {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": done.usage(),
    }


def stream_lines(
    identity: str, created: int, model: str, done: Completion, with_usage: bool
) -> Iterator[str]:
    """Server-sent events: the whole answer in one chunk (it is short, and known only when it is whole)."""

    def event(choices: list[dict], **more: object) -> str:
        head = {"id": identity, "object": "chat.completion.chunk", "created": created, "model": model}
        return f"data: {json.dumps({**head, 'choices': choices, **more}, ensure_ascii=False)}\n\n"

    def choice(delta: dict, finish: str | None) -> list[dict]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    yield event(choice({"role": "assistant", "content": done.text}, None))
    yield event(choice({}, done.finish))
    if with_usage:
        yield event([], usage=done.usage())
    yield "data: [DONE]\n\n"


def models_body(name: str, created: int) -> dict:
    model = {"id": name, "object": "model", "created": created, "owned_by": "edgekit"}
    return {"object": "list", "data": [model]}
