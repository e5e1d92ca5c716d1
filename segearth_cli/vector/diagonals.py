"""Polygons whose pixels meet at corners to multipolygons, each given out when the last of its parts has come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from segearth_cli.vector.polygons import Shapes, Touches, gathered, grouped
from segearth_cli.vector.unions import root


def joined_diagonally(batches: Iterable[Shapes]) -> Iterator[Shapes]:
    """Regions of 8-connected pixels: multipolygons of the polygons of one code that touch at a point.

    A multipolygon of parts that touch at points is valid where one polygon of the same area would not be. The batches
    tell their touches; what is held are the polygons that touch one which is still to come.
    """
    waiting = _Waiting()
    for batch in batches:
        if batch.touches is None:
            raise ValueError("shapes without touches")
        touches, batch = batch.touches, replace(batch, touches=None)
        joint = waiting.take(batch, touches)
        alone = np.ones(len(batch), np.bool_)
        alone[joint] = False
        complete = waiting.complete()
        yield gathered([batch.take(alone), *([_joined(gathered(complete))] if complete else [])])


@dataclass(slots=True)
class _Group:
    """Polygons that hang together, and how many of their touches have found one side only."""

    parts: list[Shapes] = field(default_factory=list)
    open: int = 0


class _Waiting:
    """The polygons that touch others, in groups."""

    def __init__(self) -> None:
        self._sides: dict[tuple[int, int], int] = {}  # code and place of a touch -> number of the polygon that has it
        self._parent: dict[int, int] = {}
        self._groups: dict[int, _Group] = {}
        self._next = 0

    def take(self, batch: Shapes, touches: Touches) -> NDArray[np.int64]:
        """Takes the polygons of a batch that touch others, and returns their numbers in it."""
        code = batch.code[touches.shape].astype(np.int64)
        order = np.lexsort((touches.place, code))
        shape, place, code = touches.shape[order], touches.place[order], code[order]
        pair = np.flatnonzero((place[1:] == place[:-1]) & (code[1:] == code[:-1]))
        single = np.ones(len(order), np.bool_)
        single[pair] = single[pair + 1] = False
        pair = pair[shape[pair] != shape[pair + 1]]  # a polygon that touches itself has a hole there
        joint = np.unique(np.concatenate([shape[single], shape[pair], shape[pair + 1]]))
        for number in joint.tolist():
            self._parent[self._next + number] = self._next + number
            self._groups[self._next + number] = _Group([batch.take(np.array([number]))])
        for one, other in zip(shape[pair].tolist(), shape[pair + 1].tolist(), strict=True):
            self._unite(self._next + one, self._next + other)
        for key, number in zip(
            zip(code[single].tolist(), place[single].tolist(), strict=True), shape[single].tolist(), strict=True
        ):
            side = self._sides.pop(key, None)
            if side is None:
                self._sides[key] = self._next + number
                self._groups[root(self._parent, self._next + number)].open += 1
            else:
                self._unite(self._next + number, side)
                self._groups[root(self._parent, side)].open -= 1
        self._next += len(batch)
        return joint

    def complete(self) -> list[Shapes]:
        """The polygons of groups that wait for none, which are forgotten."""
        done = [number for number, group in self._groups.items() if not group.open]
        found = [part for number in done for part in self._groups.pop(number).parts]
        live = {number for number in self._parent if root(self._parent, number) in self._groups}
        self._parent = {number: root(self._parent, number) for number in live}
        return found

    def _unite(self, one: int, other: int) -> None:
        one, other = root(self._parent, one), root(self._parent, other)
        if one == other:
            return
        kept, gone = self._groups[one], self._groups.pop(other)
        if len(kept.parts) < len(gone.parts):
            kept.parts, gone.parts = gone.parts, kept.parts
        kept.parts += gone.parts
        kept.open += gone.open
        self._parent[other] = one


def _joined(every: Shapes) -> Shapes:
    """Multipolygons of the polygons of one code that have a point in common."""
    xy, owner = shapely.get_coordinates(every.geometry, return_index=True)
    order = np.lexsort((owner, xy[:, 0], xy[:, 1], every.code[owner]))
    xy, owner = xy[order], owner[order]
    meet = (xy[1:] == xy[:-1]).all(axis=1) & (owner[1:] != owner[:-1])
    meet &= every.code[owner[1:]] == every.code[owner[:-1]]
    parent = list(range(len(every)))
    for one, other in zip(owner[:-1][meet].tolist(), owner[1:][meet].tolist(), strict=True):
        parent[root(parent, one)] = root(parent, other)
    return grouped(every, np.unique([root(parent, i) for i in range(len(every))], return_inverse=True)[1])
