"""A writer is killed in the middle of a frame.

Readers keep the last complete frame, and the lock is free at once: the next writer goes on as if
nothing had happened.
"""

import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Event

import numpy as np
import shm_py

NAME = "doc-crash"
WORDS = 1_000_000
ROUNDS = 3


def victim(first: int, halfway: Event) -> None:
    """Publishes two frames, then half of a third."""
    stream = shm_py.open(NAME)
    for number in (first, first + 1):
        stream.write(np.full(WORDS, number), frame_id=number)
    with stream.write_view(frame_id=first + 2) as frame:
        frame[: WORDS // 2] = first + 2
        halfway.set()
        time.sleep(600)


def main() -> None:
    """Kills a writer again and again, and looks at what is left."""
    spawn = multiprocessing.get_context("spawn")
    shm_py.unlink_quiet(NAME)
    with shm_py.stream(NAME, shape=(WORDS,), dtype=np.int64) as stream:
        reader = shm_py.open(NAME, readonly=True)
        number = 0
        for _ in range(ROUNDS):
            halfway = spawn.Event()
            writer = spawn.Process(target=victim, args=(number + 1, halfway), daemon=True)
            writer.start()
            assert halfway.wait(60) and writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            assert writer.exitcode == -signal.SIGKILL

            number += 2
            kept = reader.read_publication()
            assert kept.frame_id == number and (kept.payload == number).all()
            print(f"killed in frame {number + 1}; frame {kept.frame_id} is whole", end=", ")

            number += 1
            begun = time.perf_counter_ns()
            stream.write(np.full(WORDS, number), frame_id=number, timeout=0)
            took = (time.perf_counter_ns() - begun) / 1e6
            assert (reader.read() == number).all() and reader.count == number
            print(f"frame {number} was written {took:.1f} ms later")
        reader.close()


if __name__ == "__main__":
    main()
