"""Makes the main environment ``.venv`` from a checkout: ``python3 -m edgekit.bootstrap``.

Runs on a bare Python before anything is installed: the standard library only, and syntax that an
old Python can read far enough to say that it is too old. A stamp, written last, means "whole".
"""

import sys

OLDEST = (3, 11)
DISK_BYTES = 4500000000  # 2.5 GB measured, and room for downloads and CUDA builds


def main():
    """Returns the exit code: 0 ready, 2 with three lines."""
    if sys.version_info < OLDEST:
        have, need = sys.version_info, OLDEST
        sys.stderr.write(
            "error: this Python is too old for edgekit\n"
            f"  why: it is {have[0]}.{have[1]}, and edgekit needs {need[0]}.{need[1]}\n"
            "  do:  install python3.11 (Debian, Ubuntu: apt-get install python3.11 python3.11-venv), "
            "or say make PYTHON=/path/to/python3.11\n"
        )
        return 2
    from edgekit.core.errors import EdgekitError
    from edgekit.core.guard import translate

    try:
        print(setup(), file=sys.stderr)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        known = translate(error)  # a full disk
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code
    except KeyboardInterrupt:
        print("stopped; run the same command again to resume", file=sys.stderr)
        return 130
    return 0


def setup():
    """Makes or completes ``.venv`` beside pyproject.toml; returns what was done, in a line."""
    import time
    from pathlib import Path

    from edgekit.core.environments.contents import TORCH_CPU_INDEX, Wanted, has_nvidia
    from edgekit.core.environments.install import install
    from edgekit.core.errors import need_disk
    from edgekit.core.files import read_json, sha256_json, write_json

    root = Path(__file__).resolve().parent.parent
    venv = root / ".venv"
    python = venv / "bin" / "python"
    requirements = ["-e", f"{root}[road,test]"]
    cpu = sys.platform == "linux" and not has_nvidia()
    if cpu:
        requirements.append("torch==2.13.0+cpu")  # PyPI's Linux build is the CUDA one, 3 GB larger
    stamp = venv / "edgekit-main.json"
    wanted = sha256_json([(root / "pyproject.toml").read_text(), requirements, sys.version])
    if python.exists() and stamp.is_file() and read_json(stamp).get("wanted") == wanted:
        return f"[setup] main: already there, in {venv}"
    began = time.time()
    whole = python.exists() and (stamp.is_file() or has_pip(python))
    need_disk(
        root, DISK_BYTES // 10 if whole else DISK_BYTES, "make setup",
        "free some space there, or move the checkout to another disk",
    )  # fmt: skip
    if not whole:
        make_venv(venv)
    stamp.unlink(missing_ok=True)
    want = Wanted(
        name="main", requirements=tuple(requirements), pythons=(11, 14), disk_mb=DISK_BYTES // 1000000, check="",
        indexes=(None, TORCH_CPU_INDEX) if cpu else (None,),
    )  # fmt: skip
    install(want, python, venv / "edgekit-main.log")
    write_json(stamp, {"wanted": wanted})
    return f"[setup] main: ready after {time.time() - began:.0f} s, in {venv}"


def has_pip(python):
    """Whether the venv was made to its end: its interpreter comes first, pip last."""
    import subprocess

    try:
        return subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv(venv):
    """``python -m venv``, over what a stopped one left. Raises UserError where Debian left the module out."""
    import subprocess

    from edgekit.core.errors import UserError

    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True
    )
    if made.returncode:
        lines = (made.stdout + made.stderr).strip().splitlines() or ["no output"]
        raise UserError(
            f"make setup: python -m venv {venv} failed",
            lines[-1],
            "on Debian and Ubuntu: apt-get install python3-venv",
        )


if __name__ == "__main__":
    sys.exit(main())
