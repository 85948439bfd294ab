"""One rank of a tensor-parallel model: gets the ticket that all ranks get, computes on its columns.

It may be killed while it holds a batch: the others go on, and what it held is free at once.
"""

from __future__ import annotations

import argparse
import queue
import time

import numpy as np
import shm_py


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Computes on its share of each batch.")
    parser.add_argument("rank", type=int, help="which rank this is, from 0")
    parser.add_argument("name", nargs="?", default="examples/batches", help="pool to take from")
    parser.add_argument("--ranks", type=int, default=2, help="how many ranks there are")
    parser.add_argument("--work", type=float, default=0.0, help="milliseconds a batch is held")
    parser.add_argument("--frames", type=int, help="end after so many batches")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    return parser.parse_args()


def compute(consumer: shm_py.Consumer, ticket: shm_py.Ticket, args: argparse.Namespace) -> None:
    """Sums its columns where they lie. The batch is given back when its last array is gone."""
    batch = consumer.unpack(ticket)
    embeddings = batch["embeddings"]
    assert not embeddings.flags.writeable and len(embeddings) == len(batch["ids"])
    width = embeddings.shape[1]
    columns = slice(args.rank * width // args.ranks, (args.rank + 1) * width // args.ranks)
    part = float(embeddings[:, columns].sum(dtype=np.float64))
    print(
        f"rank {args.rank}: batch {batch['number']} has {len(embeddings)} tokens, sum {part}",
        flush=True,
    )
    time.sleep(args.work / 1e3)


def main() -> None:
    """Takes batches until there are no more."""
    args = arguments()
    assert 0 <= args.rank < args.ranks, f"rank {args.rank} of {args.ranks}"
    ends = float("inf") if args.seconds is None else time.monotonic() + args.seconds
    batches = 0
    try:
        with shm_py.Consumer.open(args.name, timeout=args.seconds) as consumer:
            tickets = shm_py.Queue.open("batches", consumer, timeout=args.seconds)
            print(f"rank {args.rank}: takes seat {consumer.seat} of {args.name}", flush=True)
            while batches != args.frames and time.monotonic() < ends:
                try:
                    compute(consumer, tickets.get(consumer, timeout=0.1), args)
                    batches += 1
                except (queue.Empty, shm_py.StaleTicket):
                    pass  # nothing yet, or not for us any more
    except FileNotFoundError:
        pass  # no tokenizer came in time
    except (KeyboardInterrupt, shm_py.PoolError):
        pass  # told to end, or the tokenizer has ended and there is nothing left to do
    print(f"rank {args.rank}: {batches} batches", flush=True)


if __name__ == "__main__":
    main()
