"""Strips of codes, fed from top to bottom, to rings: closed borders of equal-code regions, joined over the seams.

What is held between two strips is what the seam cuts: at most two open borders for each column, and the holes found so
far of the regions these borders belong to. A region is given out with the strip that closes its outer ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segearth_cli.vector import corners as cn
from segearth_cli.vector.chains import Chains, Points, kinds
from segearth_cli.vector.corners import Codes
from segearth_cli.vector.strips import LinkedStrip
from segearth_cli.vector.unions import root


@dataclass(frozen=True, slots=True)
class Rings:
    """R closed rings of P regions of 4-connected pixels, sorted by region, the outer ring first."""

    points: Points
    """Of all rings, one after another, not closed by repetition; an outer ring runs clockwise on screen."""
    lengths: NDArray[np.int64]
    """(R,): points of each ring."""
    region: NDArray[np.int64]
    """(R,): number of its region."""
    code: Codes
    """(P,): of each region."""
    sums: NDArray[np.float64]
    """(P, n): of the n weights over each region."""


@dataclass(slots=True)
class _Region:
    """A region with an open border: its finished holes as (points, lengths) and the sums of these."""

    holes: list[tuple[Points, NDArray[np.int64]]] = field(default_factory=list)
    sums: Any = 0.0


@dataclass(slots=True)
class _Border:
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
        self._up: list[_Border] = []  # by the column where the border's start waits at the seam
        self._parent: dict[int, int] = {}
        self._regions: dict[int, _Region] = {}
        self._next = 0

    def feed(self, strip: LinkedStrip) -> Rings:
        """Regions finished within the next strip or closed by it."""
        chains = Chains.of(strip.found, strip.links, self._row, strip.shares)
        self._row += len(strip.padded) - 1
        return self._close(chains, chains.roots(strip.padded))

    def _close(self, chains: Chains, roots: NDArray[np.int64]) -> Rings:
        """Join the open chains with the borders of earlier strips; collect what is closed."""
        fragments = self._fragments(chains)
        region_of = [border.region for border in fragments]
        for chain, other in enumerate(roots[: len(fragments)].tolist()):
            self._unite(region_of[chain], region_of[other])
        closed = self._join(fragments, chains)
        self._keep_holes(chains, roots, region_of)
        outer: list[_Border] = []
        for border in closed:
            if kinds(np.asarray(border.first)) == cn.HOLE:
                points = _flat(border.parts)
                region = self._regions[root(self._parent, border.region)]
                region.holes.append((points, np.array([len(points)])))
                region.sums = region.sums + border.sums
            else:
                outer.append(border)
        soup = _Soup(chains, roots)
        for border in outer:
            region = self._regions.pop(root(self._parent, border.region))
            points = _flat(border.parts)
            soup.add([(points, np.array([len(points)])), *region.holes], border.code, border.sums + region.sums)
        self._forget()
        return soup.rings()

    def _fragments(self, chains: Chains) -> list[_Border]:
        """The chains of border that end at ports, each with a region of its own."""
        borders = []
        ends = chains.offsets[1 : chains.open + 1].tolist()
        points = np.split(chains.points[: ends[-1]].copy(), ends[:-1]) if ends else []  # a copy frees the other chains
        for i, inner in enumerate(points):
            self._parent[self._next] = self._next
            self._regions[self._next] = _Region()
            part = [inner] if len(inner) else []
            borders.append(_Border(part, int(chains.code[i]), chains.first[i], self._next, chains.sums[i]))
            self._next += 1
        return borders

    def _join(self, fragments: Sequence[_Border], chains: Chains) -> list[_Border]:
        """Chains closed by this strip; those still open take the places of the former ones."""
        links = chains.links
        n_down, behind = links.down_in, links.first_corner + links.corners
        up: list[_Border] = []
        passed = [False] * len(fragments)

        def follow(i: int) -> tuple[_Border, int]:
            """The border from fragment `i` on and the port below where it ends, -1 when it closes."""
            run: list[_Border] = []
            while not passed[i]:
                passed[i] = True
                run.append(fragments[i])
                port = int(chains.last[i])
                if port >= behind:
                    return self._merge(run), port - behind
                before = self._up[port - n_down]
                run.append(before)
                i = before.end
            return self._merge(run), -1

        for i in range(n_down, len(fragments)):
            border, end = follow(i)
            border.end = end
            up.append(border)
        closed = [follow(i)[0] for i in range(n_down) if not passed[i]]
        self._up = up
        return closed

    def _merge(self, run: Sequence[_Border]) -> _Border:
        """One border of several that follow each other."""
        for border in run[1:]:
            self._unite(run[0].region, border.region)
        held = [border.parts for border in run if border.parts]
        first = min(border.first for border in run)
        code = max(border.code for border in run)
        return _Border(held[0] if len(held) == 1 else held, code, first, run[0].region, sum(c.sums for c in run))

    def _keep_holes(self, chains: Chains, roots: NDArray[np.int64], region_of: Sequence[int]) -> None:
        """Give closed holes to the open regions they lie in, those of a region at once."""
        holes = chains.open + np.flatnonzero(roots[chains.open :] < chains.open)
        holes = holes[np.argsort(roots[holes], kind="stable")]
        owners, starts = np.unique(roots[holes], return_index=True)
        for owner, own in zip(owners.tolist(), np.split(holes, starts[1:]), strict=False):
            region = self._regions[root(self._parent, region_of[owner])]
            region.holes.append((chains.gathered(own), chains.lengths[own]))
            region.sums = region.sums + chains.sums[own].sum(axis=0)

    def _unite(self, one: int, other: int) -> None:
        one, other = root(self._parent, one), root(self._parent, other)
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
        """Drop the regions that no open border belongs to."""
        for border in self._up:
            border.region = root(self._parent, border.region)
        live = {border.region for border in self._up}
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

    def __init__(self, chains: Chains, roots: NDArray[np.int64]) -> None:
        closed = chains.open + np.flatnonzero(roots[chains.open :] >= chains.open)
        inside = roots[closed] != closed
        outer = closed[~inside]
        place = np.zeros(len(roots), np.int64)
        place[outer] = np.arange(len(outer))
        closed = closed[np.argsort(2 * roots[closed] + inside, kind="stable")]
        self._points = [chains.gathered(closed)]
        self._lengths = [chains.lengths[closed]]
        self._region = [place[roots[closed]]]
        self._code = [chains.code[outer]]
        sums = np.zeros((len(outer), chains.sums.shape[1]))
        np.add.at(sums, self._region[0], chains.sums[closed])
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
