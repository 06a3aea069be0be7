"""Files that are whole or absent: atomic writes, JSON lines, digests."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from edgekit.core.errors import UserError, suggestion


def write_bytes(path: str | Path, data: bytes | Iterable[bytes]) -> None:
    """Writes ``path`` by rename: a killed process leaves the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: object) -> None:
    """Indented, keys in the order given, newline at the end."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> object:
    return json.loads(Path(path).read_text())


def write_jsonl(path: str | Path, rows: Iterable[object]) -> None:
    """UTF-8; half a surrogate pair (a model can write one) stands as its JSON escape."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_bytes(path, (line.encode(errors="backslashreplace") for line in lines))


def append_jsonl(path: str | Path, *rows: object) -> None:
    """Lines appended by the log's one writer, in ASCII; a last line that a kill cut short is cut off first."""
    with open(path, "ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end and (file.seek(end - 1), file.read(1))[1] != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def read_jsonl(path: str | Path, torn: bool = False) -> Iterator[dict]:
    """The rows of a JSON-lines file. Raises UserError for a line that is no JSON object.

    torn: the file is a log, whose writer may have been killed: a last line without its end is left out.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            if torn and not line.endswith(b"\n"):
                return
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{type(row).__name__}, not an object")
            except ValueError as error:
                raise UserError(
                    f"{path}:{number}: not a row of JSON",
                    f"{error}; the file has {number + sum(1 for _ in file)} lines",
                    "make the file again: it was cut short or edited",
                ) from None
            yield row


class Waiting:
    """Rows that wait in a file, not in memory, until ``sorted`` gives them back in the order of their keys.

    A caller that adds in that order anyway holds eight bytes a row.
    """

    def __init__(self, path: Path, key: Callable[[dict], Any]):
        self.path, self.key = path, key
        self._file = open(path, "wb+")
        self._places = array("q")
        self._last: Any = None
        self._in_order = True

    def __len__(self) -> int:
        return len(self._places)

    def add(self, row: dict) -> None:
        key = self.key(row)
        self._in_order &= not self._places or self._last <= key
        self._last = key
        self._places.append(self._file.seek(0, os.SEEK_END))
        self._file.write(json.dumps(row).encode() + b"\n")

    def sorted(self) -> Iterator[dict]:
        """Equal keys stay in the order that they came in."""
        places = self._places
        if not self._in_order:
            places = array("q", sorted(places, key=lambda place: self.key(self._at(place))))
        yield from map(self._at, places)

    def close(self) -> None:
        """Takes the file away."""
        self._file.close()
        self.path.unlink()

    def _at(self, place: int) -> dict:
        self._file.seek(place)
        return json.loads(self._file.readline())


def sha256_file(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """sha256 over the canonical JSON of ``value``."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def nearby(path: str | Path) -> str:
    """Of a path that leads to nothing, in words: where it breaks off, and what is called alike there."""
    path = Path(path)
    while not path.parent.is_dir():
        path = path.parent
    folder = "this folder" if path.parent == Path() else str(path.parent)
    try:
        names = [p.name for p in path.parent.iterdir() if not p.name.startswith(".")]
    except OSError:
        return f"{folder} may not be read"
    return f"{folder} has no {path.name!r}; {suggestion(path.name, names)[:160] if names else 'it is empty'}"


def inside(root: str | Path, relative: str) -> Path:
    """``root/relative``, refused where it would escape ``root`` (absolute, .., links).

    Raises ValueError. Used for every path that comes from a manifest, a row or an archive.
    """
    root = Path(root).resolve()
    path = (root / relative).resolve()
    if path != root and root not in path.parents:
        raise ValueError(f"{relative!r} leads out of {root}")
    return path
