"""Checkpoints: Hugging Face layout plus ``contract.json``, readable by transformers and by vLLM.

transformers writes config.json, generation_config.json and model*.safetensors; ``write_companions``
the rest, README.md (the card) among it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from edgekit.core.contract import Contract, read_contract
from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_bytes, write_json, write_text
from edgekit.engine.slots import Grammar
from edgekit.models.compressed import read_unpacked
from edgekit.models.template import chat_template
from edgekit.models.tokenizer import NANO_TOKENIZER, SPECIAL, grammar_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# What ``write_companions`` writes.
COMPANIONS = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json",
    "video_preprocessor_config.json", "contract.json", "README.md",
)  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: the plain torch model in eval mode, and what its answers rest on."""

    model: Qwen2_5_VLForConditionalGeneration
    tokenizer: Tokenizer
    contract: Contract
    grammar: Grammar
    name: str


def save_checkpoint(
    folder: str | Path,
    model: Qwen2_5_VLForConditionalGeneration,
    contract: Contract,
    tokenizer_file: str | Path = NANO_TOKENIZER,
    card: dict | None = None,
    dtype: str = "float32",
) -> Path:
    """Writes a Checkpoint; the same weights give the same bytes. The model is not changed.

    tokenizer_file: a tokenizer.json, the nano one unless told; card: see ``write_companions``;
    dtype: how weights are stored, of DTYPES. Raises UserError where the tokenizer does not keep
    the answer's pieces apart.
    """
    folder = Path(folder)
    stored = DTYPES[dtype]
    weights = {k: v.detach().to("cpu", stored).contiguous() for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    write_companions(folder, contract, tokenizer_file, card)
    model.save_pretrained(folder, state_dict=weights)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for the owner alone
    # transformers writes the dtype that the model has in memory.
    write_json(folder / "config.json", with_dtype(read_json(folder / "config.json"), dtype))
    return folder


def with_dtype(config: dict, dtype: str) -> dict:
    """A config.json's content that says ``dtype`` in all its parts: a server goes by these keys."""
    parts = {k: {**config[k], "dtype": dtype} for k in ("text_config", "vision_config") if k in config}
    return {**config, **parts, "dtype": dtype}


def stored_dtype(folder: str | Path) -> torch.dtype:
    """The dtype that a Checkpoint's config.json says its weights are stored in; float32 where it says none."""
    config = read_json(Path(folder) / "config.json")
    return DTYPES.get(config.get("dtype") or config.get("torch_dtype"), torch.float32)


def write_companions(
    folder: str | Path,
    contract: Contract,
    tokenizer_file: str | Path = NANO_TOKENIZER,
    card: dict | None = None,
) -> None:
    """Every file of a Checkpoint but its weights and configs: COMPANIONS.

    card: ``title``, ``text`` (markdown), and whatever else the front matter shall say
    (``base_model``, ``license``, ``datasets``, ``tags`` …). Weights of our own are apache-2.0; of a
    foreign base's licence the card says nothing unless told.
    """
    folder = Path(folder)
    grammar_of(Tokenizer.from_file(str(tokenizer_file)))
    write_bytes(folder / "tokenizer.json", Path(tokenizer_file).read_bytes())
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "processor_class": "Qwen2_5_VLProcessor",
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "additional_special_tokens": list(SPECIAL[1:]),
            "model_max_length": 131072,
            "add_prefix_space": False,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "errors": "replace",
            "split_special_tokens": False,
        },
    )
    write_text(folder / "chat_template.jinja", chat_template(contract))
    write_json(folder / "preprocessor_config.json", _preprocessor(contract, "image"))
    write_json(folder / "video_preprocessor_config.json", _preprocessor(contract, "video"))
    write_json(folder / "contract.json", contract.model_dump(mode="json"))
    write_text(folder / "README.md", _card(card or {}, contract))


def _preprocessor(contract: Contract, kind: str) -> dict:
    pixels = contract.width * contract.height
    return {
        f"{kind}_processor_type": f"Qwen2VL{kind.capitalize()}Processor",
        "processor_class": "Qwen2_5_VLProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "resample": 3,  # bicubic
        "rescale_factor": 1 / 255,
        "image_mean": list(contract.mean),
        "image_std": list(contract.std),
        "min_pixels": pixels,
        "max_pixels": pixels,
        "size": {"shortest_edge": pixels, "longest_edge": pixels},
        "patch_size": contract.patch_size,
        "temporal_patch_size": contract.temporal_patch_size,
        "merge_size": contract.merge_size,
    }


def _card(card: dict, contract: Contract) -> str:
    front = {"library_name": "transformers", "pipeline_tag": "image-text-to-text"}
    if str(card.get("base_model") or "package:").startswith("package:"):
        front["license"] = "apache-2.0"
    front |= {k: v for k, v in card.items() if k not in ("title", "text") and v is not None}
    title = card.get("title", "A driving model")
    text = card.get("text", "Reads one frame of a front camera and answers in the JSON of edgekit/label/1.")
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=True, allow_unicode=True)}---\n\n# {title}\n\n{text.strip()}\n\n"
        f"Input: RGB, {contract.width}×{contract.height} pixels, {contract.image_tokens} image tokens. "
        f"Preprocessing contract `{contract.digest()[:16]}` (contract.json).\n"
    )


def load_checkpoint(folder: str | Path, dtype: str = "float32", contract: Contract | None = None) -> Loaded:
    """Reads a Checkpoint into a plain torch model, in eval mode.

    contract: what a foreign model (a hub's, without contract.json) is to be fed by; it is not asked
    of a model that carries its own.

    Quantized weights (compressed-tensors, int4 packed) are unpacked into plain ones: the model that
    comes back computes exactly what the codes say. Raises UserError for a folder that is no
    Checkpoint, another architecture, pickled weights, an unknown quantization, and for weights that
    are missing or of another shape than config.json says.
    """
    folder = Path(folder)
    if contract is None or (folder / "contract.json").is_file():
        contract = read_contract(folder)
    config = _config(folder)
    quantization = config.get("quantization_config")
    # transformers fills what it does not find with random weights, and only warns.
    told = {"dtype": DTYPES[dtype], "output_loading_info": True, "ignore_mismatched_sizes": True}
    if quantization is None:
        model, found = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, **told
        )
    else:
        method = quantization.get("quant_method")
        if method != "compressed-tensors":
            raise UserError(
                f"{folder}: quantized weights of another kind",
                f"quant_method is {method!r}; edgekit reads 'compressed-tensors'",
                "quantize the float checkpoint with edgekit quantize",
            )
        plain = Qwen2_5_VLConfig.from_dict({k: v for k, v in config.items() if k != "quantization_config"})
        model, found = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            None, config=plain, state_dict=read_unpacked(folder, quantization), **told
        )
    _whole(folder, found)
    # Tensors out of a file lie at any address, and CPU kernels round otherwise at another alignment:
    # torch's own memory makes a run's last digits the same each time.
    for weight in (*model.parameters(), *model.buffers()):
        weight.data = weight.data.clone()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Loaded(model.eval(), tokenizer, contract, grammar_of(tokenizer), folder_name(folder))


def _whole(folder: Path, found: dict) -> None:
    """Raises UserError where transformers' loading info names weights that the model asked for in vain."""
    mismatched = {name for name, *_ in found["mismatched_keys"]}
    for names, why in (
        (found["missing_keys"], "missing"),
        (mismatched, "of another shape than config.json says"),
    ):
        if names:
            raise UserError(
                f"{folder}: these weights are not the model's that config.json describes",
                f"{len(names)} tensors are {why}: {', '.join(sorted(names)[:3])}",
                "copy or fetch the whole checkpoint again",
            )


def folder_name(folder: Path) -> str:
    """How a checkpoint is called in logs: the run's name where the folder is a run's out/."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "out" else folder.name


def _config(folder: Path) -> dict:
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise UserError(f"{folder}: {needed} is not there", "a Checkpoint has one", "check the path")
    config = read_json(folder / "config.json")
    if config.get("model_type") != "qwen2_5_vl":
        raise UserError(
            f"{folder}: another architecture",
            f"model_type is {config.get('model_type')!r}; edgekit reads 'qwen2_5_vl'",
            "use a Qwen2.5-VL checkpoint",
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        raise UserError(
            f"{folder}: no safetensors weights",
            f"found {', '.join(pickled) or 'no weights at all'}; pickled weights can run code and are not read",
            "convert the weights to safetensors",
        )
    index = folder / "model.safetensors.index.json"
    shards = set(read_json(index)["weight_map"].values()) if index.is_file() else set()
    if lacking := sorted(name for name in shards if not (folder / name).is_file()):
        raise UserError(
            f"{folder}: weights are missing",
            f"{len(lacking)} of {len(shards)} shards that {index.name} names: {', '.join(lacking[:3])}",
            "copy or fetch the whole checkpoint again",
        )
    return config
