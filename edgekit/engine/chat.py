"""The chat template, once: text and token ids of a prompt with one image before it."""

from __future__ import annotations

import re

from tokenizers import Tokenizer

from edgekit.core.contract import Contract

IMAGE = "<image>"  # the mark in a Dataset's messages (ms-swift's form)
END = "<|im_end|>"

# What Qwen2.5-VL's own template writes for one user turn with an image first. The jinja beside a
# checkpoint (edgekit/models/template.py) must give the same text: tested.
_TURN = (
    "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"
    "<|vision_start|>{pads}<|vision_end|>{text}<|im_end|>\n<|im_start|>assistant\n"
)

# What must never come in through a user's text: the image mark, and whatever looks like a control word.
_CONTROL = re.compile(r"<image>|<\|[a-z_0-9]+\|>")


def clean(text: str) -> str:
    """The user's text without the image mark and without control words."""
    found = 1
    while found:  # taking one out may put another together: <|im_<|im_end|>end|>
        text, found = _CONTROL.subn("", text)
    return text


def prompt_text(text: str, contract: Contract) -> str:
    """The whole prompt, image pads expanded, ready for the tokenizer."""
    pads = "<|image_pad|>" * contract.image_tokens
    return _TURN.format(system=contract.system_prompt, pads=pads, text=clean(text))


def prompt_ids(text: str, contract: Contract, tokenizer: Tokenizer) -> list[int]:
    return tokenizer.encode(prompt_text(text, contract), add_special_tokens=False).ids


def positions(ids, image_token_id: int, contract: Contract):
    """M-RoPE positions (3, len(ids)) int64 of a prompt with one still image, and the next position.

    Text counts up on all three axes; the image's tokens share one time, and count rows and columns
    of the merged grid; what follows goes on from the largest position used + 1.
    Source: Qwen2.5-VL get_rope_index; checked against transformers in tests/unit/engine.
    """
    import numpy as np

    ids = np.asarray(ids)
    out = np.zeros((3, len(ids)), dtype=np.int64)
    pads = np.flatnonzero(ids == image_token_id)
    if len(pads) == 0:
        out[:] = np.arange(len(ids))
        return out, len(ids)
    first, after = int(pads[0]), int(pads[-1]) + 1
    _, grid_h, grid_w = contract.grid
    rows, columns = grid_h // contract.merge_size, grid_w // contract.merge_size
    if after - first != rows * columns:
        raise ValueError(f"{after - first} image tokens, but the contract has {rows * columns}")
    out[:, :first] = np.arange(first)
    out[0, first:after] = first
    out[1, first:after] = first + np.repeat(np.arange(rows), columns)
    out[2, first:after] = first + np.tile(np.arange(columns), rows)
    start = first + max(rows, columns)
    out[:, after:] = start + np.arange(len(ids) - after)
    return out, start + len(ids) - after
