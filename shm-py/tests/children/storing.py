"""A worker of a store that does as it is told, line by line: `storing NAME`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import shm_py

store: shm_py.Store
reservations: list[shm_py.Reservation] = []
retrieved: list[shm_py.Retrieved] = []


def put(key: str, value: str, length: str = "16") -> str:
    store.put(key, [np.full(int(length), int(value), np.int64)])
    return "stored"


def prepare(key: str, length: str = "16") -> str:
    reservation = store.prepare_store(key, [((int(length),), "int64")], timeout=30)
    reservations.append(reservation)
    return "reserved"


def commit(value: str) -> str:
    reservation = reservations.pop()
    reservation.arrays[0][:] = int(value)
    reservation.commit()
    return "stored"


def get(key: str, timeout: str = "0") -> str:
    found = store.prepare_retrieve([key], float(timeout))
    retrieved.append(found)
    return str(int(found[key][0][0]))


def release() -> str:
    retrieved.pop().release()
    return "released"


def wait(key: str) -> str:
    print("waiting", flush=True)
    try:
        store.prepare_retrieve([key], None)
    except KeyboardInterrupt:
        return "interrupted"
    return "there"


COMMANDS: dict[str, Callable[..., str]] = {
    "put": put,
    "prepare": prepare,
    "commit": commit,
    "get": get,
    "release": release,
    "wait": wait,
}


def main(name: str) -> None:
    global store
    store = shm_py.Store.open(name, 30)
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
