"""Memory in huge pages, of which a fork copies one entry for each 512 pages."""

import ctypes
from pathlib import Path

SIZE = 2 << 20  # bytes, on x86-64, and on ARM with pages of 4 KiB
COLLAPSE = 25  # MADV_COLLAPSE; Linux has it since 6.1, and says no before


def collapse() -> None:
    """Put this process's own memory into huge pages, as far as the kernel does it."""
    advise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, rights, _, _, _, *name = line.split(maxsplit=5)
        if rights != "rw-p" or name not in ([], ["[heap]"]):
            continue
        start, end = (int(address, 16) for address in addresses.split("-"))
        for address in range(-(-start // SIZE) * SIZE, end - SIZE + 1, SIZE):
            advise(ctypes.c_void_p(address), ctypes.c_size_t(SIZE), COLLAPSE)
