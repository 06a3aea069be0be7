"""The drawn world's words for CA-LoRA: a prompt, and its alterations in style and in viewpoint. Light."""

PROMPT = "a sunny street seen from a car"
CONCEPTS = {
    "style": (PROMPT, tuple(f"a {style} street seen from a car" for style in ("cloudy", "rainy", "snowy"))),
    "viewpoint": (
        PROMPT,
        ("a sunny street seen from above", "a sunny picture of one car", "a sunny picture of one pole"),
    ),
}
