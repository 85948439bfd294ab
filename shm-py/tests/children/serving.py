"""Inference servers that tests talk to: the embedded one, and Triton itself where it was fetched."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import shm_py

from . import PATIENCE

ROOT = Path(__file__).parents[3]


class Server:
    """A server of the test models, in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], http: str, grpc: str) -> None:
        self.process = process
        self.http = http
        self.grpc = f"grpc://{grpc}"

    def url(self, protocol: str) -> str:
        return self.grpc if protocol == "grpc" else self.http

    def pause(self) -> None:
        """Stops every thread of it."""
        self.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE
        while not self._is_stopped():
            assert time.monotonic() < deadline, "the server does not stop"
            time.sleep(0.001)

    def _is_stopped(self) -> bool:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return all(task.read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Ends it: in good order if it can, else at once."""
        self.go_on()
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self.stop()


def embedded_binary() -> Path | None:
    """The embedded server with the test models; `cargo xtask py` builds it and says where it is."""
    named = os.environ.get("SHM_ZOO_SERVE")
    return Path(named) if named else None


def start_embedded(http_port: int = 0, grpc_port: int = 0) -> Server:
    """Starts the embedded server, which is ready when this returns."""
    binary = embedded_binary()
    assert binary is not None
    ports = ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
    process = subprocess.Popen(
        [binary, *ports, "--seconds", "900"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + PATIENCE
    while b"\n" not in said:
        left = max(0.0, deadline - time.monotonic())
        more = select.select([process.stdout], [], [], left)[0] and os.read(
            process.stdout.fileno(), 4096
        )
        assert more, f"{binary} did not start: {said!r}"
        said += more
    ready = re.match(r"ready http=(\S+) grpc=(\S+) pid=\d+", said.decode())
    assert ready is not None, said
    return Server(process, ready[1], ready[2])


def real_folder() -> Path | None:
    """Where `cargo xtask triton fetch` has put Triton."""
    folder = Path(os.environ.get("SHM_TRITON_SERVER") or ROOT / "target" / "triton-server")
    return folder if (folder / "models").is_dir() else None


def start_real() -> Server:
    """Starts Triton, which is ready when this returns."""
    folder = real_folder()
    assert folder is not None
    triton = folder / "server" / "pytriton" / "tritonserver"
    http, grpc = free_port(), free_port()
    process = subprocess.Popen(
        [
            triton / "bin" / "tritonserver",
            f"--model-repository={folder / 'models'}",
            f"--backend-directory={triton / 'backends'}",
            "--http-address=127.0.0.1",
            f"--http-port={http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc}",
            "--allow-metrics=false",
            "--exit-timeout-secs=3",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin"},
    )
    server = Server(process, f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")
    try:
        with shm_py.TritonClient(server.http) as client:
            client.wait_ready(60.0)
    except BaseException:
        server.stop()
        raise
    return server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
