"""Where the time of `predict` goes with the embedded model, stage by stage, as `predict --profile` tells it.

`OMP_NUM_THREADS=1 python -m benchmarks.stages [SCENE]`; without a scene a made one of 1,000 px. The table is that of
docs/performance.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.scene import WORDS, made, run
from segearth_cli import classes as class_lists
from segearth_cli.clock import Clock, timed
from segearth_cli.weights import ModelOptions, assemble, choose


def markdown(clocks: dict[str, Clock]) -> str:
    """A column of CPU seconds for each run, a row for each stage."""
    names = dict.fromkeys(name for clock in clocks.values() for name in clock.stages)
    rows = [f"| stage | {' | '.join(clocks)} |", "|-" * (1 + len(clocks)) + "|"]
    for name in names:
        spent = [clock.stages[name].cpu_seconds if name in clock.stages else 0.0 for clock in clocks.values()]
        rows.append(f"| {name} | {' | '.join(f'{seconds:.2f}' for seconds in spent)} |")
    return "\n".join([*rows, f"| whole run | {' | '.join(f'{clock.cpu_seconds:.2f}' for clock in clocks.values())} |"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scene", type=Path, nargs="?")
    scene_given = parser.parse_args().scene
    classes = class_lists.parse(WORDS)
    clocks: dict[str, Clock] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = scene_given or made(folder, 1000)
        for upsampler in (None, "none"):
            choice = choose("mini", upsampler)
            assembled = assemble(ModelOptions(choice.model, choice.upsampler, device="cpu"), classes)
            with timed() as clock:
                run(scene, folder, assembled, classes)
            clocks["none" if upsampler else "SimFeatUp"] = clock
    print(markdown(clocks))
    report.write("stages", {"cpu": report.cpu_name(), **{name: clock.facts() for name, clock in clocks.items()}})


if __name__ == "__main__":
    main()
