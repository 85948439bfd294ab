"""A display: shows the newest frame whenever there is one, and counts what it had to skip.

It never makes the camera wait, and outlives it: while the camera is gone the last frame stays.
"""

from __future__ import annotations

import argparse
import signal
import time

import numpy as np
import shm_py

BREATH = 0.1


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Shows the newest frames of a camera.")
    parser.add_argument("name", nargs="?", default="examples/camera", help="stream to show")
    parser.add_argument("--frames", type=int, help="end after so many frames")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    return parser.parse_args()


class Display:
    """What was shown so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.ends = None if args.seconds is None else time.monotonic() + args.seconds
        self.shown = self.missed = self.torn = 0
        self.latencies: list[int] = []
        self.reported = time.monotonic()
        self.stopped = False
        # A flag, so that Ctrl-C is heard in whatever it interrupts; no wait is longer than BREATH.
        signal.signal(signal.SIGINT, self.stop)

    def stop(self, *_: object) -> None:
        """Ctrl-C."""
        self.stopped = True

    def is_done(self) -> bool:
        """All frames were shown, or the time is over."""
        too_late = self.ends is not None and time.monotonic() >= self.ends
        return (
            self.stopped
            or too_late
            or (self.args.frames is not None and self.shown >= self.args.frames)
        )

    def run(self) -> None:
        """Shows one stream after the other: a camera may come back with frames of another size."""
        while not self.is_done():
            try:
                with shm_py.open(self.args.name, readonly=True, timeout=BREATH) as stream:
                    self.show(stream)
            except (FileNotFoundError, shm_py.StaleStreamError):
                pass  # no camera has been started yet, or its stream was replaced or removed

    def show(self, stream: shm_py.SharedMemory) -> None:
        """Shows one stream."""
        screen = np.empty(stream.shape, stream.dtype)
        alone = False
        while not self.is_done():
            try:
                # The newest frame that is newer than the last one shown; never half of one.
                frame = stream.read_after_publication(
                    stream.last_read_count, timeout=BREATH, out=screen
                )
            except TimeoutError:
                # The kernel's word, not a guess by the clock: a slow camera is not a dead one.
                if not stream.producer_alive() and not alone:
                    last = stream.last_read_count
                    print(f"display: the camera is gone, frame {last} stays", flush=True)
                    alone = True
                continue
            if alone:
                print(f"display: the camera is back with frame {frame.count}", flush=True)
                alone = False
            if frame.acquired_ns is not None:
                self.latencies.append(time.time_ns() - frame.acquired_ns)
            self.shown += 1
            self.missed += frame.missed_publications
            self.torn += bool((screen[..., 2] != frame.frame_id % 256).any())
            if time.monotonic() - self.reported >= 1:
                self.report(f"at frame {frame.count}")
                self.reported = time.monotonic()

    def report(self, when: str) -> None:
        """One line: what was shown, and how late."""
        middle, slow = np.percentile(self.latencies or [0], [50, 99]) / 1e3
        print(
            f"display: {when} {self.shown} shown, {self.missed} missed, {self.torn} torn, "
            f"{middle:.0f} us from exposure to screen (median), {slow:.0f} us (99 %)",
            flush=True,
        )


def main() -> None:
    """Shows until it is told to stop."""
    display = Display(arguments())
    display.run()
    display.report("in the end")
    # A camera that was killed for good has left its stream; nobody else would take it away.
    for name in shm_py.gc(display.args.name):
        print(f"display: {name} of a dead camera was removed", flush=True)


if __name__ == "__main__":
    main()
