"""The prompt library: entries that are composed into the instruction for one image."""

from edgekit.library.aids import ego_lane, fit_pictures, paste, possible_aids, with_aids
from edgekit.library.compose import Prompt, assemble, compose, default_prompt, probe_prompt
from edgekit.library.context import HOLES, WORDS, context_of, values_of
from edgekit.library.dynamic import (
    CROP_TOKENS,
    Dynamic,
    counted,
    first_prompt,
    known,
    second_prompts,
    selector_of,
)
from edgekit.library.entries import (
    Entry,
    Library,
    check_library,
    known_libraries,
    load_library,
    save_library,
)
from edgekit.library.examples import Example
from edgekit.library.select import Selector
from edgekit.library.tokens import tokens_of

__all__ = [
    "CROP_TOKENS",
    "HOLES",
    "WORDS",
    "Dynamic",
    "Entry",
    "Example",
    "Library",
    "Prompt",
    "Selector",
    "assemble",
    "check_library",
    "compose",
    "context_of",
    "counted",
    "default_prompt",
    "ego_lane",
    "first_prompt",
    "fit_pictures",
    "known",
    "known_libraries",
    "load_library",
    "paste",
    "possible_aids",
    "probe_prompt",
    "save_library",
    "second_prompts",
    "selector_of",
    "tokens_of",
    "values_of",
    "with_aids",
]
