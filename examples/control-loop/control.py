"""A control loop: each tick it averages the last readings of every sensor, and commands.

Nothing in a tick waits for a sensor, so no sensor can make the loop miss its deadline. The clock
tells a silent sensor from a fresh one, the kernel a dead one from a silent one.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import shm_py

AXES = 3


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Answers what sensors say, tick by tick.")
    sensors = ["examples/sensor-0", "examples/sensor-1"]
    parser.add_argument("sensors", nargs="*", default=sensors, help="streams of the sensors")
    parser.add_argument("--command", default="examples/command", help="stream of the commands")
    parser.add_argument("--last", type=int, default=8, help="readings that are averaged")
    parser.add_argument("--period", type=float, default=10.0, help="milliseconds between ticks")
    parser.add_argument(
        "--patience", type=float, default=100.0, help="milliseconds after which a sensor is silent"
    )
    parser.add_argument(
        "--gain", type=float, default=0.5, help="command: the mean times minus this"
    )
    parser.add_argument("--frames", type=int, help="end after so many ticks")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    return parser.parse_args()


class Sensor:
    """What the loop knows about a sensor."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.name = name
        self.last: int = args.last
        self.patience: float = args.patience / 1e3
        self.stream: shm_py.SharedMemory | None = None
        self.health = ""

    def mean(self) -> np.ndarray | None:
        """The mean of its last readings; nothing if they cannot be believed."""
        if self.stream is not None and self.stream.stale:
            self.stream = None  # its name was taken away; there may be another one
        if self.stream is None:
            try:
                self.stream = shm_py.open(self.name, readonly=True)
            except FileNotFoundError:
                self.note("absent: it has not begun, or has ended")
                return None
        if not self.stream.producer_alive():
            self.note("dead: its process is gone")
            return None
        if self.stream.is_stale(self.patience):
            self.note("silent: its process lives and says nothing")
            return None
        self.note("fresh")
        readings = self.stream.history(self.last)
        # Not those that a sensor took before it was killed and started again.
        oldest = readings[-1].write_time_ns - self.patience * 1e9
        recent = [reading.payload for reading in readings if reading.write_time_ns >= oldest]
        mean: np.ndarray = np.mean(recent, axis=0)
        return mean

    def note(self, health: str) -> None:
        """Says how the sensor is, when that has changed."""
        if self.health != health:
            print(f"control: {self.name} is {health}", flush=True)
            self.health = health


def run(commands: shm_py.SharedMemory, args: argparse.Namespace) -> None:
    """One tick after the other, until the time or the ticks are over."""
    sensors = [Sensor(name, args) for name in args.sensors]
    period = args.period / 1e3
    begun = time.monotonic()
    tick = late = 0
    took = []
    try:
        while tick != args.frames:
            due = begun + tick * period
            time.sleep(max(0.0, due - time.monotonic()))
            woken = time.monotonic()
            if args.seconds is not None and woken >= begun + args.seconds:
                break
            means = [sensor.mean() for sensor in sensors]
            known = [mean for mean in means if mean is not None]
            # Nothing is commanded where one sensor cannot be believed.
            command = np.zeros(AXES)
            if len(known) == len(means):
                command = -args.gain * np.mean(known, axis=0)
            commands.write(command.astype(np.float32), frame_id=tick)
            tick += 1
            took.append(time.monotonic() - woken)
            late += time.monotonic() > due + period
    except KeyboardInterrupt:
        pass
    middle = np.median(took or [0]) * 1e6
    print(
        f"control: {tick} ticks, {late} late, {middle:.0f} us from wake-up to command (median)",
        flush=True,
    )


def main() -> None:
    """Runs the loop over a stream of commands that is its own."""
    args = arguments()
    with shm_py.stream(
        args.command, shape=(AXES,), dtype=np.float32, temporary=True, replace_existing=True
    ) as commands:
        run(commands, args)


if __name__ == "__main__":
    main()
