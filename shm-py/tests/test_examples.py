"""The Python programs of the folder `examples` do what they say, among themselves and with Rust."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import shm_py
from children import environment
from children.serving import embedded_binary, start_embedded
from conftest import segment_files

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*/*.py"))
#: Long enough for any machine; only a hang takes longer.
PATIENCE = 60.0
#: Where Rust programs may have to be built first.
builds = pytest.mark.timeout(1500, method="thread")


class Program:
    """A program that runs, and whose lines are heard within a deadline."""

    def __init__(self, *command: object) -> None:
        self.process = subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.heard: list[str] = []
        self.errors: list[str] = []
        outputs = (self.process.stdout, self.lines.put), (self.process.stderr, self.errors.append)
        self.listeners = [threading.Thread(target=_listen, args=output) for output in outputs]
        for listener in self.listeners:
            listener.start()

    def hear(self, part: str) -> str:
        """The next line that has `part` in it."""
        while True:
            try:
                line = self.lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"no {part!r} in {self.heard}: {self.errors}") from None
            self.heard.append(line)
            if part in line:
                return line

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def finish(self) -> list[str]:
        """Waits until it has ended well and without complaints, and gives all its lines."""
        code = self.process.wait(PATIENCE)
        self._stop_listening()
        while not self.lines.empty():
            self.heard.append(self.lines.get())
        assert (code, self.errors) == (0, []), f"{self.heard}"
        return self.heard

    def kill(self) -> None:
        """Ends it at whatever it is doing, and waits until it is gone."""
        assert self.process.poll() is None, f"it ended by itself: {self.heard}, {self.errors}"
        self.process.kill()
        self.process.wait(PATIENCE)
        self._stop_listening()

    def stop(self) -> None:
        """Whatever state it is in: gone afterwards."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self._stop_listening()

    def _stop_listening(self) -> None:
        for listener in self.listeners:
            listener.join(PATIENCE)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def _listen(pipe: Iterator[str], say: Callable[[str], object]) -> None:
    for line in pipe:
        say(line.rstrip("\n"))


StartProgram = Callable[..., Program]


@pytest.fixture
def program(shm_name: str) -> Iterator[StartProgram]:
    """Starts programs; those that still run afterwards are ended."""
    started: list[Program] = []

    def begin(path: Path | str, *arguments: object) -> Program:
        interpreter = [sys.executable] if str(path).endswith(".py") else []
        folder = EXAMPLES if interpreter else Path()
        started.append(Program(*interpreter, folder / path, *arguments))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


def rust(name: str, package: str = "shm-examples") -> Path:
    """A Rust program of the workspace, built if it has to be."""
    build = ["cargo", "build", "-p", package, "--bin", name, "--message-format=json"]
    done = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, check=False, timeout=1400)
    assert done.returncode == 0, f"{build} failed"
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    artifacts = [said for said in messages if said["reason"] == "compiler-artifact"]
    found = [said["executable"] for said in artifacts if said["target"]["name"] == name]
    assert found and found[-1], f"{build} made no program"
    return Path(found[-1])


def number(line: str, unit: str) -> int:
    """The number before a word: 3 in "3 torn" for "torn"."""
    found = re.search(rf"(\d+) {unit}\b", line)
    assert found is not None, f"no number before {unit!r} in {line!r}"
    return int(found[1])


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 10


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_program_explains_itself(path: Path) -> None:
    if path.name == "official_client.py":
        pytest.importorskip("tritonclient.http", reason='pip install "tritonclient[http]"')
    done = subprocess.run(
        [sys.executable, str(path), "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=True,
    )
    assert done.stdout.startswith("usage:") and "--seconds" in done.stdout
    readme = (path.parent / "README.md").read_text()
    assert path.name in readme, f"{path.parent.name}/README.md does not name {path.name}"


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in PROGRAMS}), ids=lambda path: path.name
)
def test_readmes_are_short_and_listed(folder: Path) -> None:
    assert len((folder / "README.md").read_text().splitlines()) <= 40
    assert f"]({folder.name}/)" in (EXAMPLES / "README.md").read_text()


@builds
@pytest.mark.parametrize("languages", ["python-python", "python-rust", "rust-python"])
def test_the_display_goes_on_when_the_camera_is_killed(
    languages: str, program: StartProgram, shm_name: str
) -> None:
    camera, display = (
        rust(kind) if language == "rust" else f"camera-to-display/{kind}.py"
        for kind, language in zip(("camera", "display"), languages.split("-"))
    )
    small = [shm_name, "--width", 64, "--height", 48, "--rate", 200]
    screen = program(display, shm_name, "--seconds", 150)
    first = program(camera, *small)
    screen.hear("at frame")
    first.kill()
    last = number(screen.hear("the camera is gone").replace("frame ", ""), "stays")
    second = program(camera, *small)
    back = int(screen.hear("the camera is back with frame").rpartition(" ")[2])
    assert back > last > 1
    screen.hear("at frame")
    second.interrupt()
    frames = number(second.finish()[-1], "frames")
    assert shm_py.list_streams(shm_name) == []
    screen.interrupt()
    summary = next(line for line in screen.finish() if "in the end" in line)
    assert number(summary, "torn") == 0
    assert 1 < number(summary, "shown") <= frames - number(summary, "missed")


def test_the_stream_of_a_dead_camera_is_removed(program: StartProgram, shm_name: str) -> None:
    display = program("camera-to-display/display.py", shm_name, "--seconds", 150)
    camera = program("camera-to-display/camera.py", shm_name, "--width", 8, "--height", 8)
    display.hear("at frame")
    camera.kill()
    display.hear("the camera is gone")
    assert shm_py.list_streams(shm_name) == [shm_name]
    display.interrupt()
    assert "was removed" in display.finish()[-1]
    assert shm_py.list_streams(shm_name) == []


def test_commands_follow_the_sensors(program: StartProgram, shm_name: str) -> None:
    first, second, command = (f"{shm_name}-{part}" for part in ("first", "second", "command"))

    def sensor(name: str, level: int) -> Program:
        steady = ["--level", level, "--swing", 0, "--rate", 100]
        return program("control-loop/sensor.py", name, *steady)

    one, two = sensor(first, 3), sensor(second, -1)
    loop = program(
        "control-loop/control.py",
        first,
        second,
        "--command",
        command,
        "--patience",
        5000,
        "--seconds",
        150,
    )
    with shm_py.open(command, readonly=True, timeout=PATIENCE) as commands:

        def until(value: float) -> None:
            for _ in range(20_000):
                if (commands.read_new(timeout=PATIENCE) == np.float32(value)).all():
                    return
            raise AssertionError(f"no command {value}: {commands.read()}")

        until(-0.5)  # the mean of 3 and -1, times minus 0.5
        one.process.send_signal(signal.SIGSTOP)
        loop.hear("first is silent")
        until(0)
        one.process.send_signal(signal.SIGCONT)
        loop.hear("first is fresh")
        two.kill()
        loop.hear("second is dead")
        until(0)
        two = sensor(second, 1)
        loop.hear("second is fresh")
        until(-1)  # the mean of 3 and 1
        two.interrupt()
        two.finish()
        loop.hear("second is absent")
        loop.interrupt()
        said = loop.finish()
        assert number(said[-1], "ticks") == commands.count
    one.interrupt()
    one.finish()
    assert shm_py.list_streams(shm_name) == []


def sums(lines: list[str]) -> dict[int, tuple[int, float]]:
    """Tokens and sum of each batch, as the lines of a program say."""
    found = (re.search(r": batch (\d+) has (\d+) tokens, sum (\S+)", line) for line in lines)
    return {int(batch[1]): (int(batch[2]), float(batch[3])) for batch in found if batch}


def test_ranks_compute_parts_of_every_batch(program: StartProgram, shm_name: str) -> None:
    sizes = ["--ranks", 3, "--frames", 40, "--rate", 1000, "--capacity", 2]
    tokenizer = program("tokenizer-to-ranks/tokenizer.py", shm_name, *sizes)
    ranks = [
        program("tokenizer-to-ranks/rank.py", rank, shm_name, "--ranks", 3) for rank in range(3)
    ]
    sent = tokenizer.finish()
    assert number(sent[-1], "chunks") == 0
    parts = [sums(rank.finish()) for rank in ranks]
    assert len(sums(sent)) == 40
    for batch, (tokens, whole) in sums(sent).items():
        assert [part[batch][0] for part in parts] == [tokens] * 3
        assert sum(part[batch][1] for part in parts) == whole
    assert segment_files(shm_name) == []


def test_a_killed_rank_gives_its_batch_back(program: StartProgram, shm_name: str) -> None:
    sizes = ["--frames", 60, "--rate", 1000, "--capacity", 2]
    tokenizer = program("tokenizer-to-ranks/tokenizer.py", shm_name, *sizes)
    other = program("tokenizer-to-ranks/rank.py", 0, shm_name)
    stuck = program("tokenizer-to-ranks/rank.py", 1, shm_name, "--work", 3_600_000)
    stuck.hear("batch 0 has")
    # The other one is done with that batch, so the dead one is the last who held it.
    other.hear("batch 1 has")
    stuck.kill()
    sent = tokenizer.finish()
    assert number(sent[-1], "chunks") == 0 and number(sent[-1], "came") >= 1
    assert len(sums(sent)) == len(sums(other.finish())) == 60
    assert segment_files(shm_name) == []


def test_ctrl_c_leaves_no_batch_that_nobody_was_told_of(
    program: StartProgram, shm_name: str
) -> None:
    # Faster than the rank, so that it waits for it when it is interrupted.
    fast = ["--rate", 10_000, "--ranks", 1]
    tokenizer = program("tokenizer-to-ranks/tokenizer.py", shm_name, *fast)
    rank = program("tokenizer-to-ranks/rank.py", 0, shm_name, "--ranks", 1, "--work", 10)
    rank.hear("batch 5 has")
    tokenizer.hear("batch 10 has")
    tokenizer.interrupt()
    sent = tokenizer.finish()
    assert number(sent[-1], "chunks") == 0
    assert sums(sent) and sums(sent) == sums(rank.finish())
    assert segment_files(shm_name) == []


def test_workers_share_blocks(program: StartProgram, shm_name: str) -> None:
    store = program("kv-cache/store.py", shm_name, "--capacity", 2)
    store.hear("MiB in")
    workers = [
        program("kv-cache/worker.py", shm_name, "--rank", rank, "--frames", 40) for rank in range(3)
    ]
    for worker in workers:
        summary = worker.finish()[-1]
        assert number(summary, "prompts") == 40
        assert 0 < number(summary, "computed") < number(summary, "blocks")
    store.interrupt()
    summary = store.finish()[-1]
    assert number(summary, "hits") > 0 and number(summary, "evicted") > 0
    assert number(summary, "being stored") == 0
    assert segment_files(shm_name) == []


def test_a_block_that_was_never_committed_is_not_there(
    program: StartProgram, shm_name: str
) -> None:
    owner = program("kv-cache/store.py", shm_name)
    owner.hear("MiB in")
    prompt = [shm_name, "--rank", 7, "--frames", 1]
    victim = program("kv-cache/worker.py", *prompt, "--hang")
    key = bytes.fromhex(victim.hear("hangs before the commit").rpartition(" ")[2])
    with shm_py.Store.open(shm_name, timeout=PATIENCE) as store:
        assert key not in store, "half a block can be seen"
        successor = program("kv-cache/worker.py", *prompt)
        victim.kill()
        summary = successor.finish()[-1]
        assert number(summary, "blocks") == number(summary, "computed")
        assert key in store
    owner.interrupt()
    assert number(owner.finish()[-1], "reclaimed") >= 1
    assert segment_files(shm_name) == []


@builds
def test_batches_on_a_server(program: StartProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    served = embedded_binary() or rust("shm-zoo-serve", "shm-zoo")
    monkeypatch.setenv("SHM_ZOO_SERVE", str(served))
    server = start_embedded()
    try:
        for url in (server.http, server.grpc):
            said = program("triton-client/infer.py", url, "--frames", 3).finish()
            assert [line.partition("(")[0] for line in said[1:]] == [
                "infer",
                "slot.run",
                "infer_async",
            ]
        with shm_py.TritonClient(server.http) as client:
            assert client.regions() == []
            ran = client.statistics("normal")[0].inference_count
            assert ran == 2 * 3 * 3 * 8, "two clients, three ways, three batches of eight"
    finally:
        server.stop()


@builds
def test_the_official_client_on_the_rust_server(program: StartProgram) -> None:
    pytest.importorskip("tritonclient.http", reason='pip install "tritonclient[http]"')
    anywhere = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--seconds", 300]
    server = program(rust("inference-server"), *anywhere)
    ready = re.search(r"http=(\S+)", server.hear("ready"))
    assert ready is not None
    region = f"pytest-official-{os.getpid()}"
    client = program(
        "inference-server/official_client.py",
        ready[1],
        "--region",
        region,
        "--frames",
        3,
        "--width",
        60,
        "--height",
        40,
    )
    assert client.finish()[-1].startswith("client: 3 pictures")
    assert list(Path("/dev/shm").glob(f"{region}*")) == []
    server.interrupt()
    assert "ends" in server.finish()[-1]


@builds
def test_edges_by_rust_are_those_by_numpy(program: StartProgram, shm_name: str) -> None:
    names = [f"{shm_name}-picture", f"{shm_name}-edges"]
    sobel = program(rust("sobel"), *names, "--seconds", 300)
    small = ["--width", 61, "--height", 47, "--frames", 20]
    for _ in range(2):
        said = program("python-rust/picture.py", *names, *small).finish()
        assert number(said[-1], "answers") == 20
    sobel.interrupt()
    assert number(sobel.finish()[-1], "pictures") == 40
    assert shm_py.list_streams(shm_name) == []
