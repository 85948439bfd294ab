"""Which values become which: NumPy's rules, by the policy of the handle or of the call."""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np
import pytest
import shm_py

Casting = Literal["no", "equiv", "safe", "same_kind", "unsafe"]
POLICIES: tuple[Casting, ...] = get_args(Casting)
DTYPES: list[np.dtype[Any]] = [
    *map(np.dtype, "? b h i q B H I Q e f d F D".split()),
    np.dtype(ml_dtypes.bfloat16),
]
#: Only what can be written from, never what a stream has.
SOURCES = [*DTYPES, np.dtype(">f4"), np.dtype(">i8"), np.dtype(np.longdouble)]


@pytest.mark.parametrize("target", DTYPES, ids=str)
def test_every_pair_agrees_with_numpy(shm_name: str, target: np.dtype[Any]) -> None:
    allowed = refused = 0
    with shm_py.create(shm_name, shape=(3,), dtype=target) as shm:
        for source in SOURCES:
            frame = np.array([0, 1, 1]).astype(source)
            for policy in POLICIES:
                before = shm.count
                kept = shm.read()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
                    if np.can_cast(source, target, policy):
                        shm.write(frame, casting=policy)
                        assert shm.count == before + 1
                        np.testing.assert_array_equal(shm.read(), frame.astype(target))
                        allowed += 1
                        continue
                    with pytest.raises(TypeError) as error:
                        shm.write(frame, casting=policy, frame_id=99)
                message = str(error.value)
                for word in (str(source), str(target), policy, "casting='unsafe'"):
                    assert word.replace('"', "'") in message.replace('"', "'"), message
                assert (shm.count, shm.frame_id, shm.lock_depth) == (before, 0, 0)
                assert shm.read().tobytes() == kept.tobytes()
                refused += 1
    assert allowed >= len(SOURCES) and refused > len(SOURCES), (allowed, refused)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_for_the_whole_handle(shm_name: str, policy: Casting) -> None:
    shm_py.create(shm_name, shape=(1,), dtype="float32").close()
    opened = shm_py.open(shm_name, casting=policy)
    replaced = shm_py.create(
        shm_name + "-2", shape=(1,), dtype="float32", casting=policy, replace_existing=True
    )
    made = shm_py.stream(shm_name + "-3", shape=(1,), dtype="float32", casting=policy)
    with opened, replaced, made as streamed:
        for shm in (opened, replaced, streamed):
            assert shm.casting == policy
            for source in ("float32", "float16", "float64", "complex64"):
                frame = np.ones(1, source)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
                    if np.can_cast(source, "float32", policy):
                        shm.write(frame)
                        assert shm.read()[0] == 1
                    else:
                        with pytest.raises(TypeError, match=policy):
                            shm.write(frame)
                    # The call has the last word.
                    shm.write(frame, casting="unsafe")
                    with shm.locked():
                        shm.write_locked(frame, casting="unsafe")
            assert shm.count >= 8


def test_a_refused_frame_changes_nothing(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,), dtype="uint8") as shm:
        shm.write(np.array([1, 2], np.uint8), frame_id=5, acquired_ns=6)
        before = shm_py.stat(shm_name)
        refused: list[Any] = [
            np.array([300.0, -1.0]),
            np.array([1, 2], np.int64),
            np.array([1 + 2j, 0]),
            np.array(["a", "b"]),
            np.array([object(), None]),
            np.array(["2020-01-01", "2021-01-01"], "datetime64[D]"),
            np.zeros(2, [("a", "u1")]),
        ]
        for frame in refused:
            with pytest.raises(TypeError):
                shm.write(frame, frame_id=7, acquired_ns=8)
            with shm.locked():
                with pytest.raises(TypeError):
                    shm.write_locked(frame, frame_id=7)
                assert shm.lock_depth == 1
        assert shm_py.stat(shm_name) == before
        np.testing.assert_array_equal(shm.read(), [1, 2])


def test_python_integers_are_checked_like_numpys(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,), dtype="uint8") as shm:
        shm.write([1, 255])
        np.testing.assert_array_equal(shm.read(), [1, 255])
        for bad in ([300, 1], [-1, 1], [2**70, 0], (0, 256)):
            with pytest.raises(OverflowError):
                shm.write(bad, frame_id=9)
        assert (shm.count, shm.frame_id) == (1, 0)
        np.testing.assert_array_equal(shm.read(), [1, 255])
    with shm_py.create(shm_name + "-q", shape=(2,), dtype="uint64") as shm:
        shm.write([2**64 - 1, 2**63])
        assert shm.read().tolist() == [2**64 - 1, 2**63]
        with pytest.raises(OverflowError):
            shm.write([2**64, 0])
    with shm_py.create(shm_name + "-f", shape=(2,), dtype="float32") as shm:
        shm.write([1, 2.5])
        np.testing.assert_array_equal(shm.read(), [1, 2.5])


def test_python_floats_do_not_become_integers_unasked(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,), dtype="int32") as shm:
        with pytest.raises(TypeError):
            shm.write([1.5, 2.5])
        with pytest.raises(TypeError):
            shm.write([float("nan"), 0.0])
        assert shm.count == 0
        shm.write([1.5, -2.5], casting="unsafe")
        np.testing.assert_array_equal(shm.read(), [1, -2])


@pytest.mark.parametrize("target", ["int8", "int32", "int64", "uint16"])
def test_not_a_number_becomes_no_integer_unasked(shm_name: str, target: str) -> None:
    frame = np.array([np.nan, np.inf, -np.inf, 1e300])
    with shm_py.create(shm_name, shape=(4,), dtype=target) as shm:
        for policy in POLICIES[:-1]:
            with pytest.raises(TypeError, match="float64"):
                shm.write(frame, casting=policy)
        assert shm.count == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shm.write(frame, casting="unsafe")
            np.testing.assert_array_equal(shm.read(), frame.astype(target))
        assert shm.count == 1


def test_a_cast_that_warns_as_an_error_writes_nothing(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="float32") as shm:
        shm.write(np.ones(1, np.float32))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(np.exceptions.ComplexWarning):
                shm.write(np.array([1j]), casting="unsafe", frame_id=3)
            with np.errstate(over="raise"), pytest.raises(FloatingPointError):
                shm.write(np.array([1e300]), frame_id=3)
        assert (shm.count, shm.frame_id, shm.lock_depth) == (1, 0, 0)
        assert shm.read()[0] == 1
        shm.write(np.full(1, 2, np.float32))
        assert shm.read()[0] == 2


def test_casts_of_layouts(shm_name: str) -> None:
    rng = np.random.default_rng(8)
    with shm_py.create(shm_name, shape=(40, 30), dtype="float32") as shm:
        wide = rng.standard_normal((80, 90))
        for frame in (wide[::2, ::3], wide[:40, :30], wide[39::-1, 29::-1], wide.T[10:50, 40:70]):
            shm.write(frame)
            np.testing.assert_array_equal(shm.read(), frame.astype(np.float32))
        shm.write(wide[:40, :30].astype(">f8"))
        np.testing.assert_array_equal(shm.read(), wide[:40, :30].astype(np.float32))


def test_a_value_whose_conversion_fails_writes_nothing(shm_name: str) -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise KeyError("broken")

    value: Any = Broken()
    with shm_py.create(shm_name, shape=(1,)) as shm:
        for _ in range(2):
            with pytest.raises(KeyError, match="broken"):
                shm.write(value, frame_id=1)
        assert (shm.count, shm.frame_id, shm.lock_depth) == (0, 0, 0)
        shm.acquire(timeout=0)
        shm.release()
