"""One flat list of work: the shards of all scenes, taken by a pool of workers; each is joined once it is whole.

One process, several devices and a Dask cluster are pools of the same list. What failed before, what fails now and what
others are at comes last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from segearth_cli.console import said_of, without_secrets
from segearth_cli.errors import RasterError, RunError, SceneChangedError, SegEarthError, of_input
from segearth_cli.jobs.compute import Job, Session, Share, finish, session
from segearth_cli.jobs.pool import Alone, Answer, Item, Pool
from segearth_cli.jobs.run_folder import COMPLETE, Shard
from segearth_cli.jobs.shard_size import LARGEST
from segearth_cli.jobs.store import holds_run
from segearth_cli.prediction import Predictor, SceneSummary, extent_of, left_alone
from segearth_cli.progress import Progress, progress
from segearth_cli.raster import Outputs, Window, blocks, opened_dataset

FAILURES = 3  # in a row, none a fault of the scene, after which a scene is given up: the rest would fail too
KEPT_OPEN = 16  # scenes with shards left for the end that stay open


@dataclass(frozen=True, slots=True)
class Entry:
    """A scene of the list."""

    job: Job
    """What is computed of it."""
    outputs: Outputs
    """What its shards are joined to, unless only a share is computed."""
    told: str = ""
    """A line for the user when it is begun."""
    name: str = ""
    """The scene as the user named it, which is told in place of the path of its job; nothing = that path."""

    def told_as_named(self, error: SegEarthError) -> SegEarthError:
        """An error of the scene, in the words of the user."""
        line = str(error)
        if not self.name or self.job.scene not in line:
            return error
        return type(error)(line.replace(self.job.scene, self.name)).with_traceback(error.__traceback__)


Result = SceneSummary | list[Shard] | SegEarthError  # what became of a scene; the shards of a share


@dataclass
class _Scene:
    """A scene that is being computed."""

    number: int
    entry: Entry
    work: Session
    opened: ExitStack
    shards: list[Shard]
    started: float = field(default_factory=time.perf_counter)
    left: int = 0
    """Items that nobody has answered."""
    advance: Progress = lambda _steps: None
    later: set[Shard] = field(default_factory=set)
    """Shards for the end: that failed before, or that others are at."""
    failed: dict[Shard, str] = field(default_factory=dict)
    in_a_row: int = 0
    given_up: SegEarthError | None = None
    known: bool = False
    """Whether its items were given out once."""
    busy: int = 0
    """Shards that others are at."""

    def again(self, *, failed_too: bool) -> list[Shard]:
        """The shards that are to be computed in the end."""
        todo = self.later | (set(self.failed) if failed_too else set())
        self.later = set()
        if failed_too:
            self.failed, self.in_a_row = {}, 0
        return sorted(todo)

    def take(self, item: Item, answer: Answer, unit: str) -> None:
        """Notes what became of an item."""
        self.left -= 1
        if answer is None:
            self.later.add(item.shard)
            self.busy += 1
        elif isinstance(answer, SegEarthError):
            self.failed[item.shard] = str(answer)
            self.in_a_row += not isinstance(answer, RasterError)
            if isinstance(answer, SceneChangedError):
                self.given_up = answer
            elif self.in_a_row >= FAILURES:
                self.given_up = self.failure()
        else:
            self.in_a_row = 0
            if unit == "shard":
                self.advance(1)

    def failure(self) -> SegEarthError | None:
        """What is told of shards that failed."""
        if not self.failed:
            return None
        shard, error = next(iter(self.failed.items()))
        return RunError(
            f"{error} ({len(self.failed)} of {len(self.shards)} shards failed, {shard.name} first; the others stay in "
            f"{self.entry.job.folder}: go on with --resume)"
        )


@dataclass
class WorkList:
    """The scenes of a run, gone through twice: what is left for the end comes when all else is done."""

    entries: Sequence[Entry]
    """The scenes."""
    predictor: Predictor
    """What plans a scene, and computes it in this process, by the options of its job."""
    settled: Callable[[int, Result], None]
    """Called with the number of a scene when it is known what became of it."""
    pool: Pool = field(default_factory=Alone)
    """Who computes."""
    share: Share | None = None
    """The share that is computed, and joined to nothing; None = all."""
    join: bool = True
    """Go on where folders hold these runs already."""
    again: bool = True
    """Whether what failed is tried once more in the end."""

    def __post_init__(self) -> None:
        self._open: dict[int, _Scene] = {}
        self._late: dict[int, None] = {}  # numbers of scenes that could not be settled yet, in their order
        self._begun: set[int] = set()

    def run(self) -> None:
        """Computes everything. Raises what the pool raises."""
        several = len(self.entries) > 1 and self.pool.unit == "shard"
        quiet = self.predictor.run.quiet or not several
        with ExitStack() as stack, progress("scenes", len(self.entries), unit="scene", quiet=quiet) as self._advance:
            stack.callback(self._close)
            self._pass(range(len(self.entries)), last=False)
            self._pass(list(self._late), last=True)

    def _pass(self, numbers: Sequence[int], *, last: bool) -> None:
        feed, in_flight, more = self._items(numbers, last=last), 0, True
        while more or in_flight:
            while more and self.pool.room():
                item = next(feed, None)
                if item is None:
                    more = False
                    break
                scene = self._open[item.scene]
                self.pool.submit(item, scene.work, scene.advance)
                in_flight += 1
            if in_flight:
                item, answer = self.pool.answer()
                in_flight -= 1
                scene = self._open[item.scene]
                scene.take(item, answer, self.pool.unit)
                self._conclude(scene, last=last)

    def _items(self, numbers: Sequence[int], *, last: bool) -> Iterator[Item]:
        for number in numbers:
            scene = self._open.get(number) or self._begin(number, last=last)
            if scene is None:
                continue
            todo = scene.again(failed_too=self.again) if scene.known else self._todo(scene, last=last)
            scene.known = True
            if todo:
                self._start(scene, todo, last=last)
            scene.left = len(todo) + 1  # one for this loop itself
            for shard in todo:
                if scene.given_up is None:
                    yield Item(number, shard, last)
                else:
                    scene.left -= 1
            scene.left -= 1
            self._conclude(scene, last=last)

    def _begin(self, number: int, *, last: bool) -> _Scene | None:
        """A scene opened; None when it is known what became of it."""
        entry, opened = self.entries[number], ExitStack()
        found: Result | None = None
        try:
            with of_input(entry.job.scene):
                if self.share is not None and not _has_part(entry.job, self._share(number)):
                    found = []
                else:
                    join = self.join or self.share is not None or number in self._begun
                    own = replace(self.predictor, options=entry.job.options)
                    work = opened.enter_context(session(entry.job, own, join=join, alone=isinstance(self.pool, Alone)))
                    self._begun.add(number)
                    found = left_alone(work.prepared, entry.outputs) if self.share is None else None
        except SegEarthError as e:
            opened.close()
            self._fail(number, e, last=last)
            return None
        except BaseException:
            opened.close()
            raise
        if found is not None:
            opened.close()
            self._settle(number, found)
            return None
        shards = work.ledger.shards if self.share is None else self._share(number).of(work.ledger.shards)
        self._open[number] = _Scene(number, entry, work, opened, shards)
        return self._open[number]

    def _share(self, number: int) -> Share:
        share = self.share or Share()
        return Share(share.index, share.count, number)

    def _todo(self, scene: _Scene, *, last: bool) -> list[Shard]:
        """The shards to compute; those that failed before last, of several scenes when all others are done."""
        states = {shard: found.state for shard, found in scene.work.ledger.look_at(scene.shards).items()}
        left = [shard for shard in scene.shards if states[shard] not in COMPLETE]
        if len(left) < len(states) and not last:
            done = f"{len(states) - len(left)} of {len(states)} shards are done already"
            self.predictor.run.notice(f"{scene.work.job.folder}: {done}")
        if not last and len(self.entries) > 1:
            scene.later = {shard for shard in left if states[shard] == "failed"}
        return sorted((s for s in left if s not in scene.later), key=lambda shard: states[shard] == "failed")

    def _start(self, scene: _Scene, todo: Sequence[Shard], *, last: bool) -> None:
        """Tells that a scene is begun, and how far it comes."""
        run, work = self.predictor.run, scene.work
        if last and scene.busy:
            run.notice(f"{work.job.folder}: another process is at {scene.busy} of the shards; waiting for it")
        elif scene.entry.told and not last:
            run.notice(scene.entry.told)
        by_shard = self.pool.unit == "shard"
        total = len(todo) if by_shard else sum(work.prepared.plan.window_count(shard.window) for shard in todo)
        quiet = run.quiet or (by_shard and len(self.entries) > 1)
        scene_pixels = work.prepared.scene.height * work.prepared.scene.width
        share = sum(shard.window.height * shard.window.width for shard in todo) / scene_pixels
        extent = None if quiet else extent_of(work.prepared.scene, share)
        shown = progress(work.prepared.scene.stem, total, unit=self.pool.unit, extent=extent, quiet=quiet)
        scene.advance = scene.opened.enter_context(shown)

    def _conclude(self, scene: _Scene, *, last: bool) -> None:
        """Settles a scene whose items are all answered, or leaves it for the end."""
        if scene.left:
            return
        error = scene.given_up or scene.failure()
        if error is not None and (last or self.again or not scene.later or scene.given_up):
            self._shut(scene, keep=not last and scene.given_up is None)
            self._fail(scene.number, error, last=last)
        elif scene.later:
            self._leave(scene)
        elif self.share is not None:
            self._shut(scene)
            self._settle(scene.number, scene.shards)
        else:
            self._join(scene, last=last)

    def _join(self, scene: _Scene, *, last: bool) -> None:
        """Joins the shards of a scene; of several runs in a folder one does."""
        with scene.work.ledger.store.claim("join", wait=last or len(self.entries) == 1) as mine:
            if not mine:
                self._leave(scene)
                return
            outputs = scene.entry.outputs
            result: Result
            try:
                with of_input(scene.entry.job.scene):
                    result = left_alone(scene.work.prepared, outputs) or finish(scene.work, outputs, scene.started)
            except SegEarthError as e:
                self._shut(scene)
                self._fail(scene.number, e, last=last)
                return
        self._shut(scene)
        self._settle(scene.number, result)

    def _leave(self, scene: _Scene) -> None:
        self._late[scene.number] = None
        self._shut(scene, keep=True)

    def _fail(self, number: int, error: SegEarthError, *, last: bool) -> None:
        if last or not self.again:
            self._settle(number, error)
            return
        self._late[number] = None
        entry = self.entries[number]
        name = entry.name or entry.job.scene
        told = said_of(name, str(entry.told_as_named(error)))
        self.predictor.run.notice(f"{name}: failed, to be tried once more: {told}")

    def _settle(self, number: int, result: Result) -> None:
        self._late.pop(number, None)
        entry = self.entries[number]
        if isinstance(result, SegEarthError):
            result = entry.told_as_named(result)
        elif isinstance(result, SceneSummary) and entry.name:
            result = replace(result, scene=without_secrets(entry.name))
        self._advance(1)
        self.settled(number, result)

    def _shut(self, scene: _Scene, *, keep: bool = False) -> None:
        """Closes a scene; with `keep` only when too many are open."""
        if not keep or len(self._open) > KEPT_OPEN:
            scene.opened.close()
            self._open.pop(scene.number, None)

    def _close(self) -> None:
        for scene in [*self._open.values()]:
            self._shut(scene)


def _has_part(job: Job, share: Share) -> bool:
    """Whether a share may have a shard of a scene, before much is known of it.

    One that cannot be opened counts as one shard, so that one share tells. How many shards a side that is to be found
    gives is known here only where one a scene is enough, as of thousands.
    """
    try:
        with opened_dataset(job.scene) as ds:
            whole = Window(0, 0, ds.height, ds.width)
    except RasterError:
        return bool(share.of(range(1)))
    side = job.shard_size
    if side == "auto":
        if job.shards_needed > 1 or holds_run(job.folder):
            return True
        side = LARGEST
    return bool(share.of(range(sum(1 for _ in blocks(whole, side, side)))))
