"""One event loop that watches several streams.

The loop is free between frames: a timer beside the watchers keeps its pace, and nothing polls.
"""

import asyncio
import multiprocessing
import time

import numpy as np
import shm_py

FRAMES = {"doc-viewer-left": 40, "doc-viewer-right": 60}
PERIOD = 0.01


def producer(name: str, frames: int) -> None:
    """Publishes so many numbered frames."""
    with shm_py.create(name, shape=(16, 16), dtype=np.int64) as stream:
        for number in range(1, frames + 1):
            stream.write(np.full((16, 16), number), frame_id=number)
            time.sleep(PERIOD)


async def watch(name: str, frames: int) -> int:
    """Awaits frame after frame up to the last; how many were seen."""
    # Waiting for the producer to start is the one thing that needs a thread.
    stream = await asyncio.to_thread(shm_py.open, name, readonly=True, timeout=30)
    first = stream.last_read_count
    seen = 0
    while stream.last_read_count < frames:
        frame = await stream.read_after_publication_async(stream.last_read_count, timeout=30)
        assert (frame.payload == frame.frame_id).all()
        seen += 1
    assert first + seen + stream.total_missed_writes == frames
    stream.close()
    return seen


async def tick(ticks: list[float]) -> None:
    """Notes the time again and again; late ticks would mean that somebody blocks the loop."""
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(PERIOD)


async def view() -> None:
    """Watches all streams at once."""
    ticks: list[float] = []
    timer = asyncio.create_task(tick(ticks))
    watchers = [watch(name, frames) for name, frames in FRAMES.items()]
    seen = await asyncio.gather(*watchers)
    timer.cancel()
    for (name, frames), number in zip(FRAMES.items(), seen):
        print(f"{name}: saw {number} of {frames} frames")
        assert number > 0
    gap = float(np.median(np.diff(ticks)))
    print(f"{len(ticks)} ticks beside them, {gap * 1e3:.1f} ms apart (median)")
    assert gap < 5 * PERIOD, "the loop was blocked"


def main() -> None:
    """Runs the producers beside the event loop."""
    shm_py.purge(prefix="doc-viewer-")
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=producer, args=item, daemon=True) for item in FRAMES.items()]
    for process in processes:
        process.start()
    asyncio.run(view())
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert shm_py.purge(prefix="doc-viewer-") == sorted(FRAMES)


if __name__ == "__main__":
    main()
