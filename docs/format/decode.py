#!/usr/bin/env python3
"""A slow reader of vaults, written from the documents in this folder alone.

    docs/format/decode.py VAULT [--ranks FOLDER] [--tenant NAME | --all] [--no-checksums] [--held]
    docs/format/decode.py STORE [--no-checksums]
    docs/format/decode.py FILE.kv

Prints the conversations of one tenant as JSON lines, in the order in which they first came; with
--all those of every tenant, one object a line that also says tenant, id, time, sequence numbers and
tags; with --held the segments that somebody holds instead. It needs Python and the `zstd` command,
reads logs and packs without the catalog, and is held against what the library reads by
tests/golden. FOLDER has the .tiktoken file of a vault whose vocabulary is not in the vault. Exit
status: 5 if something is damaged, 6 if it is of a newer version, 3 if something is not there.

Of a checkpoint store it prints a line for each record that index and journal have, with the SHA-256
of its payload, and of a KVC file one line like that.

Each function names the document that it is written from.
"""

import argparse
import base64
import bisect
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from xxh3 import xxh3_64, xxh3_128  # noqa: E402

CHECKSUMS = True
U32 = 0xFFFFFFFF


class Failure(Exception):
    def __init__(self, status, what):
        super().__init__(what)
        self.status = status


def corrupt(what):
    return Failure(5, f"corrupt: {what}")


def unsupported(what):
    return Failure(6, f"unsupported: {what}")


def check(condition, what):
    if not condition:
        raise corrupt(what)


def checksum(data, expected, what, seed=0, bits=64):
    if CHECKSUMS:
        check(xxh3_64(data, seed) & ((1 << bits) - 1) == expected, f"{what}: checksum")


class In:
    """Fields from the front of some bytes (README.md)."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def bytes(self, size):
        check(size <= self.left(), "it ends too early")
        self.at += size
        return self.data[self.at - size:self.at]

    def le(self, size):
        return int.from_bytes(self.bytes(size), "little")

    def varint(self):
        value = shift = 0
        while True:
            byte = self.le(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                check(value < 1 << 64 and (byte != 0 or shift == 0), "varint")
                return value
            shift += 7
            check(shift <= 63, "varint")

    def svarint(self):
        return unzigzag(self.varint())

    def sized(self):
        return self.bytes(self.varint())

    def rest(self):
        return self.bytes(self.left())

    def end(self, what):
        check(self.left() == 0, f"{what}: bytes after the end")


def unzigzag(v):
    return v >> 1 ^ -(v & 1)


# --- delta.md ----------------------------------------------------------------------------------


class Bits:
    """The decoder of delta.md, The coder. Models are made when they are first asked for."""

    def __init__(self, data):
        self.data, self.at = data, 4
        self.low, self.high = 0, U32
        self.code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
        self.models = {}

    def split(self, p):
        middle = self.low + (self.high - self.low >> 16) * p
        bit = self.code <= middle
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            byte = self.data[self.at] if self.at < len(self.data) else 0
            self.at += 1
            self.low, self.high = self.low << 8 & U32, (self.high << 8 & U32) | 0xFF
            self.code = (self.code << 8 & U32) | byte
        check(self.at <= len(self.data) + 4, "a code is cut short")
        return int(bit)

    def bit(self, name, start=32768):
        p, seen = self.models.get(name, (start, 0))
        bit = self.split(p)
        change = (65503 if bit else 32) - p
        step = abs(change) * 2 // (2 * seen + 3)
        self.models[name] = p + (step if change > 0 else -step), min(seen + 1, 30)
        return bit

    def number(self, name):
        if self.bit((name, "zero"), 4096):
            return 0
        node = 1
        for i in range(6):
            node = node * 2 + self.bit((name, "width", node), 512 if i == 0 else 32768)
        width, value = node - 64, 1
        for i in range(width):
            bit = self.bit((name, width, value)) if i < 2 else self.split(32768)
            value = value * 2 + bit
        return value

    def end(self):
        for tail in range(5):
            unit = 1 << 32 - 8 * tail
            value = -(-self.low // unit) * unit
            if value <= self.high:
                break
        check(self.data[self.at - 4:] == value.to_bytes(5, "big")[1:1 + tail], "the end of a code")


class Guesses:
    """The tokens of a delta that are inserted."""

    def __init__(self, bits, base):
        self.bits, self.base, self.last = bits, base, 0
        counts = {t: base.count(t) for t in set(base)}
        self.by_rank = sorted(counts, key=lambda t: (-counts[t], t))
        self.places = {self.place(a): (a, b) for a, b in zip(base, base[1:])}

    @staticmethod
    def place(context):
        return (context * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 52

    def token(self, context):
        known, guess = self.places.get(self.place(context), (None, None))
        if known == context:
            self.last = self.bits.bit(("guessed", self.last))
            if self.last:
                return guess
        if self.base and self.bits.bit("in_base"):
            rank = self.bits.number("rank")
            check(rank < len(self.by_rank), "delta: a rank")
            token = self.by_rank[rank]
        else:
            token = self.bits.number("spelled")
            check(token <= U32, "delta: a token")
        self.places[self.place(context)] = context, token
        return token


def delta(base, data):
    """The target of a delta, as token ids."""
    source = In(data)
    count = len(base) + source.svarint()
    total = source.le(4)
    check(0 <= count < 1 << 31, "delta: size")
    bits = Bits(source.rest())
    guesses = Guesses(bits, base)
    out, cursor, starts = [], 0, True
    while len(out) < count:
        moved, insert = 0, 0
        if not starts or bits.bit("starts"):
            insert = 1
            if bits.bit("skips"):
                back = bits.bit("back")
                moved = bits.number("skipped_back" if back else "skipped") + 1
                moved = -moved if back else moved
                check(0 <= cursor + moved <= len(base), "delta: the cursor")
                insert = bits.bit("inserts")
        if insert:
            as_many = moved > 0 and bits.bit("as_many")
            size = moved if as_many else bits.number("inserted") + 1
            check(size <= count - len(out), "delta: too many tokens")
            context = 1 << 32 | base[cursor] if moved > 0 else out[-1] if out else 1 << 33
            for _ in range(size):
                context = guesses.token(context)
                out.append(context)
        cursor, starts = cursor + moved, False
        if len(out) < count:
            size = count - len(out)
            if not bits.bit("to_end"):
                size = bits.number("copied") + 1
            check(size <= min(count - len(out), len(base) - cursor), "delta: a copy")
            out += base[cursor:cursor + size]
            cursor += size
    bits.end()
    data, found = b"".join(t.to_bytes(4, "little") for t in out), 0
    for at in range(0, len(data), 65536):
        found = xxh3_64(data[at:at + 65536], found)
    check(not CHECKSUMS or found & U32 == total, "delta: checksum")
    return out


# --- token_model.md ----------------------------------------------------------------------------

M64 = (1 << 64) - 1
P = [22, 36, 60, 98, 162, 267, 439, 720, 1179, 1921, 3108, 4971, 7812, 11955, 17625, 24743, 32768,
     40793, 47911, 53581, 57724, 60565, 62428, 63615, 64357, 64816, 65097, 65269, 65374, 65438,
     65476, 65500, 65514]
SQUASH = [0] + [P[i >> 7] * (128 - i % 128) + P[(i >> 7) + 1] * (i % 128) >> 7
                for i in range(1, 4096)]
STRETCH = [min(bisect.bisect_left(SQUASH, p << 4, 1), 4095) - 2048 for p in range(4096)]
RATES = [655360 // (10 * n + 13) for n in range(16)]
WHOLE_WEIGHTS = [20000] * 4 + [10000] * 2 + [0]


def mix(x):
    x &= M64
    x = (x ^ x >> 32) * 0x9E3779B97F4A7C15 & M64
    x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9 & M64
    return x ^ x >> 32


class Learned:
    """The state of a token model. Places and situations are made when they are first asked for."""

    def __init__(self, log, base=None):
        self.log, self.base = log, base
        self.lines, self.after_two, self.after_four = {}, {}, {}
        self.history = list(base.history) if base else []
        self.weights = {k: v[:] for k, v in base.weights.items()} if base else {}
        self.chances = dict(base.chances) if base else {}

    def line(self, h):
        """The line for a hash, [check, nodes], and whether it is new."""
        place, check = h >> 64 - self.log, h & 0xFFFF | 1
        pair = [self.lines.setdefault(i, [0, [0] * 15]) for i in (place, place ^ 1)]
        for line in pair:
            if line[0] == check:
                return line, False
        line = min(pair, key=lambda x: x[1][0] & 15)
        known = self.base and self.base.found(h)
        line[0], line[1] = check, list(known) if known else [32768] * 15
        return line, not known

    def found(self, h):
        place, check = h >> 64 - self.log, h & 0xFFFF | 1
        for i in (place, place ^ 1):
            if i in self.lines and self.lines[i][0] == check:
                return self.lines[i][1]
        return None

    def places(self, table, h):
        """What a table of positions has for a hash, and what the dictionary's has."""
        yield getattr(self, table).get(h >> 66 - self.log, 0)
        if self.base:
            yield getattr(self.base, table).get(h >> 66 - self.base.log, 0)

    def mixed(self, bits, situation, start, inputs):
        weights = self.weights.setdefault(situation, start[:])
        x = sum(a * b for a, b in zip(inputs, weights)) >> 16
        p = SQUASH[max(-2047, min(x, 2047)) + 2048]
        bit = bits.split(p)
        error = 65536 * bit - p
        for i, a in enumerate(inputs):
            weights[i] = (weights[i] + (a * error + 16384 >> 15) + (1 << 31) & U32) - (1 << 31)
        return bit

    def chance(self, name, start):
        return self.chances.setdefault(name, start)

    def move(self, name, came_true, rate):
        p = self.chances[name]
        self.chances[name] = p + ((65535 if came_true else 0) - p >> rate)

    def length(self, position):
        n, length = len(self.history), 0
        while (length < min(position, 32)
               and self.history[position - 1 - length] == self.history[n - 1 - length]):
            length += 1
        return length


class Known:
    """In the place of a code: a text that is there already."""

    def __init__(self, text):
        self.text, self.answer = text, 0

    def split(self, _):
        return self.answer

    def end(self):
        pass


def model_text(state, bits, size, token_codes):
    """The text of a code, which teaches `state`."""
    out, last, pair, contexts = bytearray(), [0] * 4, 0, [0] * 5
    match, second, run, raw = (0, 0), 0, 0, 0

    def foretold(position):
        symbol = state.history[position]
        return symbol if (symbol >> 24 == 1) == (raw > 0) else None

    def spelled(symbol):
        first = symbol >> 16 & 255
        single = not token_codes or raw or first < 0x80 or first >= 0xFE
        return (symbol & 0xFFFFFF).to_bytes(3, "big")[:1 if single else 2 if first < 0xC0 else 3]

    while len(out) < size:
        symbol = None
        guess = foretold(match[0]) if match[1] else None
        other = foretold(second) if second else None
        if guess is not None:
            n = match[1]
            l = n - 1 if n <= 16 else 16 if n < 24 else 17 if n < 32 else 18
            a = 0 if other is None else 2 if other == guess else 1
            names = [("length", l, a, min(run, 3)), ("run", min(run, 63), a),
                     ("last", mix((last[0] << 34) + guess * 4 + a) >> 51),
                     ("symbol", mix(guess * 4 + min(n, 4) - 1) >> 51), ("pair", pair >> 51)]
            inputs = [STRETCH[state.chance(x, 32768 if i < 2 else 40000) >> 4]
                      for i, x in enumerate(names)]
            if isinstance(bits, Known):
                bits.answer = int(bits.text.startswith(spelled(guess), len(out)))
            hit = state.mixed(bits, ("match", l, a), [22000] * 5 + [0], inputs + [256])
            for i, name in enumerate(names):
                state.move(name, hit, 6 if i < 2 else 5)
            if hit:
                symbol = guess
            if other == guess:
                other = None
        if symbol is None:
            path, t, width, three, lines = 1, 0, 8, True, []
            while t < width:
                if t % 4 == 0:
                    lines, node = [], 1
                    for k in range(5):
                        if k == 3 and not three:
                            lines.append(None)
                            continue
                        line, is_new = state.line(mix(
                            contexts[k] * 0xD1342543DE82EF95 + path * 0x9E3779B97F4A7C15 + k))
                        lines.append(line)
                        if k == 2 and is_new:
                            three = False
                nodes = [line[1][node - 1] if line else 0 for line in lines]
                inputs = [STRETCH[v >> 4] if v & 15 else 0 for v in nodes]
                seen = 0
                for v in nodes[1:4]:
                    v &= 15
                    seen = seen * 4 + (0 if v == 0 else 1 if v < 3 else 2 if v < 8 else 3)
                trust = STRETCH[state.chance(("second", t >> 2), 50000) >> 4]
                says = None if other is None else other >> 23 - t & 1
                inputs += [0 if says is None else trust if says else -trust, 256]
                if isinstance(bits, Known):
                    bits.answer = bits.text[len(out) + t // 8] >> 7 - t % 8 & 1
                bit = state.mixed(bits, ("bit", guess is not None, min(t >> 2, 3), seen,
                                         says is not None), WHOLE_WEIGHTS, inputs)
                for line in lines:
                    if line:
                        v = line[1][node - 1]
                        p, n = v >> 4, v & 15
                        p += ((4095 if bit else 0) - p) * RATES[n] >> 16
                        line[1][node - 1] = p << 4 | min(n + 1, 15)
                if says is not None:
                    state.move(("second", t >> 2), bit == says, 6)
                    if bit != says:
                        other = None
                path, node, t = path * 2 + bit, node * 2 + bit, t + 1
                if t == 8 and token_codes and not raw:
                    first = path & 255
                    width = 8 if first < 0x80 or first >= 0xFE else 16 if first < 0xC0 else 24
            symbol = (path - (1 << width) << 24 - width) + (1 << 24 if raw else 0)
            check(symbol != guess, "token model: a literal that was foretold")
        out += spelled(symbol)
        # What it teaches.
        if match[1]:
            if state.history[match[0]] == symbol:
                match, run = (match[0] + 1, min(match[1] + 1, 32)), run + 1
            else:
                match, run = (0, 0), 0
        state.history.append(symbol)
        last = [symbol] + last[:3]
        raw = raw - 1 if raw else 5 if token_codes and symbol == 0xFE0000 else 0
        pair = mix((last[1] << 32) + last[0] + 1)
        older = (last[3] << 32) + last[2]
        four = mix(pair + older)
        contexts = [1 if raw else 0, mix(last[0] + 2), pair, mix(pair + last[2]),
                    mix(last[1] + 3) if token_codes else four]
        if match[1] < 16:
            for position in state.places("after_four", four):
                length = state.length(position)
                if length >= 4 and length > match[1]:
                    match = position, length
        second = 0
        for position in state.places("after_two", pair):
            if state.length(position) >= 2:
                second = position
                break
        if not match[1] and second:
            match = second, state.length(second)
        state.after_four[four >> 66 - state.log] = len(state.history)
        state.after_two[pair >> 66 - state.log] = len(state.history)
    check(len(out) == size and not raw, "token model: the text ends inside a code")
    bits.end()
    return bytes(out)


def model_dictionary(data, size, token_codes, history=b""):
    """The text of a dictionary, and what history and dictionary have taught."""
    check(data and 10 <= data[0] <= 21, "token model: the number of lines")
    state = Learned(data[0])
    model_text(state, Known(history), len(history), token_codes)
    return model_text(state, Bits(data[1:]), size, token_codes), state


def model_block(learned, data, size, token_codes):
    """The text of a block."""
    log = max(10, min(size.bit_length() + 2, 20))
    return model_text(Learned(log, learned), Bits(data), size, token_codes)


# --- token_lz.md -------------------------------------------------------------------------------

LZ_RATES = [1] + [2] * 2 + [3] * 4 + [4] * 8 + [5] * 16 + [6]


class Rans:
    """A rANS code of symbols of four bits."""

    def __init__(self, data):
        self.state = int.from_bytes(data[:8], "little")
        self.words = In(data[8:])
        check(len(data) % 4 == 0 if len(data) >= 8 else data and data[-1] != 0, "token LZ: state")

    def take(self, begin, size):
        self.state = (size * (self.state >> 15) + self.state % 32768 - begin) & M64
        if self.state < 1 << 31 and self.words.left():
            self.state = self.state << 32 | self.words.le(4)

    def symbol(self, lanes):
        symbol = bisect.bisect_right(lanes, self.state % 32768) - 1
        self.take(lanes[symbol], (lanes + [32768])[symbol + 1] - lanes[symbol])
        return symbol

    def even(self, bits):
        out = 0
        while bits:
            now = min(bits, 15)
            value = self.state % 32768 // (32768 >> now)
            self.take(value * (32768 >> now), 32768 >> now)
            out, bits = out << now | value, bits - now
        return out


class TokenLz:
    """Distributions by name, made when they are first asked for: lanes, and how often seen."""

    def __init__(self, data, contexts):
        self.code, self.mask = Rans(data), (1 << contexts) - 1
        self.distributions = {}

    def learn(self, distribution, symbol):
        lanes, seen = distribution
        for i in range(1, 16):
            lanes[i] += (32752 + i if i > symbol else i) - lanes[i] >> LZ_RATES[seen]
        distribution[1] = min(seen + 1, 31)

    def named(self, *name):
        return self.distributions.setdefault(name, [[2048 * i for i in range(16)], 0])

    def symbol(self, *name):
        distribution = self.named(*name)
        symbol = self.code.symbol(distribution[0])
        self.learn(distribution, symbol)
        return symbol

    def blended(self, general, special):
        g, s = self.named("general", general), self.named("special", special & self.mask)
        w = 16384 * s[1] // (s[1] + 3)
        symbol = self.code.symbol([a * (16384 - w) + b * w >> 14 for a, b in zip(g[0], s[0])])
        self.learn(g, symbol)
        self.learn(s, symbol)
        return symbol

    def byte(self, hashed, place, general=None):
        general = place if general is None else general
        special = hashed + place * 0x9E3779B1
        high = self.blended(general, special)
        return high << 4 | self.blended(general + 1 + high, special + 1 + high)

    def literal(self, last, after_copy, token_codes):
        """A unit, as its bytes and its kind, after the unit `last`."""
        value = (last[1] << 24) + int.from_bytes(last[0], "little")
        x = (value + 1) * 0x9E3779B97F4A7C15 & M64
        h = ((x ^ x >> 32) * 0xD6E8FEB86659FD93 & M64) >> 32
        if last[1] == 4:
            return bytes(self.byte(h, place) for place in (3264, 3281, 3298)), 5
        b = self.byte(h, 0, 17 if after_copy else 0)
        if not token_codes or b < 0x80 or b == 0xFF:
            return bytes([b]), 1
        if b == 0xFE:
            return bytes([b, self.byte(h, 3230), self.byte(h, 3247)]), 4
        second = self.byte(h, 34 + (b - 0x80) * 17)
        if b < 0xC0:
            return bytes([b, second]), 2
        return bytes([b, second, self.byte(h, 2176 + (b - 0xC0) * 17)]), 3


def units_of(text, token_codes):
    """The units of a text, as literal() gives them."""
    out, f = [], In(text)
    while f.left():
        b = f.bytes(1)
        if not token_codes or b[0] < 0x80 or b[0] == 0xFF:
            out.append((b, 1))
        elif b[0] < 0xFE:
            n = 2 if b[0] < 0xC0 else 3
            out.append((b + f.bytes(n - 1), n))
        else:
            out += [(b + f.bytes(2), 4), (f.bytes(3), 5)]
    return out


def token_lz(data, size, token_codes, history=b""):
    """The text of a code."""
    f = In(data)
    count = f.varint()
    check(count <= size and size + len(history) <= 1 << 24, "token LZ: sizes")
    lz = TokenLz(f.rest(), max(8, min(count.bit_length() - 2, 18)))
    units, kinds, literals, distances = units_of(history, token_codes), [0, 0], 0, [1, 2, 3, 4]
    begin = len(units)
    count += begin
    while len(units) < count:
        kind = lz.symbol("kind", kinds[0], kinds[1], min(literals, 3))
        check(kind < 6, "token LZ: kind")
        if kind == 0:
            units.append(lz.literal(units[-1] if units else (b"", 0), kinds[0] != 0, token_codes))
            literals += 1
        else:
            literals = 0
            length = lz.symbol("length", kind) + 1
            if length == 16:
                k = lz.symbol("long", kind)
                length = 15 + (1 << k) + lz.code.even(k)
            if kind == 1:
                c = min(length, 4)
                high = lz.symbol("slot", c)
                s = high * 16 + lz.symbol("slot", c, high)
                check(s < 48, "token LZ: slot")
                k = s // 2 - 1
                distance = s + 1 if s < 4 else ((2 + s % 2) << k) + lz.code.even(k) + 1
                distances.pop()
            else:
                distance = distances.pop(kind - 2)
            distances.insert(0, distance)
            check(distance <= len(units) and length <= count - len(units), "token LZ: copy")
            for _ in range(length):
                units.append(units[-distance])
        kinds = [kind, kinds[0]]
    check(lz.code.state == 1 and lz.code.words.left() == 0, "token LZ: end")
    text = b"".join(unit for unit, _ in units[begin:])
    check(len(text) == size, "token LZ: size")
    return text


# --- substrings.md -----------------------------------------------------------------------------


def substring_set(data):
    """(next id, {id: tokens}) of a set."""
    source = In(data)
    if source.varint() != 1:
        raise unsupported("substrings: version")
    next_id, count = source.varint(), source.varint()
    check(0 < next_id <= U32 and count <= source.left() // 21, "substrings: head")
    ids, at = [], 0
    for _ in range(count):
        at += source.varint() + 1
        check(at < next_id, "substrings: an id")
        ids.append(at)
    lengths = [source.varint() + 16 for _ in range(count)]
    for _ in range(2 * count):
        source.varint()
    for _ in range(count):
        source.svarint()
    listed = token_map(source.sized(), 256)
    tokens = tokens_of(source.rest(), listed, 256)
    check(sum(lengths) == len(tokens), "substrings: lengths")
    runs, at = {}, 0
    for i, length in zip(ids, lengths):
        check(length <= 65536 and tokens[at:at + length] not in runs.values(), "substrings: a run")
        runs[i] = tokens[at:at + length]
        at += length
    return next_id, runs


def segment_with_substrings(runs, data):
    """The tokens of a segment that refers to runs."""
    source, parts = In(data), []
    count, references = source.varint(), source.varint()
    check(references <= source.left() // 2, "segment with substrings: head")
    for _ in range(references):
        before, i = source.varint(), source.varint()
        check(i in runs, "segment with substrings: an id")
        parts.append((before, runs[i]))
    others, out, at = tokens_of(source.rest(), [], 256), [], 0
    for before, run in parts:
        out += others[at:at + before] + run
        at += before
    out += others[at:]
    check(len(out) == count and at <= len(others), "segment with substrings: its size")
    return out


# --- frame.md ----------------------------------------------------------------------------------


def unzstd(frame, size, prefix=b"", dictionary=b""):
    """The text of a frame; `size` may be None for a frame that was never ended."""
    if size is None:
        frame += b"\x01\x00\x00"  # an empty last block
    command = ["zstd", "-d", "-q", "-c", "--long=27"]
    with tempfile.NamedTemporaryFile() as file:
        if prefix:
            # Bytes in front of a prefix are out of reach; these keep it from looking like a trained
            # dictionary.
            file.write(bytes(8) + prefix)
            file.flush()
            command.append(f"--patch-from={file.name}")
        elif dictionary:
            file.write(dictionary)
            file.flush()
            command += ["-D", file.name]
        try:
            done = subprocess.run(command, input=b"\x28\xb5\x2f\xfd" + frame, capture_output=True)
        except FileNotFoundError:
            raise unsupported("the zstd command is not installed") from None
    check(done.returncode == 0, "zstd frame")
    check(size is None or len(done.stdout) == size, "zstd frame: size")
    return done.stdout


# --- table.md: columns -------------------------------------------------------------------------


def packed(data, size):
    check(len(data) > 0 and data[0] <= 1, "column")
    if data[0] == 1:
        return unzstd(data[1:], size)
    check(len(data) - 1 == size, "column: size")
    return data[1:]


def integers(data, count):
    column = In(data)
    encoding = column.le(1)
    if encoding == 0:
        value = column.varint()
        column.end("column")
        return [value] * count
    check(encoding <= 3, "column: encoding")
    size = column.varint()
    raw = packed(column.rest(), size)
    if encoding == 3:
        check(size == count, "column: count")
        return list(raw)
    values, before, out = In(raw), 0, []
    for _ in range(count):
        if encoding == 1:
            out.append(values.varint())
        else:
            before = (before + values.svarint()) & 0xFFFFFFFFFFFFFFFF
            out.append(before)
    values.end("column")
    return out


NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")


def strings(data, count):
    column = In(data)
    if column.le(1) == 0:
        lengths = integers(column.sized(), count)
        text = In(packed(column.rest(), sum(lengths)))
        return [text.bytes(n) for n in lengths]
    check(data[0] == 1, "column: encoding")
    ops, numbers, texts = (In(packed(column.sized(), size)) for size in iter_sizes(column))
    column.end("column")
    out, before = [], []
    for _ in range(count):
        fields = []
        while (op := ops.le(1)) != 0:
            old = before[len(fields)] if len(fields) < len(before) else None
            if op == 1:
                check(old is not None, "column: field")
                fields.append(old)
            elif op in (2, 3):
                check(old is not None and NUMBER.fullmatch(old), "column: field")
                step = 1 if op == 2 else numbers.svarint()
                fields.append(b"%d" % ((int(old) + step) & 0xFFFFFFFFFFFFFFFF))
            elif op == 4:
                fields.append(b"%d" % numbers.varint())
            elif op == 5:
                fields.append(texts.bytes(numbers.varint()))
            else:
                check(op == 6, "column: operation")
                fields.append(texts.bytes(numbers.varint()).hex().encode())
        out.append(b"".join(fields))
        before = fields
    for part in (ops, numbers, texts):
        part.end("column")
    return out


def iter_sizes(column):
    for _ in range(3):
        yield column.varint()


# --- token_map.md ------------------------------------------------------------------------------


def token_map(data, radix):
    source, tokens, previous = In(data), [], -1
    for _ in range(source.varint()):
        previous += 1 + source.svarint()
        check(0 <= previous < 1 << 21, "token map")
        tokens.append(previous)
    source.end("token map")
    check(len(set(tokens)) == len(tokens) <= 128 + 64 * radix, "token map")
    return tokens


def tokens_of(code, listed, radix):
    """radix: 256, or 255 for codes without the byte 255."""
    source, out = In(code), []
    two, six = 128 + 64 * radix, 0xFF if radix == 256 else 0xFE
    three = two + (six - 0xC0) * radix * radix

    def digit():
        d = source.le(1)
        check(d < radix, "token code")
        return d

    while source.left():
        b = source.le(1)
        if b < 0x80:
            n = b
        elif b < 0xC0:
            n = 128 + (b & 0x3F) * radix + digit()
        elif b < six:
            n = two + ((b & 0x3F) * radix + digit()) * radix + digit()
        else:
            check(b == six, "token code")
            n = sum(digit() * radix**i for i in range(5))
            check(n >= three, "token code: overlong")
        token = listed[n] if n < len(listed) else n - len(listed)
        check(token <= U32, "token code")
        out.append(token)
    return out


def code_of(tokens, listed, radix):
    """The code of tokens."""
    number = {token: n for n, token in enumerate(listed)}
    two, six = 128 + 64 * radix, 0xFF if radix == 256 else 0xFE
    three, out = two + (six - 0xC0) * radix * radix, bytearray()
    for token in tokens:
        n = number.get(token, len(listed) + token)
        if n < 128:
            out.append(n)
        elif n < two:
            out += bytes([0x80 + (n - 128) // radix, (n - 128) % radix])
        elif n < three:
            n -= two
            out += bytes([0xC0 + n // radix**2, n // radix % radix, n % radix])
        else:
            out.append(six)
            out += bytes(n // radix**i % radix for i in range(5))
    return bytes(out)


# --- record.md ---------------------------------------------------------------------------------


def vault_record(data):
    r = In(data)
    record = {"id": r.sized(), "tokenizer": r.sized().decode(), "sha256": r.bytes(32),
              "pattern": r.sized(), "vocabulary": r.sized().decode()}
    r.end("vault record")
    check(len(record["id"]) == 16, "vault record")
    return record


def tenant_record(data):
    r = In(data)
    record = {"number": r.varint(), "name": r.sized().decode(), "key": r.sized()}
    r.end("tenant record")
    check(len(record["key"]) == 16, "tenant record")
    return record


def id_hash(key, text):
    low, high = xxh3_128(text + key[8:], int.from_bytes(key[:8], "little"))
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


def id_filter(key, ids):
    """pack.md: six bits of each id in as many bytes as there are ids."""
    out, bits = bytearray(len(ids)), 8 * len(ids)
    for text in ids:
        id_bytes = id_hash(key, text)
        h, step = (int.from_bytes(half, "little") for half in (id_bytes[:8], id_bytes[8:]))
        for i in range(6):
            place = ((h + i * (step | 1)) % 2**64) * bits >> 64
            out[place // 8] |= 1 << place % 8
    return bytes(out)


# --- artifact.md -------------------------------------------------------------------------------

DICTIONARY, SUBSTRING_SET = 1, 2


class Artifact:
    def __init__(self, data, number):
        head = In(data[:64])
        check(len(data) >= 64 and head.le(4) == 0xA5D0C98E, "this is no artifact")
        version, features, own, self.tenant = head.le(2), head.le(2), head.le(8), head.le(4)
        cipher, zero3, key, self.vault_id = head.le(1), head.le(3), head.le(4), head.bytes(16)
        size, body_sum = head.le(4), head.le(8)
        checksum(data[:56], head.le(8), "artifact header")
        if version != 1 or features != 0 or cipher != 0:
            raise unsupported(f"artifact version {version}")
        check(zero3 == 0 and key == 0, "artifact header: reserved bytes")
        checksum(data[64:], body_sum, "artifact")
        check(own == number, "it is named as another artifact")
        body = In(data[64:])
        r = In(body.bytes(size))
        self.kind, self.id, self.created_ms = r.le(1), r.varint(), r.svarint()
        self.size, self.conversations, self.samples, self.sample_bytes = (
            r.varint() for _ in range(4))
        r.end("artifact record")
        check(1 <= self.kind <= 3 and self.size <= 1 << 28, "artifact record")
        self.content = packed(body.rest(), self.size)

    def tokens(self):
        """What packs copy from."""
        out, f = [], In(self.content)
        if self.kind == SUBSTRING_SET:
            for run in substring_set(self.content)[1].values():
                out += run
        elif self.kind == DICTIONARY:
            while f.left():
                b = f.le(1)
                n = 0 if b < 0x80 else 1 if b < 0xC0 else 2
                if f.left() < n:
                    break
                if b != 0xFF:
                    out += tokens_of(bytes([b]) + f.bytes(n), [], 256)
        else:
            raise unsupported("artifact: nothing can be copied from its kind")
        return out[:1 << 20]


def numbered(folder, kind):
    """The files of a kind in a folder: other names are not of the vault (layout.md, rule 1)."""
    return [path for path in sorted(folder.glob("*." + kind))
            if re.fullmatch(r"\d{8,}", path.stem) and path.stem == "%08d" % int(path.stem)]


def artifacts_of(folder):
    """The artifacts of a vault by number, or what is wrong with them: what needs them fails, and
    nothing else."""
    out = {}
    for path in numbered(folder / "artifacts", "artifact"):
        try:
            out[int(path.stem)] = Artifact(path.read_bytes(), int(path.stem))
        except Failure as failure:
            out[int(path.stem)] = Failure(failure.status, f"{path}: {failure}")
    return out


# --- manifest.md -------------------------------------------------------------------------------

TEXT, TOKENS, STRING, SCALAR, JSON, BINARY = 1, 2, 3, 4, 5, 6
TOKEN_STREAM, BYTE_STREAM = 0, 1


def has_known_holes(form):
    return all(c >= 0x20 or TEXT <= c <= BINARY or 0x10 <= c <= 0x15 for c in form)


def streams_of(form):
    """The stream of each reference that a form asks for."""
    holes = [c for c in form if TEXT <= c <= BINARY]
    inline = [BYTE_STREAM] if STRING in holes or SCALAR in holes else []
    return inline + [TOKEN_STREAM if c in (TEXT, TOKENS) else BYTE_STREAM
                     for c in holes if c not in (STRING, SCALAR)]


class Row:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class Source:
    """One tenant's part of a log, or a pack: tables, and segments by number.

    A reference is (is_external, number); a node is (parent or None, form, references).
    """

    def __init__(self, file, tenant):
        self.file, self.tenant = file, tenant
        self.models, self.applications, self.forms = [b""], [b""], []
        self.rows, self.nodes, self.externals = [], [], []
        self.listed, self.radix = [], 256  # the token map, and how codes are written
        self.digests = None

    def tokens(self, number):
        return tokens_of(self.code(TOKEN_STREAM, number), self.listed, self.radix)

    def find(self, stream, digest):
        """The number of the segment with this digest."""
        if self.digests is None:
            self.digests = {}
            for s in (TOKEN_STREAM, BYTE_STREAM):
                for i in range(self.count(s)):
                    content = self.code(s, i)
                    if s == TOKEN_STREAM:
                        content = b"".join(t.to_bytes(4, "little") for t in self.tokens(i))
                    self.digests.setdefault((s, hashlib.sha256(content).digest()[:16]), i)
        return self.digests.get((stream, digest))


# --- log.md ------------------------------------------------------------------------------------


class LogPart(Source):
    def __init__(self, file, tenant):
        super().__init__(file, tenant)
        self.segments = [[], []]

    def count(self, stream):
        return len(self.segments[stream])

    def code(self, stream, number):
        return self.segments[stream][number]


class Log:
    """`artifacts` by number, or what is wrong with them."""

    def __init__(self, data, number, artifacts=None):
        self.parts, self.records, self.artifacts = {}, [], artifacts or {}
        head = In(data)
        check(head.le(4) == 0xF7A1C00B, "this is no log")
        version, features, size, own = head.le(2), head.le(2), head.le(4), head.le(8)
        check(size <= 65536, "log header")
        record = head.bytes(size)
        checksum(data[:head.at], head.le(8), "log header")
        if version != 1 or features != 0:
            raise unsupported(f"log version {version}")
        check(own == number, "it is named as another log")
        self.vault = vault_record(record)
        batches, at = [], head.at
        while at < len(data):
            batch = self.batch(data, number, at)
            if batch is None:
                # The end of an interrupted write, or damage if a later batch follows.
                for m in re.finditer(re.escape(b"\x0f\xd7\xe2\xb9"), data[at + 1:]):
                    later = self.batch(data, number, at + 1 + m.start())
                    check(later is None or later["flags"] & 4, "torn batch")
                break
            batches.append(batch)
            at += 48 + batch["size"]
        self.bodies, self.texts = self.decode(batches)
        for batch, body, text in zip(batches, self.bodies, self.texts):
            self.take(batch, body, text)

    @staticmethod
    def batch(data, number, at):
        """A whole batch, or None."""
        if len(data) - at < 48:
            return None
        h = In(data[at:at + 48])
        if h.le(4) != 0xB9E2D70F:
            return None
        b = {"at": at, "flags": h.le(1), "cipher": h.le(1), "zero": h.le(2), "key": h.le(4),
             "tenant": h.le(4), "section": h.le(4), "sequence": h.le(8), "size": h.le(4),
             "body_size": h.le(4)}
        own, expected = h.le(4), h.le(8)
        b["payload"] = data[at + 48:at + 48 + b["size"]]
        if len(b["payload"]) != b["size"]:
            return None
        if not b["flags"] & 8 and (b["zero"] != 0 or own != 0):
            return None
        header = xxh3_64(data[at:at + 36], number << 40 ^ at) & U32 if CHECKSUMS else own
        if b["flags"] & 8 and header != own:
            return None
        inner = xxh3_64(data[at:at + 40], number << 40 ^ at) if CHECKSUMS else 0
        if CHECKSUMS and xxh3_64(b["payload"], inner) != expected:
            return None
        if b["cipher"] != 0 or b["flags"] & ~127:
            raise unsupported("a batch")
        b["dictionary"], b["piece"] = 0, b["payload"]
        if b["flags"] & 16:
            changes = In(b["payload"])
            changes.bytes(16 * (changes.le(4) + changes.le(4)))
            end, own = changes.at, changes.le(4)
            check(not CHECKSUMS or xxh3_64(b["payload"][:end], number << 40 ^ at) & U32 == own,
                  "changes of a batch")
            b["piece"] = changes.rest()
        if b["flags"] & 32:
            piece = In(b["piece"])
            b["dictionary"], b["piece"] = piece.varint(), piece.rest()
            check(b["dictionary"] != 0 and b["flags"] & 3 == 3, "batch: dictionary")
        b["text_piece"], b["text_size"] = b"", None
        if b["flags"] & 64:
            pieces = In(b["piece"])
            size, b["text_size"] = pieces.varint(), pieces.varint()
            check(b["text_size"] <= U32, "batch: size of its text")
            b["piece"], b["text_piece"] = pieces.bytes(size), pieces.rest()
        return b

    def dictionary(self, batch):
        number = batch["dictionary"]
        if number == 0:
            return b""
        artifact = self.artifacts.get(number)
        if artifact is None:
            raise Failure(3, f"not_found: artifact {number}, the dictionary of a batch")
        if isinstance(artifact, Failure):
            raise artifact
        check((artifact.tenant, artifact.kind, artifact.vault_id) ==
              (batch["tenant"], DICTIONARY, self.vault["id"]), "artifact of another tenant or kind")
        return artifact.content

    def decode(self, batches):
        """The body of each batch, and its text if that is apart: frame by frame, then cut."""
        sections, bodies, texts = {}, [b""] * len(batches), [None] * len(batches)
        for i, b in enumerate(batches):
            if b["flags"] & 1:
                check(b["section"] not in sections and b["section"] >= len(sections) and
                      max(sections, default=-1) < b["section"] <= b["at"] // 48,
                      "a section begins out of order")
                sections[b["section"]] = {"tenant": b["tenant"], "frames": []}
            section = sections.get(b["section"])
            check(section is not None and section["tenant"] == b["tenant"], "no such section")
            if b["flags"] & 2:
                section["frames"].append([])
            check(section["frames"], "a section does not begin with a frame")
            section["frames"][-1].append(i)

        def cut(frame, prefix, dictionary, piece, size, out):
            if not frame:
                return b""
            new = unzstd(b"".join(batches[i][piece] for i in frame), None, prefix, dictionary)
            pieces = In(new)
            for i in frame:
                out[i] = pieces.bytes(batches[i][size])
            pieces.end("frame")
            return new

        for section in sections.values():
            before, text_before = b"", b""
            for frame in section["frames"]:
                dictionary = self.dictionary(batches[frame[0]])
                apart = [i for i in frame if batches[i]["flags"] & 64]
                before += cut(frame, before, dictionary, "piece", "body_size", bodies)
                text_before += cut(apart, text_before, dictionary, "text_piece", "text_size", texts)
        return bodies, texts

    def take(self, batch, body, text):
        tenant = batch["tenant"]
        part = self.parts.setdefault(tenant, LogPart(self, tenant))
        source, sequence = In(body), batch["sequence"]
        codes = source if text is None else In(text)

        def node_back():
            back = source.varint()
            check(back <= len(part.nodes), "node")
            return None if back == 0 else len(part.nodes) - back

        def references(form):
            check(form < len(part.forms), "form")
            out = []
            for stream in streams_of(part.forms[form]):
                v = source.varint()
                count = len(part.externals) if v & 1 else part.count(stream)
                check(v >> 1 < count, "reference")
                out.append((bool(v & 1), count - 1 - (v >> 1)))
            return out

        while source.left():
            tag = source.le(1)
            if tag in (1, 2, 3):
                (part.models, part.applications, part.forms)[tag - 1].append(source.sized())
                check(tag != 3 or has_known_holes(part.forms[-1]), "a form's holes")
            elif tag in (4, 5):
                part.segments[tag - 4].append(codes.bytes(source.varint()))
            elif tag == 6:
                stream, digest = source.le(1), source.bytes(16)
                check(stream < 2, "external")
                part.externals.append((stream, digest))
                source.varint()
            elif tag == 7:
                parent, form = node_back(), source.varint()
                part.nodes.append((parent, form, references(form)))
            elif tag == 8:
                row = Row(id=source.sized(), model=source.varint(), application=source.varint(),
                          time_ms=source.svarint(), sequence=sequence,
                          first=sequence - source.varint(), form=source.varint(), leaf=node_back(),
                          tokens=source.varint(), text_bytes=source.varint())
                check(row.model < len(part.models) and row.first >= 1, "conversation")
                check(row.application < len(part.applications), "conversation")
                row.refs = references(row.form)
                part.rows.append(row)
                sequence += 1
            elif tag in (9, 10):
                key = source.sized()
                self.records.append((key, source.sized() if tag == 9 else None, sequence))
                sequence += 1
            else:
                raise corrupt("batch: tag")
        check(text is None or not codes.left(), "text that no segment has")


# --- pack.md, table.md -------------------------------------------------------------------------


class Pack(Source):
    """`artifacts` by number, or what is wrong with them."""

    def __init__(self, data, number, artifacts=None):
        self.data, self.artifacts = data, artifacts or {}
        check(len(data) >= 96, "pack: too short")
        head = In(data[:64])
        check(head.le(4) == 0xD1A7F3E5, "this is no pack")
        version, features, own, tenant = head.le(2), head.le(2), head.le(8), head.le(4)
        cipher, zero3, _, vault_id, zero12 = (head.le(1), head.le(3), head.le(4), head.bytes(16),
                                              head.le(12))
        checksum(data[:56], head.le(8), "pack header")
        if version not in (1, 2) or features & ~(0 if version == 1 else 3) or cipher != 0:
            raise unsupported(f"pack version {version}")
        self.has_filter, self.is_recent = features & 1 != 0, features & 2 != 0
        check(zero3 == 0 and zero12 == 0, "pack header: reserved bytes")
        check(own == number, "it is named as another pack")
        super().__init__(self, tenant)
        trailer = In(data[-32:])
        offset, size, raw_size, sum32, magic, sum64 = (trailer.le(n) for n in (8, 4, 4, 4, 4, 8))
        checksum(data[-32:-8], sum64, "trailer")
        check(magic == 0xD1A7F3E5 and offset + size == len(data) - 32, "trailer")
        checksum(data[offset:-32], sum32, "footer", bits=32)
        self.version, self.radix = version, 256 if version == 1 else 255
        self.read_footer(packed(data[offset:-32], raw_size), offset)
        check(self.tenant_record["number"] == tenant and self.vault["id"] == vault_id,
              "header and footer disagree")
        self.read_tables()
        self.listed = token_map(packed(self.part(self.map), self.map[2]), self.radix)
        self.frames, self.texts = [], {}
        for stream in (TOKEN_STREAM, BYTE_STREAM):
            self.frames.append(self.read_segments(stream))
        self.records = self.read_records()
        self.check_usage()
        self.check_filter()

    def read_footer(self, raw, limit):
        self.footer = raw
        f = In(raw)

        def extent():
            e = f.varint(), f.varint(), f.varint(), f.le(4)
            check(e[0] + e[1] <= limit, "footer: an extent leaves the file")
            return e

        def numbers():
            return [f.varint() for _ in range(f.varint())]

        self.vault, self.tenant_record = vault_record(f.sized()), tenant_record(f.sized())
        self.set_id, self.members, self.supersedes = f.sized(), numbers(), numbers()
        self.row_count, self.node_count, self.external_count = f.varint(), f.varint(), f.varint()
        self.segment_counts = [f.varint(), f.varint()]
        self.totals = [f.varint() for _ in range(3)] + [f.svarint(), f.svarint(), f.varint(),
                                                        f.varint()]
        self.map = extent()

        def stream(is_bytes):
            s = {"dictionary": extent(), "blocks": extent(), "table": extent(),
                 "block_count": f.varint(), "text_bytes": f.varint(), "codec": 0, "ended": 0}
            if self.version > 1:
                s["codec"], s["ended"], s["artifacts"] = f.le(1), f.le(1), numbers()
                if s["codec"] > 3:
                    raise unsupported("a codec of a newer program")
                check(s["ended"] == 1 or (s["ended"] == 0 and s["codec"] in (0, 3)), "footer")
                check(s["codec"] != 3 or (s["ended"] == 0 and s["block_count"] > 0), "footer")
                one_text = s["block_count"] == s["blocks"][1] == s["table"][1] == 0
                check(s["codec"] != 2 or one_text, "footer")
                if s["artifacts"] and (len(s["artifacts"]) > 1 or is_bytes or not s["ended"] or
                                       not (one_text or s["codec"] == 1)):
                    raise unsupported("artifacts of a stream")
            return s

        self.streams = [stream(False), stream(True)]
        self.tables = [extent() for _ in range(10)]
        self.usage_extent, self.usage_count = extent(), f.varint()
        self.record_extent, self.record_count = extent(), f.varint()
        if self.version > 1:
            self.level, self.made_by = f.le(1), f.le(1)
            check(1 <= self.level <= 3 and self.made_by < 3, "footer")
        self.filter = extent() if self.has_filter else None
        f.end("footer")

    def part(self, extent):
        data = self.data[extent[0]:extent[0] + extent[1]]
        checksum(data, extent[3], f"part at {extent[0]}", bits=32)
        return data

    def read_tables(self):
        p = In(self.part(self.tables[0]))
        read = []
        for _ in range(3):
            count = p.varint()
            read.append(strings(p.sized(), count))
        p.end("strings")
        self.models, self.applications, self.forms = read
        check(all(has_known_holes(form) for form in self.forms), "a form's holes")
        n = self.row_count
        ids = strings(self.part(self.tables[1]), n)
        sources = [In(self.part(t)) for t in self.tables]

        def column(table, count=n):
            return integers(sources[table].sized(), count)

        models, applications, times = column(2), column(3), column(4)
        sequences, backs, tokens = column(5), column(5), column(6)
        ratio = sources[7].varint()
        rests = column(7)
        forms, bases, added = column(8), column(8), column(8)
        node_forms = column(8, self.node_count)
        refs = []
        for _ in range(2):
            count = sources[8].varint()
            refs.append(iter(column(8, count)))
        sources[8].end("trie")
        following, recent = [0, 0], [[], []]

        def reference(stream):
            v = next(refs[stream], None)
            check(v is not None, "references")
            k = (v - 1) // 2
            if v == 0:
                following[stream] += 1
                check(following[stream] <= self.segment_counts[stream], "references")
                number = following[stream] - 1
            elif v % 2 == 1 and self.is_recent and k < 16:
                check(k < len(recent[stream]), "references")
                number = recent[stream].pop(k)
            elif v % 2 == 1:
                number = k - 16 if self.is_recent else following[stream] - 1 - k
                check(0 <= number < following[stream], "references")
            if v == 0 or v % 2 == 1:
                recent[stream] = [number] + recent[stream][:15]
                return False, number
            check((v - 2) // 2 < self.external_count, "references")
            return True, (v - 2) // 2

        def references(form):
            check(form < len(self.forms), "form")
            return [reference(s) for s in streams_of(self.forms[form])]

        for i in range(n):
            first = len(self.nodes)
            check(bases[i] <= first and first + added[i] <= self.node_count, "trie")
            leaf = None if bases[i] == 0 else first - bases[i]
            for _ in range(added[i]):
                form = node_forms[len(self.nodes)]
                self.nodes.append((leaf, form, references(form)))
                leaf = len(self.nodes) - 1
            check(models[i] < len(self.models) and applications[i] < len(self.applications), "row")
            check(backs[i] <= sequences[i], "row")
            text = tokens[i] * ratio // 256 + unzigzag(rests[i])
            self.rows.append(Row(id=ids[i], model=models[i], application=applications[i],
                                 time_ms=unzigzag(times[i]), sequence=sequences[i],
                                 first=sequences[i] - backs[i], tokens=tokens[i],
                                 text_bytes=text & 0xFFFFFFFFFFFFFFFF, leaf=leaf, form=forms[i],
                                 refs=references(forms[i])))
        check(len(self.nodes) == self.node_count, "trie")
        check(all(next(r, None) is None for r in refs), "references")
        ext, m = sources[9], self.external_count
        integers(ext.sized(), m)  # where each was last seen: a hint
        kinds = integers(ext.sized(), m)
        self.externals = [(kinds[i], ext.bytes(16)) for i in range(m)]
        ext.end("externals")
        check(all(k < 2 for k in kinds), "externals")

    def read_segments(self, stream):
        """Of each segment: (block or None for the dictionary, offset, size)."""
        s = self.streams[stream]
        count, blocks = self.segment_counts[stream], s["block_count"]
        if s["ended"]:
            return self.read_ended(stream, s, count, blocks)
        table = In(self.part(s["table"]))
        sizes, placed = integers(table.sized(), count), integers(table.sized(), count)
        held, frame_sizes = integers(table.sized(), blocks), integers(table.sized(), blocks)
        if s["codec"] == 3:
            named = integers(table.sized(), blocks)
            check(all(n <= 8 for n in named), "bases")
            steps = iter(integers(table.sized(), sum(named)))
            s["bases"] = []
            for n in named:
                s["bases"].append([])
                for _ in range(n):
                    last = s["bases"][-1][-1] if s["bases"][-1] else -1
                    s["bases"][-1].append(last + 1 + next(steps))
                    check(s["bases"][-1][-1] < count, "bases")
        check(len(table.rest()) == 3 * sum(n >= SHARED for n in sizes), "fingerprints")
        check(sum(sizes) == s["text_bytes"] and set(placed) <= {0, 1}, "segment table")
        check(sum(held) == placed.count(0), "segment table")
        s["places"] = []
        at = s["blocks"][0]
        for n in frame_sizes:
            s["places"].append((at, n))
            at += n + 4
        check(at == s["blocks"][0] + s["blocks"][1], "segment table")
        out, dictionary, block_of = [], 0, [b for b, n in enumerate(held) for _ in range(n)]
        s["sizes"], following = [0] * blocks, iter(block_of)
        for n, in_dictionary in zip(sizes, placed):
            if in_dictionary:
                out.append((None, dictionary, n))
                dictionary += n
            else:
                block = next(following)
                out.append((block, s["sizes"][block], n))
                s["sizes"][block] += n
        check(dictionary == s["dictionary"][2], "segment table")
        for numbers in s.get("bases", ()):
            for block, _, _ in (out[n] for n in numbers):
                check(block is None or not s["bases"][block], "a base that copies itself")
            check(sum(out[n][2] for n in numbers) <= 1 << 17, "bases: size")
        return out

    def read_ended(self, stream, s, count, blocks):
        def ends(block, first, n, size):
            text = self.text(stream, block)
            at = [-1] + [i for i, b in enumerate(text) if b == 0xFF]
            check(len(at) == n + 1 and at[-1] + 1 == len(text) == size, "segment ends")
            return [(block, a + 1, b - a - 1) for a, b in zip(at, at[1:])]

        if blocks == 0:
            check(s["table"][1] == s["blocks"][1] == 0, "footer")
            check(s["text_bytes"] + count == s["dictionary"][2], "footer")
            return ends(None, 0, count, s["dictionary"][2])
        table = In(self.part(s["table"]))
        held, texts = integers(table.sized(), blocks), integers(table.sized(), blocks)
        frame_sizes, printed = integers(table.sized(), blocks), integers(table.sized(), count)
        check(set(printed) <= {0, 1} and len(table.rest()) == 3 * sum(printed), "fingerprints")
        check(sum(held) <= count, "block table")
        check(sum(texts) + s["dictionary"][2] == s["text_bytes"] + count, "block table")
        check(sum(n + 4 for n in frame_sizes) == s["blocks"][1], "block table")
        s["places"], s["sizes"], at = [], texts, s["blocks"][0]
        for n in frame_sizes:
            s["places"].append((at, n))
            at += n + 4
        out = ends(None, 0, count - sum(held), s["dictionary"][2])
        for block, n in enumerate(held):
            out += ends(block, len(out), n, texts[block])
        return out

    def count(self, stream):
        return self.segment_counts[stream]

    def text(self, stream, block):
        if (stream, block) not in self.texts:
            s = self.streams[stream]
            if block is None:
                frame = self.part(s["dictionary"]) if s["dictionary"][1] else b""
                if s["codec"] == 1:
                    text, s["model"] = model_dictionary(frame, s["dictionary"][2],
                                                        stream == TOKEN_STREAM,
                                                        self.history(s))
                elif s["codec"] == 2:
                    text = token_lz(frame, s["dictionary"][2], stream == TOKEN_STREAM,
                                    self.history(s))
                else:
                    text = unzstd(frame, s["dictionary"][2], self.history(s)) if frame else b""
            else:
                at, size = s["places"][block]
                frame = self.data[at + 4:at + 4 + size]
                expected = int.from_bytes(self.data[at:at + 4], "little")
                checksum(frame, expected, f"block at {at}", bits=32)
                if s.get("bases") and s["bases"][block]:
                    dictionary = b"".join(self.code(stream, n) for n in s["bases"][block])
                else:
                    dictionary = self.text(stream, None)
                if s["codec"] == 1:
                    text = model_block(s["model"], frame, s["sizes"][block],
                                       stream == TOKEN_STREAM)
                else:
                    text = unzstd(frame, s["sizes"][block], dictionary)
            self.texts[stream, block] = text
        return self.texts[stream, block]

    def history(self, s):
        """The artifact of a stream in the pack's codes."""
        if not s.get("artifacts"):
            return b""
        number = s["artifacts"][0]
        artifact = self.artifacts.get(number)
        check(artifact is not None, f"artifact {number}, which it needs, is not there")
        if isinstance(artifact, Failure):
            raise artifact
        check((artifact.tenant, artifact.vault_id) == (self.tenant, self.vault["id"]),
              "artifact of another tenant or vault")
        return code_of(artifact.tokens(), self.listed, self.radix)

    def code(self, stream, number):
        block, at, size = self.frames[stream][number]
        return self.text(stream, block)[at:at + size] if size else b""

    def read_records(self):
        if self.record_count == 0:
            return []
        head = In(self.part(self.record_extent))
        size = head.varint()
        r, out = In(packed(head.rest(), size)), []
        for _ in range(self.record_count):
            key, sequence, has_value = r.sized(), r.varint(), r.le(1)
            check(has_value <= 1, "records")
            out.append((key, r.sized() if has_value else None, sequence))
        r.end("records")
        return out


    def check_filter(self):
        if self.has_filter:
            wanted = id_filter(self.tenant_record["key"], [row.id for row in self.rows])
            check(len(wanted) > 0 and self.part(self.filter) == wanted, "filter of ids")

    def check_usage(self):
        if self.usage_count == 0:
            return
        source = In(self.part(self.usage_extent))
        columns = [integers(source.sized(), self.usage_count) for _ in range(6)]
        source.end("usage")
        columns[2] = [unzigzag(day) for day in columns[2]]
        sums = {}
        for row in self.rows:
            depth, node = 0, row.leaf
            while node is not None:
                depth, node = depth + 1, self.nodes[node][0]
            key = row.model, row.application, row.time_ms // 86400000
            entry = sums.setdefault(key, [0, 0, 0])
            for i, n in enumerate((1, depth, row.tokens)):
                entry[i] += n
        check(list(zip(*columns)) == [k + tuple(v) for k, v in sorted(sums.items())], "usage")


SHARED = 96  # pack.md, rule 9

# --- layout.md, record.md: the vault -----------------------------------------------------------

SPECIAL = {
    "cl100k_base": {100257: b"<|endoftext|>", 100258: b"<|fim_prefix|>", 100259: b"<|fim_middle|>",
                    100260: b"<|fim_suffix|>", 100276: b"<|endofprompt|>"},
    "o200k_base": {199999: b"<|endoftext|>", 200018: b"<|endofprompt|>"},
}


class Vault:
    def __init__(self, folder, ranks=None):
        folder = pathlib.Path(folder)
        artifacts = artifacts_of(folder)
        packs = self.read_all(folder / "packs", "pack", lambda d, n: Pack(d, n, artifacts))
        logs = self.read_all(folder / "log", "log", lambda d, n: Log(d, n, artifacts))
        if not packs and not logs:
            raise Failure(3, f"not_found: no log and no pack in {folder}")
        there = set(packs) | set(logs)
        garbage = set()
        for number, pack in packs.items():
            if all(m in packs for m in pack.members):
                garbage.update(pack.supersedes)
            elif pack.supersedes and all(s in there for s in pack.supersedes):
                garbage.add(number)
        packs = {n: p for n, p in packs.items() if n not in garbage}
        logs = {n: g for n, g in logs.items() if n not in garbage}
        files = list(packs.values()) + list(logs.values())
        self.vault = files[0].vault
        check(all(f.vault["id"] == self.vault["id"] for f in files), "files of two vaults")
        self.sources = list(packs.values())
        for log in logs.values():
            self.sources += log.parts.values()
        self.tenants = {p.tenant: p.tenant_record for p in packs.values()}
        self.records = {}
        for file in files:
            for key, value, sequence in file.records:
                if key not in self.records or self.records[key][1] <= sequence:
                    self.records[key] = (value, sequence)
        for key, (value, _) in self.records.items():
            if key[:1] == b"T" and value is not None:
                self.tenants[int.from_bytes(key[1:5], "little")] = tenant_record(value)
        self.vocabulary = self.read_vocabulary(folder, ranks)

    @staticmethod
    def read_all(folder, kind, read):
        out = {}
        for path in numbered(folder, kind):
            number = int(path.stem)
            try:
                out[number] = read(path.read_bytes(), number)
            except Failure as failure:
                raise Failure(failure.status, f"{path}: {failure}") from None
        return out

    def read_vocabulary(self, folder, ranks):
        name = self.vault["tokenizer"]
        if name == "bytes":
            return {b: bytes([b]) for b in range(256)}
        if self.vault["vocabulary"]:
            path = folder / self.vault["vocabulary"]
        else:
            # Where the tree of the sources keeps them, if nothing is said.
            tree = pathlib.Path(__file__).resolve().parent.parent.parent / "data" / "tokenizers"
            path = pathlib.Path(ranks or tree) / f"{name}.tiktoken"
        if not path.exists():
            raise Failure(3, f"not_found: {path}: the vocabulary (--ranks FOLDER)")
        data = path.read_bytes()
        check(hashlib.sha256(data).digest() == self.vault["sha256"], f"{path}: another vocabulary")
        out = {}
        for line in data.split(b"\n"):
            if line.strip():
                token, rank = line.split()
                out[int(rank)] = base64.b64decode(token)
        return out | SPECIAL.get(name, {})

    def segment(self, source, stream, reference):
        is_external, number = reference
        if is_external:
            kind, digest = source.externals[number]
            check(kind == stream, "external of another stream")
            for source in (s for s in self.sources if s.tenant == source.tenant):
                number = source.find(stream, digest)
                if number is not None:
                    break
            check(number is not None, "a segment of another file is in none")
        return source.tokens(number) if stream == TOKEN_STREAM else source.code(stream, number)

    def fill(self, source, form_number, references, members):
        """The JSON text of a form with its holes filled (manifest.md)."""
        form = source.forms[form_number]
        values = [self.segment(source, s, r) for s, r in zip(streams_of(form), references)]
        has_inline = any(c in (STRING, SCALAR) for c in form)
        inline = In(values.pop(0) if has_inline else b"")
        following, out = iter(values), []
        for c in form:
            if c == TEXT:
                tokens = next(following)
                check(all(t in self.vocabulary for t in tokens), "a token without text")
                out.append(quote(b"".join(self.vocabulary[t] for t in tokens)))
            elif c == TOKENS:
                out.append(json.dumps(next(following)).encode())
            elif c == STRING:
                out.append(quote(inline.sized()))
            elif c == SCALAR:
                out.append(inline.sized())
            elif c == JSON:
                out.append(next(following))
            elif c == BINARY:
                out.append(b'"' + base64.b64encode(next(following)) + b'"')
            elif c < 0x20:
                check(members is not None and c in members, "form: hole")
                out.append(members[c])
            else:
                out.append(bytes([c]))
        inline.end("values of a form")
        return b"".join(out)

    def conversation(self, source, row):
        messages, node = [], row.leaf
        while node is not None:
            parent, form, references = source.nodes[node]
            messages.append(self.fill(source, form, references, None))
            node = parent
        return self.fill(source, row.form, row.refs, {
            0x10: b"[" + b",".join(reversed(messages)) + b"]", 0x11: quote(row.id),
            0x12: quote(source.models[row.model]),
            0x13: quote(source.applications[row.application]),
            0x14: b"%d" % (row.time_ms // 1000), 0x15: b"%d" % row.time_ms})

    def conversations(self, tenant):
        """(row, tags, JSON text) of what is visible, in the order of first writing."""
        key, newest = self.tenants[tenant]["key"], {}
        for source in self.sources:
            for row in source.rows if source.tenant == tenant else ():
                prefix = tenant.to_bytes(4, "little") + id_hash(key, row.id)
                deletion = self.records.get(b"D" + prefix, (None, 0))
                if deletion[0] is not None and deletion[1] > row.sequence:
                    continue
                if row.id not in newest or newest[row.id][1].sequence < row.sequence:
                    newest[row.id] = source, row, b"G" + prefix
        for source, row, tag_prefix in sorted(newest.values(), key=lambda v: v[1].first):
            tags = sorted(k[21:] for k, v in self.records.items()
                          if k.startswith(tag_prefix) and v[0] is not None)
            yield row, tags, self.conversation(source, row)


    def held(self, tenant):
        """(id, holders, tokens or bytes) of what somebody holds (record.md), in order of ids."""
        holders, values = {}, {}
        prefix = b"H" + tenant.to_bytes(4, "little")
        for key, (value, _) in sorted(self.records.items()):
            if key.startswith(prefix) and value is not None:
                check(len(key) >= 38 and key[5] < 2, "hold: key")
                holders.setdefault(key[5:38], []).append(key[38:])
                values[key[5:38]] = value
        for key, value in values.items():
            stream, digest, v = key[0], key[1:], In(value)
            size, code = v.varint(), v.rest()
            check(bool(code) == (0 < size < SHARED), "hold: value")
            if size < SHARED:
                content = tokens_of(code, [], 256) if stream == TOKEN_STREAM else code
            else:
                for source in (s for s in self.sources if s.tenant == tenant):
                    number = source.find(stream, digest[:16])
                    if number is not None:
                        break
                check(number is not None, "a segment that is held is in no file")
                is_tokens = stream == TOKEN_STREAM
                content = source.tokens(number) if is_tokens else source.code(stream, number)
            data = content
            if stream == TOKEN_STREAM:
                data = b"".join(t.to_bytes(4, "little") for t in content)
            check(len(content) == size and hashlib.sha256(data).digest() == digest, "hold: segment")
            yield ("tokens:" if stream == TOKEN_STREAM else "bytes:") + digest.hex(), holders[
                key], content


def quote(text):
    """UTF-8, in which lone surrogates stand as three bytes, as a JSON string."""
    try:
        return json.dumps(text.decode("utf-8", "surrogatepass")).encode()
    except UnicodeDecodeError:
        raise Failure(2, "invalid: a text that is not UTF-8 has no JSON") from None


# --- checkpoint.md -----------------------------------------------------------------------------

KV_FIELDS = ["model", "tokenizer", "chat_template", "dtype", "layout", "lora", "tenant", "extra"]
KV_KINDS = {1: "block", 2: "tail", 3: "sidecar", 4: "state"}
KV_CHUNK = 262144


def kv_namespace(data):
    source, fields, last = In(data), {}, 0
    while source.left():
        tag = source.le(1)
        check(last < tag <= len(KV_FIELDS), "namespace")
        fields[KV_FIELDS[tag - 1]] = source.sized().decode()
        last = tag
    return {"hash": hashlib.sha256(data).digest()[:16], "fields": fields}


class CheckpointStore:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        store = In((self.folder / "store").read_bytes())
        check(store.le(4) == 0xF17A9CD1, "this is no checkpoint store")
        version, self.block_tokens, _ = store.le(4), store.le(4), store.le(4)
        checksum(store.data[:16], store.le(8), "store")
        if version != 1:
            raise unsupported(f"checkpoint store version {version}")
        self.namespaces, self.entries, self.generation = [], {}, 0
        for path in sorted(self.folder.glob("index-*[0-9a-f]"), reverse=True):
            self.index(path.read_bytes(), int(path.name[6:], 16))
            break
        while self.journal((self.folder / f"journal-{self.generation:08x}").read_bytes()):
            self.generation += 1

    def index(self, data, generation):
        head = In(data)
        check(head.le(4) == 0xF17A9CD2 and head.le(4) == 1, "index")
        expected, own, tokens, _clock = head.le(8), head.le(8), head.le(4), head.le(4)
        small_size, count, used, _free, _segment = (head.le(n) for n in (8, 4, 4, 4, 4))
        slots = head.le(8)
        head.bytes(64)
        chunks = (count + 65535) // 65536
        sums = [head.le(8) for _ in range(chunks + 2)]
        checksum(data[16:head.at], expected, "index header")
        check(own == generation and tokens == self.block_tokens, "index header")
        small = head.bytes(small_size)
        checksum(small, sums[0], "small tables")
        part = In(small)
        self.namespaces = [kv_namespace(part.sized()) for _ in range(part.le(4))]
        for _ in range(part.le(4)):
            part.bytes(20)  # segments
        extras = {}
        for _ in range(part.le(4)):
            number = part.le(4)
            extras[number] = part.le(8)
            part.bytes(28)
        for _ in range(part.le(4)):
            part.bytes(9)  # what is gone
        part.end("small tables")
        records = []
        for i in range(chunks):
            raw = head.bytes(min(65536, count - i * 65536) * 52)
            checksum(raw, sums[1 + i], "records")
            records += [raw[at:at + 52] for at in range(0, len(raw), 52)]
        table = head.bytes(slots * 4)
        checksum(table, sums[-1], "slots")
        head.end("index")
        for number, raw in enumerate(records):
            r = In(raw)
            key, parent, segment, offset, size = r.bytes(16), r.le(4), r.le(4), r.le(4), r.le(4)
            r.bytes(8)
            depth_space, kind, flags = r.le(4), r.le(1), r.le(1)
            if kind == 0 or flags & 8:
                continue
            space = depth_space >> 16
            above = self.namespaces[space]["hash"] if parent == U32 else records[parent][:16]
            self.entries[key] = (kind, space, above, segment, offset * 64, size * 64,
                                 extras.get(number, 0))
        check(sum(r[44] != 0 for r in records) == used, "records in use")
        self.generation = generation

    def journal(self, data):
        """Whether it ends with a rotate."""
        at = 0
        while at + 7 <= len(data):
            head = In(data[at:])
            expected, size, event = head.le(4), head.le(2), head.le(1)
            if head.left() < size or CHECKSUMS and \
                    xxh3_64(data[at + 4:at + 7 + size], 0) & U32 != expected:
                break
            body = In(head.bytes(size))
            at += 7 + size
            if event == 1:
                check(body.le(2) == len(self.namespaces), "namespace number")
                self.namespaces.append(kv_namespace(body.rest()))
            elif event == 2:
                key, parent = body.bytes(16), body.bytes(16)
                has_parent, kind = body.le(1), body.le(1)
                space, _tokens, _depth = body.le(2), body.le(2), body.le(2)
                segment, offset, size = body.le(4), body.le(4), body.le(4)
                expires = body.le(8) if body.left() else 0
                above = parent if has_parent else self.namespaces[space]["hash"]
                self.entries[key] = (kind, space, above, segment, offset * 64, size * 64, expires)
            elif event == 3:
                self.entries.pop(body.bytes(16), None)
            else:
                check(event == 4, "event")
                return True
        return False

    def record(self, key, entry):
        kind, space, above, segment, offset, size, expires = entry
        data = (self.folder / f"log-{segment:08x}").read_bytes()[offset:offset + size]
        r = In(data)
        check(r.le(4) == 0xF17A9CD3, "record")
        version, own_kind, paged, expected = r.le(2), r.le(1), r.le(1), r.le(8)
        if version not in (1, 2):
            raise unsupported(f"record version {version}")
        check(own_kind == kind and r.bytes(16) == key and r.bytes(16) == above, "record")
        check(r.bytes(16) == self.namespaces[space]["hash"], "record: namespace")
        ids, position, payload_size, text_size, meta_size = (r.le(n) for n in (4, 4, 8, 4, 4))
        check(payload_size > 0 or kind > 2, "record: a block without a payload")
        tail_sum, _created = r.le(8), r.le(8)
        own_expires, coded, codec = r.le(8), r.le(8), r.le(1)
        check(r.bytes(7) == bytes(7) and (version == 2) == (own_expires != 0 or codec != 0),
              "record: zero")
        check(own_expires == expires and codec <= 3, "record")
        tokens = [r.le(4) for _ in range(ids)]
        sizes = [min(KV_CHUNK, payload_size - i) for i in range(0, payload_size, KV_CHUNK)]
        sums = [r.le(8) for _ in sizes]
        stored = [r.le(4) for _ in sizes] if codec else sizes
        unit = 4096 if paged else 64
        r.bytes(-r.at % unit)
        checksum(data[16:r.at], expected, "prefix")
        check(not codec or sum(stored) == coded, "record: coded size")
        payload = b""
        for number, (full, n) in enumerate(zip(sizes, stored)):
            chunk = r.bytes(n)
            if n < full:
                chunk = self.chunk(codec, chunk, full)
            checksum(chunk, sums[number], "chunk", number * KV_CHUNK)
            payload += chunk
        text, meta = r.bytes(text_size), r.bytes(meta_size)
        checksum(text + meta, tail_sum, "text and meta")
        check(len(data) - r.at == -r.at % unit, "record: size")
        tag, content = {3: (3, meta), 4: (1 if ids else 2, text)}.get(kind, (0, b""))
        if kind != 3 and ids:
            content = b"".join(t.to_bytes(4, "little") for t in tokens)
        low, high = xxh3_128(above + bytes([tag]) + content, 0)
        check(key == low.to_bytes(8, "little") + high.to_bytes(8, "little"), "record: key")
        return {"namespace": self.namespaces[space]["fields"], "kind": KV_KINDS[kind],
                "position": position, "tokens": tokens, "text": text.decode("latin-1"),
                "meta": meta.decode("latin-1"), "payload_bytes": payload_size,
                "codec": codec, "expires": expires,
                "payload_sha256": hashlib.sha256(payload).hexdigest()}

    @staticmethod
    def chunk(codec, stored, size):
        if codec < 3:
            return unzstd(stored, size)
        count = size // 2
        frame = len(stored) - (size - count)
        check(frame > 0, "chunk")
        upper, lower = unzstd(stored[:frame], count), stored[frame:]
        numbers = ((u << 8 | v) for u, v in zip(upper, lower))
        out = b"".join((x >> 1 | (x & 1) << 15).to_bytes(2, "little") for x in numbers)
        return out + lower[count:]

    def lines(self):
        rows = [self.record(key, entry) for key, entry in self.entries.items()]
        return sorted(json.dumps(row, sort_keys=True) for row in rows)


# --- kvc.md ------------------------------------------------------------------------------------

KVC_FIELDS = [("quant_bits", 1), ("reason", 1), ("flags", 1), ("reserved_7", 1), ("tokens", 4),
              ("hits", 4), ("context", 4), ("reserved_20", 4), ("created", 8), ("last_used", 8)]


def kvc(data):
    """The state in a KVC file."""
    source = In(data)
    check(source.bytes(3) == b"KVC", "KVC: magic")
    version = source.le(1)
    if version != 1:
        raise unsupported(f"KVC version {version}")
    state = {name: source.le(size) for name, size in KVC_FIELDS}
    payload_size, text_size = source.le(8), source.le(4)
    state["text"] = source.bytes(text_size).decode("latin-1")
    payload = source.bytes(payload_size)
    state["payload_bytes"] = payload_size
    state["payload_sha256"] = hashlib.sha256(payload).hexdigest()
    if state["flags"] & 1:
        check(source.bytes(3) == b"KTM" and source.le(1) == 1, "KVC: tool map")
        state["tools"] = []
        for _ in range(source.le(4)):
            id_size, tool_size = source.le(4), source.le(4)
            check(id_size <= 256, "KVC: tool id")
            tool = source.bytes(id_size), source.bytes(tool_size)
            state["tools"].append([part.decode("latin-1") for part in tool])
    state["trailer"] = source.rest().decode("latin-1")
    return state


def main():
    global CHECKSUMS
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vault")
    parser.add_argument("--ranks")
    parser.add_argument("--tenant", default="default")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--held", action="store_true", help="segments that somebody holds")
    parser.add_argument("--no-checksums", action="store_true")
    given = parser.parse_args()
    CHECKSUMS = not given.no_checksums
    try:
        if pathlib.Path(given.vault).is_file():
            print(json.dumps(kvc(pathlib.Path(given.vault).read_bytes())))
            return 0
        if (pathlib.Path(given.vault) / "store").exists():
            print("\n".join(CheckpointStore(given.vault).lines()))
            return 0
        vault = Vault(given.vault, given.ranks)
        names = [tenant["name"] for tenant in vault.tenants.values()]
        if not given.all and given.tenant not in [*names, "default"]:
            raise Failure(3, f"not_found: no tenant {given.tenant}")
        for number, tenant in sorted(vault.tenants.items()):
            if not given.all and tenant["name"] != given.tenant:
                continue
            for name, holders, content in vault.held(number) if given.held else ():
                kind, digits = ("hex", content.hex()) if isinstance(content, bytes) else (
                    "tokens", None)
                line = {"tenant": tenant["name"], "id": name,
                        "holders": [h.decode() for h in holders], kind: digits or content}
                print(json.dumps(line))
            for row, tags, text in vault.conversations(number) if not given.held else ():
                if given.all:
                    text = b'{"tenant":%s,"id":%s,"time_ms":%d,"sequence":%d,"first_sequence":%d,' \
                        b'"tokens":%d,"text_bytes":%d,"tags":[%s],"conversation":%s}' % (
                            quote(tenant["name"].encode()), quote(row.id), row.time_ms,
                            row.sequence, row.first, row.tokens, row.text_bytes,
                            b",".join(quote(t) for t in tags), text)
                sys.stdout.buffer.write(text + b"\n")
    except Failure as failure:
        print(f"decode.py: {failure}", file=sys.stderr)
        return failure.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
