"""The station's story: a Checkpoint or a Bundle behind a port, in OpenAI's words, until it is stopped."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from edgekit.core.contract import read_contract
from edgekit.core.files import write_json
from edgekit.core.port import take_port
from edgekit.core.run import Run
from edgekit.serve.app import make_app
from edgekit.serve.backend import Backend, InProcess
from edgekit.serve.config import ServeConfig
from edgekit.serve.listen import listen, read_token, stoppable
from edgekit.serve.model import kind_of


def serve(config: ServeConfig, run: Run) -> None:
    """Serves ``model`` until SIGTERM or Ctrl-C; ``out/served.json`` says where, while it answers.

    One front for both back ends: it bounds what comes in, resizes images as the contract says,
    makes every answer a SceneLabel unless the request asks for another format, and hands on.
    Raises UserError before anything starts: no model there, port taken, no token, no environment.
    Leaves by SystemExit(0): a server's run is never complete, the same command starts it again.
    """
    place = run.out / "served.json"
    place.unlink(missing_ok=True)  # of a server that was killed
    folder = run.input("model")
    kind = kind_of(config.kind, folder)
    token = read_token(config.host)
    with ExitStack() as stack:
        door = stack.enter_context(take_port(config.host, config.port, "edgekit serve"))
        stack.enter_context(stoppable())
        backend = _open(kind, folder, config, run, stack)
        app = make_app(backend, config.name, config.limits, token)
        url = f"http://{config.host}:{door.getsockname()[1]}/v1"
        door.listen()  # whoever reads served.json may connect; uvicorn answers in a moment
        stack.callback(place.unlink, missing_ok=True)
        write_json(place, {"url": url, "model": config.name, "kind": kind})
        run.say(f"{config.name} answers at {url} (stop with Ctrl-C)")
        listen(app, door, backend, config.drain_s)
    run.say("stopped")
    raise SystemExit(0)


def _open(kind: str, folder: Path, config: ServeConfig, run: Run, stack: ExitStack) -> Backend:
    if kind == "bundle":
        run.say("loading the Bundle")
        return InProcess.open(folder)
    from edgekit.serve.vllm_backend import Vllm
    from edgekit.serve.vllm_process import VllmProcess

    contract = read_contract(folder)
    run.say("starting vLLM; on two cores this takes a minute")
    process = VllmProcess(folder.resolve(), config.name, config.vllm, run.path / "vllm.log")
    stack.callback(_stop, process, run)
    seconds = process.wait_ready()
    run.say(f"vLLM is ready after {seconds:.0f} s")
    return Vllm(process, contract, config.name, config.vllm.max_num_seqs, config.limits.answer_s)


def _stop(process, run: Run) -> None:
    if left := process.stop():
        run.note(f"vLLM left {len(left)} processes behind; they were killed")
