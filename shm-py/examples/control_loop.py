"""A control loop: a plant asks, a controller in another process answers, every step.

read_after() with the count from before the question cannot miss the answer, however fast it comes.
"""

import multiprocessing
import time

import numpy as np
import shm_py

SENSOR = "doc-loop-sensor"
COMMAND = "doc-loop-command"
AXES = 8
STEPS = 2000
GAIN = np.float32(0.2)


def controller() -> None:
    """Answers every measurement with a correction that has the same frame id."""
    sensor = shm_py.open(SENSOR, readonly=True)
    command = shm_py.open(COMMAND)
    seen = 0
    while seen < STEPS:
        measured = sensor.read_after_publication(seen, timeout=30)
        command.write(-GAIN * measured.payload, frame_id=measured.frame_id)
        seen = measured.count
    sensor.close()
    command.close()


def plant(sensor: shm_py.SharedMemory, command: shm_py.SharedMemory) -> None:
    """Drifts at each step, and is steered back."""
    noise = np.random.default_rng(1)
    position = np.full(AXES, 100, np.float32)
    times = []
    for step in range(1, STEPS + 1):
        position += noise.normal(0, 0.1, AXES).astype(np.float32)
        before = command.count
        begun = time.perf_counter_ns()
        sensor.write(position, frame_id=step)
        answer = command.read_after_publication(before, timeout=30)
        times.append(time.perf_counter_ns() - begun)
        assert answer.frame_id == step, "an answer to another question"
        position += answer.payload
    # The first step waited for the controller to start.
    middle, slow = np.percentile(times[1:], [50, 99]) / 1e3
    print(f"{STEPS} steps, round trip {middle:.0f} us (99 %: {slow:.0f} us)")
    print(f"position {np.abs(position).max():.2f} from the target, was 100")
    assert np.abs(position).max() < 2
    assert sensor.count == command.count == STEPS


def main() -> None:
    """Runs the plant here and the controller beside it."""
    shm_py.purge(prefix="doc-loop-")
    process = multiprocessing.get_context("spawn").Process(target=controller, daemon=True)
    with shm_py.stream(SENSOR, shape=(AXES,)) as sensor:
        with shm_py.stream(COMMAND, shape=(AXES,)) as command:
            process.start()
            plant(sensor, command)
            process.join()
    assert process.exitcode == 0


if __name__ == "__main__":
    main()
