"""The words that a model was trained on, where its folder lists them: which of a user's it has never seen."""

from __future__ import annotations

import re
from collections.abc import Iterable

from segearth_cli import texts
from segearth_cli.errors import WeightsError, nearest
from segearth_cli.weights.locate import VOCABULARY, find


def vocabulary(spec: str) -> frozenset[str] | None:
    """The lower-case words that the model of a --model was trained on; None where nothing lists them.

    Raises WeightsError for a list that cannot be read.
    """
    folder = find(spec).folder
    words = None if folder is None else folder / VOCABULARY
    if words is None or not words.is_file():
        return None
    try:
        return frozenset(texts.read_text(words).lower().split())
    except (OSError, UnicodeDecodeError) as e:
        raise WeightsError(f"{words}: cannot be read ({texts.reason(e)})") from None


def unknown_words(phrases: Iterable[str], known: frozenset[str]) -> tuple[str, ...]:
    """The words of phrases that a vocabulary of lower-case words lacks, in order, each once.

    >>> unknown_words(["Water", "solar-panel", "water tank"], frozenset({"water", "tank", "panel"}))
    ('solar',)
    """
    words = (word for phrase in phrases for word in re.findall(r"[^\W\d_]+", phrase.lower()))
    return tuple(dict.fromkeys(word for word in words if word not in known))


def never_seen(spec: str, phrases: Iterable[str]) -> str | None:
    """One line on the words that a model has never seen, each with the nearest it has; None when there are none."""
    known = vocabulary(spec)
    words = () if known is None else unknown_words(phrases, known)
    if known is None or not words:
        return None
    told = (f"{word} ({near}?)" if (near := nearest(word, known)) else word for word in words)
    return f"{find(spec).name} has never seen: {', '.join(told)}; its guess for them means little"
