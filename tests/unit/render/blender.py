"""The mark of tests that draw with Blender, for ``pytestmark``."""

import pytest

from edgekit.core.errors import UserError
from edgekit.render.blender import blender_python


def _there() -> bool:
    try:
        return bool(blender_python(""))
    except UserError:
        return False


NEEDS_BLENDER = [
    pytest.mark.blender,
    pytest.mark.skipif(not _there(), reason="no blender side environment"),
]
