"""Inferences that an event loop awaits."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

import numpy as np
import pytest
import shm_py
from children import PATIENCE
from children.serving import Server


def test_many_are_awaited_at_once(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("identity", slots=3)
    given = np.arange(20 * 16, dtype=np.float32).reshape(20, 16)

    async def main() -> None:
        calls = [model.infer_async({"INPUT0": given + i}, id=f"{i}") for i in range(30)]
        for i, found in enumerate(await asyncio.gather(*calls)):
            np.testing.assert_array_equal(found["OUTPUT0"], given + i)
            found["OUTPUT0"][:] = 0
        with pytest.raises(TypeError, match="expected FP32"):
            await model.infer_async({"INPUT0": given.astype(float)})
        with pytest.raises(ValueError, match="missing"):
            await model.infer_async({})

    asyncio.run(main())


def test_items_and_several_outputs(triton: shm_py.TritonClient) -> None:
    words, both = triton.register_model("bytes"), triton.register_model("multi_io")

    async def main() -> None:
        many = [os.urandom(i) for i in range(30)]
        found = await words.infer_async({"INPUT0": many})
        assert found["OUTPUT0"][:, 0].tolist() == many
        images = np.random.default_rng(3).random((9, 3, 224, 224), np.float32)
        numbers = np.arange(90, dtype=np.int32).reshape(9, 10)
        outputs = await both.infer_async({"INPUT0": list(images), "INPUT1": numbers})
        np.testing.assert_array_equal(outputs["OUTPUT0"], images.reshape(9, -1)[:, :512] + 1)
        np.testing.assert_array_equal(outputs["OUTPUT1"], numbers[:, :5] * 2)

    asyncio.run(main())


def test_the_loop_goes_on_and_no_thread_waits(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("slow")
    given = {"INPUT0": np.ones((1, 1024), np.float32)}

    async def main() -> None:
        await model.infer_async(given, parameters={"delay_ms": 1})
        threads = set(os.listdir("/proc/self/task"))
        slow = asyncio.ensure_future(model.infer_async(given, parameters={"delay_ms": 500}))
        turns = 0
        while not slow.done():
            await asyncio.sleep(0.01)
            turns += 1
            assert set(os.listdir("/proc/self/task")) <= threads
        assert turns > 20
        assert ((await slow)["OUTPUT0"] == 1).all()

    asyncio.run(main())


def test_slots_are_awaited_and_run(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("slow", slots=1)

    async def main() -> None:
        slot = await model.slot_async()
        array = slot.input("INPUT0", (1, 1024))
        array[:] = 4
        running = asyncio.ensure_future(slot.run_async(parameters={"delay_ms": 300}))
        await asyncio.sleep(0.05)
        assert not array.flags.writeable and "running" in repr(slot)
        with pytest.raises(shm_py.TritonError, match="being run"):
            slot.input("INPUT0", (1, 1024))
        waiting = asyncio.ensure_future(model.slot_async(PATIENCE))
        found = (await running)["OUTPUT0"]
        assert (found == 4).all() and not found.flags.writeable and array.flags.writeable
        await asyncio.sleep(0.05)
        assert not waiting.done()
        slot.close()
        with await waiting as other:
            other.set("INPUT0", np.full((2, 1024), 3, np.float32))
            assert ((await other.run_async(parameters={"delay_ms": 1}))["OUTPUT0"] == 3).all()
            with pytest.raises(TimeoutError, match="no slot"):
                await model.slot_async(0.05)
            with pytest.raises(TimeoutError, match="no slot"):
                await model.infer_async({"INPUT0": np.zeros((1, 1024), np.float32)}, timeout=0.05)

    asyncio.run(main())


def test_timeouts_and_cancelled_tasks_give_up_the_wait_only(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("slow", slots=2)
    given = {"INPUT0": np.ones((1, 1024), np.float32)}

    async def main() -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="stays open"):
            await model.infer_async(given, timeout=0.1, parameters={"delay_ms": 700})
        slot = await model.slot_async()
        array = slot.input("INPUT0", (1, 1024))
        running = asyncio.ensure_future(slot.run_async(parameters={"delay_ms": 500}))
        await asyncio.sleep(0.1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - began < 0.6
        assert slot.closed and not array.flags.writeable
        with pytest.raises(shm_py.TritonError, match="gone"):
            slot.run()
        assert triton.stats().in_flight == 2
        # Both slots come back with the answers.
        slots = [await model.slot_async(PATIENCE), await model.slot_async(PATIENCE)]
        assert time.monotonic() - began > 0.5 and triton.stats().in_flight == 0
        for slot in slots:
            slot.close()
        # Never awaited, or cancelled before it began: nothing is held.
        with pytest.warns(RuntimeWarning, match="never awaited"):
            del [model.infer_async(given)][:]
            gc.collect()
        early = asyncio.ensure_future(model.infer_async(given))
        early.cancel()
        await asyncio.gather(early, return_exceptions=True)
        for slot in [await model.slot_async(1.0), await model.slot_async(1.0)]:
            slot.close()

    asyncio.run(main())


def test_loops_of_several_threads(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("identity", slots=2)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        async def main() -> None:
            given = np.full((3, 16), number, np.float32)
            for _ in range(20):
                found = await asyncio.gather(
                    *(model.infer_async({"INPUT0": given}) for _ in range(3))
                )
                assert all((outputs["OUTPUT0"] == number).all() for outputs in found)

        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_is_killed(own_server: Server, protocol: str) -> None:
    with shm_py.TritonClient(own_server.url(protocol)) as client:
        model = client.register_model("slow")
        given = {"INPUT0": np.ones((1, 1024), np.float32)}

        async def main() -> None:
            slow = asyncio.ensure_future(model.infer_async(given, parameters={"delay_ms": 20000}))
            await asyncio.sleep(0.2)
            own_server.process.kill()
            with pytest.raises(ConnectionResetError, match="may have run"):
                await asyncio.wait_for(slow, PATIENCE)
            with pytest.raises(ConnectionRefusedError, match="nothing was sent"):
                await model.infer_async(given)

        asyncio.run(main())
