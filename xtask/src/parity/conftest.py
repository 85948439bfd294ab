"""The fixture that the tests of pyshmem expect, with names by which leftovers are recognised."""

import uuid

import pytest

import pyshmem


@pytest.fixture
def shm_name():
    name = f"parity-{uuid.uuid4().hex}"
    yield name
    # Some tests make further streams whose names begin with this one.
    for left in pyshmem.list_streams():
        if left.startswith(name):
            pyshmem.unlink(left)
