"""What servers say, clients that end with the interpreter, and triton-shm-client's interface."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union
from weakref import WeakSet

from ._native import TritonClient, TritonError

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from . import TritonModel


class TritonTensor(NamedTuple):
    """An input or output of a registered model.

    datatype: the protocol's name, such as 'FP32'. dtype: NumPy's; object for BYTES. shape: of one
    sample, without the batch dimension; -1 is any length. optional: an input that may be left out.
    """

    name: str
    datatype: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    optional: bool


class TritonServer(NamedTuple):
    """What a server says about itself: its name, its version, the protocol extensions it has."""

    name: str
    version: str
    extensions: tuple[str, ...]


class TritonTensorMetadata(NamedTuple):
    """A tensor in a TritonModelMetadata; its shape has the batch dimension, as -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class TritonModelMetadata(NamedTuple):
    """What a server says about a model. platform: what runs it."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TritonTensorMetadata, ...]
    outputs: tuple[TritonTensorMetadata, ...]


class TritonModelConfig(NamedTuple):
    """How a server runs a model, as far as a client has to know.

    max_batch_size: most samples of one request, 0 if tensors have no batch dimension. decoupled: it
    answers one request any number of times. sequence: its requests belong to sequences.
    """

    name: str
    max_batch_size: int
    optional_inputs: tuple[str, ...]
    decoupled: bool
    sequence: bool


class TritonDuration(NamedTuple):
    """How often something happened, and how many nanoseconds it took in all."""

    times: int
    ns: int


class TritonStatistics(NamedTuple):
    """What one version of a model has done since the server started.

    last_inference_ms: milliseconds since 1970 UTC. inference_count: samples. execution_count: fewer
    than samples where they are batched. The rest says how often, and how long in all.
    """

    name: str
    version: str
    last_inference_ms: int
    inference_count: int
    execution_count: int
    success: TritonDuration
    fail: TritonDuration
    queue: TritonDuration
    compute_input: TritonDuration
    compute_infer: TritonDuration
    compute_output: TritonDuration


class TritonRegion(NamedTuple):
    """A region of system shared memory that a server has mapped, of whichever client."""

    name: str
    key: str
    offset: int
    byte_size: int


class TritonSwept(NamedTuple):
    """What a sweep removed: regions of the server, files; and what is left, with the reason."""

    unregistered: tuple[str, ...]
    unlinked: tuple[str, ...]
    left: tuple[tuple[str, str], ...]


class TritonClientStats(NamedTuple):
    """What happened to a client's calls, beyond the usual.

    in_flight: requests that are not answered yet, also those nobody waits for any more. late: calls
    given up at their deadline. lost: requests whose connection ended. registered_again: with a server
    that had forgotten the memory. retired: memory that was replaced: grown, damaged, or of unknown
    fate. inline_calls: those whose tensors went in the message. owed: regions that the server still
    has to let go of. leaked: regions that cannot safely be unregistered from an old server.
    """

    in_flight: int
    late: int
    lost: int
    registered_again: int
    retired: int
    inline_calls: int
    owed: int
    leaked: int


_Spec = tuple[str, Sequence[int], "DTypeLike"]
_Value = Union["NDArray[Any]", Sequence["NDArray[Any]"]]


class TritonSHMClient:
    """The interface of the package triton-shm-client 0.1: models by name, a pool of slots for each.

    As there, `url` is that of the server's gRPC port; 'http://host:port' and the other forms that
    TritonClient takes work too. Calls wait until they are answered, unless client_timeout is given.
    verbose, keepalive_options and channel_args are accepted and have no effect. The rest of
    tritonclient's InferenceServerClient, which triton-shm-client inherits from, is not here but for
    is_server_live(), is_server_ready() and is_model_ready(): use a client of that package beside it.

    `client` is the TritonClient underneath. Raises ValueError for encryption.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        verbose: bool = False,
        ssl: bool = False,
        root_certificates: Optional[Any] = None,
        private_key: Optional[Any] = None,
        certificate_chain: Optional[Any] = None,
        creds: Optional[Any] = None,
        keepalive_options: Optional[Any] = None,
        channel_args: Optional[Any] = None,
    ) -> None:
        if ssl or root_certificates or private_key or certificate_chain or creds:
            raise ValueError(
                "encryption is not offered: shared memory needs client and server on one machine; "
                "leave ssl, root_certificates, private_key, certificate_chain and creds out"
            )
        address = url if "://" in url else f"grpc://{url}"
        self.client = TritonClient(address, timeout=None)
        self.registered_models: dict[str, TritonModel] = {}

    def register_shm_model(
        self,
        model_name: str,
        inputs: Sequence[_Spec],
        outputs: Sequence[_Spec],
        max_batch_size: int,
        pool_size: int,
    ) -> None:
        """Makes `pool_size` slots for batches of `max_batch_size`, and has the server map them.

        inputs, outputs: (name, shape of one sample, dtype) each. They are compared with what the server
        says about the model, but for max_batch_size, which may be smaller than the model's.

        Raises ValueError for a model that is registered already and for one that is not as described;
        the other errors of TritonClient.register_model().
        """
        if model_name in self.registered_models:
            raise ValueError(
                f"model {model_name!r} is already registered; call unregister_shm_model first"
            )
        for what, number in (("max_batch_size", max_batch_size), ("pool_size", pool_size)):
            if number <= 0:
                raise ValueError(f"{what} is {number}; it must be greater than 0")
        batched = self.client.model_config(model_name).max_batch_size > 0
        if not batched and max_batch_size != 1:
            raise ValueError(
                f"max_batch_size is {max_batch_size}; model {model_name!r} takes one sample at a time"
            )

        def specs(tensors: Sequence[_Spec]) -> list[_Spec]:
            # The batch dimension is one of the model's own there.
            return [
                (name, tuple(shape) if batched else (1, *shape), dtype)
                for name, shape, dtype in tensors
            ]

        self.registered_models[model_name] = self.client.register_model(
            model_name,
            inputs=specs(inputs),
            outputs=specs(outputs),
            max_batch_size=max_batch_size if batched else 0,
            slots=pool_size,
        )

    def infer_shm(
        self,
        model_name: str,
        inputs: Mapping[str, _Value],
        model_version: str = "",
        request_id: str = "",
        sequence_id: Union[int, str] = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        priority: int = 0,
        timeout: Optional[int] = None,
        client_timeout: Optional[float] = None,
        headers: Optional[Any] = None,
        compression_algorithm: Optional[str] = None,
        parameters: Optional[Mapping[str, Union[bool, int, float, str]]] = None,
    ) -> dict[str, NDArray[Any]]:
        """Runs a model on arrays (samples along the first dimension) or lists of samples.

        Batches of more than max_batch_size are cut, and run over the slots at once; the call waits for
        free slots. No samples at all give {}. The arrays that come back are the caller's own.

        timeout: microseconds that the request may wait in the server's queue. client_timeout: seconds
        for the whole call; after it the request stays open on the server, and the slot comes back when
        it is answered. compression_algorithm has no effect: tensors are not in the message.

        Raises ValueError for a model that is not registered, inputs of different lengths, and headers,
        which are not sent; RuntimeError (a TritonError) for the server's own errors; TimeoutError and
        the other errors of TritonModel.infer().
        """
        model = self.registered_models.get(model_name)
        if model is None:
            raise ValueError(
                f"model {model_name!r} is not registered; call register_shm_model first"
            )
        if headers:
            raise ValueError("headers are not sent with requests here; leave them out")
        lengths = {name: len(value) for name, value in inputs.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"all inputs must have as many samples, got {lengths}")
        if set(lengths.values()) == {0}:
            return {}

        def infer(inputs: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
            return model.infer(
                inputs,
                timeout=client_timeout,
                id=request_id,
                sequence_id=sequence_id,
                sequence_start=sequence_start,
                sequence_end=sequence_end,
                priority=priority,
                server_timeout=None if timeout is None else timeout / 1e6,
                parameters=parameters,
                version=model_version or None,
            )

        if model.max_batch_size > 0:
            return infer(inputs)
        return _one_by_one(infer, inputs)

    def unregister_shm_model(self, model_name: str) -> None:
        """Ends a registration; a model that is not registered is no error.

        What is still in flight is waited for, for a second; it is given back when it ends.
        """
        model = self.registered_models.pop(model_name, None)
        if model is not None:
            _quietly(model)

    def cleanup_all_shm(self) -> None:
        """Ends the registrations of all models."""
        for name in list(self.registered_models):
            self.unregister_shm_model(name)

    def is_server_live(self) -> bool:
        """True if the server lives. Raises ConnectionError if nobody listens."""
        return self.client.is_live()

    def is_server_ready(self) -> bool:
        """True if the server is ready. Raises ConnectionError if nobody listens."""
        return self.client.is_ready()

    def is_model_ready(self, model_name: str, model_version: str = "") -> bool:
        """True if the model is ready. Raises ConnectionError if nobody listens."""
        return self.client.model_ready(model_name, model_version)

    def close(self) -> None:
        """Ends the registrations of all models, and the client. Closing twice is fine."""
        self.cleanup_all_shm()
        try:
            self.client.close()
        except (TimeoutError, TritonError):
            # As when a model is unregistered: given back when it ends.
            pass

    def __enter__(self) -> TritonSHMClient:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        tb: Optional[TracebackType],
    ) -> None:
        self.close()


def _one_by_one(
    infer: Callable[[Mapping[str, Any]], dict[str, NDArray[Any]]], inputs: Mapping[str, _Value]
) -> dict[str, NDArray[Any]]:
    """The samples of a model that takes one at a time."""
    import numpy as np

    samples = min(len(value) for value in inputs.values())
    each = [
        infer({name: np.asarray(value[index])[np.newaxis] for name, value in inputs.items()})
        for index in range(samples)
    ]
    return {name: np.concatenate([outputs[name] for outputs in each]) for name in each[0]}


def _quietly(model: TritonModel) -> None:
    try:
        model.unregister(timeout=1.0)
    except (TimeoutError, TritonError):
        # Given back when what is in flight ends; the server is told as soon as it answers.
        pass


_open: WeakSet[TritonClient] = WeakSet()


def remember(client: TritonClient) -> None:
    """Has the client closed when the interpreter ends, if it is still there then."""
    if not _open:
        atexit.unregister(_close_all)
        atexit.register(_close_all)
    _open.add(client)


def _close_all() -> None:
    for client in list(_open):
        if not client.closed:
            try:
                client.close()
            except (TimeoutError, TritonError):
                # The next client that registers a model removes what is left.
                pass


# Where people import them from.
_KINDS: tuple[type, ...] = (
    TritonClientStats,
    TritonDuration,
    TritonModelConfig,
    TritonModelMetadata,
    TritonRegion,
    TritonSHMClient,
    TritonServer,
    TritonStatistics,
    TritonSwept,
    TritonTensor,
    TritonTensorMetadata,
)
for _kind in _KINDS:
    _kind.__module__ = "shm_py"
