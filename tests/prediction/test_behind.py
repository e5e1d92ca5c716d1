"""Work behind another's back keeps its order, ends with the block, and says what went wrong."""

import threading
from contextlib import nullcontext

import pytest

from segearth_cli.prediction.behind import behind


def test_all_is_taken_in_order_by_one_other_thread():
    taken = []
    with behind(lambda value: taken.append((value, threading.get_ident())), nullcontext, "behind") as give:
        for value in range(20):
            give(value)
    assert [value for value, _ in taken] == list(range(20))
    assert len({thread for _, thread in taken}) == 1
    assert taken[0][1] != threading.get_ident()


@pytest.mark.parametrize("values", [1, 20], ids=["at the end", "on the way"])
def test_what_it_raises_comes_out_and_nothing_follows(values):
    taken = []

    def act(value):
        taken.append(value)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), behind(act, nullcontext, "behind") as give:
        for value in range(values):
            give(value)
    assert len(taken) < 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("behind")]


def test_a_value_in_work_is_finished_when_the_block_fails():
    begun, going_on, taken = threading.Event(), threading.Event(), []

    def act(value):
        begun.set()
        going_on.wait(30)
        taken.append(value)

    with pytest.raises(KeyboardInterrupt), behind(act, nullcontext, "behind") as give:
        give(1)
        begun.wait(30)
        threading.Timer(0.05, going_on.set).start()
        raise KeyboardInterrupt
    assert taken == [1]
