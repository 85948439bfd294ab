"""A model that one process loads, and others use without loading it: weights by name, in shared memory.

The server builds each size once, however many ask at the same time. A worker's lease ends with its handle,
or with the worker; what it has mapped stays readable even when the server is gone.
"""

import multiprocessing
import os
import tempfile
from typing import Any

import numpy as np
from shm_py import share

WORKERS = 3
SIZE = 512


def serve(base_path: str, ready: Any, over: Any) -> None:
    """Owns the models."""
    provider = share.SharedTensorProvider(base_path, execution_mode="server")

    @provider.share(execution="task", managed=True, keep_unleased=True, cache_format_key="model:{size}")
    def load_model(size: int) -> dict[str, Any]:
        # Read from a disk, in real life. What is made in shared memory is not copied when it travels.
        weight = share.empty((size, size), np.float32)
        np.fill_diagonal(weight, 2.0)
        return {"weight": weight, "bias": np.ones(size, np.float32), "loaded_by": os.getpid()}

    with share.SharedTensorServer(provider):
        ready.set()
        over.wait()


def work(base_path: str, number: int, answers: Any) -> None:
    """Uses a model that it did not load."""
    with share.SharedTensorClient(base_path) as client:
        with client.call("load_model", size=SIZE) as model:
            inputs = np.full(SIZE, number, np.float32)
            outputs = inputs @ model.value["weight"] + model.value["bias"]
            answers.put((number, float(outputs[0]), model.object_id, model.value["loaded_by"]))


def main() -> None:
    """Starts a server and workers, and checks what they found."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        base_path = os.path.join(folder, "models")
        ready, over, answers = spawn.Event(), spawn.Event(), spawn.Queue()
        server = spawn.Process(target=serve, args=(base_path, ready, over))
        server.start()
        assert ready.wait(60.0)
        workers = [spawn.Process(target=work, args=(base_path, n, answers)) for n in range(WORKERS)]
        for worker in workers:
            worker.start()
        found = sorted(answers.get(timeout=60.0) for _ in workers)
        for worker in workers:
            worker.join()
        assert [output for _, output, _, _ in found] == [2.0 * number + 1.0 for number in range(WORKERS)]
        assert len({identity for _, _, identity, _ in found}) == 1, "it was built once"
        assert {loader for _, _, _, loader in found} == {server.pid}
        with share.SharedTensorClient(base_path) as client:
            stats = client.get_server_info()["stats"]
        print(f"{WORKERS} workers, {stats['builds_total']} build, {stats['leases']} leases left")
        over.set()
        server.join()


if __name__ == "__main__":
    main()
