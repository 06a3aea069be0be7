"""The prompt library: entries that are composed into the instruction for one image."""

from edgekit.library.compose import Prompt, compose, context_of, default_prompt
from edgekit.library.entries import Entry, Library, known_libraries, load_library

__all__ = [
    "Entry",
    "Library",
    "Prompt",
    "compose",
    "context_of",
    "default_prompt",
    "known_libraries",
    "load_library",
]
