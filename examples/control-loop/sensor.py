"""A sensor: three axes, many times a second. The newest readings stay readable for filters."""

import argparse
import math
import time

import numpy as np
import shm_py

AXES = 3
#: Readings that stay readable at any moment; one more is being written.
HISTORY = 32


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Measures three axes until it is stopped.")
    parser.add_argument("name", nargs="?", default="examples/sensor-0", help="stream to publish to")
    parser.add_argument("--rate", type=float, default=500.0, help="readings per second")
    parser.add_argument("--level", type=float, default=1.0, help="what it measures on the average")
    parser.add_argument("--swing", type=float, default=0.25, help="how far it swings around that")
    parser.add_argument("--frames", type=int, help="end after so many readings")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    return parser.parse_args()


def attach(name: str) -> shm_py.SharedMemory:
    """The stream that a killed sensor left, so that who reads it need not open another one."""
    try:
        return shm_py.open(name)
    except FileNotFoundError:
        return shm_py.create(
            name, shape=(AXES,), dtype=np.float32, cells=HISTORY + 1, temporary=True
        )


def measure(stream: shm_py.SharedMemory, args: argparse.Namespace) -> None:
    """One reading after the other, until the time or the readings are over."""
    phases = np.arange(AXES) * math.tau / AXES
    begun = time.monotonic()
    done = 0
    while done != args.frames:
        time.sleep(max(0.0, begun + done / args.rate - time.monotonic()))
        passed = time.monotonic() - begun
        if args.seconds is not None and passed >= args.seconds:
            break
        reading = args.level + args.swing * np.sin(passed * math.tau + phases)
        stream.write_locked(reading.astype(np.float32), acquired_ns=time.time_ns())
        done += 1


def main() -> None:
    """Measures as the only one of its name; a sensor that ends in good order is absent, not dead."""
    args = arguments()
    stream = attach(args.name)
    with stream.locked(timeout=1):
        print(f"sensor: reading {stream.count + 1} is next in {args.name}", flush=True)
        try:
            measure(stream, args)
        except KeyboardInterrupt:
            pass
        print(f"sensor: {stream.count} readings", flush=True)
        stream.unlink()
    stream.close()


if __name__ == "__main__":
    main()
