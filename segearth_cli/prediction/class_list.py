"""The classes of a run: as the user lists them, with what becomes of all that the list does not name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from segearth_cli import classes as class_lists
from segearth_cli.classes import BACKGROUND, ClassSet, Rest, Synonyms, folded
from segearth_cli.errors import UsageError, nearest
from segearth_cli.prediction.options import REST, ClassOptions
from segearth_cli.presets import Preset, get


def listed_classes(asked: ClassOptions, made: ClassSet | None = None) -> tuple[ClassSet, Preset | None]:
    """The classes that are named, before anything is made of their background, and the preset that named them.

    made: in place of words. Raises UsageError unless they are named once.
    """
    words = (asked.classes, asked.classes_file, asked.preset)
    if sum(given is not None for given in (*words, made)) != 1:
        raise UsageError("name the classes with one of --classes, --classes-file and --preset")
    if asked.preset is not None:
        preset = get(asked.preset)
        return preset.classes(), preset
    if made is not None:
        return made, None
    if asked.classes is not None:
        return class_lists.parse(asked.classes), None
    return class_lists.read(asked.classes_file or Path()), None


def with_choices(
    listed: ClassSet, asked: ClassOptions, advice: Mapping[str, Any], *, in_words: bool
) -> tuple[ClassSet, Rest | None]:
    """The classes of a run, and what its background is where the list has none.

    in_words: listed by the user of this run, so that a model's advice counts and a background is added; else the
    classes are complete. Raises UsageError for a background that cannot be meant.
    """
    synonyms: Synonyms | None = asked.synonyms
    if synonyms is None and in_words and listed.synonyms == ():
        synonyms = advice.get("synonyms")
    if synonyms is not None:
        listed = class_lists.with_synonyms(listed, synonyms)
    rest = _rest(asked.background, listed)
    if rest is None and asked.background is None and in_words and listed.code_named(BACKGROUND) is None:
        rest = _rest(advice.get("background", REST), listed)
    if rest is not None:
        return class_lists.with_rest(listed, rest), rest
    name = asked.background or (BACKGROUND if in_words else None)
    return class_lists.with_background(listed, name) if name else listed, None


def rest_line(listed: ClassSet, classes: ClassSet, rest: Rest | None, threshold: float) -> str | None:
    """One line for the user on what the background is, in this run, that the list does not name; None where it does.

    classes: those of the run, made of the listed ones by `with_choices`, which gave `rest`.
    """
    if len(classes) == len(listed):
        return None
    words = [f"'{phrase}'" for phrase in classes.phrases[0]]
    parts = [f"more like {', '.join(words)} than like a class of the list"] if words else []
    parts += [f"below --threshold {threshold:g}"] if threshold > 0 else []
    covered = "; the list covers all common land" if rest == "distractors" and not words else ""
    what = f"pixels {' or '.join(parts)}" if parts else "no pixel while --threshold is 0"
    near = nearest(classes.names[0], get_args(Rest)) if rest is None else None
    meant = f"; did you mean {near}?" if near else ""
    asked = f"--background {rest or classes.names[0]}{meant}"
    return f"code 0, {classes.names[0]}, which the list does not name: {what}{covered} ({asked})"


def _rest(text: str | None, listed: ClassSet) -> Rest | None:
    """The meaning of a background that a text stands for; None where it names a class, or would."""
    known: tuple[Rest, ...] = get_args(Rest)
    found = next((rest for rest in known if text is not None and folded(text) == rest), None)
    return None if found is None or listed.code_named(found) is not None else found
