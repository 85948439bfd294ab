"""Removing what is left over."""

from __future__ import annotations

import os

from ._native import _purge

_FOLDER = "/dev/shm"


def purge(
    *, include_cuda_orphans: bool = False, prefix: str = "", dry_run: bool = False
) -> list[str]:
    """Unlinks every stream of this user whose name begins with `prefix`, in use or not.

    With include_cuda_orphans=True also the reference-count files of PyTorch's CUDA sharing
    (`cuda.shm.*`) whose producer is gone. With dry_run=True it only says what it would remove.
    Returns the names, streams first. To remove only what nobody uses, see gc().

    Raises NotImplementedError on platforms that cannot list shared memory.
    """
    removed = _purge(prefix=prefix, dry_run=dry_run)
    if include_cuda_orphans:
        removed += _remove_cuda_orphans(dry_run)
    return removed


def _remove_cuda_orphans(dry_run: bool) -> list[str]:
    removed = []
    for entry in sorted(os.scandir(_FOLDER), key=lambda entry: entry.name):
        producer = _producer(entry.name)
        if producer is None or _exists(producer):
            continue
        if not entry.is_file(follow_symlinks=False):
            continue
        try:
            if entry.stat(follow_symlinks=False).st_uid != os.geteuid():
                continue
            if not dry_run:
                os.unlink(entry.path)
        except FileNotFoundError:
            continue
        removed.append(entry.name)
    return removed


def _producer(file: str) -> int | None:
    """The process id in `cuda.shm.<id>.<pid, hexadecimal>.<number>`."""
    parts = file.split(".")
    if len(parts) != 5 or parts[:2] != ["cuda", "shm"]:
        return None
    try:
        return int(parts[3], 16)
    except ValueError:
        return None


def _exists(pid: int) -> bool:
    # These files carry nothing but a pid: a pid that was used again keeps them, which is the safe side.
    return os.path.exists(f"/proc/{pid}")
