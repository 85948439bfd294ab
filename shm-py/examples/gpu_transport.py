"""Requests with tensors on a CUDA device, sent to a worker process: the tensors stay on the device.

Without a GPU it says so and ends; on the simulated driver it runs, and says `sim`.
"""

import multiprocessing
from typing import Any

import numpy as np
import shm_py
from shm_py.transport import Receiver, TensorQueue

NAME = "doc-gpu-transport"
REQUESTS = 20
SHAPE = (3, 64, 64)


def worker(requests: TensorQueue, answers: Any) -> None:
    """Unwraps requests on its own device, and answers with what it found."""
    receiver = Receiver("cuda:0")
    receiver.join(NAME)
    answers.put("ready")
    for _ in range(REQUESTS):
        request = receiver.unwrap(requests.get(timeout=30.0))
        pixels = request["pixels"]
        # Here a model would use it: torch.from_dlpack(pixels).
        answers.put((request["id"], float(pixels.to_numpy().mean()), repr(pixels)))


def main() -> None:
    """Sends requests, and checks the answers."""
    if not shm_py.gpu_available():
        print("no CUDA device here: nothing to show")
        return
    spawn = multiprocessing.get_context("spawn")
    with shm_py.DevicePool.create_chunks(NAME, capacity=1 << 20) as pool:
        requests = TensorQueue(4, "cuda_ipc_pool", pool)
        answers = spawn.Queue()
        process = spawn.Process(target=worker, args=(requests, answers))
        process.start()
        assert answers.get(timeout=30.0) == "ready"
        for number in range(REQUESTS):
            pixels = shm_py.DeviceTensor.from_numpy(np.full(SHAPE, number, np.float32))
            requests.put({"id": number, "pixels": pixels}, timeout=30.0)
        for number in range(REQUESTS):
            identity, mean, shown = answers.get(timeout=30.0)
            assert (identity, mean) == (number, float(number))
        process.join()
        sent = requests.stats()
        requests.close()
        print(f"{sent.wrapped} tensors, {sent.bytes} bytes, {sent.fallbacks} through the host; {shown}")


if __name__ == "__main__":
    main()
