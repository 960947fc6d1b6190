"""Threefry-2x32 written for NumPy's own unsigned words, as an oracle."""

import numpy as np

ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24]


def threefry(key: list[int], counters: np.ndarray, second_counter: int = 0) -> np.ndarray:
    """The two words of each counter: uint32 `[2, n]`."""
    words = [np.asarray(word, "int64").astype("uint32") for word in key]
    words.append(words[0] ^ words[1] ^ np.uint32(0x1BD11BDA))
    first = np.asarray(counters, "int64").astype("uint32")
    second = np.full_like(first, np.int64(second_counter).astype("uint32"))
    first, second = first + words[0], second + words[1]
    for number in range(20):
        distance = np.uint32(ROTATIONS[number % 8])
        first = first + second
        second = (second << distance) | (second >> (np.uint32(32) - distance))
        second = second ^ first
        if number % 4 == 3:
            group = number // 4 + 1
            first = first + words[group % 3]
            second = second + words[(group + 1) % 3] + np.uint32(group)
    return np.stack([first, second])
