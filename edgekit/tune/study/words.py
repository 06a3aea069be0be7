"""The drawn world's words: how it is asked for, and for CA-LoRA a prompt with its alterations. Light."""

from edgekit.tune.config import Condition

WORLD = Condition(label="{tags}")  # labels are its factors, captions its descriptions

PROMPT = "a sunny street seen from a car"
CONCEPTS = {
    "style": (PROMPT, tuple(f"a {style} street seen from a car" for style in ("cloudy", "rainy", "snowy"))),
    "viewpoint": (
        PROMPT,
        ("a sunny street seen from above", "a sunny picture of one car", "a sunny picture of one pole"),
    ),
}
