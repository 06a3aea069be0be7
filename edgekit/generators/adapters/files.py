"""An adapter as a folder: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import read_json, write_json
from edgekit.generators.adapters.adapter import Adapter, attach
from edgekit.generators.adapters.config import METHODS, AdapterMethod
from edgekit.generators.adapters.method import Method
from edgekit.generators.generator import Generator
from edgekit.generators.process import from_json

SCHEMA = "edgekit/adapter/1"
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_NEEDED = {  # of adapter_config.json, with their types
    "method": str, "config": dict, "base": dict, "process": dict, "condition": dict, "facts": dict
}  # fmt: skip


def adapter_folder(root: str | Path) -> Path:
    """The adapter of a tune run's ``out``, or ``root`` itself where it is one. Raises UserError for neither."""
    root = Path(root)
    for folder in (root / "adapter", root):
        if (folder / CONFIG).is_file():
            return folder
    whole = (root / "generator").is_dir()
    raise UserError(
        f"no adapter in {root}",
        "it holds a whole generator" if whole else f"there is no {CONFIG}",
        "name it as base" if whole else "name a run of edgekit tune",
    )


def save_adapter(adapter: Adapter, folder: str | Path) -> None:
    """Writes ``folder``. The config goes last, and an old one first: a folder with a config is whole.

    Where the method has a PEFT form, adapter_config.json is a PEFT config as well (PEFT leaves unknown keys
    alone), and the tensor file's header tells diffusers' ``load_lora_adapter(folder,
    weight_name="adapter_model.safetensors", prefix="base_model.model")`` the rank and the scale.
    """
    folder, generator, peft = Path(folder), adapter.generator, adapter.peft_config()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).unlink(missing_ok=True)
    header = {"format": "pt"}
    if peft:
        # One key alone: safetensors writes several in no fixed order, and the bytes must be the same again.
        told = {f"base_model.model.{key}": value for key, value in peft.items() if key != "peft_type"}
        header = {"lora_adapter_metadata": json.dumps(told)}
    tensors = {name: t.cpu().contiguous() for name, t in adapter.state().items()}
    save_file(tensors, folder / f".{TENSORS}.part", header)
    os.replace(folder / f".{TENSORS}.part", folder / TENSORS)
    config = adapter.config.model_dump(mode="json")
    write_json(
        folder / CONFIG,
        (peft or {})
        | {
            "schema": SCHEMA,
            "method": adapter.kind,
            "config": config,
            "base": {"digest": adapter.base_digest, "arch": generator.arch, "tensors": adapter.base},
            "process": generator.process.to_json(),
            "condition": generator.condition.to_json(),
            "facts": adapter.all_facts(),
        },
    )


def load_adapter(folder: str | Path, generator: Generator) -> Adapter:
    """The adapter of ``folder`` on ``generator``, whose process becomes the one that the adapter was trained with.

    Raises UserError for a folder that is no adapter, another base (naming the first tensor that differs), and
    an adapter that changes nothing; the generator is then as it was.
    """
    folder = Path(folder)
    told = read_config(folder)
    config = _config(told, folder)
    _refuse_other_base(told["base"], generator, folder)
    try:
        tensors = load_file(folder / TENSORS, device="cpu")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{folder / TENSORS}: not readable", str(error)[:200], "make the adapter again"
        ) from None
    adapter = attach(config, generator, seed=0)
    try:
        adapter.load(tensors)
        _refuse_other_condition(told["condition"], generator, folder)
        if adapter.changes_nothing():
            raise UserError(
                f"{folder}: this adapter changes nothing",
                f"all of its {len(tensors)} tensors leave the base's output as it is",
                "train it for longer, or look at the learning rate and at what it was put on",
            )
        generator.process = adapter.process_of_training = from_json(told["process"])
    except UserError:
        adapter.detach()
        raise
    adapter.kept_facts = told["facts"]
    return adapter


def read_config(folder: str | Path) -> dict:
    """adapter_config.json: method, config, base (digest, arch, tensors), process, condition, facts.

    Raises UserError for a folder that is no adapter, and for a config that lacks one of these.
    """
    folder = Path(folder)
    try:
        told = read_json(folder / CONFIG)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: no adapter", f"{CONFIG}: {error}", "give a folder written by edgekit tune"
        ) from None
    schema = told.get("schema") if isinstance(told, dict) else None
    if schema != SCHEMA:
        raise UserError(
            f"{folder}: no adapter that this edgekit reads",
            f"its schema is {schema!r}; {SCHEMA} is read",
            "give a folder written by edgekit tune, of this version",
        )
    lacking = [key for key, kind in _NEEDED.items() if not isinstance(told.get(key), kind)]
    if not lacking:
        needed = {"digest": str, "arch": str, "tensors": dict}
        lacking = [f"base.{k}" for k, kind in needed.items() if not isinstance(told["base"].get(k), kind)]
    if lacking:
        raise UserError(
            f"{folder / CONFIG}: not whole",
            f"it lacks {', '.join(lacking)}, or has something else there",
            "make the adapter again",
        )
    return told


def _config(told: dict, folder: Path) -> Method:
    kind = told["method"]
    if kind not in METHODS:
        raise UserError(
            f"{folder}: method {kind!r}", suggestion(kind, METHODS), "install the package that has it"
        )
    try:
        return TypeAdapter(AdapterMethod).validate_python(told["config"])
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{folder / CONFIG}: its config is not valid",
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            "make the adapter again",
        ) from None


def _refuse_other_base(base: dict, generator: Generator, folder: Path) -> None:
    mine, theirs = generator.fingerprint(), base["tensors"]
    if generator.arch != base["arch"]:
        why = f"it is for {base['arch']}, and this generator is {generator.arch}"
    elif mine == theirs:
        return
    else:
        name = next(n for n in [*theirs, *mine] if mine.get(n) != theirs.get(n))
        why = f"{name} is {mine.get(name, 'absent')} here and {theirs.get(name, 'absent')} in its base"
    raise UserError(
        f"{folder}: this adapter was made for another base", why, "open the base it was trained on"
    )


def _refuse_other_condition(condition: dict, generator: Generator, folder: Path) -> None:
    mine = generator.condition.to_json()
    for key in ("kind", "names", "vocabulary"):
        if mine.get(key) != condition.get(key):
            raise UserError(
                f"{folder}: the generator is asked in another way than the adapter was trained with",
                f"{key}: {str(mine.get(key))[:80]} here, {str(condition.get(key))[:80]} in the adapter",
                "open the base it was trained on",
            )
