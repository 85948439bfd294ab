"""The official Triton client, which knows nothing of this project, on the Rust server.

Needs `pip install "tritonclient[http]"`. The picture goes through shared memory that this client
registers, and comes back through it.
"""

import argparse
import os
import time

import numpy as np
import tritonclient.http as triton  # type: ignore[import,unused-ignore]
from tritonclient.utils import shared_memory  # type: ignore[import,unused-ignore]

MEAN = np.array([0.485, 0.456, 0.406])
DEVIATION = np.array([0.229, 0.224, 0.225])


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Has the server normalize pictures.")
    parser.add_argument("url", nargs="?", default="localhost:8000", help="HOST:PORT of the server")
    parser.add_argument("--region", default="examples-official", help="name of the shared memory")
    parser.add_argument("--width", type=int, default=640, help="pixels in a row")
    parser.add_argument("--height", type=int, default=480, help="rows of a picture")
    parser.add_argument("--frames", type=int, default=20, help="end after so many pictures")
    parser.add_argument("--seconds", type=float, default=60.0, help="end after so many seconds")
    return parser.parse_args()


def main() -> None:
    """Registers memory once, and sends pictures through it."""
    args = arguments()
    client = triton.InferenceServerClient(args.url)
    shape = (args.height, args.width, 3)
    picture_bytes = args.height * args.width * 3
    planes_bytes = 4 * picture_bytes
    key = f"/{args.region}-{os.getpid()}"
    memory = shared_memory.create_shared_memory_region(
        args.region, key, picture_bytes + planes_bytes
    )
    done = 0
    try:
        client.register_system_shared_memory(args.region, key, picture_bytes + planes_bytes)
        picture = triton.InferInput("PIXELS", shape, "UINT8")
        picture.set_shared_memory(args.region, picture_bytes)
        planes = triton.InferRequestedOutput("PLANES")
        planes.set_shared_memory(args.region, planes_bytes, offset=picture_bytes)
        ends = time.monotonic() + args.seconds
        while done < args.frames and time.monotonic() < ends:
            pixels = np.random.default_rng(done).integers(0, 256, shape, np.uint8)
            shared_memory.set_shared_memory_region(memory, [pixels])
            client.infer("normalize", [picture], outputs=[planes])
            found = shared_memory.get_contents_as_numpy(
                memory, np.float32, (3, args.height, args.width), offset=picture_bytes
            )
            expected = ((pixels / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)
            assert np.allclose(found, expected, atol=1e-5), f"picture {done} is another one"
            done += 1
    except KeyboardInterrupt:
        pass
    finally:
        client.unregister_system_shared_memory(args.region)
        shared_memory.destroy_shared_memory_region(memory)
        client.close()
    print(f"client: {done} pictures, all as NumPy says", flush=True)


if __name__ == "__main__":
    main()
