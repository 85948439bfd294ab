"""Owns the memory of a cache of keys and values, and tells what goes on in it.

It serves nobody: workers reach the store by themselves, and go on while this program is stopped.
"""

import argparse
import time

import shm_py


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Owns a store, and reports once a second.")
    parser.add_argument("name", nargs="?", default="examples/kv", help="store to create")
    parser.add_argument("--capacity", type=int, default=4, help="its size in MiB")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="end after so many seconds"
    )
    return parser.parse_args()


def report(store: shm_py.Store, when: str) -> None:
    """One line: what is there, and what happened."""
    stats = store.stats()
    print(
        f"store: {when} {stats.stored} stored, {stats.filling} being stored, {stats.hits} hits, "
        f"{stats.misses} misses, {stats.evicted} evicted, {stats.reclaimed} reclaimed, "
        f"{stats.consumers - 1} workers",  # the owner is attached as a worker, too
        flush=True,
    )


def main() -> None:
    """Keeps the store until it is told to end; the store ends with it."""
    args = arguments()
    ends = time.monotonic() + args.seconds
    # The recycler frees what a dead worker reserved and never committed.
    with shm_py.Store.create(args.name, capacity=args.capacity << 20) as store, store.recycler():
        print(f"store: {args.capacity} MiB in {args.name}", flush=True)
        try:
            while time.monotonic() < ends:
                time.sleep(min(1.0, max(0.0, ends - time.monotonic())))
                report(store, "now")
        except KeyboardInterrupt:
            pass
        report(store, "in the end")
        assert store.fsck().is_clean, store.fsck().problems


if __name__ == "__main__":
    main()
