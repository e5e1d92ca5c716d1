"""Writes README's table of the options of `segearth predict`, and the page of all commands, from what they tell.

python scripts/option_table.py
"""

from pathlib import Path
from typing import Any

import typer

from segearth_cli import cli
from segearth_cli.commands.predict import predict
from segearth_cli.options import table
from segearth_cli.weights import advice

ROOT = Path(__file__).parent.parent
README, OTHERS = ROOT / "README.md", ROOT / "docs" / "options.md"
START, END = "<!-- options: scripts/option_table.py -->\n", "<!-- end of options -->\n"
HEAD = """# Commands and options

Written by `scripts/option_table.py` from what the commands tell with `-h` or `--help`.
"""
EXAMPLES = "<!-- not run: their words are tried by tests/commands/test_help.py -->\n```sh\n{}\n```\n"


def with_table(text: str) -> str:
    """README's text with the table as it should be."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    written = table(predict.options, advice("mini"), "mini")  # type: ignore[attr-defined]
    return before + START + "\n" + written + "\n" + END + after


def reference() -> str:
    """The page of all commands: what they do, examples, options."""
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    parts = [HEAD]
    for name, command in sorted(commands.items()):
        advised = (advice("mini"), "mini") if name == "predict" else ({}, "")
        told = getattr(command.callback, "options", ())
        own = [p for p in command.params if p.param_type_name == "option" and p.name not in {o.name for o in told}]
        rows = ["| option | meaning | default |", "|-|-|-|", *map(_row, own)]
        text = "\n".join(rows) + "\n" + "".join(table(told, *advised).splitlines(keepends=True)[2:])
        examples = EXAMPLES.format("\n".join(command.callback.examples))
        parts.append(f"\n## `segearth {name}`\n\n{command.help}\n\n{examples}\n{text}")
    return "".join(parts)


def _row(param: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in sorted(param.opts, key=lambda flag: not flag.startswith("--")))
    default = "" if param.default in (None, False, "") else str(param.default)
    help_text = param.help.replace("|", "\\|")
    return f"| {flags} | {help_text} | {default} |".replace("  |", " |")


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    OTHERS.write_text(reference(), encoding="utf-8")
