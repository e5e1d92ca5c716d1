"""Closed and full streams over every command: the documented exit code, no traceback, no error line on stdout.

Which streams are closed is known when Python starts: a process for each state of them starts, and runs every command in
a child of its own, so that the package is imported once.
"""

import json
import subprocess
import sys

import pytest
import shell
import typer
from tiers import thorough

from segearth_cli import cli

COMMANDS = sorted(typer.main.get_command(cli.app).commands)
ENDS = {"closed": "{}>&-", "full": "{}>/dev/full", "open": ""}
HELP, WRONG = "--help", "--no-such-option"  # speak on stdout, and on stderr
STATES = {  # stdout and stderr -> what is asked, of which a stream that is not open hears something
    ("closed", "open"): [HELP],
    ("full", "open"): [HELP],
    ("open", "closed"): [WRONG],
    ("closed", "closed"): [HELP, WRONG],
    ("full", "full"): [HELP, WRONG],
}
EVERY = """
import json, os, sys
from pathlib import Path
import typer.rich_utils
from segearth_cli import cli

cli.app = typer.main.get_command(cli.app)  # once for all
found = {}
for name in json.loads(sys.argv[1]):
    for asked in json.loads(sys.argv[2]):
        child = os.fork()
        if not child:
            sys.argv = ["segearth", name, asked]
            cli.main()
        found[f"{name} {asked}"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
Path("codes.json").write_text(json.dumps(found))
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("out", "err"), [state if state == ("closed", "closed") else thorough(state) for state in STATES]
)
def test_every_command_ends_with_its_exit_code_whatever_streams_it_has(tmp_path, out, err):
    line = f'"$0" -c "$1" "$2" "$3" {ENDS[out].format(1)} {ENDS[err].format(2)}'
    words = ["bash", "-c", line, sys.executable, EVERY, json.dumps(COMMANDS), json.dumps(STATES[out, err])]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=shell.environment(COLUMNS="100"))
    codes = json.loads((tmp_path / "codes.json").read_text())
    answered = 0 if out == "open" else 1
    assert codes == {
        f"{name} {asked}": answered if asked == HELP else 2 for name in COMMANDS for asked in STATES[out, err]
    }
    assert "Traceback" not in done.stderr
    assert "segearth: " not in done.stdout
    told = [text for text in done.stderr.splitlines() if text.startswith("segearth: ")]
    assert len(told) == (0 if err != "open" else len(COMMANDS)), done.stderr
