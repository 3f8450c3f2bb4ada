"""The zip archives that torch.save writes: stored, not compressed, each byte in one entry."""

import stat
import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise

from scoresde.errors import InputError

__all__ = ["Archive"]

_END, _ENTRY, _LOCAL = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
_END64, _LOCATOR64 = b"PK\x06\x06", b"PK\x06\x07"


@dataclass
class Archive:
    """The entries of a file of torch.save, by their names without the first folder.

    Args:
        data: the whole file.

    Raises:
        InputError: as the rest of a sentence about the file.
    """

    data: memoryview

    def __post_init__(self) -> None:
        self.places: dict[str, tuple[int, int, int]] = {}  # start, end, checksum
        spans, roots = [], set()
        first, count, end = self._table()
        at = first
        for _ in range(count):
            at, name, place, mode, head = self._entry(at, end)
            root, _, inside = name.partition("/")
            parts = name.split("/")
            if not inside or "\\" in name or not name.isprintable() or {"", ".", ".."} & set(parts):
                raise InputError(f"holds an entry of the name {name!r}, which torch.save does not write")
            if stat.S_ISLNK(mode):
                raise InputError(f"holds a link, {name}, which torch.save does not write")
            if inside in self.places:
                raise InputError(f"holds two entries of the name {name}")
            self.places[inside] = place
            spans.append((head, place[1]))
            roots.add(root)
        if at != end:
            raise InputError("has a damaged table of contents")
        spans.sort()
        if len(roots) > 1 or any(low[1] > high[0] for low, high in pairwise(spans)):
            raise InputError("holds entries that share bytes or folders, which torch.save does not write")
        if spans and spans[-1][1] > first:
            raise InputError("holds entries that share bytes with its table of contents")

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def place(self, name: str) -> tuple[int, int, int]:
        """Where an entry starts and ends, and its checksum.

        Raises:
            InputError: when there is none.
        """
        if name not in self.places:
            raise InputError(f"lacks its entry {name}")
        return self.places[name]

    def read(self, name: str) -> memoryview:
        """The bytes of an entry.

        Raises:
            InputError: when there is none, or its bytes are not those that were written.
        """
        start, end, checksum = self.place(name)
        part = self.data[start:end]
        if zlib.crc32(part) != checksum:
            raise InputError(f"is damaged: its entry {name}, from byte {start} to {end}, is not what was written")
        return part

    def _unpack(self, layout: str, at: int) -> tuple[int, ...]:
        if not 0 <= at <= len(self.data) - struct.calcsize(layout):
            raise InputError("has a damaged table of contents")
        return struct.unpack_from(layout, self.data, at)

    def _table(self) -> tuple[int, int, int]:
        """Where the table of contents starts, its number of entries, and where it ends."""
        last = len(self.data) - 22
        if last < 0 or self.data[last : last + 4] != _END:
            if (there := bytes(self.data[-66_000:]).rfind(_END)) >= 0:
                end = max(len(self.data) - 66_000, 0) + there + 22
                if end < len(self.data):
                    raise InputError(f"goes on after the end of its zip archive, from byte {end} to {len(self.data)}")
            raise InputError(
                f"is truncated: it ends at byte {len(self.data)}, before the table of contents of its zip archive"
            )
        disk, other, here, count, size, first, comment = self._unpack("<4H2IH", last + 4)
        if last >= 20 and self.data[last - 20 : last - 16] == _LOCATOR64:
            _, last, _ = self._unpack("<IQI", last - 16)
            if self.data[last : last + 4] != _END64:
                raise InputError("has a damaged table of contents")
            _, _, _, disk, other, here, count, size, first = self._unpack("<QHHIIQQQQ", last + 4)
        if disk or other or here != count or comment or first + size != last:
            raise InputError("has a damaged table of contents")
        if count > 10_000 + len(self.data) // 4096:
            raise InputError(f"is a zip archive of {count} entries, more than a checkpoint of its size has")
        return first, count, first + size

    def _entry(self, at: int, limit: int) -> tuple[int, str, tuple[int, int, int], int, int]:
        """One line of the table: where the next is, name, place, mode, and where the entry's own head is."""
        if self.data[at : at + 4] != _ENTRY:
            raise InputError("has a damaged table of contents")
        row = self._unpack("<6H3I5HII", at + 4)
        flags, method, checksum, packed, size = row[2], row[3], *row[6:9]
        lengths, attributes, head = row[9:12], row[14], row[15]
        stop = at + 46 + sum(lengths)
        if stop > limit:
            raise InputError("has a damaged table of contents")
        title = bytes(self.data[at + 46 : at + 46 + lengths[0]])
        extra = self.data[at + 46 + lengths[0] : at + 46 + lengths[0] + lengths[1]]
        wide = self._wide(extra)
        size, packed, head = (wide.pop(0) if v == 0xFFFFFFFF and wide else v for v in (size, packed, head))
        try:
            name = title.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError("holds an entry whose name is not text") from None
        if method and "/code/" in name:
            raise InputError("is TorchScript, a program, and none is run here: save the state_dict, with torch.save")
        if method or flags & 0x41 or size != packed:
            raise InputError(f"holds {name[:80]!r} compressed or encrypted, as torch.save never does")
        if self.data[head : head + 4] != _LOCAL:
            raise InputError("has a damaged table of contents")
        own = self._unpack("<5H3I2H", head + 4)
        start = head + 30 + own[8] + own[9]
        if own[2] or bytes(self.data[head + 30 : head + 30 + own[8]]) != title or start + size > len(self.data):
            raise InputError(f"holds {name[:80]!r} otherwise than its table of contents says")
        return stop, name, (start, start + size, checksum), attributes >> 16, head

    def _wide(self, extra: memoryview) -> list[int]:
        """The 64-bit numbers of an entry, where it has any."""
        at = 0
        while at + 4 <= len(extra):
            kind, size = struct.unpack_from("<HH", extra, at)
            if kind == 1 and at + 4 + size <= len(extra):
                return list(struct.unpack_from(f"<{size // 8}Q", extra, at + 4))
            at += 4 + size
        return []
