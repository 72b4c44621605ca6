"""A reader of UBJSON as XGBoost writes it: big-endian numbers, typed and counted arrays. It knows nothing of forests."""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_DEPTH = 64
_SCALARS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_CONSTANTS = {"Z": None, "T": True, "F": False}


class UBJSONError(ValueError):
    """Bytes that are not UBJSON, or end early."""


def read_ubjson(payload: bytes) -> Any:
    r"""Return the value that the bytes hold; a typed array of numbers becomes a NumPy array.

    Raises
    ------
    UBJSONError : the bytes are damaged or truncated.

    Examples
    --------
    >>> read_ubjson(b"{i\x01a[i\x05T]}")
    {'a': [5, True]}
    """
    reader = _Reader(payload)
    value = reader.value(reader.marker(), 0)
    if reader.at != len(payload):
        raise UBJSONError(f"{len(payload) - reader.at} bytes follow the end")
    return value


class _Reader:
    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.at = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.payload):
            raise UBJSONError(
                f"it ends at byte {len(self.payload)}, where {count} more were promised at {self.at}"
            )
        self.at += count
        return self.payload[self.at - count : self.at]

    def marker(self) -> str:
        found = "N"
        while found == "N":  # "no operation" may stand anywhere
            found = chr(self.take(1)[0])
        return found

    def value(self, marker: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise UBJSONError("it is nested too deeply")
        if marker in _SCALARS:
            dtype = np.dtype(_SCALARS[marker])
            return np.frombuffer(self.take(dtype.itemsize), dtype=dtype)[0].item()
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == "C":
            return self.take(1).decode("latin-1")
        if marker == "S":
            return self.text()
        if marker == "[":
            return self.array(depth)
        if marker == "{":
            return self.object(depth)
        raise UBJSONError(f"unknown marker {marker!r} at byte {self.at - 1}")

    def length(self) -> int:
        marker = self.marker()
        if marker not in "iUIlL":
            raise UBJSONError(f"a length starts with {marker!r} at byte {self.at - 1}")
        return int(self.value(marker, 0))

    def text(self) -> str:
        try:
            return self.take(self.length()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UBJSONError(f"a text is not UTF-8 ({error.reason})") from None

    def header(self) -> tuple[str | None, int | None]:
        """Read the optional type and count of a container."""
        kind = count = None
        if self.payload[self.at : self.at + 1] == b"$":
            self.at += 1
            kind = chr(self.take(1)[0])
        if self.payload[self.at : self.at + 1] == b"#":
            self.at += 1
            count = self.length()
            if count < 0:
                raise UBJSONError("a container has a negative count")
        elif kind is not None:
            raise UBJSONError("a typed container has no count")
        return kind, count

    def array(self, depth: int) -> Any:
        kind, count = self.header()
        if kind is not None and count is not None:
            if kind not in _SCALARS:
                raise UBJSONError(f"an array of type {kind!r}, which XGBoost does not write")
            dtype = np.dtype(_SCALARS[kind])
            values = np.frombuffer(self.take(count * dtype.itemsize), dtype=dtype)
            return values.astype(dtype.newbyteorder("="))
        items: list[Any] = []
        while count is None or len(items) < count:
            marker = self.marker()
            if count is None and marker == "]":
                break
            items.append(self.value(marker, depth + 1))
        return items

    def object(self, depth: int) -> dict[str, Any]:
        kind, count = self.header()
        if kind is not None:
            raise UBJSONError("an object of one type, which XGBoost does not write")
        result: dict[str, Any] = {}
        while count is None or len(result) < count:
            if count is None and self.payload[self.at : self.at + 1] == b"}":
                self.at += 1
                break
            name = self.text()
            result[name] = self.value(self.marker(), depth + 1)
        return result
