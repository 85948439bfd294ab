"""Batches on an inference server: copied, in place, and awaited.

Any Triton server will do that has the test model "normal" (3 x 224 x 224 floats in and out, batches
of 8), such as the one of `cargo xtask serve` or `cargo xtask triton run`.
"""

import argparse
import asyncio
import time

import numpy as np
import shm_py


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Runs a model in three ways, and times them.")
    parser.add_argument("url", nargs="?", default="localhost:8000", help="HOST:PORT, or grpc://...")
    parser.add_argument("--model", default="normal", help="a model that gives back what it gets")
    parser.add_argument("--frames", type=int, default=30, help="batches of each way")
    parser.add_argument("--seconds", type=float, default=10.0, help="wait so long for an answer")
    return parser.parse_args()


def show(what: str, seconds: float, batches: int) -> None:
    """One line: how long a batch took."""
    print(f"{what:<22} {seconds / batches * 1e3:7.3f} ms a batch", flush=True)


def copying(model: shm_py.TritonModel, args: argparse.Namespace) -> None:
    """Arrays of the program's own go in, and others come out."""
    batch = np.random.default_rng(1).random((8, 3, 224, 224), np.float32)
    began = time.perf_counter()
    for _ in range(args.frames):
        outputs = model.infer({"INPUT0": batch}, timeout=args.seconds)
    show("infer()", time.perf_counter() - began, args.frames)
    assert np.array_equal(outputs["OUTPUT0"], batch)


def in_place(model: shm_py.TritonModel, args: argparse.Namespace) -> None:
    """The server reads what was filled, and what it wrote is looked at."""
    with model.slot(timeout=args.seconds) as slot:
        batch = slot.input("INPUT0", (8, 3, 224, 224))
        batch[:] = 0.5
        began = time.perf_counter()
        for number in range(args.frames):
            batch[:, 0, 0, 0] = number
            found = slot.run(timeout=args.seconds)["OUTPUT0"]
            assert found[7, 0, 0, 0] == number
        show("slot.run()", time.perf_counter() - began, args.frames)


async def awaited(model: shm_py.TritonModel, args: argparse.Namespace) -> None:
    """As many requests at once as there are slots; the event loop does something else meanwhile."""
    images = list(np.random.default_rng(2).random((8, 3, 224, 224), np.float32))
    began = time.perf_counter()
    calls = [
        model.infer_async({"INPUT0": images}, timeout=args.seconds) for _ in range(args.frames)
    ]
    for outputs in await asyncio.gather(*calls):
        assert np.array_equal(outputs["OUTPUT0"][3], images[3])
    show("infer_async(), 4 slots", time.perf_counter() - began, args.frames)


def main() -> None:
    """One client, one model, three ways to run it."""
    args = arguments()
    with shm_py.TritonClient(args.url) as client:
        client.wait_ready(timeout=args.seconds)
        model = client.register_model(args.model, slots=4)
        server = client.server_metadata()
        print(f"{server.name} at {client.url}: {model.name}, batch {model.batch}", flush=True)
        try:
            copying(model, args)
            in_place(model, args)
            asyncio.run(awaited(model, args))
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
