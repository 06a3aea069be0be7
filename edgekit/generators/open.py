"""Generators on disk, in diffusers' own layout: opened from a folder or the hub, saved to a folder.

    model_index.json     the pipeline's class and its components, as diffusers writes it
    process.json         the noise process                          } where they are absent (a model from
    condition.json       label names or text lengths; latent size   } elsewhere) the configs tell
    transformer|unet/ vae/ scheduler/ text_encoder…/ tokenizer…/

Weights are read from safetensors alone, and classes are taken by name from a fixed list: opening runs no code
that comes with a model.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import read_json, write_json
from edgekit.core.run import open_input
from edgekit.generators.codec import PixelCodec, VaeCodec
from edgekit.generators.conditions import LabelCondition, TextCondition
from edgekit.generators.config import DENOISERS
from edgekit.generators.generator import Generator, arch_of, share_embeddings

# pipeline: the component that is the denoiser
PIPELINES = {
    "DiTPipeline": "transformer",
    "PixArtAlphaPipeline": "transformer",
    "StableDiffusion3Pipeline": "transformer",
    "StableDiffusionPipeline": "unet",
    "StableDiffusionXLPipeline": "unet",
    "KolorsPipeline": "unet",
}
COMPONENTS = {
    "diffusers": {*DENOISERS.values(), "AutoencoderKL"},
    "transformers": {
        "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel",
        "CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast",
    },
    "kolors": {"ChatGLMModel", "ChatGLMTokenizer"},
}  # fmt: skip
# Of no use to training and sampling here; the scheduler's config is read, its class is not.
_LEFT_OUT = {"scheduler", "safety_checker", "feature_extractor", "image_encoder"}


def open_generator(
    path: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Generator:
    """A generator from a folder (or a tune run that made one), or ``hub:OWNER/NAME``.

    dtype: float32 or bfloat16, of the denoiser and the text encoders. Raises UserError where there is no
    model, a component of another class, or no safetensors.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise UserError(
            f"{path}: a generator in {dtype}", "float32 and bfloat16 are kept", "ask for one of those"
        )
    folder = _folder(path)
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    if kind not in PIPELINES:
        raise UserError(
            f"{folder}: a {kind} is not read here",
            suggestion(str(kind), PIPELINES),
            "give a model of one of these pipelines",
        )
    parts = {
        name: _component(folder, name, *entry, dtype=dtype)
        for name, entry in index.items()
        if isinstance(entry, list) and name not in _LEFT_OUT
    }
    denoiser = parts.get(PIPELINES[kind])
    if denoiser is None:
        raise UserError(
            f"{folder}: there is no denoiser", f"{PIPELINES[kind]!r} is missing", "fetch the model again"
        )
    vae = parts.pop("vae", None)
    codec = PixelCodec() if vae is None else VaeCodec(vae)
    kept = folder / "condition.json"
    told = read_json(kept) if kept.is_file() else {}
    size = tuple(told.get("size") or _sample_size(denoiser))
    denoiser.eval()
    if kind == "DiTPipeline":
        share_embeddings(denoiser)
        condition = LabelCondition(told.get("names") or _names(index.get("id2label") or {}, denoiser))
    else:
        pixels = tuple(side * codec.factor for side in size)
        condition = TextCondition(_pipeline(kind, index, parts), pixels, told.get("max_tokens"))
    generator = Generator(
        arch_of(denoiser), denoiser, condition, codec, _process(folder, denoiser), size,
        denoiser.config.in_channels,
    )  # fmt: skip
    return generator.to(device)


def save_generator(generator: Generator, folder: str | Path) -> None:
    """Writes ``generator`` so that ``open_generator`` gives it back bit for bit, and diffusers reads it too.

    model_index.json comes last: a folder that has one is whole. Raises UserError with an adapter attached.
    """
    from diffusers import __version__

    if generator.adapter is not None:
        raise UserError(
            "a generator with an adapter on it cannot be saved as a whole",
            f"a {generator.adapter.kind} adapter is attached",
            "fold it into the weights first, or save the adapter alone",
        )
    folder = Path(folder)
    text = isinstance(generator.condition, TextCondition)
    kind = generator.condition.kind if text else "DiTPipeline"
    index: dict[str, Any] = {"_class_name": kind, "_diffusers_version": __version__}
    parts = {"vae": getattr(generator.codec, "vae", None)}
    if text:
        pipeline = generator.condition.pipeline
        parts = pipeline.components | parts
        plain = {k: v for k, v in pipeline.config.items() if k not in parts and not k.startswith("_")}
        index |= plain
    else:
        index["id2label"] = {str(i): name for i, name in enumerate(generator.condition.names)}
    parts |= {PIPELINES[kind]: generator.denoiser, "scheduler": _scheduler(generator)}
    for name, part in sorted(parts.items()):
        index[name] = [None, None] if part is None else _named(part)
        if part is generator.denoiser:
            _save_denoiser(part, folder / name)
        elif part is not None:
            part.save_pretrained(folder / name)
    write_json(folder / "process.json", generator.process.to_json())
    write_json(folder / "condition.json", generator.condition.to_json() | {"size": list(generator.size)})
    write_json(folder / "model_index.json", index)


def _folder(path: str | Path) -> Path:
    root = open_input(path).path if str(path).startswith(("hub:", "package:")) else Path(path)
    for folder in (root, root / "generator", root / "out" / "generator"):
        if (folder / "model_index.json").is_file():
            return folder
    raise UserError(
        f"{path}: there is no generator here",
        "no model_index.json" if root.is_dir() else "there is no such folder",
        "give a folder in diffusers' layout, hub:OWNER/NAME, or a tune run that made a whole model",
    )


def _component(folder: Path, name: str, library: str | None, kind: str | None, dtype: torch.dtype) -> Any:
    if kind is None:
        return None
    if kind not in COMPONENTS.get(library or "", ()):
        raise UserError(
            f"{folder / 'model_index.json'}: {name} is a {library}.{kind}",
            f"it is none of the classes read here: {suggestion(kind, set().union(*COMPONENTS.values()))}",
            "use a model whose parts are of these classes",
        )
    module = "diffusers.pipelines.kolors" if library == "kolors" else library
    options: dict[str, Any] = {"local_files_only": True}
    if not kind.endswith(("Tokenizer", "TokenizerFast")):
        options |= {"use_safetensors": True}
        wide = torch.float32 if kind == "AutoencoderKL" else dtype
        options["torch_dtype" if library == "diffusers" else "dtype"] = wide
    try:
        part = getattr(import_module(module), kind).from_pretrained(str(folder / name), **options)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder / name}: the {kind} cannot be read", why,
            "fetch it again with its *.safetensors, or install what is named above",
        ) from None  # fmt: skip
    for how in ("local_files_only", "is_local"):  # a tokenizer would save how it was opened
        getattr(part, "init_kwargs", {}).pop(how, None)
    return part


def _sample_size(denoiser: nn.Module) -> tuple[int, int]:
    size = denoiser.config.sample_size
    return (size, size) if isinstance(size, int) else tuple(size)


def _names(id2label: dict[str, str], denoiser: nn.Module) -> list[str]:
    """Of a DiT from elsewhere. ImageNet has two classes of some names: those get their number too."""
    names = [id2label.get(str(i), str(i)) for i in range(denoiser.config.num_embeds_ada_norm)]
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({i})" for i, name in enumerate(names)]


def _pipeline(kind: str, index: dict[str, Any], parts: dict[str, Any]) -> Any:
    import diffusers

    options = {k: index[k] for k in ("force_zeros_for_empty_prompt",) if k in index}
    if kind == "StableDiffusionPipeline":
        options |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if kind == "StableDiffusionXLPipeline":
        options["add_watermarker"] = False
    return getattr(diffusers, kind)(**parts, vae=None, scheduler=None, **options)


def _process(folder: Path, denoiser: nn.Module) -> Any:
    from edgekit.generators import process

    if (folder / "process.json").is_file():
        return process.from_json(read_json(folder / "process.json"))
    config = folder / "scheduler" / "scheduler_config.json"
    if not config.is_file():
        raise UserError(f"{folder}: no noise schedule", f"{config.name} is missing", "fetch the model again")
    out = denoiser.config.out_channels
    return process.from_diffusers(read_json(config), learned_range=out == 2 * denoiser.config.in_channels)


def _scheduler(generator: Generator) -> Any:
    """For diffusers' own pipelines, which need one in the folder; nothing here samples with it."""
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

    p = generator.process
    if p.kind == "flow":
        return FlowMatchEulerDiscreteScheduler(shift=p.shift)
    return DDIMScheduler(
        num_train_timesteps=len(p.betas), trained_betas=list(p.betas), prediction_type=p.prediction,
        clip_sample=False,
    )  # fmt: skip


def _named(part: Any) -> list[str]:
    """[library, class] as model_index.json has them."""
    module = type(part).__module__.split(".")
    library = module[2] if module[:2] == ["diffusers", "pipelines"] else module[0]
    return [library, type(part).__name__]


def _save_denoiser(denoiser: nn.Module, folder: Path) -> None:
    """Each name with a tensor of its own: safetensors holds no shared ones, and diffusers expects copies."""
    from safetensors.torch import save_file

    config = json.loads(denoiser.to_json_string())
    config.pop("_name_or_path", None)  # a path of the machine that opened it
    write_json(folder / "config.json", config)
    state = {name: x.detach().cpu().clone().contiguous() for name, x in denoiser.state_dict().items()}
    save_file(state, folder / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
