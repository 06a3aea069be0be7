"""What a generator is told: a class label, or a text. Both as dictionaries of batch-first tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import sha256_json

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

Cond = dict[str, Tensor]

# Tokens of the encoder that pads to a length of its caller's choosing (T5, ChatGLM); the values that the
# models were trained with, as diffusers' pipelines default to. CLIP pads to its tokenizer's own length.
MAX_TOKENS = {
    "PixArtAlphaPipeline": 120,
    "KolorsPipeline": 256,
    "StableDiffusion3Pipeline": 256,
}


def drop(cond: Cond, null: Cond, p: float, generator: torch.Generator) -> Cond:
    """Each row replaced by the null condition's with probability ``p`` (classifier-free guidance's training).

    null: of one row or as many as ``cond``. generator: a CPU generator; one number a row is drawn whatever p.
    """
    rows = next(iter(cond.values())).shape[0]
    chosen = torch.rand(rows, generator=generator) < p  # [B]

    def mixed(kept: Tensor, dropped: Tensor) -> Tensor:
        where = chosen.to(kept.device).view(-1, *[1] * (kept.ndim - 1))
        return torch.where(where, dropped.to(kept.dtype), kept)

    return {key: mixed(value, null[key]) for key, value in cond.items()}


class LabelCondition:
    """K classes by name; index K, the table's last row, is the null label.

    encode -> {"labels": [B] long}.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.device = torch.device("cpu")
        if len(set(self.names)) != len(self.names) or not self.names:
            raise UserError(
                "labels of a generator",
                f"{len(self.names)} names of which {len(set(self.names))} differ",
                "give each class one name",
            )

    def encode(self, labels: Sequence[str | int]) -> Cond:
        """Names or indices 0..K-1. Raises UserError for a label that the generator does not have."""
        indices = [self._index(label) for label in labels]
        return {"labels": torch.tensor(indices, dtype=torch.long, device=self.device)}

    def _index(self, label: str | int) -> int:
        if isinstance(label, str):
            if label in self.names:
                return self.names.index(label)
            why = suggestion(label, self.names)
        elif 0 <= label < len(self.names):
            return int(label)
        else:
            why = f"it has labels 0 to {len(self.names) - 1}"
        raise UserError(f"label {label!r}: the generator has no such class", why[:300], "ask for one it has")

    def null(self, n: int) -> Cond:
        return {"labels": torch.full((n,), len(self.names), dtype=torch.long, device=self.device)}

    def drop(self, cond: Cond, p: float, generator: torch.Generator) -> Cond:
        return drop(cond, self.null(1), p, generator)

    def to(self, device: torch.device | str) -> LabelCondition:
        self.device = torch.device(device)
        return self

    def encoders(self) -> list[nn.Module]:
        return []

    def to_json(self) -> dict[str, Any]:
        return {"kind": "labels", "names": self.names}


class TextCondition:
    """Text through the encoders of a diffusers pipeline, as that pipeline encodes its prompts.

    encode -> {"tokens": [B, L, D]} and, by pipeline: "mask" [B, L] (PixArt), "pooled" [B, P] and "time_ids"
    [B, 6] (SDXL, Kolors: original height and width, crop top and left, target height and width), "pooled"
    (SD3). Encodings are cached per string while the encoders are frozen; an encoder with a parameter that
    requires grad is run at every call, with its graph.

    pixels: height and width of the images, for time_ids. max_tokens: see MAX_TOKENS.
    """

    def __init__(self, pipeline: DiffusionPipeline, pixels: tuple[int, int], max_tokens: int | None = None):
        self.kind = type(pipeline).__name__
        self.pipeline = pipeline
        self.pixels = pixels
        self.max_tokens = MAX_TOKENS.get(self.kind) if max_tokens is None else max_tokens
        self._cache: dict[str, Cond] = {}
        for encoder in self.encoders():
            encoder.requires_grad_(False).eval()

    def encoders(self) -> list[nn.Module]:
        """The text encoders, in the pipeline's order."""
        parts = self.pipeline.components
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        return [parts[name] for name in names if parts.get(name) is not None]

    @property
    def device(self) -> torch.device:
        return self.encoders()[0].device

    def resize(self, pixels: tuple[int, int]) -> None:
        """Images of another size from now on."""
        self.pixels = pixels
        self._cache.clear()

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> TextCondition:
        for encoder in self.encoders():
            encoder.to(device, *([] if dtype is None else [dtype]))
        self._cache.clear()
        return self

    def encode(self, texts: Sequence[str]) -> Cond:
        texts = list(texts)
        if any(p.requires_grad for encoder in self.encoders() for p in encoder.parameters()):
            self._cache.clear()
            return self._run(texts)
        if missing := [text for text in dict.fromkeys(texts) if text not in self._cache]:
            with torch.no_grad():
                # One at a time: an encoding must not depend on which texts shared its batch.
                self._cache.update({text: self._run([text]) for text in missing})
        rows = [self._cache[text] for text in texts]
        return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}

    def null(self, n: int) -> Cond:
        """The encoding of "", or zeros where the pipeline says that its model was trained so (SDXL)."""
        one = self.encode([""])
        if self.pipeline.config.get("force_zeros_for_empty_prompt"):
            one = {key: x if key == "time_ids" else torch.zeros_like(x) for key, x in one.items()}
        return {key: x.expand(n, *x.shape[1:]) for key, x in one.items()}

    def drop(self, cond: Cond, p: float, generator: torch.Generator) -> Cond:
        return drop(cond, self.null(1), p, generator)

    def _run(self, texts: list[str]) -> Cond:
        pipe, device = self.pipeline, self.device
        plain = dict(device=device, num_images_per_prompt=1, do_classifier_free_guidance=False)
        if self.kind == "PixArtAlphaPipeline":
            tokens, mask, *_ = pipe.encode_prompt(texts, max_sequence_length=self.max_tokens, **plain)
            return {"tokens": tokens, "mask": mask}
        if self.kind == "StableDiffusion3Pipeline":
            tokens, _, pooled, _ = pipe.encode_prompt(
                texts, texts, texts, max_sequence_length=self.max_tokens, **plain
            )
            return {"tokens": tokens, "pooled": pooled}
        if self.kind == "StableDiffusionPipeline":
            return {"tokens": pipe.encode_prompt(texts, **plain)[0]}
        more = {"max_sequence_length": self.max_tokens} if self.kind == "KolorsPipeline" else {}
        tokens, _, pooled, _ = pipe.encode_prompt(texts, **more, **plain)
        time_ids = torch.tensor([[*self.pixels, 0, 0, *self.pixels]], dtype=tokens.dtype, device=device)
        return {"tokens": tokens, "pooled": pooled, "time_ids": time_ids.expand(len(texts), -1)}

    def to_json(self) -> dict[str, Any]:
        parts = self.pipeline.components
        words = {n: p.get_vocab() for n, p in parts.items() if n.startswith("tokenizer") and p is not None}
        return {
            "kind": "text",
            "pipeline": self.kind,
            "pixels": list(self.pixels),
            "max_tokens": self.max_tokens,
            "vocabulary": {name: sha256_json(vocab) for name, vocab in words.items()},
        }
