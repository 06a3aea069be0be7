"""Before anything costly: what is served, on which port, for whom."""

from __future__ import annotations

import json
import signal
import socket
import threading

import pytest
from fastapi import FastAPI

from edgekit.core.contract import Contract, read_contract
from edgekit.core.errors import EdgekitError, UserError
from edgekit.core.port import is_loopback, take_port
from edgekit.core.recipe import find_recipe, load_recipe
from edgekit.core.run import start
from edgekit.serve import run as station
from edgekit.serve.config import ServeConfig
from edgekit.serve.listen import listen, read_token, stoppable
from edgekit.serve.model import kind_of


@pytest.fixture
def checkpoint(tmp_path):
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "contract.json").write_text(Contract().model_dump_json())
    return tmp_path


def test_the_kind_follows_from_the_folder(checkpoint, tmp_path_factory):
    assert kind_of("auto", checkpoint) == kind_of("vllm", checkpoint) == "vllm"
    bundle = tmp_path_factory.mktemp("bundle")
    (bundle / "bundle.json").write_text("{}")
    assert kind_of("auto", bundle) == "bundle"
    with pytest.raises(UserError, match="kind=vllm serves a Checkpoint"):
        kind_of("vllm", bundle)


@pytest.mark.parametrize("missing", ["config.json", "contract.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_something_is_refused(checkpoint, missing):
    (checkpoint / missing).unlink()
    with pytest.raises(UserError):
        kind_of("auto", checkpoint)


@pytest.mark.parametrize("text", ['{"schema_id": "edgekit/contract/9"}', "{", "[]", '{"width": 5}'])
def test_a_contract_of_another_version_or_a_damaged_one_is_refused(checkpoint, text):
    assert read_contract(checkpoint) == Contract()
    (checkpoint / "contract.json").write_text(text)
    with pytest.raises(UserError):
        read_contract(checkpoint)


def test_a_taken_port_is_told_before_anything_starts():
    with take_port("127.0.0.1", 0, "edgekit serve") as door:
        door.listen()
        with pytest.raises(UserError, match="cannot listen") as error:
            take_port("127.0.0.1", door.getsockname()[1], "edgekit serve")
    assert "in use" in error.value.why
    with pytest.raises(UserError):
        take_port("no.such.host.invalid", 0, "edgekit serve")


def test_others_get_in_only_with_a_token(monkeypatch):
    monkeypatch.delenv("EDGEKIT_TOKEN", raising=False)
    assert read_token("127.0.0.1") is None and read_token("localhost") is None and read_token("::1") is None
    for host in ("0.0.0.0", "192.168.1.4", "car.local", "::"):
        assert not is_loopback(host)
        with pytest.raises(UserError, match="no token"):
            read_token(host)
    monkeypatch.setenv("EDGEKIT_TOKEN", " sesame ")
    assert read_token("0.0.0.0") == read_token("127.0.0.1") == "sesame"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_block_and_a_second_one_does_not_disturb_the_cleaning(number):
    before, steps = signal.getsignal(number), []
    with stoppable():
        try:
            signal.raise_signal(number)
            steps.append("not reached")
        finally:
            signal.raise_signal(number)
            steps.append("cleaned")
    assert steps == ["cleaned"] and signal.getsignal(number) is before


def test_in_another_thread_signals_are_left_alone():
    done = []

    def work():
        with stoppable():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


def test_a_back_end_that_ends_is_a_fault_that_a_restart_may_mend():
    class Ended:
        def failure(self):
            return "it was killed"

    with (
        take_port("127.0.0.1", 0, "edgekit serve") as door,
        pytest.raises(EdgekitError, match="back end ended") as error,
    ):
        listen(FastAPI(), door, Ended(), 1)
    assert error.value.exit_code == 1 and "it was killed" in str(error.value)


def test_served_json_is_there_only_while_the_port_listens(tmp_path, monkeypatch):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    config = ServeConfig(model=str(tmp_path / "bundle"), port=0)
    run = start("serve", config, "test", tmp_path / "run")
    place, seen = run.out / "served.json", []
    place.write_text("what a killed server left")

    def answer(app, door, backend, drain_s):
        port = json.loads(place.read_text())["url"].split(":")[-1].removesuffix("/v1")
        socket.create_connection(("127.0.0.1", int(port)), timeout=5).close()
        seen.append("listens")

    monkeypatch.setattr(station, "_open", lambda *_: seen.append(place.exists()))
    monkeypatch.setattr(station, "make_app", lambda *_: None)
    monkeypatch.setattr(station, "listen", answer)
    with pytest.raises(SystemExit):
        station.serve(config, run)
    assert seen == [False, "listens"] and not place.exists()


def test_the_config_is_light_and_its_plan_tells_memory():
    config = ServeConfig(model="somewhere")
    assert config.host == "127.0.0.1" and config.plan().memory_gb == 3
    assert load_recipe(ServeConfig, find_recipe("bundle", "serve")).plan().memory_gb < 1
    assert json.loads(config.model_dump_json())["vllm"]["dtype"] == "auto"
