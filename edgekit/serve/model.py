"""What is being served: which back end suits it, and what must lie beside it."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import UserError


def kind_of(asked: str, folder: Path) -> str:
    """``vllm`` for a Checkpoint, ``bundle`` for a Bundle. Raises UserError for neither, or the other."""
    if (folder / "bundle.json").is_file():
        found = "bundle"
    elif (folder / "config.json").is_file():
        found = "vllm"
    else:
        raise UserError(
            f"edgekit serve: {folder} is neither a Checkpoint nor a Bundle",
            "it has no config.json and no bundle.json",
            "name the run of distill, quantize or export",
        )
    if asked not in ("auto", found):
        is_a = {"vllm": "a Checkpoint", "bundle": "a Bundle"}
        raise UserError(
            f"edgekit serve: kind={asked} serves {is_a[asked]}",
            f"{folder} is {is_a[found]}",
            f"say kind={found}, or name another model",
        )
    if found == "vllm":
        for needed in ("contract.json", "tokenizer.json", "preprocessor_config.json"):
            if not (folder / needed).is_file():
                raise UserError(
                    f"edgekit serve: {folder}: {needed} is not there",
                    "a Checkpoint that edgekit wrote has one",
                    "name the run of distill or quantize",
                )
        if not any(folder.glob("*.safetensors")):
            raise UserError(
                f"edgekit serve: {folder} has no weights",
                "there is no *.safetensors; other formats can run code and are not read",
                "check the path, or convert the weights",
            )
    return found
