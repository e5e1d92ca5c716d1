"""The way in: signals and refused memory have their line while the command line is still being loaded."""

import sys
from typing import NoReturn

from segearth_cli import signals
from segearth_cli.console import note
from segearth_cli.errors import OUT_OF_MEMORY, is_out_of_memory
from segearth_cli.faces import loading


def main() -> NoReturn:
    """Loads and runs the command line."""
    signals.end_at_once()
    try:
        with loading():
            from segearth_cli.cli import main as run
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        note(OUT_OF_MEMORY)
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
