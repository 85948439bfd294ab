"""Damaged memory is an error, or goes unnoticed; it never ends the process."""

from __future__ import annotations

import random

import pytest
from children import PROGRAMS, Child

ROUNDS = 60


@pytest.mark.parametrize("turn", range(3))
def test_random_words_change_under_use(shm_name: str, turn: int, stress: bool) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rounds = ROUNDS * 100 if stress else ROUNDS
    child = Child(PROGRAMS / "scribbling.py", shm_name, seed, rounds)
    try:
        made, refused = map(int, child.hear(1200).split())
        assert made == 150 * rounds and 0 < refused < made
        child.finish()
    finally:
        child.stop()
