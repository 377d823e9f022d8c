"""Damage to files: bits, bytes, cuts and splices; boxes of mp4; numbers of texts; nodes of JSON; arrays and tensors."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ODD_NUMBERS = (
    "0", "-1", "1", "1e999", "-1e999", "nan", "inf", "1e-320", "2147483648", "-9223372036854775809", "99999999999999",
    "0.5", "", "true", "null", "[]", "{}", '"x"', "0x10", "1_000", "١",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, -(2**70), 1e308, float("nan"), float("inf"), -0.0, 0.5, "", "x", "nan",
    "../../x", "\x00", "ü" * 300, [], {}, [[]], [None], [0, 1], {"a": 1}, [[[[[0]]]]],
)  # fmt: skip


def damage_bytes(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """A few damages to bytes of any kind."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        if not out:
            return bytes(out)
        at = draw.randrange(len(out))
        length = min(draw.choice((1, 2, 4, 8, 64, 1024)), len(out) - at)
        kind = draw.randrange(9)
        if kind == 0:
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            out[at] = draw.randrange(256)
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = out[at : at + length]
        elif kind == 5:
            out[at : at + length] = bytes(length)
        elif kind == 6:
            number = draw.choice((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1))
            size = draw.choice((1, 2, 4, 8))
            value = (number % (1 << 8 * size)).to_bytes(size, draw.choice(("big", "little")))
            out[at : at + size] = value
        elif kind == 7:
            out[at:at] = draw.randbytes(length)
        elif others:
            other = draw.choice(others)
            start = draw.randrange(max(len(other), 1))
            out[at : at + length] = other[start : start + draw.choice((16, 256, 4096))]
    return bytes(out)


def damage_boxes(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Damage to one box of an mp4 or mov: its size, its type, its content; or it is removed, doubled, moved."""
    boxes = list(_boxes(data, 0, len(data), 0))
    if not boxes:
        return damage_bytes(data, draw, others)
    start, end = draw.choice(boxes)
    box, before, after = data[start:end], data[:start], data[end:]
    kind = draw.randrange(7)
    if kind == 0:
        size = draw.choice((0, 1, 7, 8, 9, len(box) - 1, len(box) + 1, 0x7FFFFFFF, 0xFFFFFFFF))
        return before + struct.pack(">I", size) + box[4:] + after
    if kind == 1:
        return (
            before + box[:4] + draw.choice((b"free", b"moov", b"stsd", b"stts", b"elst", b"\0\0\0\0")) + box[8:] + after
        )
    if kind == 2:
        return before + after
    if kind == 3:
        return before + box + box + after
    if kind == 4:
        return after + box + before
    if kind == 5 and others:
        other = draw.choice(others)
        found = list(_boxes(other, 0, len(other), 0))
        if found:
            first, last = draw.choice(found)
            return before + other[first:last] + after
    return before + box[:8] + damage_bytes(box[8:], draw, others) + after


def _boxes(data: bytes, start: int, end: int, depth: int) -> list[tuple[int, int]]:
    found = []
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        if size < 8 or start + size > end or not kind.isalnum():
            break
        found.append((start, start + size))
        if depth < 8 and kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta"):
            found += _boxes(data, start + 8, start + size, depth + 1)
        start += size
    return found


def damage_text(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Other numbers, words, lines or encodings of a text."""
    kind = draw.randrange(6)
    if kind == 0:
        return damage_bytes(data, draw, others)
    text = data.decode("utf-8", errors="replace")
    if kind == 1:
        return text.encode(draw.choice(("utf-16", "utf-8-sig", "cp1252", "utf-32")), errors="replace")
    if kind == 2:
        lines = text.split("\n")
        at = draw.randrange(len(lines))
        lines[at:at] = draw.choice(([], ["x"], lines[at : at + 5], [" " * 200], ["- [" * 300], ["\t:"]))
        del lines[draw.randrange(len(lines))]
        return "\n".join(lines).encode()
    numbers = list(re.finditer(r"-?\d+(\.\d*)?(e-?\d+)?", text))
    words = list(re.finditer(r"[A-Za-z_]+", text))
    for _ in range(draw.choice((1, 1, 3))):
        places = numbers if kind in (3, 4) and numbers else words
        if not places:
            break
        match = draw.choice(places)
        new = (
            draw.choice(ODD_NUMBERS)
            if kind != 5
            else draw.choice((*ODD_NUMBERS, draw.choice(words or [match]).group()))
        )
        text = text[: match.start()] + new + text[match.end() :]
        numbers, words = [], []
    return text.encode()


def damage_json(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Another value at a node of a JSON text, or a node that is missing."""
    if draw.random() < 0.3:
        return damage_text(data, draw, others)
    record = damage_tree(json.loads(data), draw)
    return json.dumps(record).encode()


def damage_tree(tree: Any, draw: random.Random, odd: Callable[[Any], Any] | None = None) -> Any:
    """Nested dictionaries and lists with other values at some nodes.

    Args:
        tree: left as it is.
        draw: where and what.
        odd: another value for one; None draws one of `ODD_VALUES`.
    """
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice((1, 1, 2))):
        holder: Any = None
        key: Any = None
        node = tree
        while isinstance(node, dict | list) and node and (holder is None or draw.random() < 0.8):
            holder = node
            key = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
            node = node[key]
        if holder is None:
            return draw.choice(ODD_VALUES)
        if draw.random() < 0.2:
            del holder[key]
        elif isinstance(holder, list) and draw.random() < 0.2:
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = odd(node) if odd is not None else copy.deepcopy(draw.choice(ODD_VALUES))
    return tree


def damage_array(array: np.ndarray, draw: random.Random) -> np.ndarray:
    """Another shape, type or content of an array."""
    kind = draw.randrange(10)
    if kind == 0:
        return array.astype(draw.choice(("float16", "float64", "int8", "uint64", "complex64", "S4", "U3", "?")))
    if kind == 1:
        return array.reshape(-1)
    if kind == 2 and array.ndim > 1:
        return np.ascontiguousarray(array.transpose(draw.sample(range(array.ndim), array.ndim)))
    if kind == 3:
        return array[: draw.randrange(len(array) + 1)] if array.ndim else array.reshape(1)
    if kind == 4 and array.ndim:
        return np.concatenate([array, array[: draw.randrange(1, 4)]])
    if kind == 5:
        return array[..., None] if draw.random() < 0.5 else array[None]
    if kind == 6:
        return np.zeros(draw.choice(((), (0,), (0, 3), (1,), (3, 0, 2), (2, 2, 2, 2))), array.dtype)
    if kind == 7 and array.ndim > 1:
        return np.ascontiguousarray(array[..., : draw.randrange(array.shape[-1] + 1)])
    if array.size and array.dtype.kind in "fiu":
        array = array.copy()
        value = (
            draw.choice((np.nan, np.inf, 1e30, -1e30, 0.0))
            if array.dtype.kind == "f"
            else draw.choice((-1, 2**30, 100))
        )
        flat = array.reshape(-1)
        some = slice(None) if draw.random() < 0.3 else draw.randrange(array.size)
        with np.errstate(all="ignore"):
            flat[some] = np.array(value).astype(array.dtype)
    return array


def damage_npy(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Damage to the bytes, the header or the array of a .npy file."""
    kind = draw.randrange(4)
    if kind == 0:
        return damage_bytes(data, draw, others)
    if kind == 1:  # the header says another shape, type or order
        end = 10 + struct.unpack("<H", data[8:10])[0]
        header = damage_text(data[10:end], draw).decode("latin-1")[: end - 11]
        return data[:10] + header.ljust(end - 11).encode("latin-1", errors="replace") + b"\n" + data[end:]
    file = io.BytesIO()
    array = damage_array(np.load(io.BytesIO(data)), draw)
    np.save(file, array.astype(object) if draw.random() < 0.05 else array)
    return file.getvalue()


def damage_npz(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Damage to the bytes or the arrays of a .npz file; arrays are missing or have other names."""
    if draw.random() < 0.3:
        return damage_bytes(data, draw, others)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(parts))
    kind = draw.randrange(8)
    if kind == 0:
        del parts[name]
    elif kind == 1:
        parts["odd" + name] = parts.pop(name)
    else:
        parts[name] = damage_npy(parts[name], draw)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def damage_tensors(data: bytes, draw: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Damage to the bytes of a file of torch.save, or to the values in it."""
    import torch

    if draw.random() < 0.3:
        return damage_bytes(data, draw, others)

    def odd(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and draw.random() < 0.8:
            array = damage_array(value.numpy(), draw)
            return torch.from_numpy(np.ascontiguousarray(array)) if array.dtype.kind in "fib" else torch.zeros(3)
        return copy.deepcopy(draw.choice(ODD_VALUES))

    file = io.BytesIO()
    torch.save(damage_tree(torch.load(io.BytesIO(data), weights_only=True), draw, odd), file)
    return file.getvalue()


def damage_for(path: Path) -> Callable[..., bytes]:
    """What damages files like this one."""
    return {
        ".json": damage_json,
        ".npy": damage_npy,
        ".npz": damage_npz,
        ".mp4": damage_boxes,
        ".mov": damage_boxes,
        ".yml": damage_text,
        ".csv": damage_text,
        ".lms": damage_text,
        ".pem": damage_text,
        ".pt": damage_tensors,
        ".ckpt": damage_tensors,
    }.get(path.suffix.lower(), damage_bytes)
