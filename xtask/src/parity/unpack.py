"""Takes the tests out of a source archive: `unpack.py ARCHIVE SHA256 FOLDER`.

The archive is one that was looked at when its checksum was written down, or it is refused.
"""

import hashlib
import pathlib
import sys
import tarfile


def main(archive: str, expected: str, folder: str) -> None:
    found = hashlib.sha256(pathlib.Path(archive).read_bytes()).hexdigest()
    if found != expected:
        sys.exit(f"{archive} has SHA-256 {found}, expected {expected}; remove it and run again")
    out = pathlib.Path(folder)
    taken = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            path = pathlib.PurePosixPath(member.name)
            if member.isfile() and path.parts[1:-1] == ("tests",) and path.match("test_*.py"):
                source = tar.extractfile(member)
                assert source is not None
                (out / path.name).write_bytes(source.read())
                taken += 1
    print(taken)


main(*sys.argv[1:])
