"""README.md says nothing that cannot be typed: its commands are held against CLI, recipes and Makefile."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edgekit.cli import HELPERS, built, main, parser
from edgekit.core.recipe import find_recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


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
        pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")
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
            assert main([verb, str(path), "--dry-run", *args.overrides]) == 0
    capsys.readouterr()


@pytest.mark.parametrize("words", cases("make"))
def test_a_make_target_exists(words):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {w for w in words[1:] if "=" not in w and not w.startswith("-")} <= targets


def test_links_lead_somewhere():
    missing = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text() if page.is_file() else ""):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")
    assert missing == []
