"""Programs end at any moment, also while a frame is about to wake them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import shm_py

ENDING = """
import asyncio, sys, shm_py
shm = shm_py.open(sys.argv[1], readonly=True)
async def main():
    for _ in range(3):
        await shm.read_after_publication_async(shm.last_read_count, timeout=30)
asyncio.run(main())
"""

LATE = """
import asyncio, atexit, sys
def late():
    try:
        asyncio.run(shm.read_new_async(timeout=30))
    except RuntimeError as error:
        print(error)
atexit.register(late)  # before the package's own, so it runs after
import shm_py
shm = shm_py.open(sys.argv[1], readonly=True)
"""


def test_a_program_ends_while_frames_arrive(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(8,)) as shm:
        for _ in range(15):
            programs = [
                subprocess.Popen(
                    [sys.executable, "-c", ENDING, shm_name], stderr=subprocess.PIPE, text=True
                )
                for _ in range(4)
            ]
            while any(program.poll() is None for program in programs):
                shm.write(np.zeros(8, np.float32))
            for program in programs:
                assert (program.wait(), program.communicate()[1]) == (0, "")


def test_awaiting_while_the_interpreter_ends_is_refused(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(8,)):
        program = [sys.executable, "-c", LATE, shm_name]
        said = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert "the interpreter is ending" in said.stdout
    assert said.stderr == ""
