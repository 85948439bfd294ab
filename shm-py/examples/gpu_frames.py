"""Frames on a CUDA device, written by one process and read by another without leaving the device.

Without a GPU it says so and ends; on the simulated driver it runs, and says `sim`.
"""

import multiprocessing
from multiprocessing.connection import Connection

import numpy as np
import shm_py

NAME = "doc-gpu"
SHAPE = (256, 256)
FRAMES = 20


def viewer(told: Connection) -> None:
    """Follows the stream, on the device."""
    stream = shm_py.open(NAME, gpu_device="cuda")
    frame = shm_py.DeviceTensor.empty(SHAPE, "float32", stream.gpu_device or "cuda")
    told.send("ready")
    seen = 0
    while seen < FRAMES:
        publication = stream.read_after_publication(seen, timeout=30.0, out=frame)
        # Here a kernel of PyTorch's or CuPy's would use the frame: torch.from_dlpack(frame).
        host = frame.to_numpy()
        assert (host == publication.frame_id).all(), "frames are never torn"
        seen = publication.count
    told.send((seen, stream.total_missed_writes, repr(frame)))
    stream.close()


def main() -> None:
    """Writes frames while another process looks at them."""
    if not shm_py.gpu_available():
        print("no CUDA device here: nothing to show")
        return
    spawn = multiprocessing.get_context("spawn")
    shm_py.unlink_quiet(NAME)
    with shm_py.stream(NAME, shape=SHAPE, gpu_device="cuda:0", cells=4) as stream:
        told, tells = spawn.Pipe(duplex=False)
        process = spawn.Process(target=viewer, args=(tells,))
        process.start()
        assert told.recv() == "ready"
        for number in range(1, FRAMES + 1):
            with stream.write_view(frame_id=number) as frame:
                frame.copy_from(np.full(SHAPE, number, np.float32))
        seen, missed, shown = told.recv()
        process.join()
        print(f"{seen} frames, of which {missed} were too old when their turn came; {shown}")


if __name__ == "__main__":
    main()
