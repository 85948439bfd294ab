"""A camera process and a display process.

The camera fills frames in place and goes at its own pace; the display shows the newest frame
whenever there is one, and counts what it had to skip. Neither waits for the other.
"""

import multiprocessing
import time

import numpy as np
import shm_py

NAME = "doc-camera"
SHAPE = (480, 640)
FRAMES = 300
PERIOD = 0.004


def camera() -> None:
    """Publishes numbered images; the stream stays when this process ends."""
    with shm_py.create(NAME, shape=SHAPE, dtype=np.uint8) as stream:
        for number in range(1, FRAMES + 1):
            exposed = time.time_ns()
            with stream.write_view(frame_id=number, acquired_ns=exposed) as image:
                image[:] = number % 256
            time.sleep(PERIOD)


def display() -> None:
    """Shows each frame that it can, and checks that none is torn or out of order."""
    stream = shm_py.open(NAME, readonly=True, timeout=30)
    screen = np.empty(SHAPE, np.uint8)
    first = stream.last_read_count
    shown = 0
    latencies = []
    begun = 0.0
    while stream.last_read_count < FRAMES:
        after = stream.last_read_count
        frame = stream.read_after_publication(after, timeout=30, out=screen)
        begun = begun or time.monotonic()
        assert frame.payload is screen and frame.count > after
        assert (screen == frame.frame_id % 256).all(), "a torn frame"
        assert frame.acquired_ns is not None
        latencies.append(time.time_ns() - frame.acquired_ns)
        shown += 1
    rate = shown / (time.monotonic() - begun)
    skipped = stream.total_missed_writes
    assert first + shown + skipped == FRAMES, "every frame is accounted for"
    print(f"display: {shown} of {FRAMES} frames, {skipped} skipped, {rate:.0f} frames/s")
    print(f"display: {np.median(latencies) / 1e3:.0f} us from exposure to screen (median)")
    stream.close()


def main() -> None:
    """Runs the display here and the camera beside it, and cleans up."""
    shm_py.unlink_quiet(NAME)
    process = multiprocessing.get_context("spawn").Process(target=camera, daemon=True)
    try:
        process.start()
        display()
        process.join()
        assert process.exitcode == 0
    finally:
        shm_py.unlink_quiet(NAME)


if __name__ == "__main__":
    main()
