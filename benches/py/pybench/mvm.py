"""A matrix and a stream of fresh vectors, multiplied: the rows `mvm/...`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .figures import LIMIT, Contender, row_of
from .payload import NotArrived, shared_array
from .room import no_room
from .rows import Row
from .run import OURS, Pace, Run
from .systems import StreamPair, System

SIDES = (100, 1000)
LARGEST, LARGEST_QUICK = 10_000, 3_000
LARGEST_BYTES = 4 * LARGEST**2
LARGEST_NEEDS = (6 * LARGEST_BYTES, 3 * LARGEST_BYTES + 2**24)
"""Of memory: three cells, two copies and some more; of shared memory: three cells."""
COPY = "matrix.read() @ vector.read()"
IN_PLACE = {
    True: "matrix.view() @ vector.read(), validate",
    False: "matrix.read(safe=False) @ vector.read() under matrix.locked()",
}
LIMIT_COPY = "numpy alone: matrix and vector copied out of shared buffers"
LIMIT_IN_PLACE = "numpy alone: matrix in a shared buffer, vector copied"
TOLERANCE = 1e-4
VECTORS = 7


class Pipeline:
    """Writes a fresh vector, reads matrix and vector, multiplies."""

    def __init__(self, system: System, names: list[str], side: int, in_place: bool) -> None:
        self.warm_ops = warm_ops(side)
        self._product = Product(side)
        self._matrix = StreamPair(system, names[0], (side, side))
        self._vector = StreamPair(system, names[1], (side,))
        self._matrix.writer.write(matrix(side))
        self._multiply = self._multiply_copies
        if in_place:
            has_view = system.has("view")
            self._multiply = self._multiply_view if has_view else self._multiply_under_lock

    def arm(self) -> None:
        self._product.found = None

    def batch(self, n: int) -> None:
        product, write, multiply = self._product, self._vector.writer.write, self._multiply
        for _ in repeat(None, n):
            write(product.next_vector())
            product.found = multiply()

    def check(self) -> None:
        self._product.check()

    def close(self) -> None:
        self._vector.close()
        self._matrix.close()

    def _multiply_copies(self) -> Any:
        return self._matrix.reader.read() @ self._vector.reader.read()

    def _multiply_view(self) -> Any:
        with self._matrix.reader.view() as frame:
            return frame.array @ self._vector.reader.read()

    def _multiply_under_lock(self) -> Any:
        reader = self._matrix.reader
        with reader.locked():
            return reader.read(safe=False) @ self._vector.reader.read()


class PipelineBare:
    """The same with nothing around the copies."""

    def __init__(self, system: System, side: int, in_place: bool) -> None:
        self.warm_ops = warm_ops(side)
        self._product = Product(side)
        self._in_place = in_place
        self._matrix = shared_array((side, side))
        self._vector = shared_array((side,))
        self._matrix[...] = matrix(side)
        self._vector_read = np.ones_like(self._vector)
        self._matrix_read = self._matrix if in_place else np.ones_like(self._matrix)

    def arm(self) -> None:
        self._product.found = None

    def batch(self, n: int) -> None:
        product, copy, in_place = self._product, np.copyto, self._in_place
        for _ in repeat(None, n):
            copy(self._vector, product.next_vector())
            if not in_place:
                copy(self._matrix_read, self._matrix)
            copy(self._vector_read, self._vector)
            product.found = self._matrix_read @ self._vector_read

    def check(self) -> None:
        self._product.check()

    def close(self) -> None:
        del self._matrix, self._matrix_read, self._vector, self._vector_read


class Product:
    """Vectors that differ from one turn to the next, and the check of what they were for."""

    def __init__(self, side: int) -> None:
        self.found: Any = None
        self._side = side
        self._turn = 0

    def next_vector(self) -> NDArray[Any]:
        self._turn += 1
        return self._vector()

    def check(self) -> None:
        """Compares every element: the row of index i is that of index 0 plus i, so its product
        is that of index 0 plus i times the sum of the vector."""
        side, vector = self._side, self._vector().astype(float)
        expected = (np.arange(side) / side) @ vector + np.arange(side) * vector.sum()
        if self.found.shape != (side,):
            raise NotArrived(f"the product has the shape {self.found.shape}, not {(side,)}")
        wrong = ~np.isclose(self.found, expected, rtol=TOLERANCE, atol=0)
        if wrong.any():
            row = int(wrong.argmax())
            raise NotArrived(f"element {row} is {self.found[row]}, it should be {expected[row]}")

    def _vector(self) -> NDArray[Any]:
        start = self._turn % VECTORS
        return np.linspace(start, start + 1, self._side, dtype=np.float32)


def matrix(side: int) -> NDArray[Any]:
    """All numbers from 0 on, over the side: quickly, as there may be a hundred million."""
    first_row = np.arange(side) / side
    made: NDArray[Any] = np.add.outer(
        np.arange(side, dtype=np.float32), first_row.astype(np.float32)
    )
    return made


def warm_ops(side: int) -> int:
    return 2 if side > 1000 else 8


CASES = {"mvm": Pipeline, "mvm-bare": PipelineBare}


def rows(run: Run) -> Iterator[Row]:
    """`mvm/...` with copies as the peer's document has it, `mvm-view/...` in place."""
    for side in SIDES:
        yield from _of_side(run, side, run.pace(7, 0.2))
    largest = LARGEST_QUICK if run.quick else LARGEST
    if largest == LARGEST and (why := no_room(*LARGEST_NEEDS)):
        run.skip(f"mvm/{LARGEST}", why)
    else:
        yield from _of_side(run, largest, run.pace(3, 1.0, one_at_a_time=True))


def _of_side(run: Run, side: int, pace: Pace) -> Iterator[Row]:
    contenders = []
    for in_place in (False, True):
        for system in run.installed:
            how = IN_PLACE[run.has(system, "view")] if in_place else COPY
            names = [run.name("matrix"), run.name("vector")]
            args = {"names": names, "side": side, "in_place": in_place}
            contenders.append(_contender(system, how, system, "mvm", args))
        how = LIMIT_IN_PLACE if in_place else LIMIT_COPY
        args = {"side": side, "in_place": in_place}
        contenders.append(_contender(LIMIT, how, OURS, "mvm-bare", args))
    measured = run.alternate(contenders, pace)
    for name, hows in (
        (f"mvm/{side}", (COPY, LIMIT_COPY)),
        (f"mvm-view/{side}", (*IN_PLACE.values(), LIMIT_IN_PLACE)),
    ):
        row = row_of(
            name,
            "Hz",
            [one for one in measured if one.contender.how in hows],
            ours=OURS,
            touched=True,
            notes=[
                "a fresh vector by np.linspace each turn, float32; checked against numpy",
                "p99 and max are the rates of the slowest turns",
            ],
        )
        row.ahead_of(run.peers)
        yield row


def _contender(label: str, how: str, worker: str, case: str, args: dict[str, Any]) -> Contender:
    # Pinned, the threads of the linear algebra would fight for one processor.
    return Contender(label, how, worker, case, args, pinned=False)
