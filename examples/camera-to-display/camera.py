"""A camera: exposes RGB frames in place in shared memory, at its own pace, whoever looks on.

It may be killed at any moment and started again, here or as the Rust program of the same name:
displays keep the last complete frame meanwhile, and the frames go on where they stopped.
"""

import argparse
import time

import numpy as np
import shm_py


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Publishes RGB frames until it is stopped.")
    parser.add_argument("name", nargs="?", default="examples/camera", help="stream to publish to")
    parser.add_argument("--width", type=int, default=640, help="pixels in a row")
    parser.add_argument("--height", type=int, default=480, help="rows of a frame")
    parser.add_argument("--rate", type=float, default=60.0, help="frames per second")
    parser.add_argument("--frames", type=int, help="end after so many frames")
    parser.add_argument("--seconds", type=float, help="end after so many seconds")
    return parser.parse_args()


def attach(name: str, shape: tuple[int, int, int]) -> shm_py.SharedMemory:
    """The stream that a killed camera left, so that displays go on; otherwise a new one."""
    try:
        left = shm_py.open(name)
    except FileNotFoundError:
        # Temporary: where neither camera nor display is left, the memory may be used again.
        return shm_py.create(name, shape=shape, dtype=np.uint8, temporary=True)
    if left.shape == shape and left.dtype == np.uint8:
        return left
    with left.locked(timeout=1):  # nobody's, or TimeoutError says whose
        pass
    left.close()
    return shm_py.create(name, shape=shape, dtype=np.uint8, temporary=True, replace_existing=True)


def publish(stream: shm_py.SharedMemory, args: argparse.Namespace) -> None:
    """One frame after the other, until the time or the frames are over."""
    columns = np.arange(args.width, dtype=np.uint8)
    rows = np.arange(args.height, dtype=np.uint8)[:, np.newaxis]
    begun = time.monotonic()
    done = 0
    while done != args.frames:
        time.sleep(max(0.0, begun + done / args.rate - time.monotonic()))
        if args.seconds is not None and time.monotonic() >= begun + args.seconds:
            break
        number = stream.count + 1
        # The pixels are written where the display reads them; nobody sees them before the end.
        with stream.write_view_locked(frame_id=number, acquired_ns=time.time_ns()) as pixels:
            pixels[..., 0] = columns + np.uint8(number % 256)
            pixels[..., 1] = rows
            pixels[..., 2] = number % 256  # the same everywhere: shows whether a frame is whole
        done += 1


def main() -> None:
    """Publishes as the only camera, and takes the stream away in the end."""
    args = arguments()
    stream = attach(args.name, (args.height, args.width, 3))
    # The kernel frees the lock at the moment its holder dies.
    with stream.locked(timeout=1):
        print(f"camera: frame {stream.count + 1} is next in {args.name}", flush=True)
        try:
            publish(stream, args)
        except KeyboardInterrupt:
            pass
        print(f"camera: {stream.count} frames", flush=True)
        stream.unlink()
    stream.close()


if __name__ == "__main__":
    main()
