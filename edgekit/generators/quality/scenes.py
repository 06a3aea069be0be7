"""SceneNet: a small classifier of rendered scenes, whose features stand in where no Inception is to be had.

It is trained on the real side's pictures and what their tags say of weather and time, in seconds on one core.
Its distances tell painters on one Dataset apart; they say nothing beside a published FID.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, sha256_json, write_json
from edgekit.dataset.tags import TIMES, WEATHERS, words_of
from edgekit.generators.quality.features import SPATIAL, Features, batches, joined, resized
from edgekit.generators.quality.fitting import fit

UNKNOWN = -1  # of a target: not learned from, not scored
SCHEMA = "edgekit/scene-net/1"


class _Trunk(nn.Module):
    """[N, 3, S, S] in -1..1 -> pooled [N, 64], the middle map [N, 48, S/4, S/4], logits {factor: [N, classes]}."""

    def __init__(self, classes: Mapping[str, int]):
        super().__init__()
        # No norm in the first layer, whose mean also goes straight to the features: how bright a picture is as a
        # whole, by which night differs from day, is what a norm takes out.
        self.first = nn.Conv2d(3, 24, 5, stride=2, padding=2)
        self.second = nn.Conv2d(24, 48, 3, stride=2, padding=1)
        self.third = nn.Conv2d(48, 64, 3, stride=2, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, 48), nn.GroupNorm(8, 64)])
        self.pool = nn.Linear(24 + 64, 64)
        self.heads = nn.ModuleDict({name: nn.Linear(64, count) for name, count in classes.items()})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        low = F.relu(self.first(x))
        middle = F.relu(self.norms[0](self.second(low)))
        high = F.relu(self.norms[1](self.third(middle)))
        pooled = F.relu(self.pool(torch.cat([low.mean(dim=(2, 3)), high.mean(dim=(2, 3))], dim=1)))
        return pooled, middle, {name: head(pooled) for name, head in self.heads.items()}


class SceneNet:
    """A trained classifier; an extractor as those of features.py.

    names: {factor: its class names}; size: side in pixels that pictures are squeezed to.
    """

    stand_in = True
    name = "scene classifier, stand-in"

    def __init__(self, names: Mapping[str, Sequence[str]], size: int = 32):
        if not names or any(not classes for classes in names.values()):
            raise ValueError("scene classifier: name at least one factor, and its classes")
        self.names, self.size = {name: list(classes) for name, classes in names.items()}, size
        self.net = _Trunk({name: len(classes) for name, classes in self.names.items()}).eval()

    @property
    def source(self) -> str:
        state = {name: tensor.tolist() for name, tensor in self.net.state_dict().items()}
        return f"scene classifier {self.size} px sha256 {sha256_json(state)[:12]}"

    def __call__(self, images: np.ndarray, batch: int = 256) -> Features:
        return joined(
            [
                Features(pooled.numpy(), middle[:, :SPATIAL].flatten(1).numpy())
                for pooled, middle, _ in self._run(images, batch)
            ]
        )

    def features(self, images: np.ndarray, batch: int = 256) -> Features:
        """pooled [N, 64]: before the heads; spatial: 7 channels of the second layer, [N, 7 · (size / 4)²]."""
        return self(images, batch)

    def predict(self, images: np.ndarray, batch: int = 256) -> dict[str, np.ndarray]:
        """{factor: int64 [N]}: indices into ``names``."""
        parts = [logits for _, _, logits in self._run(images, batch)]
        return {name: np.concatenate([p[name].argmax(dim=1).numpy() for p in parts]) for name in self.names}

    def accuracy(self, images: np.ndarray, targets: Mapping[str, Sequence[int]]) -> dict[str, float]:
        """{factor: share of pictures told right}, of those whose target is known; NaN where none is."""
        said, found = self.predict(images), {}
        for name in self.names:
            true = np.asarray(targets[name])
            known = true != UNKNOWN
            found[name] = float((said[name][known] == true[known]).mean()) if known.any() else float("nan")
        return found

    @torch.no_grad()
    def _run(self, images: np.ndarray, batch: int):
        return [self.net(_input(part, self.size)) for part in batches(images, batch)]

    def save(self, folder: str | Path) -> None:
        """scene_net.safetensors and scene_net.json in ``folder``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "scene_net.json", {"schema": SCHEMA, "size": self.size, "names": self.names})
        save_file(
            {k: v.contiguous() for k, v in self.net.state_dict().items()}, folder / "scene_net.safetensors"
        )

    @classmethod
    def load(cls, folder: str | Path) -> SceneNet:
        """Raises UserError where ``save`` did not write it."""
        folder = Path(folder)
        try:
            told = read_json(folder / "scene_net.json")
            if told["schema"] != SCHEMA:
                raise ValueError(f"schema {told['schema']!r}, not {SCHEMA}")
            net = cls(told["names"], told["size"])
            net.net.load_state_dict(load_file(folder / "scene_net.safetensors"))
        except Exception as error:
            raise UserError(
                f"{folder.name}: no scene classifier", f"{type(error).__name__}: {str(error)[:140]}",
                "name a folder that SceneNet.save wrote",
            ) from None  # fmt: skip
        return net


def train_scene_net(
    images: np.ndarray, targets: Mapping[str, Sequence[int]], names: Mapping[str, Sequence[str]], seed: int = 0,
    steps: int = 400, batch: int = 64, threads: int | None = None, *, size: int = 32,
    learning_rate: float = 2e-3,
) -> SceneNet:  # fmt: skip
    """A SceneNet of uint8 [N, H, W, 3] and {factor: class index per picture, -1 where it is not known}.

    Trained by ``fit``; the sum of the factors' cross entropies. threads: of torch, for this call.
    Raises UserError for targets that do not fit the pictures or the names, or that know nothing.
    """
    _check(images, targets, names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = SceneNet(names, size)
    x = torch.cat([_input(part, size).mul(127.5).add(127.5).round().byte() for part in batches(images, 256)])
    wanted = {name: torch.as_tensor(np.asarray(targets[name]), dtype=torch.long) for name in found.names}

    def loss_of(draw: torch.Generator) -> Tensor:
        rows = torch.randint(len(x), (batch,), generator=draw)
        logits = found.net(x[rows].float() / 127.5 - 1)[2]
        return sum(_loss(logits[name], wanted[name][rows]) for name in found.names)

    fit(found.net, loss_of, steps, learning_rate, seed, threads)
    return found


def targets_of(
    tags: Sequence[Sequence[str]], names: Mapping[str, Sequence[str]] | None = None
) -> tuple[dict[str, list[int]], dict[str, list[str]]]:
    """(targets, names) of weather and time in rows' tags, for ``train_scene_net``.

    names: where given, the classes to number by; a word that is none of them is -1. Else the classes are the
    words that occur; a factor with one word alone is left out, as nothing is to be told apart.
    """
    words = [words_of(list(row)) for row in tags]
    if names is None:
        order = {"weather": ("clear", *WEATHERS), "time": ("day", *(t.replace("_", " ") for t in TIMES))}
        seen = {
            factor: [w for w in order[factor] if any(row[factor] == w for row in words)] for factor in order
        }
        names = {factor: classes for factor, classes in seen.items() if len(classes) > 1}
    numbers = {factor: {word: i for i, word in enumerate(classes)} for factor, classes in names.items()}
    targets = {factor: [numbers[factor].get(row[factor], UNKNOWN) for row in words] for factor in names}
    return targets, {factor: list(classes) for factor, classes in names.items()}


def _input(images: np.ndarray, size: int) -> Tensor:
    """[N, 3, size, size] in -1..1."""
    return torch.from_numpy(resized(images, size)).permute(0, 3, 1, 2).contiguous() / 127.5 - 1


def _loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """The mean over known targets; 0 where none is."""
    return F.cross_entropy(logits, wanted, ignore_index=UNKNOWN, reduction="sum") / (
        wanted != UNKNOWN
    ).sum().clamp_min(1)


def _check(images: np.ndarray, targets: Mapping, names: Mapping) -> None:
    for factor, classes in names.items():
        given = np.asarray(targets.get(factor, ()))
        if len(given) != len(images):
            raise UserError(
                f"scene classifier: {factor} does not fit the pictures",
                f"{len(given)} targets for {len(images)} pictures", "give one target a picture, -1 for unknown",
            )  # fmt: skip
        known = given[given != UNKNOWN]
        if not len(known) or known.min() < 0 or known.max() >= len(classes):
            why = f"{known.min()}..{known.max()} of {len(classes)} classes" if len(known) else "none is known"
            raise UserError(
                f"scene classifier: {factor}'s targets cannot be learned", why, "give known indices"
            )
