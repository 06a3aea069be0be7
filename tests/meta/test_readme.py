"""The pages say nothing that cannot be typed: their commands are held against CLI, recipes and Makefile."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from edgekit.cli import HELPERS, built, main, parser
from edgekit.core.recipe import REFUSED, find_recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "deploy/README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The words of every command line in a page's ```bash blocks; comments and prompts are left out."""
    found = []
    for block in re.findall(r"```(?:bash|sh|shell|console)\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;|\|", line.removeprefix("$ ")):
                if words := shlex.split(part, comments=True):
                    found.append(words)
    return found


def cases(program: str) -> list:
    return [
        pytest.param(words, id=f"{page.relative_to(ROOT)}: {' '.join(words)[:60]}")
        for page in PAGES
        if page.is_file()
        for words in commands(page)
        if words[0] == program
    ]


def test_the_readme_is_there_and_has_commands():
    words = commands(ROOT / "README.md")
    assert any(w[0] == "make" for w in words) and sum(w[0] == "edgekit" for w in words) >= 3


@pytest.mark.parametrize("words", cases("edgekit"))
def test_an_edgekit_command_exists(words, capsys):
    verb, *rest = words[1:] or ["--help"]
    if verb.startswith("-"):
        assert main([verb]) == 0
    elif verb in HELPERS:
        assert main([verb, "--help"]) == 0
    else:
        assert built(verb), f"edgekit {verb} is not in this version"
        args = parser(verb).parse_intermixed_args(rest)
        if args.recipe and not args.recipe.startswith("my"):  # my-….yaml is the reader's own
            path = find_recipe(args.recipe, verb)
            code = main([verb, str(path), "--dry-run", *args.overrides])  # what it reads may not be made yet
            shown = capsys.readouterr().out
            assert code == (2 if "MISSING" in shown or REFUSED in shown else 0)
    capsys.readouterr()


def reads(verb: str, path: Path, overrides: list[str]) -> list[str]:
    """The runs that a recipe reads, by the path that it gives."""
    kind = getattr(importlib.import_module(f"edgekit.{verb}.config"), f"{verb.title()}Config")
    config = load_recipe(kind, path, overrides)
    values = [getattr(config, key) for key in kind.inputs]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [item for item in flat if item and item.startswith("runs/")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.is_file()], ids=lambda p: f"{p.relative_to(ROOT)}"
)
def test_a_page_makes_what_its_commands_read(page):
    """Without --out a run's folder ends in digits that no recipe can know."""
    made = set()
    for _, verb, *rest in (
        words for words in commands(page) if words[0] == "edgekit" and built("".join(words[1:2]))
    ):
        args = parser(verb).parse_intermixed_args(rest)
        if args.recipe and not args.recipe.startswith("my"):
            asked = reads(verb, find_recipe(args.recipe, verb), args.overrides)
            assert {path for path in asked if "…" not in path} <= made, f"edgekit {verb} {args.recipe}"
        made.add(str(args.out))


NEEDY = [
    ROOT / "recipes/export/nano.yaml",
    *(p for v in ("serve", "demo") for p in ROOT.glob(f"recipes/{v}/*")),
]


@pytest.mark.parametrize("path", NEEDY, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_recipe_says_which_command_makes_what_it_reads(path):
    for run in reads(path.parent.name, path, []):
        assert f"edgekit {run.split('/')[1]} {run.split('/')[2]} --out {run}\n" in path.read_text() + "\n"


@pytest.mark.parametrize("words", cases("make"))
def test_a_make_target_exists(words):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {w for w in words[1:] if "=" not in w and not w.startswith("-")} <= targets


def test_links_lead_somewhere():
    missing = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text() if page.is_file() else ""):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert missing == []
