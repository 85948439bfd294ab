"""Makes `import pyshmem` import shm_py, so that programs written for pyshmem run unchanged.

The tests of pyshmem 1.4.0 also import two private modules. What they find here has no behaviour:
whatever they reach for is an AttributeError, and the test that did so fails.
"""

import sys
import types

import shm_py


class _Internals(types.ModuleType):
    def __getattr__(self, name):
        raise AttributeError(f"private: pyshmem._shared.{name} is no part of the package's contract")


_internals = _Internals("pyshmem._shared")
# Read while the tests are collected: it decides which of them are skipped on this platform.
_internals._FUTEX_AVAILABLE = True

sys.modules["pyshmem._shared"] = _internals
# Where `import pyshmem._shared as name` looks, for it asks the package for its own name.
sys.modules["shm_py._shared"] = _internals
sys.modules[__name__] = shm_py
