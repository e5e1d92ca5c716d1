"""Where the time of a run goes: stages within stages, threads side by side, and nothing while nobody asks."""

import threading
import time
from contextlib import suppress

from segearth_cli.clock import counted, stage, timed


def busy(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_stage_within_a_stage_is_counted_once():
    with timed() as clock:
        with stage("outer"):
            busy(0.02)
            with stage("inner"):
                busy(0.05)
        busy(0.02)
    outer, inner = clock.stages["outer"], clock.stages["inner"]
    assert inner.cpu_seconds >= 0.05
    assert 0.02 <= outer.cpu_seconds < 0.07  # without the inner one's
    assert inner.cpu_seconds + outer.cpu_seconds <= clock.cpu_seconds


def test_waiting_costs_no_processor_and_is_seen_on_the_clock():
    with timed() as clock, stage("wait"):
        time.sleep(0.05)
    assert clock.stages["wait"].seconds >= 0.05
    assert clock.stages["wait"].cpu_seconds < 0.05


def test_threads_count_into_the_same_stages_each_with_its_own_nesting():
    both = threading.Barrier(2)

    def work():
        with stage("a"):
            both.wait()  # both are inside `a` now
            with stage("b"):
                both.wait()

    with timed() as clock:
        threads = [threading.Thread(target=work) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert {name: spent.calls for name, spent in clock.stages.items()} == {"a": 2, "b": 2}


def test_a_stage_that_fails_is_counted_and_nothing_is_counted_when_nobody_asks():
    @counted("part")
    def fails():
        raise ValueError

    def attempt():
        with suppress(ValueError):
            fails()

    with timed(asked=False) as off:
        attempt()
    with timed() as on:
        attempt()
    attempt()
    assert off.stages == {}
    assert on.stages["part"].calls == 1


def test_the_table_lists_the_dearest_first_and_what_no_stage_took():
    with timed() as clock:
        with stage("cheap"):
            busy(0.01)
        with stage("dear"):
            busy(0.05)
        busy(0.02)
    lines = clock.table().splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "dear", "cheap", "rest", "run"]
    shares = [float(line.split()[-1]) for line in lines[1:]]
    assert abs(sum(shares[:-1]) - shares[-1]) < 0.5  # each is rounded
    assert list(clock.facts()["stages"]) == ["cheap", "dear"]
