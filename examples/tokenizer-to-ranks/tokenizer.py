"""One tokenizer feeds all ranks of a tensor-parallel model, with batches of any size.

A batch is all or nothing: its arrays are packed into one chunk of the pool, published under one
ticket, and the chunk is free again once the last rank is done.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from typing import Callable

import numpy as np
import shm_py

WIDTH = 64
TEXT = "The quick brown fox jumps over the lazy dog. Größe ist relativ, 形も。".encode()
#: The embedding table. Its values are multiples of 1/64, so sums of them are exact.
TABLE = ((np.arange(259)[:, np.newaxis] * 31 + np.arange(WIDTH) * 17) % 97 / 64 - 0.75).astype("f4")


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Sends batches to all ranks.")
    parser.add_argument("name", nargs="?", default="examples/batches", help="pool to lend from")
    parser.add_argument("--ranks", type=int, default=2, help="ranks to wait for")
    parser.add_argument("--capacity", type=int, default=16, help="size of the pool in MiB")
    parser.add_argument("--longest", type=int, default=4096, help="tokens of the longest batch")
    parser.add_argument("--rate", type=float, default=20.0, help="batches per second")
    parser.add_argument("--frames", type=int, help="end after so many batches")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    return parser.parse_args()


def tokenize(tokens: int) -> np.ndarray:
    """A byte-level tokenizer: one token for each byte of UTF-8, with 0 to 2 reserved."""
    return np.frombuffer(
        bytes(itertools.islice(itertools.cycle(TEXT), tokens)), np.uint8
    ) + np.int32(3)


def send(pool: shm_py.Pool, tickets: shm_py.Queue, number: int, ids: np.ndarray) -> None:
    """Packs one batch, and tells all ranks where it is."""
    batch = {"number": number, "ids": ids, "embeddings": TABLE[ids]}
    # For everybody. Where there is no room, this waits in line until a rank is done.
    ticket = pool.publish(batch)
    try:
        tickets.put(ticket)  # waits where a rank is behind
    except KeyboardInterrupt:
        pool.revoke(ticket)  # nobody will hear of it, so nobody shall be waited for
        raise


def run(pool: shm_py.Pool, tickets: shm_py.Queue, args: argparse.Namespace) -> None:
    """One batch after the other, until the time or the batches are over."""
    wait_until(lambda: pool.stats().consumers >= args.ranks)
    chance = random.Random(1)
    begun = time.monotonic()
    number = 0
    while number != args.frames:
        time.sleep(max(0.0, begun + number / args.rate - time.monotonic()))
        if args.seconds is not None and time.monotonic() >= begun + args.seconds:
            break
        ids = tokenize(chance.randint(1, args.longest))
        send(pool, tickets, number, ids)
        whole = float(TABLE[ids].sum(dtype=np.float64))
        print(f"tokenizer: batch {number} has {len(ids)} tokens, sum {whole}", flush=True)
        number += 1


def wait_until(is_so: Callable[[], bool], longest: float = float("inf")) -> None:
    """Waits for something, but no longer than it is told to."""
    begun = time.monotonic()
    while not is_so() and time.monotonic() - begun < longest:
        time.sleep(0.002)


def main() -> None:
    """Owns the pool, which goes with it; ranks finish what they have been sent."""
    args = arguments()
    # As many consumers are waited for as are expected, be they there or not; the dead are not.
    with (
        shm_py.Pool.create_chunks(
            args.name, capacity=args.capacity << 20, consumers=args.ranks
        ) as pool,
        pool.recycler(),
    ):
        tickets = shm_py.Queue.create("batches", pool, maxsize=16, mode="broadcast")
        print(f"tokenizer: waiting for {args.ranks} ranks in {args.name}", flush=True)
        try:
            run(pool, tickets, args)
        except KeyboardInterrupt:
            pass
        wait_until(lambda: pool.stats().in_use == 0, longest=20)
        stats = pool.stats()
        print(
            f"tokenizer: {stats.in_use} chunks in use, "
            f"{stats.reclaimed} came back from dead ranks, "
            f"at most {stats.high_water_bytes >> 10} KiB at once",
            flush=True,
        )
        assert stats.in_use == 0, f"somebody still holds a batch: {pool.overdue()}"


if __name__ == "__main__":
    main()
