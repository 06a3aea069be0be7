import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UserError
from edgekit.core.files import (
    Waiting,
    append_jsonl,
    inside,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_json,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError):
        write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "big.bin"
    write_bytes(path, b"0" * 1_000_000)
    code = (
        "import sys; from edgekit.core.files import write_bytes\n"
        "for i in range(10**6): write_bytes(sys.argv[1], bytes([49 + i % 8]) * 1_000_000); print(i, flush=True)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    writer.stdout.readline()
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    data = path.read_bytes()
    assert len(data) == 1_000_000 and len(set(data)) == 1


def test_json_lines_come_back_and_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"a": 1}, {"b": "灯"}])
    append_jsonl(path, {"c": "x\u2028y"})
    with open(path, "a") as file:
        file.write('{"d": ')
    assert list(read_jsonl(path, torn=True)) == [{"a": 1}, {"b": "灯"}, {"c": "x\u2028y"}]
    with pytest.raises(UserError, match=":4: not a row"):  # a table is whole, or it is told
        list(read_jsonl(path))
    append_jsonl(path, {"e": 2})  # the resumed writer must not glue its row to the torn one
    assert list(read_jsonl(path)) == [{"a": 1}, {"b": "灯"}, {"c": "x\u2028y"}, {"e": 2}]


def test_a_file_that_is_one_torn_line_starts_afresh(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"d": ')
    append_jsonl(path, {"e": 2})
    assert list(read_jsonl(path)) == [{"e": 2}]


def test_a_broken_line_in_the_middle_is_no_kill_and_is_not_passed_over(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"b": \n{"c": 3}\n')
    for torn in (True, False):
        with pytest.raises(UserError, match=":2: not a row"):
            list(read_jsonl(path, torn=torn))


@pytest.mark.parametrize("bad", [b'{"a": 1}\n[2]\n', b'{"a": 1}\n{"b": "\xff"}\n'])
def test_what_is_no_json_object_in_utf8_is_told(tmp_path, bad):
    (tmp_path / "rows.jsonl").write_bytes(bad)
    with pytest.raises(UserError, match=":2: not a row"):
        list(read_jsonl(tmp_path / "rows.jsonl"))


def test_half_a_surrogate_pair_is_written_and_comes_back(tmp_path):
    rows = [{"text": "灯 \ud83d"}, {"text": "\udc00"}]
    write_jsonl(tmp_path / "table.jsonl", rows)
    append_jsonl(tmp_path / "log.jsonl", *rows)
    assert list(read_jsonl(tmp_path / "table.jsonl")) == list(read_jsonl(tmp_path / "log.jsonl")) == rows
    assert (tmp_path / "log.jsonl").read_bytes().isascii() and "灯" in (tmp_path / "table.jsonl").read_text()


def test_json_and_digests(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": [1.5, None]})
    assert read_json(tmp_path / "x.json") == {"b": 1, "a": [1.5, None]}
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1}) != sha256_json({"a": 1, "b": 3})
    write_text(tmp_path / "abc", "abc")
    assert sha256_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("bad", ["../x", "/etc/passwd", "a/../../x", "..", "link/x", "link"])
def test_a_path_that_leads_out_is_refused(tmp_path, bad):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads out"):
        inside(root, bad)


def test_a_sibling_with_the_same_beginning_is_outside(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root-evil").mkdir()
    with pytest.raises(ValueError):
        inside(tmp_path / "root", "../root-evil/x")


@given(st.lists(st.sampled_from(["a", "b.jpg", ".", "c d"]), min_size=1))
def test_a_path_that_stays_in_is_given(tmp_path_factory, parts):
    root = tmp_path_factory.getbasetemp().resolve()
    path = inside(root, "/".join(parts))
    assert path == root or root in path.parents


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5))))
def test_rows_that_wait_come_back_in_the_order_of_their_keys(pairs):
    rows = [{"key": key, "n": n, "text": "灯\u2028" * n} for key, n in pairs]
    with tempfile.TemporaryDirectory() as folder:
        waiting = Waiting(Path(folder) / ".part", lambda row: row["key"])
        for row in rows:
            waiting.add(row)
        assert len(waiting) == len(rows)
        assert list(waiting.sorted()) == sorted(rows, key=lambda row: row["key"])  # equal ones as they came
        waiting.close()
        assert list(Path(folder).iterdir()) == []


def test_a_whole_last_line_without_its_end_is_torn_too(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b'{"a": 1}\n{"b": 2}'
    )  # the next append cuts it off: to read it would be to lose it later
    assert list(read_jsonl(path, torn=True)) == [{"a": 1}]
    assert list(read_jsonl(path)) == [{"a": 1}, {"b": 2}]
