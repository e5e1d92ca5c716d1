"""The command line for shell scripts, at the price of a fork: a process that has imported everything stands by.

`serve` waits; `client(folder, socket)` writes a program `segearth` that hands its words, folder, environment
and streams to it, passes signals on and ends with the exit code of what was run. A script that finds that program on
its PATH runs real commands, with pipes and folders of its own, without seconds of imports for each.
"""

import fcntl
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import shell

CLIENT = """#!{python} -SE
import json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
server.sendall(asked)
pid = int.from_bytes(server.recv(8), "big")
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
sys.exit(int(server.recv(8) or 99))
"""


def program(folder, scene, model):
    """The program `segearth` of the process in `folder`, which all workers of a session share; the first starts it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "bin").exists():
            session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
            words = [sys.executable, __file__, folder / "socket", scene, model, session]
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            server = subprocess.Popen([*map(str, words)], cwd=folder, env=shell.environment(), **quiet)
            assert server.stdout.readline() == b"ready\n"
            client(folder / "bin", folder / "socket")
    return folder / "bin" / "segearth"


def client(folder, address):
    """Writes the program; returns its folder, for PATH."""
    folder.mkdir()
    program = folder / "segearth"
    program.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    return folder


def serve(address, scene, model, session):
    """Runs what clients ask for, each in a fork, until a process has ended. It first tries the commands itself."""
    from segearth_cli import cli

    os.fsync = lambda _: None  # as in conftest
    for words in (
        ["predict", scene, "-c", "water,building", "-m", model, "-o", "warm.tif", "--preview", "html", "-q"],
        ["vectorize", "warm.tif", "-q"],
        ["preview", "warm.tif", "-o", "warm.png"],
    ):
        sys.argv = ["segearth", *words]
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            assert cli.run() == 0
    gc.freeze()  # a collection would copy all that the forks share
    waiting = socket.socket(socket.AF_UNIX)
    waiting.bind(address)
    waiting.listen()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while _runs(int(session)):
        if not select.select([waiting], [], [], 1)[0]:
            continue
        asked, _ = waiting.accept()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not os.fork():
            waiting.close()
            _answer(asked)
        asked.close()


def _runs(pid):
    """Whether a process is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _answer(asked):
    """Runs one command in this process, which ends with it."""
    from segearth_cli import cli

    length, streams, _, _ = socket.recv_fds(asked, 8, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    text = b""
    while len(text) < int.from_bytes(length, "big"):
        text += asked.recv(1 << 16)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked.sendall(os.getpid().to_bytes(8, "big"))
    words, folder, environment = json.loads(text)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["segearth", *words]
    try:
        cli.main()  # with its hook for signals that a finaliser swallows
    except SystemExit as e:
        code = e.code
    with suppress(OSError):
        sys.stdout.flush()
    asked.sendall(str(code).encode())
    os._exit(0)  # an orderly end would go through all that was imported: a second


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    serve(*sys.argv[1:])
