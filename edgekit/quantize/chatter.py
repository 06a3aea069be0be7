"""What llm-compressor and its libraries print, some four hundred lines: into a file, off the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def printed_to(path: Path, show: bool = False) -> Iterator[TextIO]:
    """Inside, stdout and stderr of the whole process go to ``path``; gives the stderr that was there before.

    The file descriptors are moved, not sys.stdout alone: loguru's and torch's handlers hold streams of
    their own since they were imported. With ``show`` nothing is moved.
    """
    if show:
        yield sys.stderr
        return
    _flush()
    kept = os.dup(1), os.dup(2)
    with open(path, "wb") as file, os.fdopen(os.dup(kept[1]), "w") as terminal:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield terminal
        finally:
            _flush()
            for number, was in enumerate(kept, start=1):
                os.dup2(was, number)
                os.close(was)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
