"""What the tests of the transport run in processes that multiprocessing starts."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
from shm_py import DevicePool, DeviceTensor, transport


def check_all(queue: Any, answers: Any, count: int, device: str) -> None:
    """Unwraps what comes, after a while, and says what is wrong with it."""
    receiver = transport.Receiver(device)
    answers.put("ready")
    wrong = []
    for _ in range(count):
        item = queue.get(timeout=60)
        time.sleep(random.random() * 0.004)
        number, tensors = item["number"], receiver.unwrap(item)["tensors"]
        for index, tensor in enumerate(tensors):
            found = np.asarray(tensor if isinstance(tensor, np.ndarray) else tensor.to_numpy())
            if not (found == number * 10 + index).all():
                wrong.append((number, index))
    answers.put((wrong, receiver.stats().unwrapped))


def die_holding(queue: Any, answers: Any, name: str) -> None:
    """Joins a pool, takes one item from the queue and waits to be killed."""
    receiver = transport.Receiver()
    receiver.join(name)
    answers.put("ready")
    queue.get(timeout=60)
    answers.put("held")
    time.sleep(600)


def send(queue: Any, answers: Any, name: str, mode: str) -> None:
    """Sends one tensor, and stays until it is told to go."""
    pool = DevicePool.open(name) if mode == "cuda_ipc_pool" else None
    sender = transport.Sender(mode, pool=pool)
    queue.put(sender.wrap([DeviceTensor.from_numpy(np.arange(64))]))
    answers.get(timeout=60)


def put_in_queue(tensors: transport.TensorQueue, number: int) -> None:
    """Puts one request into a TensorQueue that came along."""
    tensors.put(f"r{number}", None, {"x": DeviceTensor.from_numpy(np.full(9, number))})
    tensors.close()
