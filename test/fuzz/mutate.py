"""Mutations without knowledge of the code, where atheris is not installed."""

import struct

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def mutated(data, seeds, words, rng):
    """Bytes with one to eight random changes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 8))):
        rng.choice(CHANGES)(out, seeds, words, rng)
    return bytes(out)


def _place(out, rng):
    """An index, more often near the beginning, where headers are."""
    size = len(out)
    return (
        rng.randrange(min(size, 200)) if size and rng.random() < 0.5 else rng.randrange(size + 1)
    )


def _flip(out, seeds, words, rng):
    if out:
        out[_place(out, rng) % len(out)] ^= 1 << rng.randrange(8)


def _byte(out, seeds, words, rng):
    if out:
        out[_place(out, rng) % len(out)] = rng.randrange(256)


def _number(out, seeds, words, rng):
    form = rng.choice('BHIQ')
    size = struct.calcsize(form)
    begin = _place(out, rng)
    out[begin : begin + size] = struct.pack('<' + form, rng.choice(NUMBERS) % 256**size)


def _cut(out, seeds, words, rng):
    del out[_place(out, rng) :]


def _delete(out, seeds, words, rng):
    begin = _place(out, rng)
    del out[begin : begin + rng.choice((1, 2, 4, 8, 50))]


def _repeat(out, seeds, words, rng):
    begin = _place(out, rng)
    part = out[begin : begin + rng.choice((1, 4, 16, 100))]
    out[begin:begin] = part * rng.choice((1, 2, 10))


def _insert(out, seeds, words, rng):
    begin = _place(out, rng)
    out[begin:begin] = rng.randbytes(rng.choice((1, 2, 4, 8)))


def _word(out, seeds, words, rng):
    if words:
        word, begin = rng.choice(words), _place(out, rng)
        out[begin : begin + rng.choice((0, len(word)))] = word


def _splice(out, seeds, words, rng):
    other = rng.choice(seeds)
    out[_place(out, rng) :] = other[rng.randrange(len(other) + 1) :]


CHANGES = (_flip, _flip, _byte, _number, _number, _cut, _delete, _repeat, _insert, _word, _word,
           _splice)  # fmt: skip
