"""Templates: the sentences around a phrase over which its text embedding is averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from segearth_cli import texts
from segearth_cli.errors import UsageError

PUBLISHED = ("80",)  # CLIP's for ImageNet, as the published settings have them
NAMED = (*PUBLISHED, "7")
AS_IT_IS = ("{}",)
MOST = 1000
_EXAMPLE = "e.g. 'a satellite image of {}.'"


def read_templates(text: str) -> tuple[str, ...]:
    """The value of --templates: ("80",) and ("7",) for CLIP's own sets, the lines of a file for its name.

    Lines that are empty or begin with `#` are left out. Raises UsageError for a file that cannot be read or holds none.
    """
    if text in NAMED:
        return (text,)
    path = Path(text).expanduser()
    try:
        lines = texts.read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as e:
        need = f"need {', '.join(NAMED)} or a file, one a line, {_EXAMPLE}"
        raise UsageError(f"--templates {text}: cannot be read ({texts.reason(e)}); {need}") from None
    found = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    check_templates(found, f"--templates {text}")
    return found


def check_templates(templates: Sequence[str], where: str = "--templates") -> None:
    """Raises UsageError unless templates are one of CLIP's own sets, or sentences with one place for a phrase each."""
    if len(templates) == 1 and templates[0] in NAMED:
        return
    if not 1 <= len(templates) <= MOST:
        raise UsageError(f"{where}: {len(templates)} templates, need 1 to {MOST}, one a line, {_EXAMPLE}")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise UsageError(f"{where}: '{template}': need {{}} once, where the phrase goes, {_EXAMPLE}")


def template_functions(templates: Sequence[str]) -> list[Callable[[str], str]]:
    """Phrase to text, for each template."""
    if tuple(templates) in [(name,) for name in NAMED]:
        import open_clip

        named = {"80": open_clip.OPENAI_IMAGENET_TEMPLATES, "7": open_clip.SIMPLE_IMAGENET_TEMPLATES}
        return list(named[templates[0]])
    return [lambda phrase, text=text: text.replace("{}", phrase) for text in templates]  # type: ignore[misc]
