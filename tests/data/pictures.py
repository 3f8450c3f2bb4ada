"""Small images to load."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def pixels(i, size=(8, 6), channels=3):
    """A picture that its number decides; size is (width, height)."""
    generator = np.random.default_rng(i)
    return generator.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)


def encoded(array, kind="png", **options):
    file = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(file, kind, **options)
    return file.getvalue()


def deep_png(width=8, height=6):
    """RGB of 16 bits, which Pillow would cut to 8 in silence."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(6 * width) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def scaled(array):
    """What loading makes of bytes (H, W, C)."""
    return np.moveaxis(array.astype(np.float32) / 127.5 - 1, -1, 0)
