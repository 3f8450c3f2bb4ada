"""What is no checkpoint is called what it is."""

import re

__all__ = ["SAVED_ANEW", "foreign"]

SAVED_ANEW = "load it where it was made, and torch.save its state_dict"


def foreign(start: bytes) -> str | None:
    """What a file is that is no checkpoint, and what to do; None for what is not known.

    Args:
        start: its first kilobyte.
    """
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return "is a web page, not a checkpoint: download the file itself, not the page that links to it"
    if text.startswith(b"version https://git-lfs"):
        real = re.search(rb"size (\d{1,15})", text)
        which = f" to a file of {int(real[1])} bytes" if real else ""
        return f"is a Git LFS pointer{which}, not the file: fetch it with git lfs pull"
    if text.startswith((b"<?xml", b"{", b"[")):
        return "is text, perhaps a server's message, not a checkpoint: download it again"
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")):
        return "is compressed: unpack it first"
    if start[257:262] == b"ustar":
        return f"is a tar archive: unpack it first; if torch before 0.2 wrote it, {SAVED_ANEW}"
    if start.startswith(b"\x89HDF"):
        return "is an HDF5 file, not a checkpoint of PyTorch"
    return None
