"""Batches of images from a preprocessing process to an encoder, without a copy on either side.

The producer normalizes straight into shared memory; the encoder computes on the batch where it
lies, and learns afterwards whether the batch stayed whole. Elements are bfloat16 where ml_dtypes
is installed, else float32.
"""

import importlib.util
import multiprocessing

import numpy as np
import shm_py

BATCHES = "doc-vision-batches"
EMBEDDINGS = "doc-vision-embeddings"
SHAPE = (8, 3, 64, 64)
ROUNDS = 50
DTYPE = "bfloat16" if importlib.util.find_spec("ml_dtypes") else "float32"


def preprocess() -> None:
    """Normalizes pixels into the next batch, once the encoder has answered the one before."""
    batches = shm_py.open(BATCHES)
    embeddings = shm_py.open(EMBEDDINGS, readonly=True)
    for number in range(1, ROUNDS + 1):
        pixels = np.full(SHAPE, number, np.uint8)
        with batches.write_view(frame_id=number) as batch:
            np.divide(pixels, np.float32(64), out=batch, casting="same_kind")
        embeddings.wait_for_count(after=number - 1, timeout=30)
    batches.close()
    embeddings.close()


def encode(batches: shm_py.SharedMemory, embeddings: shm_py.SharedMemory) -> None:
    """Turns each batch into one number per image."""
    while embeddings.count < ROUNDS:
        batches.wait_for_count(after=embeddings.count, timeout=30)
        try:
            with batches.view() as seen:
                assert not seen.array.flags.owndata and not seen.array.flags.writeable
                means = seen.array.mean(axis=(1, 2, 3), dtype=np.float32)
        except shm_py.FrameOverwrittenError:
            # The producer did not wait: look at its newest batch instead.
            continue
        assert np.allclose(means, seen.frame_id / 64)
        embeddings.write(means, frame_id=seen.frame_id)


def main() -> None:
    """Runs the encoder here and the preprocessing beside it."""
    shm_py.purge(prefix="doc-vision-")
    process = multiprocessing.get_context("spawn").Process(target=preprocess, daemon=True)
    with shm_py.stream(BATCHES, shape=SHAPE, dtype=DTYPE) as batches:
        with shm_py.stream(EMBEDDINGS, shape=SHAPE[:1]) as embeddings:
            process.start()
            encode(batches, embeddings)
            process.join()
            assert embeddings.frame_id == batches.count == ROUNDS
        size = batches.size / 1e3
    assert process.exitcode == 0
    print(f"{ROUNDS} batches of {SHAPE} {DTYPE}, {size:.0f} kB each, read where they lay")


if __name__ == "__main__":
    main()
