"""Pictures to features: FID's Inception of an ONNX file, CLIP, and LPIPS's AlexNet as a stand-in.

An extractor has ``name`` (as printed), ``stand_in`` (it is not the network that FID, CMMD or the CLIP score is
defined on), ``source`` (what identifies its weights) and ``extractor(images uint8 [N, H, W, 3], batch)`` ->
Features. Each squeezes a picture to the size it wants, so that a wide road keeps its sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.core.files import sha256_file

SPATIAL = 7  # channels of a middle map that sFID looks at (Nash et al. 2021)


@dataclass(frozen=True)
class Features:
    """pooled: float32 [N, D]; spatial: float32 [N, S], some channels of a middle map, flattened, or None."""

    pooled: np.ndarray
    spatial: np.ndarray | None = None


class Extractor(Protocol):
    name: str
    stand_in: bool
    source: str

    def __call__(self, images: np.ndarray, batch: int = 32) -> Features: ...


def joined(parts: Sequence[Features]) -> Features:
    """The features of several batches as one. Raises ValueError for none."""
    if not parts:
        raise ValueError("features of no pictures")
    spatial = None if parts[0].spatial is None else np.concatenate([p.spatial for p in parts])
    return Features(np.concatenate([p.pooled for p in parts]), spatial)


def batches(images: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """Slices of uint8 [N, H, W, 3]. Raises ValueError for anything else."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise ValueError(f"want pictures as uint8 [N, H, W, 3], got {images.dtype} {images.shape}")
    for at in range(0, len(images), batch):
        yield images[at : at + batch]


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """float32 [N, size, size, 3] in 0..255: bicubic, antialiased, not rounded to levels.

    Which filter it is moves FID by whole points; this is the one of Parmar et al. 2022 ("clean-fid").
    """
    if images.shape[1:3] == (size, size):
        return np.ascontiguousarray(images, dtype=np.float32)
    planes = images.transpose(0, 3, 1, 2).reshape(-1, *images.shape[1:3]).astype(np.float32)
    small = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in planes]
    out = np.stack([np.asarray(p) for p in small]).reshape(-1, 3, size, size)
    return np.ascontiguousarray(out.transpose(0, 2, 3, 1)).clip(0, 255)


def source_of(path: Path) -> str:
    return f"{path.name} sha256 {sha256_file(path)[:12]}"


class OnnxFeatures:
    """The Inception v3 that FID is defined on, from an ONNX file of the user's, run on the CPU.

    size: side of the input in pixels; low, high: what black and white become; pooled, spatial: outputs of 2,048
    numbers (pool_3) and of 192 × 17 × 17 (mixed_6/conv; None: no sFID). Raises UserError for a file that cannot
    be opened, or whose input or outputs are others.
    """

    stand_in = False
    _WANTED = {"pooled": (2048,), "spatial": (192, 17, 17)}

    def __init__(
        self, file: str | Path, size: int = 299, low: float = -1.0, high: float = 1.0,
        pooled: str = "pool_3", spatial: str | None = "mixed_6_conv", threads: int = 0,
    ):  # fmt: skip
        import onnxruntime

        self.file = Path(file)
        self.size, self.low, self.high, self.threads = size, low, high, threads
        self.outputs = {"pooled": pooled} | ({"spatial": spatial} if spatial else {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                self.file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime raises many kinds; each means that the file is not to be had
            why = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
            raise UserError(
                f"features: {self.file.name} cannot be opened", why, "name an ONNX file of FID's Inception"
            ) from None
        self.name, self.source = "Inception v3", source_of(self.file)
        self._check()

    def _check(self) -> None:
        taken = self.session.get_inputs()
        wanted = (None, 3, self.size, self.size)
        if len(taken) != 1 or not _fits(taken[0].shape, wanted):
            told = "; ".join(f"{i.name} {i.shape}" for i in taken)
            raise UserError(
                f"features: {self.file.name} takes another input",
                f"it takes {told}; wanted is one of [N, 3, {self.size}, {self.size}]",
                "set size, or export the network with channels first and a free batch axis",
            )
        self.input = taken[0].name
        given = {o.name: o.shape for o in self.session.get_outputs()}
        for key, name in self.outputs.items():
            shapes = [(None, *self._WANTED[key])]
            shapes += [(None, 2048, 1, 1)] if key == "pooled" else []
            if name not in given:
                raise UserError(
                    f"features: {self.file.name} has no output {name!r}",
                    f"its outputs are {', '.join(given)}",
                    f"set {key} to one of them" + (", or to null for no sFID" if key == "spatial" else ""),
                )
            if not any(_fits(given[name], shape) for shape in shapes):
                raise UserError(
                    f"features: output {name!r} of {self.file.name} is not FID's",
                    f"its shape is {given[name]}; {key} features are {list(shapes[0][1:])} a picture",
                    f"set {key} to the output that is, or export FID's own Inception",
                )

    def __call__(self, images: np.ndarray, batch: int = 32) -> Features:
        return joined([self._of(part) for part in batches(images, batch)])

    def _of(self, images: np.ndarray) -> Features:
        x = resized(images, self.size).transpose(0, 3, 1, 2) / 255 * (self.high - self.low) + self.low
        found = self.session.run(
            list(self.outputs.values()), {self.input: np.ascontiguousarray(x, dtype=np.float32)}
        )
        for array, (key, name) in zip(
            found, self.outputs.items(), strict=True
        ):  # where the file left it open
            if array.shape[0] != len(images) or array[0].size != np.prod(self._WANTED[key]):
                raise UserError(
                    f"features: output {name!r} of {self.file.name} is not FID's",
                    f"{array.shape} of {len(images)} pictures; wanted {[len(images), *self._WANTED[key]]}",
                    f"set {key} to the output that is, or export FID's own Inception",
                )
        spatial = found[1][:, :SPATIAL].reshape(len(images), -1) if len(found) > 1 else None
        return Features(found[0].reshape(len(images), -1).astype(np.float32), spatial)


def _fits(shape: Sequence, wanted: Sequence[int | None]) -> bool:
    """Whether a graph's shape may be ``wanted``; a word or None in it is any number."""
    return len(shape) == len(wanted) and all(
        w is None or not isinstance(s, int) or s == w for s, w in zip(shape, wanted, strict=True)
    )


class ClipFeatures:
    """A CLIP model's image embeddings (and its texts'), from a folder or a hub name; safetensors only.

    Pictures are squeezed to the model's size, not cropped, as CMMD's code does. Raises UserError where there
    is no such model.
    """

    stand_in = False

    def __init__(self, model: str | Path):
        from transformers import CLIPModel, CLIPTokenizer

        try:
            self.model = CLIPModel.from_pretrained(str(model), use_safetensors=True).eval()
            self.tokenizer = CLIPTokenizer.from_pretrained(str(model))
        except Exception as error:  # many kinds: no such folder, no safetensors, another model's files
            why = f"{type(error).__name__}: {str(error).splitlines()[0][:140] if str(error) else 'no reason'}"
            raise UserError(
                f"features: no CLIP model in {Path(model).name}", why,
                "name a folder or hub:OWNER/NAME with config.json, model.safetensors and the tokenizer",
            ) from None  # fmt: skip
        weights = Path(model) / "model.safetensors"
        self.name = f"CLIP {Path(model).name}"
        self.source = source_of(weights) if weights.is_file() else str(model)
        self.size = self.model.config.vision_config.image_size
        mean, std = (
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
        )  # CLIP's pictures
        self._mean, self._std = (np.float32(255 * np.array(v)) for v in (mean, std))

    @torch.no_grad()
    def __call__(self, images: np.ndarray, batch: int = 32) -> Features:
        parts = []
        for part in batches(images, batch):
            x = (resized(part, self.size) - self._mean) / self._std  # [n, h, w, 3]
            x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
            parts.append(
                Features(self.model.get_image_features(pixel_values=x).pooler_output.float().numpy())
            )
        return joined(parts)

    @torch.no_grad()
    def texts(self, texts: Sequence[str], batch: int = 32) -> np.ndarray:
        """float32 [N, D] in the pictures' space; longer texts are cut to what the model reads."""
        longest, found = self.model.config.text_config.max_position_embeddings, []
        for at in range(0, len(texts), batch):
            tokens = self.tokenizer(
                list(texts[at : at + batch]),
                padding=True,
                truncation=True,
                max_length=longest,
                return_tensors="pt",
            )
            found.append(self.model.get_text_features(**tokens).pooler_output.float().numpy())
        return np.concatenate(found)


class AlexFeatures:
    """The AlexNet of LPIPS (Zhang et al. 2018), version 0.1, from a safetensors file.

    As an extractor it stands in for Inception: pooled [N, 256] is the last slice's spatial mean, spatial the
    first 7 channels of the third slice, of pictures squeezed to ``size`` pixels. ``lpips`` is no stand-in.
    Raises UserError for a file with other tensors.
    """

    stand_in = True
    name = "AlexNet (LPIPS), stand-in"
    # Of AlexNet's five convolutions: (its number in the features, stride, padding); max pooling before 2 and 3.
    _LAYERS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))

    def __init__(self, file: str | Path, size: int = 64):
        self.size, path = size, Path(file)
        try:
            held = load_file(path)
            self._convolutions = [
                (held[f"net.slice{i}.{n}.weight"], held[f"net.slice{i}.{n}.bias"], stride, padding)
                for i, (n, stride, padding) in enumerate(self._LAYERS, start=1)
            ]
            self._weights = [held[f"lin{i}.model.1.weight"] for i in range(5)]  # [1, C, 1, 1]
            self._shift, self._scale = held["scaling_layer.shift"], held["scaling_layer.scale"]
        except Exception as error:
            raise UserError(
                f"features: {path.name} is not LPIPS's AlexNet", f"{type(error).__name__}: {str(error)[:140]}",
                "name a safetensors file with net.slice1 to 5, lin0 to 4 and scaling_layer",
            ) from None  # fmt: skip
        self.source = source_of(path)

    def _slices(self, x: Tensor) -> list[Tensor]:
        """x [N, 3, H, W] in -1..1 -> the five slices' outputs."""
        x, found = (x - self._shift) / self._scale, []
        for number, (weight, bias, stride, padding) in enumerate(self._convolutions):
            if number in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.conv2d(x, weight, bias, stride, padding).relu()
            found.append(x)
        return found

    @torch.no_grad()
    def __call__(self, images: np.ndarray, batch: int = 32) -> Features:
        parts = []
        for part in batches(images, batch):
            x = torch.from_numpy(resized(part, self.size)).permute(0, 3, 1, 2) / 127.5 - 1
            slices = self._slices(x)
            spatial = slices[2][:, :SPATIAL].flatten(1).numpy()
            parts.append(Features(slices[4].mean(dim=(2, 3)).numpy(), spatial))
        return joined(parts)

    @torch.no_grad()
    def lpips(self, a: np.ndarray, b: np.ndarray, batch: int = 32) -> np.ndarray:
        """float32 [N]: the perceptual distance of each pair of uint8 [N, H, W, 3] at their own size (eq. 1).

        Raises ValueError for pairs of other shapes, or of less than 31 pixels a side.
        """
        if np.shape(a) != np.shape(b) or min(np.shape(a)[1:3], default=0) < 31:
            raise ValueError(
                f"lpips: pairs of {np.shape(a)} and {np.shape(b)}, want one shape of 31 pixels a side"
            )
        found = []
        for part_a, part_b in zip(batches(a, batch), batches(b, batch), strict=True):
            both = [
                torch.from_numpy(p.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1 for p in (part_a, part_b)
            ]
            total = torch.zeros(len(part_a))
            for weight, *pair in zip(self._weights, *map(self._slices, both), strict=True):
                p, q = (s / (s.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for s in pair)
                total += ((p - q).square() * weight).sum(dim=1).mean(dim=(1, 2))
            found.append(total.numpy())
        return np.concatenate(found)
