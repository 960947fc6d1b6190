"""Replacements of characters, compiled into the trie that tf-text's normaliser looks them up in."""

import flatbuffers
import numpy as np


class StringPool:
    """Replacement strings in one buffer, addressed as tf-text's normaliser wants it."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._data: dict[str, int] = {}

    def add(self, string: str) -> int:
        """The trie's value for a replacement: "changed" bit, 24 bits offset, 6 bits length."""
        if string not in self._data:
            encoded = string.encode()
            self._data[string] = 1 << 30 | len(self.buffer) << 6 | len(encoded)
            self.buffer += encoded
        return self._data[string]


def normalizer_model(data: np.ndarray, pool: StringPool) -> bytes:
    """Makes the model of a `FastBertNormalizer`.

    Args:
        data: uint32 `[0x110000]`, of each code point what the pool gave for its replacement, and 0
            where it stays as it is.
        pool: The replacements.

    Returns:
        The flatbuffer `FastBertNormalizerModel`: its fields 1, 2 and 3.
    """
    removed = pool.add("")
    builder = flatbuffers.Builder(1 << 20)
    strings = builder.CreateByteVector(bytes(pool.buffer))
    trie = builder.CreateNumpyVector(_compile_trie(data, removed))
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(1, trie, 0)
    builder.PrependInt32Slot(2, removed, 0)  # U+0000, which a trie cannot hold
    builder.PrependUOffsetTRelativeSlot(3, strings, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _compile_trie(data: np.ndarray, malformed: int) -> np.ndarray:
    """A double-array trie (the darts-clone format) over the UTF-8 bytes of all characters.

    A unit holds its label in bits 0-7, "has a value" in bit 8 and from bit 10 on what its address
    is xor-ed with to reach its children; a value unit is marked by bit 31.  A character's last
    three bytes have 64 continuations each, so nodes come in blocks of 64, and equal blocks are
    stored once: most of Unicode is one block.  Block k begins 128 behind its base, which holds the
    value of the incomplete sequence that leads to it.

    Args:
        data: uint32 `[0x110000]`, the value of each code point, 0 for none.
        malformed: The value of bytes that are not UTF-8.

    Returns:
        uint32 `[units]`.
    """
    last, last_of = _unique_rows(data.reshape(-1, 64))
    third = np.pad(last_of.reshape(-1, 64), ((0, 5 * 64 - 0x110), (0, 0)))
    third, third_of = _unique_rows(third)
    second = third_of.reshape(5, 64)
    blocks = len(last) + len(third) + len(second)
    base = 512 + 256 * (np.arange(blocks) >> 1) + 64 * (np.arange(blocks) & 1)
    base_of_last, base_of_third, base_of_second = np.split(
        base, [len(last), len(last) + len(third)]
    )
    values = np.unique(np.append(last, malformed))
    value_address = 512 + 256 * (blocks // 2 + 1) + np.arange(len(values))
    units = np.zeros(value_address[-1] + 1, np.uint32)

    def point(addresses: np.ndarray, labels: np.ndarray, targets: np.ndarray) -> None:
        units[addresses] = labels | 0x100 | (addresses ^ targets) << 10

    def fill(bases: np.ndarray, targets: np.ndarray) -> None:
        labels = np.broadcast_to(np.arange(0x80, 0xC0), targets.shape)
        point(bases[:, None] + labels, labels, targets)

    byte = np.arange(256)

    def address_of(value: np.ndarray | int) -> np.ndarray:
        return value_address[np.searchsorted(values, value)]

    start = np.full(256, address_of(malformed))  # bytes that begin no character
    start[:0x80] = address_of(data[:0x80])
    start[0xC2:0xE0] = base_of_last[last_of[2:32]]
    start[0xE0:0xF0] = base_of_third[third_of[:16]]
    start[0xF0:0xF5] = base_of_second
    point(256 + byte, byte, start)
    fill(base_of_second, base_of_third[second])
    fill(base_of_third, base_of_last[third])
    fill(base_of_last, address_of(last))
    units[value_address] = values.astype(np.uint32) | np.uint32(1 << 31)
    units[base] = malformed | 1 << 31
    units[0] = 256 << 10
    return units


def _unique_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that differ, and which of them each row is; `np.unique` compares by number."""
    whole = np.ascontiguousarray(table).view(f"V{table.itemsize * table.shape[1]}")[:, 0]
    _, first, row_of = np.unique(whole, return_index=True, return_inverse=True)
    return table[first], row_of
