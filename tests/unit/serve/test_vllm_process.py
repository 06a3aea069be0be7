"""vLLM as a child process, with a few lines of Python in its place: start, end, and nothing left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, UNKNOWN, SceneLabel, to_answer
from edgekit.serve import vllm_process
from edgekit.serve.config import Vllm
from edgekit.serve.vllm_backend import answer_pattern
from edgekit.serve.vllm_process import VllmProcess, command, environment, explain, members, model_length

# Listens on the socket it is given; has a child, as vLLM has its engine. MODE: how it behaves.
FAKE = """#!{python}
import os, signal, socket, subprocess, sys, time
mode = os.environ.get("MODE", "good")
child = subprocess.Popen([sys.executable, "-c", "import signal, time;"
    + ("signal.signal(signal.SIGTERM, signal.SIG_IGN);" if mode == "stubborn" else "")
    + "print('there', flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
child.stdout.readline()
if mode == "dies":
    print("INFO noise"); print("(Worker) ValueError: the model is odd"); print("RuntimeError: Engine core failed")
    child.kill(); sys.exit(3)
if mode == "deaf":
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))  # loses the first
else:
    def stop(*_):
        child.terminate(); sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[sys.argv.index("--uds") + 1]); server.listen()
while True:
    line, _ = server.accept()
    line.recv(4096)
    line.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    line.close()
"""


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A folder with a config, and the stand-in where the serve environment would be."""
    program = tmp_path / "vllm"
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setattr(vllm_process, "python_of", lambda name: tmp_path / "python")
    monkeypatch.setattr(vllm_process, "has_nvidia", lambda: False)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"dtype": "float32", "max_position_embeddings": 512}))
    return folder


def started(checkpoint, **settings) -> VllmProcess:
    return VllmProcess(checkpoint, "edgekit", Vllm(**settings), checkpoint.parent / "vllm.log")


def gone(group: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while members(group) and time.monotonic() < end:
        time.sleep(0.05)
    return not members(group)


def test_it_starts_answers_and_leaves_nothing(checkpoint):
    with started(checkpoint) as process:
        process.wait_ready()
        group, place = process.child.pid, process.place
        assert len(members(group)) == 2 and process.failure() is None
        assert os.stat(place).st_mode & 0o077 == 0  # nobody else reaches the socket
    assert not members(group) and not place.exists()


def test_what_sigterm_does_not_end_is_killed_and_reported(checkpoint, monkeypatch):
    monkeypatch.setenv("MODE", "stubborn")
    monkeypatch.setattr(vllm_process, "_STOP_S", 1.0)
    process = started(checkpoint)
    process.wait_ready()
    assert len(process.stop()) == 1
    assert gone(process.child.pid)


def test_a_lost_sigterm_is_sent_again(checkpoint, monkeypatch):
    monkeypatch.setenv("MODE", "deaf")
    monkeypatch.setattr(vllm_process, "_ASK_AGAIN_S", 0.5)
    monkeypatch.setattr(vllm_process, "_STOP_S", 3.0)
    process = started(checkpoint)
    process.wait_ready()
    process.stop()
    assert process.child.returncode == -signal.SIGTERM


def test_a_death_while_starting_is_told_by_its_cause(checkpoint, monkeypatch):
    monkeypatch.setenv("MODE", "dies")
    with (
        started(checkpoint) as process,
        pytest.raises(UserError, match="ValueError: the model is odd") as error,
    ):
        process.wait_ready()
    assert "vllm.log" in error.value.do


def test_one_that_never_answers_is_given_up(checkpoint, monkeypatch):
    def refuse(*_):
        raise vllm_process.httpx.ConnectError("nobody listens")

    monkeypatch.setattr(vllm_process.httpx.Client, "get", refuse)
    with started(checkpoint, start_s=1) as process, pytest.raises(UserError, match="within 1 s"):
        process.wait_ready()
    assert gone(process.child.pid)


def test_killing_the_server_outright_ends_vllm_too(checkpoint):
    """SIGKILL leaves no time to clean up: the kernel tells vLLM."""
    script = (
        "import sys, time; from pathlib import Path; from edgekit.serve import vllm_process as v\n"
        "v.python_of = lambda name: Path(sys.argv[1]) / 'python'; v.has_nvidia = lambda: False\n"
        "from edgekit.serve.config import Vllm\n"
        "p = v.VllmProcess(Path(sys.argv[1]) / 'model', 'edgekit', Vllm(), Path(sys.argv[1]) / 'log')\n"
        "p.wait_ready(); print(p.child.pid, p.place, flush=True); time.sleep(60)\n"
    )
    arguments = [sys.executable, "-c", script, str(checkpoint.parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        group, place = parent.stdout.readline().split()
        assert len(members(int(group))) == 2
        parent.kill()
    assert gone(int(group))
    subprocess.run(["rm", "-r", place])


def test_the_command_says_what_was_measured(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": 4096}}))
    line = command(tmp_path / "vllm", tmp_path, tmp_path / "s", "edgekit", Vllm(), gpu=False)
    flags = dict(zip(line[3::2], line[4::2], strict=False))
    assert line[1:3] == ["serve", str(tmp_path)]
    assert line[-3:] == ["--enforce-eager", "--kv-cache-memory-bytes", str(2**30)]
    assert flags["--max-model-len"] == "2048" and flags["--load-format"] == "safetensors"
    assert json.loads(flags["--limit-mm-per-prompt"]) == {"image": 1, "video": 0}
    assert json.loads(flags["--structured-outputs-config"])["backend"] == "xgrammar"
    gpu = command(tmp_path / "vllm", tmp_path, tmp_path / "s", "edgekit", Vllm(gpu_memory=0.5), gpu=True)
    assert gpu[-2:] == ["--gpu-memory-utilization", "0.5"] and "--enforce-eager" not in gpu


def test_the_environment_is_offline_and_without_secrets():
    inherited = {"PATH": "/bin", "EDGEKIT_TOKEN": "sesame", "PYTHONPATH": "/somewhere"}
    made = environment(inherited, Vllm(threads=3), gpu=False)
    assert made["PATH"] == "/bin" and "EDGEKIT_TOKEN" not in made and "PYTHONPATH" not in made
    assert made["HF_HUB_OFFLINE"] == made["VLLM_NO_USAGE_STATS"] == "1"
    assert made["OMP_NUM_THREADS"] == "3" and "OMP_NUM_THREADS" not in environment(
        inherited, Vllm(), gpu=True
    )


def test_the_context_is_never_longer_than_the_models(checkpoint):
    assert model_length(checkpoint) == 512


@pytest.mark.parametrize(
    ("code", "log", "words"),
    [
        (-9, "", "memory"),
        (1, "Worker proc died unexpectedly, exitcode: -9", "memory"),
        (1, "nothing to see", "code 1"),
        (1, "RuntimeError: Engine core initialization failed", "Engine core"),
    ],
)
def test_the_cause_is_read_from_the_log(code, log, words):
    assert words in explain(code, log)


def test_the_pattern_takes_every_answer_and_nothing_else():
    pattern = re.compile(answer_pattern())
    for slot, values in SLOTS.items():
        for value in values:
            raw = json.loads(to_answer(UNKNOWN)) | {slot: value}
            assert pattern.fullmatch(json.dumps(raw, separators=(",", ":")))
    red = to_answer(SceneLabel(light="red", light_arrow="any", light_kind="toll"))
    assert pattern.fullmatch(red)
    for wrong in (
        red.replace(",", ", "),
        red + " ",
        red.replace("red", "blue"),
        red[:-1],
        red.replace("{", "["),
    ):
        assert not pattern.fullmatch(wrong)
