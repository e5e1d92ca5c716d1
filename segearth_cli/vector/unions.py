"""Sets of numbers that are united one after the other: each has a parent, the root of a set its own."""

from __future__ import annotations

Parents = dict[int, int] | list[int]


def root(parent: Parents, number: int) -> int:
    """The root of the set of a number; ways to it are made shorter.

    >>> root({1: 1, 2: 1, 3: 2}, 3)
    1
    """
    while (above := parent[number]) != number:
        parent[number] = parent[above]
        number = above
    return number
