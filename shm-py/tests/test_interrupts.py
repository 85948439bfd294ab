"""Ctrl-C ends every wait."""

from __future__ import annotations

import signal
import time

import pytest
import shm_py
from children import PATIENCE
from conftest import StartChild

KINDS = [
    "read_new",
    "read_after",
    "wait_for_count",
    "read_new_publication",
    "read_after_publication",
    "read_new with a timeout",
    "read_new_async",
    "read_after_async",
    "wait_for_count_async",
    "acquire",
    "acquire with a timeout",
    "acquire held by a thread",
    "write",
    "clear",
    "write_view",
    "locked_many",
    "open",
]


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_ends_a_wait(shm_name: str, start: StartChild, kind: str) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as shm:
        child = start("waiting", shm_name, kind)
        with shm.locked():
            child.say("begin")
            assert child.hear() == "begun"
            time.sleep(0.3)
            sent = time.monotonic()
            child.signal(signal.SIGINT)
            assert child.hear(PATIENCE) == "interrupted"
            took = time.monotonic() - sent
        print(f"{kind}: {took * 1000:.1f} ms from the signal to KeyboardInterrupt")
        assert took < 2.0
        # What was interrupted works again, and has left nothing held.
        assert child.ask("again") == "fine"
        child.finish()
        assert shm_py.stat(shm_name)["writer_locked"] is False
        assert shm.count == (1 if kind != "open" else 0)


def test_other_signals_do_not_end_a_wait(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as shm:
        child = start("waiting", shm_name, "read_new with signals")
        child.say("begin")
        assert child.hear() == "begun"
        for _ in range(20):
            time.sleep(0.01)
            child.signal(signal.SIGUSR1)
        time.sleep(0.1)
        peer = start("peer", shm_name)
        assert peer.ask("write 5") == "1"
        handled, number = child.hear().split()
        assert number == "5"
        assert 1 <= int(handled) <= 20, "handlers ran while it waited"
        child.finish()
        assert shm.count == 1


def test_an_exception_from_a_signal_handler_ends_a_wait(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64"):
        child = start("waiting", shm_name, "read_new with a raising handler")
        child.say("begin")
        assert child.hear() == "begun"
        time.sleep(0.1)
        child.signal(signal.SIGUSR1)
        assert child.hear() == "ZeroDivisionError"
        child.finish()


@pytest.mark.parametrize("kind", ["open", "read_after", "lend"])
def test_ctrl_c_is_not_lost_with_the_message_of_a_wait_that_ends(shm_name: str, kind: str) -> None:
    """A signal that comes while a wait ends by itself is heard, not swallowed with what the error says."""
    rounds, pause = 20, 0.002
    pool_name = f"{shm_name}-pool"
    with shm_py.create(shm_name, shape=(1,), dtype="uint64"), shm_py.open(shm_name) as other:
        with shm_py.Pool.create(pool_name, slot_size=64, slots=1) as pool, pool.lend():

            def wait() -> None:
                if kind == "open":
                    shm_py.open(f"{shm_name}-absent", timeout=pause)
                elif kind == "read_after":
                    other.read_after(other.count, timeout=pause)
                else:
                    pool.lend(timeout=pause)

            former = signal.signal(signal.SIGALRM, signal.default_int_handler)
            try:
                for round_ in range(rounds):
                    with pytest.raises(KeyboardInterrupt):
                        # In the middle of the wait, and around its end.
                        signal.setitimer(signal.ITIMER_REAL, pause * (0.5 + round_ / rounds))
                        for _ in range(50):
                            try:
                                wait()
                            except (TimeoutError, FileNotFoundError):
                                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, former)
