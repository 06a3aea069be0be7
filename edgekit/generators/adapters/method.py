"""What the config class of every method derives from. Light: no torch."""

from __future__ import annotations

from typing import ClassVar

from edgekit.core.recipe import Config


class Method(Config):
    """The settings of one fine-tuning method; a subclass adds ``kind: Literal["..."] = "..."``.

    attaches: ``package.module:function`` with ``function(config, generator, seed) -> Adapter``.
    not_for: {arch: why the method makes no sense there}, shown as the reason for an "n/a".
    """

    attaches: ClassVar[str]
    not_for: ClassVar[dict[str, str]] = {}
