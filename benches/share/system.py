"""One server and one client of a system that shares tensors between processes, for either of two systems.

Orders come as lines of JSON on standard input, and each is answered by a line with what single operations
took, in nanoseconds. The process ends with its orders, and its server with it.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time

READY = "ready"
DEVICE = 0


def main():
    """Serve if told so; else start a server and follow orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--base-path", required=True)
    parser.add_argument("--near", type=int, required=True)
    parser.add_argument("--far", type=int, required=True)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    for name in ("SHARED_TENSOR_ENABLED", "SHARED_TENSOR_ROLE", "SHARED_TENSOR_BASE_PATH"):
        os.environ.pop(name, None)
    os.environ["SHARED_TENSOR_LOG_LEVEL"] = "ERROR"
    os.sched_setaffinity(0, {options.far if options.serve else options.near})
    system = importlib.import_module(options.module)
    if options.serve:
        serve(system, options)
    else:
        measure(system, options)


def serve(system, options):
    """Offer a small tensor until standard input ends."""
    tensor = small_tensor(options.module)
    provider = system.SharedTensorProvider(
        options.base_path, execution_mode="server", device_index=DEVICE
    )

    @provider.share(managed=True, cache_format_key="small")
    def small():
        return tensor

    server = system.SharedTensorServer(provider)
    server.start(blocking=False)
    print(json.dumps({READY: tensor is not None}), flush=True)
    sys.stdin.read()
    # A server in the background may take seconds to stop.
    os._exit(0)


def small_tensor(module):
    """A kilobyte of ones that the system can share: a NumPy array, or one on a GPU."""
    if module == "shm_py.share":
        import numpy as np

        return np.ones(256, np.float32)
    try:
        import torch
    except ImportError:
        return None
    return torch.ones(256, device="cuda") if torch.cuda.is_available() else None


def measure(system, options):
    """Say what can be measured, then follow orders."""
    command = [sys.executable, *sys.argv, "--serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        has_tensor = json.loads(server.stdout.readline())[READY]
        client = system.SharedTensorClient(options.base_path, device_index=DEVICE, timeout=20.0)
        operations = {"ping": lambda: ping(client)}
        if has_tensor:
            kept = client.call("small")
            operations["call"] = lambda: call(client)
        print(json.dumps({"can": sorted(operations)}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            took = repeated(operations[order["what"]], order["seconds"])
            print(json.dumps({"took": took}), flush=True)
        if has_tensor:
            kept.release()
    finally:
        server.stdin.close()
        server.wait()


def ping(client):
    """One round trip."""
    if not client.ping():
        raise RuntimeError("the server does not answer")


def call(client):
    """A call that is found in the cache, and its release."""
    handle = client.call("small")
    if not handle.release():
        raise RuntimeError("the handle was released already")


def repeated(operation, seconds):
    """Nanoseconds of each operation, for so many seconds."""
    took = []
    begun = before = time.perf_counter_ns()
    while before - begun < seconds * 1e9:
        operation()
        now = time.perf_counter_ns()
        took.append(now - before)
        before = now
    return took


if __name__ == "__main__":
    main()
