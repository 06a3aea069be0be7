"""pip's settings (files and PIP_* variables) handed over to uv, which does not read them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping

# pip's precedence, weakest first: configuration for all commands, for install, the environment.
_SECTIONS = ("global", "install", ":env:")

_AS_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "no-index": "UV_NO_INDEX",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
    "proxy": "ALL_PROXY",
}


def pip_settings() -> dict[str, list[str]]:
    """What ``pip config list`` tells, the stronger source winning; empty where there is no pip."""
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    return parse(asked.stdout) if asked.returncode == 0 else {}


def parse(listing: str) -> dict[str, list[str]]:
    """``section.key='value'`` lines to {key: words}; a value may hold several, by blank or newline."""
    found: dict[str, dict[str, list[str]]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if equals and section in found:
            try:
                found[section][key.replace("_", "-")] = str(ast.literal_eval(value)).split()
            except (ValueError, SyntaxError):
                continue  # a value that pip itself printed unquoted: not one of ours
    settings: dict[str, list[str]] = {}
    for section in _SECTIONS:
        settings |= found[section]
    return settings


def as_uv(settings: Mapping[str, list[str]], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for uv: what is already set for uv stays, pip's settings fill the rest."""
    out = dict(environment)
    for key, variable in _AS_UV.items():
        if settings.get(key) and variable not in environment:
            out[variable] = ("," if variable == "UV_FIND_LINKS" else " ").join(settings[key])
    return out
