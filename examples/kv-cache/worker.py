"""A worker of an inference engine: blocks of keys and values come from the store that all workers
share, and those that nobody has stored yet are computed.

The key of a block stands for all tokens up to its end, so prompts that begin alike share blocks. A
worker that is killed before it commits has stored nothing, whatever it had written.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time

import numpy as np
import shm_py

BLOCK = 16
SHAPE = (4, BLOCK, 64)
LAYOUT = {"keys": (SHAPE, np.float32), "values": (SHAPE, np.float32)}
PATIENCE = 60.0


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Serves prompts from a shared cache.")
    parser.add_argument("name", nargs="?", default="examples/kv", help="store to use")
    parser.add_argument("--rank", type=int, default=0, help="which prompts it gets")
    parser.add_argument(
        "--hang", action="store_true", help="wait for ever with one block written; kill it then"
    )
    parser.add_argument("--frames", type=int, default=1000, help="end after so many prompts")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="end after so many seconds"
    )
    return parser.parse_args()


def prompt(chance: random.Random) -> list[int]:
    """One of a few system prompts, and what a user has to say."""
    system = chance.randrange(4)
    user = [chance.randrange(50_000) for _ in range(BLOCK * chance.randint(1, 4))]
    return [1000 * system + token for token in range(8 * BLOCK)] + user


def block_keys(tokens: list[int]) -> list[bytes]:
    """Each block's key contains the one before, as its values depend on all tokens before."""
    found: list[bytes] = []
    before = b""
    for first in range(0, len(tokens), BLOCK):
        block = np.array(tokens[first : first + BLOCK], np.uint32)
        before = hashlib.blake2b(before + block.tobytes(), digest_size=16).digest()
        found.append(before)
    return found


def numbers(key: bytes) -> dict[str, np.ndarray]:
    """Stands for the transformer's layers: depends on all tokens up to the block."""
    chance = np.random.default_rng(int.from_bytes(key, "little"))
    return {name: chance.random(SHAPE, np.float32) for name in LAYOUT}


def compute(store: shm_py.Store, key: bytes) -> bool:
    """Stores a block, unless somebody else has, or is about to."""
    try:
        with store.prepare_store(key, LAYOUT, timeout=PATIENCE) as reservation:
            for name, values in numbers(key).items():
                reservation.arrays[name][:] = values  # in place; nobody sees it before the commit
            reservation.commit()
            return True
    except shm_py.KeyExists:
        return False


def serve(store: shm_py.Store, wanted: list[bytes]) -> int:
    """Has all blocks of a prompt at once, computing what nobody has; how many it computed."""
    computed = 0
    timeout = 0.0
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            # All or none: while they are leased, none of them is evicted.
            with store.prepare_retrieve(wanted, timeout) as found:
                for key in wanted:
                    for name, values in numbers(key).items():
                        assert np.array_equal(found[key][name], values), "another block's numbers"
            return computed
        except shm_py.KeysMissing as error:
            if time.monotonic() > deadline:
                raise
            computed += sum(compute(store, key) for key in wanted if key in error.missing)
            timeout = 0.1  # what others are computing may come


def hang(store: shm_py.Store, key: bytes) -> None:
    """Half-way through a block, for ever."""
    with store.prepare_store(key, LAYOUT, timeout=PATIENCE) as reservation:
        reservation.arrays["keys"][:] = np.nan
        print(f"worker: hangs before the commit of block {key.hex()}", flush=True)
        while True:
            time.sleep(1)


def main() -> None:
    """One prompt after the other."""
    args = arguments()
    ends = time.monotonic() + args.seconds
    chance = random.Random(args.rank)
    prompts = asked = computed = 0
    with shm_py.Store.open(args.name, timeout=20) as store:
        try:
            while prompts < args.frames and time.monotonic() < ends:
                wanted = block_keys(prompt(chance))
                if args.hang:
                    hang(store, wanted[0])
                computed += serve(store, wanted)
                asked += len(wanted)
                prompts += 1
        except KeyboardInterrupt:
            pass
    print(
        f"worker {args.rank}: {prompts} prompts, {asked} blocks asked for, {computed} computed",
        flush=True,
    )


if __name__ == "__main__":
    main()
