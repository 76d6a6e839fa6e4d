"""PNG files that Pillow does not write: incomplete ones, and colour of 16 bits."""

import struct
import zlib


def png_bytes(rows: bytes, *, size: tuple[int, int], depth: int = 8) -> bytes:
    """PNG with one row of RGB pixels after another, which need not be complete; its checksums are sound."""
    width, length = size[0], 3 * size[0] * depth // 8
    data = b"".join(b"\0" + rows[start : start + length] for start in range(0, len(rows), length))
    head = struct.pack(">IIBBBBB", width, size[1], depth, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
