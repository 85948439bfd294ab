"""A process that uses a pool as it is told, line by line: `pooling NAME [QUEUE]`.

It answers each line with one. What it was lent, or holds, it keeps until it is told or killed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import shm_py

pool: shm_py.Pool
consumer: shm_py.Consumer | None = None
slots: list[shm_py.Slot] = []
leases: list[shm_py.Lease] = []


def _ticket(text: str) -> shm_py.Ticket:
    return shm_py.Ticket.from_bytes(bytes.fromhex(text))


def sit(seat: str = "") -> str:
    global consumer
    consumer = pool.consumer(int(seat) if seat else None)
    return str(consumer.seat)


def open_only() -> str:
    """As a consumer that cannot write."""
    global consumer
    consumer = shm_py.Consumer.open(pool.name)
    return str(consumer.seat)


def lend() -> str:
    slot = pool.lend(timeout=30)
    slots.append(slot)
    return str(slot.index)


def fill(value: str) -> str:
    slots[-1].array((slots[-1].nbytes,), "uint8")[:] = int(value)
    return "filled"


def publish(consumers: str = "") -> str:
    ticket = slots.pop().publish("any" if consumers == "any" else None)
    return bytes(ticket).hex()


def redeem(text: str) -> str:
    assert consumer is not None
    lease = consumer.redeem(_ticket(text))
    leases.append(lease)
    return str(int(lease.array((lease.nbytes,), "uint8").sum()))


def release() -> str:
    leases.pop().release()
    return "released"


def wait() -> str:
    """For a slot, as long as it takes."""
    print("waiting", flush=True)
    try:
        pool.lend()
    except KeyboardInterrupt:
        return "interrupted"
    return "lent"


def get(queue: str, timeout: str = "") -> str:
    found = shm_py.Queue.open(queue, consumer if consumer is not None else pool)
    print("waiting", flush=True)
    try:
        ticket = found.get(consumer, float(timeout) if timeout else None)
    except KeyboardInterrupt:
        return "interrupted"
    return bytes(ticket).hex()


def interrupted_open(name: str) -> str:
    print("waiting", flush=True)
    try:
        shm_py.Pool.open(name, None)
    except KeyboardInterrupt:
        return "interrupted"
    return "opened"


COMMANDS: dict[str, Callable[..., str]] = {
    "sit": sit,
    "open_only": open_only,
    "lend": lend,
    "fill": fill,
    "publish": publish,
    "redeem": redeem,
    "release": release,
    "wait": wait,
    "get": get,
    "interrupted_open": interrupted_open,
}


def main(name: str) -> None:
    global pool
    pool = shm_py.Pool.open(name, 30)
    print("ready", flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            answer = COMMANDS[command](*arguments)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        print(answer.replace("\n", " "), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
