"""What shm_py.transport offers: walks nested data; the tensors in it are the extension's affair."""

from __future__ import annotations

import copy
import enum
import multiprocessing
import multiprocessing.queues
import os
import pickle
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple, Optional, Union

import numpy as np

from ._native import (
    DevicePool,
    DeviceTensor,
    Pool,
    TensorProxy,
    _Receiver,
    _Sender,
)

# The name that other transports have for it.
CudaIpcTensorTransportProxy = TensorProxy


class TensorTransportMode(enum.Enum):
    """Which way tensors on a device take. Their names are taken everywhere too."""

    DEFAULT = "default"
    CUDA_IPC = "cuda_ipc"
    CUDA_IPC_POOL = "cuda_ipc_pool"

    @classmethod
    def _missing_(cls, value: object) -> TensorTransportMode:
        names = ", ".join(repr(mode.value) for mode in cls)
        raise ValueError(f"mode is {value!r}; expected one of {names}")


class SenderStats(NamedTuple):
    """What a sender has done.

    wrapped: tensors that were replaced. bytes: theirs. full: calls for which a pool had no room, now or
    in time, or that fell back for it. fallbacks: tensors on a device that went through host memory
    although the mode is another. failed: calls that failed, with everything given back. shared: tensors
    that consumers still have in place, in mode cuda_ipc. shared_bytes: theirs.
    """

    wrapped: int
    bytes: int
    full: int
    fallbacks: int
    failed: int
    shared: int
    shared_bytes: int


class ReceiverStats(NamedTuple):
    """What a receiver has done.

    unwrapped: tensors that were made. bytes: theirs. failed: proxies of which no tensor could be made,
    though they were acknowledged.
    """

    unwrapped: int
    bytes: int
    failed: int


class Sender:
    """Replaces the tensors of nested data by proxies.

    mode: a TensorTransportMode or its name. pool: the DevicePool of mode cuda_ipc_pool. host_pool: a Pool
    for what goes through host memory, which is then also taken by numpy arrays and by host tensors of
    other libraries; without it those are left as they are. consumers: how many acknowledge each tensor
    (the size of a tensor-parallel group); the pools have to expect as many. when_full: "block" waits
    until `timeout` (seconds, None for ever), "fail" refuses at once, "host" sends through host memory,
    which is counted. fallback: what becomes of memory that cannot take the chosen way at all (it cannot
    be exported, or is larger than the pool's slots): "refuse" or "host". inline_up_to: host arrays of up
    to so many bytes travel in the proxy. shares: the most tensors lent at once in mode cuda_ipc.

    Raises ValueError for a bad argument, and if the mode has no pool or one for other consumers.
    """

    def __init__(
        self,
        mode: Union[TensorTransportMode, str] = TensorTransportMode.DEFAULT,
        *,
        pool: Optional[DevicePool] = None,
        host_pool: Optional[Pool] = None,
        consumers: int = 1,
        when_full: str = "block",
        timeout: Optional[float] = 30.0,
        fallback: str = "refuse",
        inline_up_to: int = 16384,
        shares: int = 4096,
    ) -> None:
        self.mode = TensorTransportMode(mode)
        self._takes_host = host_pool is not None
        self._sender = _Sender(
            self.mode.value,
            pool,
            host_pool,
            consumers,
            when_full,
            timeout,
            fallback,
            inline_up_to,
            shares,
        )

    def wrap(self, obj: Any, *, stream: Any = None) -> Any:
        """The same structure with proxies in the place of tensors: dicts, lists and tuples are rebuilt as
        what they are (also OrderedDict, defaultdict, namedtuples and plain subclasses), everything else
        is passed on. All tensors or none: on an error everything that was taken is given back.

        Without `stream` the tensors may be changed as soon as the call returns. With `stream`, one of
        their device, they are read in its order, and may be changed by work queued on it afterwards. In
        mode cuda_ipc they may not, as long as a consumer has them. Host arrays must not be written while
        the call goes on.

        Raises PoolFull (a TimeoutError) if a pool has no room in time; ValueError for a tensor that is
        not C-contiguous, empty, or larger than a slot; PoolError for memory that cannot be shared, and if
        nobody consumes.
        """
        plan, found = _emptied(obj, self._is_tensor)
        if not found:
            return obj
        proxies = self._sender.wrap(found, stream)
        try:
            return _filled(plan, proxies)
        except BaseException:
            self._sender.take_back(proxies)
            raise

    def take_back(self, obj: Any) -> None:
        """Takes the proxies of what wrap() returned back, if it was not sent: what they stand for is free
        again. What a consumer has redeemed meanwhile stays theirs until they are done."""
        self._sender.take_back(_emptied(obj, _is_proxy)[1])

    def collect(self) -> None:
        """Lets go of what no consumer has any more, in mode cuda_ipc; every wrap() does so too."""
        self._sender.collect()

    def stats(self) -> SenderStats:
        """What it has done."""
        return SenderStats(*self._sender.stats())

    def _is_tensor(self, value: Any) -> bool:
        return _is_on_device(value) or (self._takes_host and _is_host_tensor(value))


class Receiver:
    """Makes tensors of proxies: one consumer of everything that it is sent.

    device: where tensors arrive that were on a device, "cuda:N" or N. seat: which seat to take in each
    pool, such as the rank of a worker (None: any). timeout: seconds that a producer's device may take to
    put the tensors where they are announced (None: for ever). Pools are opened when they are first met,
    and kept open.
    """

    def __init__(
        self,
        device: Union[str, int] = "cuda:0",
        *,
        seat: Optional[int] = None,
        timeout: Optional[float] = 30.0,
    ) -> None:
        self.device = device
        self._receiver = _Receiver(seat, timeout)

    def join(self, pool: Union[DevicePool, str], device: Union[str, int, None] = None) -> None:
        """Takes a seat in a device pool before anything is sent, so that publications wait for it.

        Raises FileNotFoundError if there is none; PoolError if the seat is taken.
        """
        name = pool.name if isinstance(pool, DevicePool) else pool
        self._receiver.join(name, self.device if device is None else device)

    def unwrap(
        self,
        obj: Any,
        device: Union[str, int, None] = None,
        *,
        stream: Any = None,
        as_torch: bool = False,
    ) -> Any:
        """The same structure with tensors in the place of proxies: a DeviceTensor on `device` for what
        was on one, a numpy array for the rest; torch tensors over the same memory if `as_torch`.

        The tensors are there when the call returns, or with `stream`, one of `device`, in the order of
        that stream. Each proxy is acknowledged once, when the copy out of it is done, also if another one
        fails; then the first error is raised, and nothing is returned.

        Raises StaleTicket for a proxy that was unwrapped before, or taken back; NotReady (a TimeoutError)
        if its bytes do not come in time, ProducerGone if they never will; OwnerGone if the pool's memory
        ended with its process; ValueError for a proxy that makes no sense; RuntimeError where there is no
        CUDA.
        """
        plan, found = _emptied(obj, _is_proxy)
        if not found:
            return obj
        device = self.device if device is None else device
        # Before anything is acknowledged that could then not be returned.
        convert = _torch_converter() if as_torch else _unchanged
        tensors = self._receiver.unwrap(found, device, stream)
        return _filled(plan, [convert(tensor) for tensor in tensors])

    def stats(self) -> ReceiverStats:
        """What it has done."""
        return ReceiverStats(*self._receiver.stats())


def wrap_mm_inputs_for_ipc(
    mm_inputs: Any,
    transport_mode: Union[TensorTransportMode, str, Sender] = TensorTransportMode.DEFAULT,
    pool: Optional[DevicePool] = None,
    *,
    stream: Any = None,
) -> Any:
    """Sender.wrap() in one call. A Sender in the place of the mode is used as it is; for a mode one is
    made of this process's own, per mode and pool, and kept.

    Raises ValueError if the mode needs a pool and none is given; else as Sender.wrap() does.
    """
    if not isinstance(transport_mode, Sender):
        transport_mode = _own_sender(TensorTransportMode(transport_mode), pool)
    return transport_mode.wrap(mm_inputs, stream=stream)


def unwrap_mm_inputs_from_ipc(
    mm_inputs: Any,
    device: Union[str, int] = "cuda:0",
    *,
    stream: Any = None,
    as_torch: bool = False,
    receiver: Optional[Receiver] = None,
) -> Any:
    """Receiver.unwrap() in one call, with a receiver of this process's own unless one is given."""
    receiver = receiver or own_receiver()
    return receiver.unwrap(mm_inputs, device, stream=stream, as_torch=as_torch)


class TensorQueue:
    """A multiprocessing.Queue for nested data with tensors in it.

    put() wraps; get() returns what travels, to be unwrapped where the tensors are needed: with
    Receiver.unwrap() or unwrap_mm_inputs_from_ipc(). Processes inherit it, as they do the queue inside,
    when they are started with the method "spawn"; the pool is opened again there by whoever puts.

    maxsize: of the queue, 0 for no limit. mode, pool and further keywords are as for Sender. context: of
    multiprocessing, "spawn" if it is left out, because CUDA does not survive a fork.

    Raises ValueError if the mode needs a pool and none is given: no other mode is taken in its place.
    """

    def __init__(
        self,
        maxsize: int = 0,
        mode: Union[TensorTransportMode, str] = TensorTransportMode.DEFAULT,
        pool: Optional[DevicePool] = None,
        *,
        context: Any = None,
        **sending: Any,
    ) -> None:
        self.mode = TensorTransportMode(mode)
        self._pool = pool
        self._reopen: Any = None
        self._sending = sending
        self._sender: Optional[Sender] = None
        if self.mode is TensorTransportMode.CUDA_IPC_POOL and pool is None:
            raise ValueError(
                "mode is 'cuda_ipc_pool' and pool is None; pass the DevicePool that tensors are copied "
                "to, or choose another mode"
            )
        context = context or multiprocessing.get_context("spawn")
        self._queue: multiprocessing.queues.Queue[Any] = context.Queue(maxsize)

    def put(self, *item: Any, timeout: Optional[float] = None, stream: Any = None) -> None:
        """Wraps an item and appends it; several arguments are an item too, a tuple. Waits until `timeout`
        (seconds, None for ever) while the queue is full.

        Raises queue.Full if there was no room in time, and everything that was taken is given back; else
        as Sender.wrap() does.
        """
        whole = item[0] if len(item) == 1 else item
        sender = self._own_sender()
        wrapped = sender.wrap(whole, stream=stream)
        try:
            # Here, and not in the queue's own thread, which could tell nobody what went wrong.
            data = bytes(ForkingPickler.dumps(wrapped))
            self._queue.put(data, timeout=timeout)
        except BaseException:
            sender.take_back(wrapped)
            raise

    def get(self, timeout: Optional[float] = None) -> Any:
        """The oldest item, with proxies in the place of tensors. Waits until `timeout` (seconds, None for
        ever).

        Raises queue.Empty if none came in time.
        """
        return pickle.loads(self._queue.get(timeout=timeout))

    def empty(self) -> bool:
        """Whether nothing is there at this moment."""
        return self._queue.empty()

    def qsize(self) -> int:
        """How many items are there at this moment."""
        return self._queue.qsize()

    def stats(self) -> SenderStats:
        """What this process has put."""
        return self._own_sender().stats()

    def close(self) -> None:
        """Nothing more is put by this process. What it has put is sent in the background, and waited for
        when the process ends. Closing twice is harmless."""
        self._queue.close()

    def _own_sender(self) -> Sender:
        if self._sender is None:
            if self._reopen is not None:
                make, arguments = self._reopen
                self._pool, self._reopen = make(*arguments), None
            self._sender = Sender(self.mode, pool=self._pool, **self._sending)
        return self._sender

    def __getstate__(self) -> dict[str, Any]:
        # Who only gets needs no pool, and no CUDA either.
        reopen = self._reopen if self._pool is None else self._pool.__reduce__()
        return {**self.__dict__, "_sender": None, "_pool": None, "_reopen": reopen}


_owned = threading.Lock()
_receivers: dict[int, Receiver] = {}
_senders: dict[tuple[int, str, Optional[bytes]], Sender] = {}


def own_receiver() -> Receiver:
    """The receiver of this process for calls that name none; a forked child has another one."""
    with _owned:
        return _receivers.setdefault(os.getpid(), Receiver())


def _own_sender(mode: TensorTransportMode, pool: Optional[DevicePool]) -> Sender:
    key = (os.getpid(), mode.value, None if pool is None else pool.instance)
    with _owned:
        if key not in _senders:
            _senders[key] = Sender(mode, pool=pool)
        return _senders[key]


class _Hole:
    """Where a tensor was."""


_HOLE = _Hole()


def _emptied(value: Any, wanted: Callable[[Any], bool]) -> tuple[Any, list[Any]]:
    """The same structure with holes in the place of what is wanted, and that, in order."""
    found: list[Any] = []

    def take(tensor: Any) -> _Hole:
        found.append(tensor)
        return _HOLE

    return _walk(value, wanted, take), found


def _filled(plan: Any, items: list[Any]) -> Any:
    """The structure with its holes filled, in order."""
    rest = iter(items)
    return _walk(plan, lambda value: value is _HOLE, lambda _: next(rest))


def _is_proxy(value: Any) -> bool:
    return isinstance(value, TensorProxy)


def _unchanged(value: Any) -> Any:
    return value


def _is_on_device(value: Any) -> bool:
    if isinstance(value, DeviceTensor):
        return True
    if isinstance(value, (np.ndarray, np.generic, type)):
        return False
    tell = getattr(value, "__dlpack_device__", None)
    if tell is not None and hasattr(value, "__dlpack__"):
        # CUDA memory, of its own or managed.
        return int(tell()[0]) in (2, 13)
    return hasattr(value, "__cuda_array_interface__")


def _is_host_tensor(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.size > 0 and value.dtype.name in _DTYPES
    if isinstance(value, (np.generic, type)):
        return False
    tell = getattr(value, "__dlpack_device__", None)
    return tell is not None and hasattr(value, "__array__") and int(tell()[0]) == 1


#: What travels as plain bytes.
_DTYPES = frozenset(
    ["bool", "bfloat16", "float16", "float32", "float64", "complex64", "complex128"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


def _walk(value: Any, wanted: Callable[[Any], bool], replace: Callable[[Any], Any]) -> Any:
    """The same structure with whatever is wanted replaced, in order. Containers without any stay the very
    same objects."""
    if wanted(value):
        return replace(value)
    if isinstance(value, dict):
        items = {key: _walk(item, wanted, replace) for key, item in value.items()}
        if all(items[key] is item for key, item in value.items()):
            return value
        renewed = copy.copy(value)
        renewed.update(items)
        return renewed
    if isinstance(value, (list, tuple)):
        walked = [_walk(item, wanted, replace) for item in value]
        if all(new is old for new, old in zip(walked, value)):
            return value
        if isinstance(value, tuple):
            return _tuple_like(value, walked)
        copied = copy.copy(value)
        copied[:] = walked
        return copied
    return value


def _tuple_like(value: tuple[Any, ...], items: list[Any]) -> Any:
    make = getattr(type(value), "_make", None)
    return make(items) if make is not None else type(value)(items)


def _torch_converter() -> Callable[[Any], Any]:
    import torch  # type: ignore[import-not-found,unused-ignore]

    def convert(tensor: Any) -> Any:
        if isinstance(tensor, np.ndarray):
            return torch.from_numpy(tensor)
        return torch.from_dlpack(tensor)

    return convert


# Where people import it from.
for _public in (TensorTransportMode, SenderStats, ReceiverStats, Sender, Receiver, TensorQueue):
    _public.__module__ = "shm_py.transport"
for _function in (wrap_mm_inputs_for_ipc, unwrap_mm_inputs_from_ipc):
    _function.__module__ = "shm_py.transport"
