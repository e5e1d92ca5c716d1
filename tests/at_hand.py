"""The command line for shell scripts, at the price of a fork: a process that has imported everything stands by.

`serve` waits; `client(folder, socket)` writes a program `segearth` that hands its words, folder, environment
and streams to it and ends with the exit code of what was run. A script that finds that program on its PATH runs real
commands, with pipes and folders of its own, without seconds of imports for each.
"""

import gc
import json
import os
import socket
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
server.sendall(asked)
sys.exit(int(server.recv(8) or 99))
"""


def client(folder, address):
    """Writes the program; returns its folder, for PATH."""
    folder.mkdir()
    program = folder / "segearth"
    program.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    return folder


def serve(address, scene, model):
    """Runs what clients ask for, each in a fork, until this process is ended. It first tries the commands itself."""
    from segearth_cli import cli

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
    while True:
        asked, _ = waiting.accept()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not os.fork():
            waiting.close()
            _answer(asked)
        asked.close()


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
    words, folder, environment = json.loads(text)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["segearth", *words]
    try:
        code = cli.run()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    with suppress(OSError):
        sys.stdout.flush()
    asked.sendall(str(code).encode())
    os._exit(0)  # an orderly end would go through all that was imported: a second


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    serve(*sys.argv[1:])
