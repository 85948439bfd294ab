"""Clients of a Triton server in Python, which do as they are told by lines on standard input.

Each line is an order in JSON, and each is answered by a line in JSON. The process ends with its orders.
"""

import importlib.metadata
import json
import os
import platform
import sys
import threading
import time

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.utils.shared_memory as shm
from triton_shm_client import TritonSHMClient

DTYPES = {"FP32": np.float32, "INT32": np.int32}
NUMBER = 21
NO_LIMIT = 2**31 - 1
OPTIONS = [
    ("grpc.max_send_message_length", NO_LIMIT),
    ("grpc.max_receive_message_length", NO_LIMIT),
]


class Caller:
    """The tensors of one thread: arrays that are ready before a call begins."""

    def __init__(self, session):
        """Fill the inputs."""
        self.session = session
        self.turn = 0
        self.inputs = {}
        for name, dims, datatype in session.inputs:
            value = NUMBER if datatype == "INT32" else 0.5
            self.inputs[name] = np.full((session.batch, *dims), value, DTYPES[datatype])
        self.flat = self.inputs["INPUT0"].reshape(-1)

    def call(self):
        """Change the first and the last value, run the model, look at what became of them."""
        self.turn += 1
        first, last = np.float32(self.turn), np.float32(self.turn + 0.5)
        self.flat[self.session.shown[0]] = first
        self.flat[self.session.shown[1]] = last
        outputs = self.infer()
        got = outputs["OUTPUT0"].reshape(-1)
        adds = np.float32(self.session.adds)
        if got[0] != first + adds or got[-1] != last + adds:
            raise ValueError(f"{got[0]}, {got[-1]} came back in place of {first}, {last}")
        if "OUTPUT1" in outputs and outputs["OUTPUT1"].reshape(-1)[0] != 2 * NUMBER:
            raise ValueError("OUTPUT1 is wrong")

    def close(self):
        """Nothing of its own is registered."""


class PoolCaller(Caller):
    """triton-shm-client: copies in, copies out."""

    def infer(self):
        """One call through the pool that all threads share."""
        return self.session.pool().infer_shm(self.session.model, self.inputs)


class PlainCaller(Caller):
    """tritonclient, tensors in the message."""

    def infer(self):
        """One call with everything in it."""
        inputs = []
        for name, dims, datatype in self.session.inputs:
            tensor = grpcclient.InferInput(name, [self.session.batch, *dims], datatype)
            tensor.set_data_from_numpy(self.inputs[name])
            inputs.append(tensor)
        result = self.session.client().infer(self.session.model, inputs)
        return {name: result.as_numpy(name) for name, _, _ in self.session.outputs}


class RegionsCaller(Caller):
    """tritonclient's own shared memory, registered once: copies in, outputs are read where they lie."""

    def __init__(self, session):
        """Make a region for each tensor."""
        super().__init__(session)
        self.regions = {}
        self.wanted, self.given = [], []
        for name, dims, datatype in session.inputs:
            tensor = grpcclient.InferInput(name, [session.batch, *dims], datatype)
            self.given.append(self.share(tensor, name, dims, datatype))
        for name, dims, datatype in session.outputs:
            tensor = grpcclient.InferRequestedOutput(name)
            self.wanted.append(self.share(tensor, name, dims, datatype))

    def share(self, tensor, name, dims, datatype):
        """Register a region and have the tensor lie in it."""
        size = self.session.batch * int(np.prod(dims)) * np.dtype(DTYPES[datatype]).itemsize
        key = f"bench-{os.getpid()}-shm-{threading.get_ident()}-{name}"
        handle = shm.create_shared_memory_region(key, key, size, create_only=True)
        self.regions[name] = (key, handle)
        self.session.client().register_system_shared_memory(key, key, size)
        tensor.set_shared_memory(key, size)
        return tensor

    def infer(self):
        """One call."""
        for name, array in self.inputs.items():
            shm.set_shared_memory_region(self.regions[name][1], [array])
        session = self.session
        session.client().infer(session.model, self.given, outputs=self.wanted)
        return {
            name: shm.get_contents_as_numpy(
                self.regions[name][1], DTYPES[datatype], [session.batch, *dims]
            )
            for name, dims, datatype in session.outputs
        }

    def close(self):
        """Give the regions back."""
        for key, handle in self.regions.values():
            self.session.client().unregister_system_shared_memory(key)
            shm.destroy_shared_memory_region(handle)


CALLERS = {"pool": PoolCaller, "regions": RegionsCaller, "plain": PlainCaller}


class Session:
    """One model of one server."""

    def __init__(self, order):
        """Remember; connections are made when they are needed."""
        self.url, self.model = order["url"], order["model"]
        self.batch, self.slots = order["batch"], order["slots"]
        self.inputs, self.outputs = order["inputs"], order["outputs"]
        self.adds, self.shown = order["adds"], order["shown"]
        self._client = None
        self._pool = None
        self._callers = {}

    def client(self):
        """The official client."""
        if self._client is None:
            self._client = grpcclient.InferenceServerClient(self.url, channel_args=OPTIONS)
        return self._client

    def pool(self):
        """The peer, with the model registered."""
        if self._pool is None:
            pool = TritonSHMClient(self.url)
            described = [
                [(name, tuple(dims), DTYPES[datatype]) for name, dims, datatype in tensors]
                for tensors in (self.inputs, self.outputs)
            ]
            pool.register_shm_model(self.model, *described, self.batch, self.slots)
            self._pool = pool
        return self._pool

    def run(self, way, seconds, threads):
        """Let so many threads call, which begin together."""
        callers = self._callers.setdefault(way, [])
        if way == "pool":
            self.pool()
        while len(callers) < threads:
            callers.append(CALLERS[way](self))
        if threads == 1:
            took, begun, ended = repeat(callers[0], seconds)
            return took, ended - begun
        together = threading.Barrier(threads)
        results = [None] * threads

        def work(index):
            together.wait()
            try:
                results[index] = repeat(callers[index], seconds)
            except Exception as error:  # told to whoever gave the order
                results[index] = error

        workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for result in results:
            if isinstance(result, Exception):
                raise result
        took = [each for result in results for each in result[0]]
        return took, max(ended - begun for _, begun, ended in results)

    def close(self):
        """Give everything back."""
        for callers in self._callers.values():
            for caller in callers:
                caller.close()
        if self._pool is not None:
            self._pool.close()
        if self._client is not None:
            self._client.close()


def repeat(caller, seconds):
    """Nanoseconds of each call, once at least, after one that brings back the caches."""
    caller.call()
    took = []
    begun = before = time.perf_counter_ns()
    end = begun + int(seconds * 1e9)
    while before < end or not took:
        caller.call()
        now = time.perf_counter_ns()
        took.append(now - before)
        before = now
    return took, begun, before


def versions():
    """The versions of everything that matters."""
    packages = ("numpy", "grpcio", "tritonclient", "triton-shm-client")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


def main():
    """Say the versions, then answer until the orders end."""
    # What a package prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"versions": versions()}), file=answers, flush=True)
    session = None
    for line in sys.stdin:
        order = json.loads(line)
        answer = {}
        try:
            if order["do"] == "open":
                session = Session(order)
            elif order["do"] == "run":
                took, elapsed = session.run(order["way"], order["seconds"], order["threads"])
                answer = {"took": took, "elapsed": elapsed}
            elif order["do"] == "close":
                session.close()
                session = None
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    if session is not None:
        session.close()


if __name__ == "__main__":
    main()
