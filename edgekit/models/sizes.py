"""Parameter counts of a Qwen2.5-VL from its config.json, for plans: no torch, no weights."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from edgekit.core.errors import UserError
from edgekit.core.places import asset


class Sizes(NamedTuple):
    """Parameters. linears: the decoder's, which quantization packs; head: 0 where tied."""

    linears: int
    vision: int
    embedding: int
    head: int
    rest: int  # biases and norms of the decoder

    @property
    def all(self) -> int:
        return sum(self)


def count(config: dict) -> Sizes:
    """Counts from a config.json's content; Qwen's own on the hub are flat, without a text_config."""
    text, vision = config.get("text_config", config), config["vision_config"]
    h, inner, layers = text["hidden_size"], text["intermediate_size"], text["num_hidden_layers"]
    kv = h // text["num_attention_heads"] * text["num_key_value_heads"]
    linears = layers * (2 * h * h + 2 * h * kv + 3 * h * inner)
    rest = layers * (h + 2 * kv + 2 * h) + h
    embedding = text["vocab_size"] * h
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    v, v_inner, out = vision["hidden_size"], vision["intermediate_size"], vision["out_hidden_size"]
    merged = v * vision["spatial_merge_size"] ** 2
    block = 4 * v * v + 4 * v + 3 * v * v_inner + 2 * v_inner + v + 2 * v
    patch = 3 * vision["temporal_patch_size"] * vision["patch_size"] ** 2 * v
    merger = merged * merged + merged + merged * out + out + v
    return Sizes(linears, vision["depth"] * block + patch + merger, embedding, 0 if tied else embedding, rest)


def _published(hidden: int, inner: int, layers: int, heads: int, kv: int, vocab: int, tied: bool) -> dict:
    text = {
        "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocab,
    }  # fmt: skip
    vision = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": hidden,
        "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2,
    }  # fmt: skip
    return {"text_config": text, "vision_config": vision, "tie_word_embeddings": tied}


# The released models' config.json, what counts of it; by a mark in the folder's name.
PUBLISHED = {
    "qwen2.5-vl-3b": _published(2048, 11008, 36, 16, 2, 151936, True),
    "qwen2.5-vl-7b": _published(3584, 18944, 28, 28, 4, 152064, False),
    "qwen2.5-vl-32b": _published(5120, 27648, 64, 40, 8, 152064, False),
    "qwen2.5-vl-72b": _published(8192, 29568, 80, 64, 8, 152064, False),
}


def _letters(name: str) -> str:
    """A recipe's qwen2_5_vl_7b and a hub's Qwen2.5-VL-7B-Instruct name one model."""
    return re.sub("[^a-z0-9]", "", name.lower())


def sizes_of(checkpoint: str) -> tuple[Sizes | None, str]:
    """(counts, where they come from) of a checkpoint's path; None where nothing is known of it yet."""
    text = str(checkpoint)
    try:
        folder = asset(text.removeprefix("package:")) if text.startswith("package:") else Path(text)
    except UserError:  # a plan does not fail over an asset that is not there
        return None, f"{text} is not there yet"
    for path in (folder / "config.json", folder / "out" / "config.json"):
        if path.is_file():
            return count(json.loads(path.read_text())), f"{path.parent.name}/config.json"
    for mark, config in PUBLISHED.items():
        if _letters(mark) in _letters(text):
            return count(config), f"the published shape of {mark}"
    return None, f"{text} is not there yet"
