"""The command line as a user meets it: a real process, its streams and its exit code."""

import shell


def test_help_loads_no_model_library():
    code = (
        "import sys; sys.argv=['segearth','--help']\n"
        "from segearth_cli import cli\n"
        "cli.run()\n"
        "heavy = {'torch', 'open_clip', 'fiona', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = shell.python(code)
    assert done.returncode == 0, done.stderr
    assert "vectorize" in done.stdout


def test_an_unknown_flag_is_one_line_and_exit_code_2():
    done = shell.segearth("vectorize", "--no-such-flag")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "--no-such-flag" in done.stderr
