"""Publishes pictures, and checks the edges that a Rust process finds in them.

Start `cargo run -p shm-examples --bin sobel` beside it.
"""

import argparse
import time

import numpy as np
import shm_py


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Publishes pictures and checks their edges.")
    parser.add_argument(
        "picture", nargs="?", default="examples/picture", help="stream to publish to"
    )
    parser.add_argument("edges", nargs="?", default="examples/edges", help="stream of the answers")
    parser.add_argument("--width", type=int, default=640, help="pixels in a row")
    parser.add_argument("--height", type=int, default=480, help="rows of a picture")
    parser.add_argument("--frames", type=int, default=100, help="end after so many pictures")
    parser.add_argument("--seconds", type=float, default=60.0, help="wait so long for an answer")
    return parser.parse_args()


def draw(picture: np.ndarray, number: int) -> None:
    """A bright disc that wanders over a slope, with noise that differs from picture to picture."""
    height, width = picture.shape
    rows, columns = np.ogrid[:height, :width]
    across, down = columns - (number * 5) % width, rows - (number * 3) % height
    disc = across**2 + down**2 < (height // 4) ** 2
    noise = np.random.default_rng(number).integers(0, 16, picture.shape)
    picture[:] = np.where(disc, 230, columns * 128 // width) + noise


def sobel(picture: np.ndarray) -> np.ndarray:
    """The sum of the sizes of both Sobel gradients, by NumPy; 0 at the border."""
    p = picture.astype(np.int32)
    across = p[:, 2:] - p[:, :-2]
    across = across[:-2] + 2 * across[1:-1] + across[2:]
    down = p[2:] - p[:-2]
    down = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    edges = np.zeros(picture.shape, np.uint16)
    edges[1:-1, 1:-1] = np.abs(across) + np.abs(down)
    return edges


def attach(name: str, seconds: float) -> shm_py.SharedMemory:
    """The stream of the answers to our pictures, of which none has been published yet."""
    ends = time.monotonic() + seconds
    while True:
        edges = shm_py.open(name, readonly=True, timeout=max(0.0, ends - time.monotonic()))
        if edges.count == 0:
            return edges
        edges.close()
        if time.monotonic() >= ends:
            raise TimeoutError(f"stream {name!r} has answers to other pictures; start sobel")
        time.sleep(0.01)  # it is about to be removed, or replaced


def run(pictures: shm_py.SharedMemory, args: argparse.Namespace, latencies: list[int]) -> None:
    """One picture after the other: published, answered, compared with what NumPy says."""
    with attach(args.edges, args.seconds) as edges:
        for number in range(1, args.frames + 1):
            with pictures.write_view(frame_id=number) as picture:
                draw(picture, number)
            expected = sobel(pictures.read())
            # Answers come in order: it is the next one, and has the picture's number.
            answer = edges.read_after_publication(number - 1, timeout=args.seconds)
            assert answer.frame_id == number, f"{answer.frame_id} answers {number}"
            assert np.array_equal(answer.payload, expected), f"picture {number} has other edges"
            latencies.append(answer.write_time_ns - pictures.write_time_ns)


def main() -> None:
    """Publishes until all pictures are answered; nothing stays."""
    args = arguments()
    latencies: list[int] = []
    with shm_py.stream(
        args.picture,
        shape=(args.height, args.width),
        dtype=np.uint8,
        temporary=True,
        replace_existing=True,
    ) as pictures:
        print(f"picture: waiting for edges in {args.edges}", flush=True)
        try:
            run(pictures, args, latencies)
        except KeyboardInterrupt:
            pass
    middle = np.median(latencies or [0]) / 1e6
    print(
        f"picture: {len(latencies)} answers, all as NumPy says, "
        f"{middle:.1f} ms from picture to edges (median)",
        flush=True,
    )


if __name__ == "__main__":
    main()
