"""Files in memory that hold no descriptor: what is mapped stays, and the file is closed.

Python's own mapping keeps a descriptor of its file for as long as it lives, and numpy's is made of
that. A version has a hundred files, a process often no more than 1,024 descriptors.
"""

import ctypes
import mmap
import os
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Mapped = npt.NDArray[np.uint8]

_READ_AND_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_ANYWHERE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_HERE = mmap.MAP_PRIVATE | 0x10  # MAP_FIXED, which Python does not name
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)


def copied_when_written(file: BinaryIO, length: int, *, in_memory: int = 0) -> Mapped:
    """The first bytes of a file, and room behind them, if there are to be more in memory. What is
    written to either stays in memory, and never reaches the file.
    """
    memory = mmap.mmap(-1, max(length, in_memory), flags=_ANYWHERE, prot=_READ_AND_WRITE)
    return _over(memory, file, length, _READ_AND_WRITE)


def only_read(file: BinaryIO, length: int) -> Mapped:
    """The first bytes of a file. They may be more than there is memory."""
    memory = mmap.mmap(-1, length, flags=_ANYWHERE, prot=mmap.PROT_READ)
    return _over(memory, file, length, mmap.PROT_READ)


def _over(memory: mmap.mmap, file: BinaryIO, length: int, rights: int) -> Mapped:
    """The file over the beginning of that memory, which is given back as one."""
    found = np.frombuffer(memory, np.uint8)
    at = _LIBC.mmap(found.ctypes.data, length, rights, _HERE, file.fileno(), 0)
    if at != found.ctypes.data:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), file.name)
    return found
