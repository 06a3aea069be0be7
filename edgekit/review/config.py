"""ReviewConfig: what is reviewed, where the page is served, what is brought in or handed out."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from edgekit.core.port import TOKEN, token_of
from edgekit.core.recipe import Config, build

TOOLS = ("cvat", "labelstudio", "fiftyone", "rerun")
Tool = Literal["cvat", "labelstudio", "fiftyone", "rerun"]


class ReviewConfig(Config):
    """One of: serve the page (nothing else given), apply, export to a tool, or import from one."""

    what: str  # a run of mine, a Dataset, or package:NAME
    host: str = "127.0.0.1"
    port: int = Field(8765, ge=0, le=65535)  # 0: any free one
    token: str | None = None  # asked for where host is not loopback; default $EDGEKIT_TOKEN
    by: str = Field("", max_length=64)  # the reviewer's name in human.jsonl; default: the user's
    apply: bool = False
    export: Tool | None = None
    take: Tool | None = None  # import corrections of this tool, from ``file``
    file: Path | None = None
    out: Path | None = None
    everything: bool = False  # export all rows, not only those of the queue
    old_answers: bool = False  # answers about another picture under the same row id count too

    @model_validator(mode="after")
    def _one_thing(self) -> ReviewConfig:
        if sum(map(bool, (self.apply, self.export, self.take))) > 1:
            raise ValueError("--apply, --export and --import are done one at a time")
        if (self.apply or self.export) and self.out is None:
            raise ValueError("--apply and --export write a new folder: name it with --out")
        if bool(self.take) != bool(self.file):
            raise ValueError("--import wants the tool and --file, the file that it exported")
        if self.take == "rerun":
            raise ValueError("Rerun shows a drive, and corrects nothing: --import knows the other tools")
        if not self.by:
            self.by = _user()
        self.token = self.token or token_of()
        return self


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "human"


def add_options(tool: argparse.ArgumentParser) -> None:
    """The words of ``edgekit review``."""
    tool.add_argument("what", help="a run of mine, or a Dataset")
    tool.add_argument(
        "--host", help="where the page listens (default: 127.0.0.1); elsewhere it needs a token"
    )
    tool.add_argument("--port", type=int, help="the page's port (default: 8765; 0: any free one)")
    tool.add_argument(
        "--token", help=f"what the page asks for (better: ${TOKEN}, which no process list shows)"
    )
    tool.add_argument("--by", help="your name in the answers (default: the user's)")
    tool.add_argument("--apply", action="store_true", help="write a new Dataset in which the answers win")
    tool.add_argument("--export", choices=TOOLS, help="write the queue for another tool")
    tool.add_argument("--import", dest="take", choices=TOOLS[:3], help="take corrections from another tool")
    tool.add_argument("--file", type=Path, help="what --import reads")
    tool.add_argument("--out", type=Path, help="the folder that --apply and --export write")
    tool.add_argument(
        "--all", dest="everything", action="store_true", help="export every row, not the queue's"
    )
    tool.add_argument(
        "--old-answers", action="store_true",
        help="answers about another picture count by row id, where the Dataset was made anew since",
    )  # fmt: skip


def config_of(args: argparse.Namespace) -> ReviewConfig:
    """The config of parsed words. Raises UserError where they do not go together."""
    given = {k: v for k, v in vars(args).items() if k in ReviewConfig.model_fields and v is not None}
    return build(ReviewConfig, given, "edgekit review")
