"""Real shells complete commands, and values of options, also those that only this machine or an input knows."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import shell
from tiers import every

from segearth_cli import classes as class_lists

SHELLS = {
    "bash": """
eval "$(segearth --show-completion bash)"
tab() { COMP_WORDS=($1); COMP_WORDS[$2]=$3; COMP_CWORD=$2; COMPREPLY=(); _segearth_completion segearth
        printf '%s\n' "${COMPREPLY[@]}"; }
tab 'segearth' 1 pre
tab 'segearth predict --preset' 3 love
tab 'segearth vectorize m.tif --classes' 4 water,b
tab 'segearth vectorize m.tif --classes' 4 '"water,b'
tab 'segearth predict --device cuda' 4 :
tab 'segearth predict --device' 3 '"cuda:'
tab 'segearth predict --preset =' 4 love
tab 'segearth vectorize m.tif --classes =' 5 water,b
""",
    "fish": """
segearth --show-completion fish | source
for line in 'segearth pre' 'segearth predict --preset love' 'segearth vectorize m.tif --classes water,b'
    complete -C $line
end
""",
    "zsh": """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PROMPT=; autoload -Uz compinit; compinit -u -D; eval "$(segearth --show-completion zsh)"; echo rea""dy'
zpty -r shell said '*ready*'
complete() { zpty -w -n shell "$1"$'\t'; zpty -r shell said "*$2*"; print -r -- "$said"; zpty -w -n shell $'\x15' }
complete 'segearth pre' 'Draw masks for people'
complete 'segearth predict --preset love' 'loveda'
complete 'segearth vectorize m.tif --classes water,b' 'soil'
""",
}
OFFERED = {
    "bash": "predict\npreview\nloveda\nwater,bare\\ soil\nwater,bare soil\n0\ncuda:0\nloveda\nwater,bare\\ soil\n",
    "fish": """predict\tSegment scenes into the classes you name
preview\tDraw masks for people
loveda
water,bare soil
""",
    "zsh": "water,bare\\ soil",
}


@pytest.fixture
def environment(tmp_path):
    """That of a shell whose `segearth` is this tree's, in a folder with a mask."""
    with rasterio.open(tmp_path / "m.tif", "w", driver="GTiff", count=1, height=9, width=9, dtype="uint8") as ds:
        ds.write(np.zeros((1, 9, 9), np.uint8))
        ds.update_tags(SEGEARTH_CLASSES=class_lists.to_tag(class_lists.parse("water,bare soil,roof")))
    program = tmp_path / "bin" / "segearth"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m segearth_cli "$@"\n')
    program.chmod(0o755)
    return shell.environment(PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}", HOME=str(tmp_path), TERM="dumb")


@pytest.mark.slow
@pytest.mark.parametrize("name", every(3, SHELLS))
def test_a_shell_completes_commands_presets_and_the_classes_of_a_mask(name, environment, tmp_path):
    if not shutil.which(name):
        pytest.skip(f"needs {name}, which is not on this machine")
    words = [name, "-f", "-c", SHELLS[name]] if name == "zsh" else [name, "-c", SHELLS[name]]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert OFFERED[name] in done.stdout if name == "zsh" else OFFERED[name] == done.stdout


@pytest.mark.slow
def test_a_shell_that_is_named_gets_its_own_script():
    assert shell.segearth("--show-completion", "zsh").stdout.startswith("#compdef segearth")
    refused = shell.segearth("--show-completion=tcsh")
    assert refused.returncode == 2
    assert "'bash', 'zsh', 'fish'" in refused.stderr
