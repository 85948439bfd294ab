"""Batches on an inference server: copied, in place, and awaited.

Takes the address of a server that has the test model "normal" (3 x 224 x 224 floats in and out, batches of
8), such as the one of `cargo xtask serve` or `cargo xtask triton run`.
"""

import asyncio
import sys
import time

import numpy as np
import shm_py

URL = sys.argv[1] if len(sys.argv) > 1 else "localhost:8000"
ROUNDS = 30


def show(what: str, seconds: float) -> None:
    """One line: how long a batch took."""
    print(f"{what:<22} {seconds / ROUNDS * 1e3:7.3f} ms a batch")


def copying(model: shm_py.TritonModel) -> None:
    """Arrays of the program's own go in, and others come out."""
    batch = np.random.default_rng(1).random((8, 3, 224, 224), np.float32)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        outputs = model.infer({"INPUT0": batch}, timeout=10)
    show("infer()", time.perf_counter() - began)
    assert np.array_equal(outputs["OUTPUT0"], batch)


def in_place(model: shm_py.TritonModel) -> None:
    """The server reads what was filled, and what it wrote is looked at."""
    with model.slot(timeout=10) as slot:
        batch = slot.input("INPUT0", (8, 3, 224, 224))
        batch[:] = 0.5
        began = time.perf_counter()
        for number in range(ROUNDS):
            batch[:, 0, 0, 0] = number
            found = slot.run(timeout=10)["OUTPUT0"]
            assert found[7, 0, 0, 0] == number
        show("slot.run()", time.perf_counter() - began)


async def awaited(model: shm_py.TritonModel) -> None:
    """As many requests at once as there are slots; the event loop does something else meanwhile."""
    images = list(np.random.default_rng(2).random((8, 3, 224, 224), np.float32))
    began = time.perf_counter()
    calls = [model.infer_async({"INPUT0": images}, timeout=10) for _ in range(ROUNDS)]
    for outputs in await asyncio.gather(*calls):
        assert np.array_equal(outputs["OUTPUT0"][3], images[3])
    show("infer_async(), 4 slots", time.perf_counter() - began)


def main() -> None:
    """One client, one model, three ways to run it."""
    with shm_py.TritonClient(URL) as client:
        client.wait_ready(timeout=10)
        model = client.register_model("normal", slots=4)
        print(f"{client.server_metadata().name} at {client.url}: {model.name}, batch {model.batch}")
        copying(model)
        in_place(model)
        asyncio.run(awaited(model))


if __name__ == "__main__":
    main()
