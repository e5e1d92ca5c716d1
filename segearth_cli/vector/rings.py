"""Rings: strips of codes, fed from top to bottom, to the closed borders of equal-code regions, joined over the seams.

What is held between two strips is what the seam cuts: at most two open chains for each column, and the holes found so
far of the regions these chains belong to. A region is given out with the strip that closes its outer ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.vector import corners as cn
from segearth_cli.vector.chains import Pieces, Points, kinds
from segearth_cli.vector.corners import Codes
from segearth_cli.vector.strips import Prepared


@dataclass(frozen=True, slots=True)
class Rings:
    """Closed rings of P regions of 4-connected pixels, sorted by region, the outer ring first.

    points: of all rings, one after another, not closed by repetition; an outer ring runs clockwise on screen.
    lengths (R,): points of each ring. region (R,): its region. code (P,). sums (P, n): of the weights fed.
    """

    points: Points
    lengths: NDArray[np.int64]
    region: NDArray[np.int64]
    code: Codes
    sums: NDArray[np.float64]


@dataclass(slots=True)
class _Region:
    """A region with an open border: its finished holes as (points, lengths) and the sums of these."""

    holes: list[tuple[Points, NDArray[np.int64]]] = field(default_factory=list)
    sums: Any = 0.0


@dataclass(slots=True)
class _Chain:
    """An open border: nested lists of points, the first of them in row-major order, its region."""

    parts: list[Any]
    code: int
    first: np.int64
    region: int
    sums: Any
    end: int = -1  # the place among the downward borders at the seam


class Tracer:
    """Joins the strips of one raster."""

    def __init__(self) -> None:
        self._row = 0
        self._up: list[_Chain] = []  # by the column where the chain's start waits at the seam
        self._parent: dict[int, int] = {}
        self._regions: dict[int, _Region] = {}
        self._next = 0

    def feed(self, strip: Prepared) -> Rings:
        """Regions finished within the next strip or closed by it."""
        pieces = Pieces.of(strip.found, strip.links, self._row, strip.shares)
        self._row += len(strip.padded) - 1
        return self._close(pieces, pieces.roots(strip.padded))

    def _close(self, pieces: Pieces, roots: NDArray[np.int64]) -> Rings:
        """Join the open pieces with the chains of earlier strips; collect what is closed."""
        fragments = self._fragments(pieces)
        region_of = [chain.region for chain in fragments]
        for piece, root in enumerate(roots[: len(fragments)].tolist()):
            self._unite(region_of[piece], region_of[root])
        closed = self._join(fragments, pieces)
        self._keep_holes(pieces, roots, region_of)
        outer: list[_Chain] = []
        for chain in closed:
            if kinds(np.asarray(chain.first)) == cn.HOLE:
                points = _flat(chain.parts)
                region = self._regions[self._find(chain.region)]
                region.holes.append((points, np.array([len(points)])))
                region.sums = region.sums + chain.sums
            else:
                outer.append(chain)
        soup = _Soup(pieces, roots)
        for chain in outer:
            region = self._regions.pop(self._find(chain.region))
            points = _flat(chain.parts)
            soup.add([(points, np.array([len(points)])), *region.holes], chain.code, chain.sums + region.sums)
        self._forget()
        return soup.rings()

    def _fragments(self, pieces: Pieces) -> list[_Chain]:
        """The pieces of border that end at ports, each with a region of its own."""
        chains = []
        ends = pieces.offsets[1 : pieces.open + 1].tolist()
        points = np.split(pieces.points[: ends[-1]].copy(), ends[:-1]) if ends else []  # a copy frees the other pieces
        for i, inner in enumerate(points):
            self._parent[self._next] = self._next
            self._regions[self._next] = _Region()
            part = [inner] if len(inner) else []
            chains.append(_Chain(part, int(pieces.code[i]), pieces.first[i], self._next, pieces.sums[i]))
            self._next += 1
        return chains

    def _join(self, fragments: Sequence[_Chain], pieces: Pieces) -> list[_Chain]:
        """Chains closed by this strip; those still open take the places of the former ones."""
        links = pieces.links
        n_down, behind = links.down_in, links.first_corner + links.corners
        up: list[_Chain] = []
        passed = [False] * len(fragments)

        def follow(i: int) -> tuple[_Chain, int]:
            """The chain from fragment `i` on and the port below where it ends, -1 when it closes."""
            run: list[_Chain] = []
            while not passed[i]:
                passed[i] = True
                run.append(fragments[i])
                port = int(pieces.last[i])
                if port >= behind:
                    return self._merge(run), port - behind
                before = self._up[port - n_down]
                run.append(before)
                i = before.end
            return self._merge(run), -1

        for i in range(n_down, len(fragments)):
            chain, end = follow(i)
            chain.end = end
            up.append(chain)
        closed = [follow(i)[0] for i in range(n_down) if not passed[i]]
        self._up = up
        return closed

    def _merge(self, run: Sequence[_Chain]) -> _Chain:
        """One chain of several that follow each other."""
        for chain in run[1:]:
            self._unite(run[0].region, chain.region)
        held = [chain.parts for chain in run if chain.parts]
        first = min(chain.first for chain in run)
        code = max(chain.code for chain in run)
        return _Chain(held[0] if len(held) == 1 else held, code, first, run[0].region, sum(c.sums for c in run))

    def _keep_holes(self, pieces: Pieces, roots: NDArray[np.int64], region_of: Sequence[int]) -> None:
        """Give closed holes to the open regions they lie in, in one piece for each region."""
        holes = pieces.open + np.flatnonzero(roots[pieces.open :] < pieces.open)
        holes = holes[np.argsort(roots[holes], kind="stable")]
        owners, starts = np.unique(roots[holes], return_index=True)
        for owner, own in zip(owners.tolist(), np.split(holes, starts[1:]), strict=False):
            region = self._regions[self._find(region_of[owner])]
            region.holes.append((pieces.gathered(own), pieces.lengths[own]))
            region.sums = region.sums + pieces.sums[own].sum(axis=0)

    def _find(self, region: int) -> int:
        while (parent := self._parent[region]) != region:
            self._parent[region] = self._parent[parent]
            region = parent
        return region

    def _unite(self, one: int, other: int) -> None:
        one, other = self._find(one), self._find(other)
        if one == other:
            return
        kept, gone = self._regions[one], self._regions.pop(other)
        if len(kept.holes) < len(gone.holes):
            kept, gone = gone, kept
        kept.holes += gone.holes
        kept.sums = kept.sums + gone.sums
        self._regions[one] = kept
        self._parent[other] = one

    def _forget(self) -> None:
        """Drop the regions that no open chain belongs to."""
        for chain in self._up:
            chain.region = self._find(chain.region)
        live = {chain.region for chain in self._up}
        self._parent = {region: region for region in live}
        self._regions = {region: self._regions[region] for region in live}


def _flat(parts: list[Any]) -> Points:
    """The points of nested lists of points, in order."""
    arrays: list[Points] = []
    stack = [parts]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item[::-1]
        else:
            arrays.append(item)
    return np.concatenate(arrays)


class _Soup:
    """Rings of finished regions, gathered."""

    def __init__(self, pieces: Pieces, roots: NDArray[np.int64]) -> None:
        closed = pieces.open + np.flatnonzero(roots[pieces.open :] >= pieces.open)
        inside = roots[closed] != closed
        outer = closed[~inside]
        place = np.zeros(len(roots), np.int64)
        place[outer] = np.arange(len(outer))
        closed = closed[np.argsort(2 * roots[closed] + inside, kind="stable")]
        self._points = [pieces.gathered(closed)]
        self._lengths = [pieces.lengths[closed]]
        self._region = [place[roots[closed]]]
        self._code = [pieces.code[outer]]
        sums = np.zeros((len(outer), pieces.sums.shape[1]))
        np.add.at(sums, self._region[0], pieces.sums[closed])
        self._sums = [sums]
        self._n = len(outer)

    def add(self, rings: Sequence[tuple[Points, NDArray[np.int64]]], code: int, sums: NDArray[np.float64]) -> None:
        for points, lengths in rings:
            self._points.append(points)
            self._lengths.append(lengths)
            self._region.append(np.full(len(lengths), self._n))
        self._code.append(np.array([code], self._code[0].dtype))
        self._sums.append(sums[None])
        self._n += 1

    def rings(self) -> Rings:
        return Rings(
            np.concatenate(self._points),
            np.concatenate(self._lengths),
            np.concatenate(self._region),
            np.concatenate(self._code),
            np.concatenate(self._sums),
        )
