"""Checkpoints: Hugging Face layout plus ``contract.json``, readable by transformers and by vLLM.

transformers writes config.json, generation_config.json and model*.safetensors; ``write_companions``
the rest: tokenizer.json, tokenizer_config.json, chat_template.jinja, preprocessor_config.json,
video_preprocessor_config.json, README.md (the card), contract.json.
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
from edgekit.models import packed
from edgekit.models.template import chat_template
from edgekit.models.tokenizer import NANO_TOKENIZER, SPECIAL, grammar_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


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
    weights = {k: v.detach().to(stored).contiguous() for k, v in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    write_companions(folder, contract, tokenizer_file, card)
    model.save_pretrained(folder, state_dict=weights)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes for the owner alone
    # transformers writes the dtype that the model has in memory; a server goes by this key.
    config = read_json(folder / "config.json")
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        part["dtype"] = dtype
    write_json(folder / "config.json", config)
    return folder


def write_companions(
    folder: str | Path,
    contract: Contract,
    tokenizer_file: str | Path = NANO_TOKENIZER,
    card: dict | None = None,
) -> None:
    """Every file of a Checkpoint but its weights and configs.

    card: ``title``, ``text`` (markdown), and whatever else the front matter shall say
    (``base_model``, ``license``, ``datasets``, ``tags`` …).
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
    front = {"license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "image-text-to-text"}
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
    Checkpoint, another architecture, pickled weights, or an unknown quantization.
    """
    folder = Path(folder)
    if contract is None or (folder / "contract.json").is_file():
        contract = read_contract(folder)
    config = _config(folder)
    quantization = config.get("quantization_config")
    if quantization is None:
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            folder, dtype=DTYPES[dtype], local_files_only=True, use_safetensors=True
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
        model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            None, config=plain, state_dict=packed.read_unpacked(folder, quantization), dtype=DTYPES[dtype]
        )
    # Tensors out of a file lie at any address, and CPU kernels round otherwise at another alignment:
    # torch's own memory makes a run's last digits the same each time.
    for weight in (*model.parameters(), *model.buffers()):
        weight.data = weight.data.clone()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return Loaded(model.eval(), tokenizer, contract, grammar_of(tokenizer), folder_name(folder))


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
    return config
