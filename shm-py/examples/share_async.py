"""Hundreds of requests at a time on one connection, from an event loop, without a thread for any.

A server process scales batches; a client process sends them all at once, cancels one that it does not need
any more, and waits for a task.
"""

import asyncio
import multiprocessing
import os
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shm_py import share

BATCHES = 200
Floats = NDArray[np.float64]


def serve(base_path: str, ready: Any, over: Any) -> None:
    """Owns the endpoints."""
    provider = share.SharedTensorProvider(base_path, execution_mode="server")

    @provider.share(cache=False)
    def scale(batch: Floats, factor: float = 2.0) -> Floats:
        return batch * factor

    @provider.share(cache=False)
    def dawdle() -> str:
        until = time.monotonic() + 60.0
        while time.monotonic() < until and not share.cancellation_requested():
            time.sleep(0.01)
        return "nobody waits any more" if share.cancellation_requested() else "done"

    @provider.share(execution="task", managed=True)
    def train(steps: int) -> Floats:
        return np.cumsum(np.ones(steps))

    with share.SharedTensorServer(provider):
        ready.set()
        over.wait()


async def use(base_path: str) -> str:
    """Awaits a lot."""
    async with share.AsyncSharedTensorClient(base_path) as client:
        batches = [np.full(64, float(number)) for number in range(BATCHES)]
        unwanted = asyncio.create_task(client.call_async("dawdle"))
        answers = await asyncio.gather(*(client.call_async("scale", batch) for batch in batches))
        assert [answer[0] for answer in answers] == [2.0 * number for number in range(BATCHES)]

        unwanted.cancel()
        try:
            await unwanted
        except asyncio.CancelledError:
            pass  # and the server was told

        task = await client.submit_async("train", steps=5)
        with await client.wait_for_task_async(task, timeout=30.0) as trained:
            assert trained.value.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
        info = await client.get_server_info_async()
        return f"{len(answers)} answers through {info['stats']['connections']} connection"


def main() -> None:
    """Starts the server, and uses it from this process."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        base_path = os.path.join(folder, "async")
        ready, over = spawn.Event(), spawn.Event()
        server = spawn.Process(target=serve, args=(base_path, ready, over))
        server.start()
        assert ready.wait(60.0)
        print(asyncio.run(use(base_path)))
        over.set()
        server.join()


if __name__ == "__main__":
    main()
