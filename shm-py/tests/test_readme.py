"""Five things that the README of the repository promises to somebody who has only that file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import shm_py

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
SHM = Path(sys.executable).parent / "shm"
#: Longer than anything here takes on a machine that does other things too, building apart.
LONG = 120
BUILD = 900

pytestmark = [
    pytest.mark.skipif(not (ROOT / "Cargo.toml").exists(), reason="needs the whole repository"),
    pytest.mark.timeout(BUILD + 3 * LONG, method="thread"),
]


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """The names of the README are fixed: one run of it at a time on one machine, and nothing left."""
    with (ROOT / "README.md").open() as page:
        fcntl.flock(page, fcntl.LOCK_EX)
        shm_py.purge(prefix="readme/image")
        yield
        shm_py.purge(prefix="readme/image")


def block(first_line: str) -> str:
    """The block of code that begins so."""
    for found in re.finditer(r"^```[a-z,_]+\n(.*?)^```$", README, re.DOTALL | re.MULTILINE):
        if found[1].startswith(first_line):
            return found[1]
    pytest.fail(f"the README has no block of code that begins with {first_line!r}")


def commands(section: str) -> list[str]:
    """The commands of a section, without remarks."""
    text = README.partition(f"\n### {section}\n")[2].partition("\n### ")[0]
    lines = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).splitlines()
    found = [line.partition("#")[0].strip() for line in lines]
    assert found, f"the README has no commands under {section!r}"
    return [line for line in found if line]


@contextlib.contextmanager
def running(arguments: Sequence[str | Path], **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    process = subprocess.Popen(  # type: ignore[call-overload]
        [str(word) for word in arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextlib.contextmanager
def camera(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The README's camera, once it has published."""
    (folder / "camera.py").write_text(block("# camera.py\n"))
    with running([sys.executable, folder / "camera.py"]) as process:
        with shm_py.open("readme/image", readonly=True, timeout=LONG) as display:
            display.read_new(timeout=LONG)
        yield process


def told(arguments: list[str], expected: int = 0) -> str:
    """What a command printed that ended as expected."""
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=LONG, stdin=subprocess.DEVNULL)
    assert ended.returncode == expected, ended.stdout + ended.stderr
    return ended.stdout


def program(command: str) -> list[str]:
    """A command of the README, with this environment's program."""
    name, *words = command.split()
    assert name == "shm", command
    return [str(SHM), *words]


def test_an_image_goes_from_python_to_rust(tmp_path: Path) -> None:
    """A crate of one's own, as cargo makes it, reads what Python publishes."""
    look = tmp_path / "look"
    (look / "src").mkdir(parents=True)
    (look / "src" / "main.rs").write_text(block("// look/src/main.rs"))
    (look / "Cargo.toml").write_text(
        '[package]\nname = "look"\nversion = "0.1.0"\nedition = "2024"\n\n'
        f'[dependencies]\nshm-core = {{ path = "{ROOT / "shm-core"}" }}\n\n[workspace]\n'
    )
    # The versions that the repository is tested with, and no question to a registry.
    shutil.copy(ROOT / "Cargo.lock", look)
    target = ROOT / "target" / "readme-look"
    build = ["cargo", "build", "--offline", "--manifest-path", str(look / "Cargo.toml")]
    subprocess.run([*build, "--target-dir", str(target)], check=True, timeout=BUILD, stdin=subprocess.DEVNULL)
    with camera(tmp_path):
        lines = told([str(target / "debug" / "look")]).splitlines()
    counts = [int(line.split()[1]) for line in lines]
    assert len(counts) == 10 and counts == sorted(set(counts))
    assert lines[0].endswith(f"of {480 * 640 * 3} bytes")


def test_a_tensor_is_lent_to_three_processes(tmp_path: Path) -> None:
    """One tensor, three ranks, nothing left over."""
    (tmp_path / "lend.py").write_text(block("# lend.py\n"))
    lines = told([sys.executable, str(tmp_path / "lend.py")]).splitlines()
    assert sorted(lines) == [f"rank {number} has seen it" for number in range(3)]


def test_a_model_is_called_through_shared_memory(tmp_path: Path) -> None:
    """The server's command and the client's program, at a port that is free."""
    (serve,) = commands("3. Call a model through shared memory")
    free = ["--http-port", "0", "--grpc-port", "0", "--seconds", str(BUILD)]
    with running([*serve.split(), *free], cwd=ROOT) as server:
        assert server.stdout is not None
        ready = next((line for line in server.stdout if line.startswith("ready ")), "")
        address = re.search(r"http=(\S+)", ready)
        assert address, f"the server ended: {server.poll()}"
        text = block("# call.py\n")
        assert "localhost:8000" in text
        (tmp_path / "call.py").write_text(text.replace("localhost:8000", address[1]))
        told([sys.executable, str(tmp_path / "call.py")])


def test_what_is_going_on_can_be_seen(tmp_path: Path) -> None:
    """The commands that look, while a camera publishes."""
    top, listing, watch, view = map(program, commands("4. See what is going on"))
    with camera(tmp_path):
        assert "readme/image" in told(listing)
        lines = told([*watch, "--count", "2"]).splitlines()
        assert len(lines) >= 2
        screen = on_a_terminal(top, until="readme/image", keys=b"q")
        assert "readme/image" in screen
        address = view.index("127.0.0.1:8080")
        view[address] = "127.0.0.1:0"
        with running(view) as page:
            assert page.stdout is not None
            url = re.search(r"http://\S+", page.stdout.readline())
            assert url
            with urllib.request.urlopen(url[0], timeout=LONG) as answer:
                assert "<!doctype html>" in answer.read().decode()
            with urllib.request.urlopen(f"{url[0]}status.json", timeout=LONG) as answer:
                told_by_page = json.load(answer)
            assert (told_by_page["name"], told_by_page["shape"]) == ("readme/image", [480, 640, 3])


def test_a_crash_is_cleaned_up_after(tmp_path: Path) -> None:
    """What the dead left is named and removed, and what the living have stays."""
    kill, fsck, dry_run, gc = commands("5. Clean up after a crash")
    assert kill.startswith("kill -9 ")
    with camera(tmp_path) as publisher:
        publisher.kill()
        publisher.wait()
        with shm_py.stream("readme/image-of-somebody-else", shape=(4,), dtype="uint8") as other:
            other.write([1, 2, 3, 4])
            told(program(fsck))
            assert "readme/image" in told(program(dry_run))
            assert "readme/image" in shm_py.list_streams("readme/image")
            told(program(gc))
            assert shm_py.list_streams("readme/image") == ["readme/image-of-somebody-else"]
            assert other.read().tolist() == [1, 2, 3, 4]


def on_a_terminal(arguments: list[str], until: str, keys: bytes) -> str:
    """Runs a program on a terminal, types when it shows a text, and returns what it has shown."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(arguments, stdin=side, stdout=side, stderr=side, env=env)
    os.close(side)
    shown = b""
    typed = False
    deadline = time.monotonic() + LONG
    try:
        while time.monotonic() < deadline:
            if select.select([main], [], [], 0.1)[0]:
                try:
                    shown += os.read(main, 65536)
                except OSError:
                    break
            if not typed and until.encode() in shown:
                os.write(main, keys)
                typed = True
            if process.poll() is not None:
                break
        assert process.wait(timeout=LONG) == 0, shown.decode(errors="replace")
    finally:
        process.kill()
        process.wait()
        os.close(main)
    return shown.decode(errors="replace")
