"""What the config class of every method derives from. Light: no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator

from edgekit.core.recipe import Config


def once(values: list[str]) -> list[str]:
    """Raises ValueError for a name that stands there twice."""
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"named twice: {', '.join(twice)}")
    return values


Labels = Annotated[list[str], AfterValidator(once)]  # class names of a label table; empty: the base's


class Method(Config):
    """The settings of one fine-tuning method; a subclass adds ``kind: Literal["..."] = "..."``.

    attaches: ``package.module:function`` with ``function(config, generator, seed) -> Adapter``.
    not_for: {arch: why the method makes no sense there}, shown as the reason for an "n/a".
    """

    attaches: ClassVar[str]
    not_for: ClassVar[dict[str, str]] = {}
