"""XXH3 with 64 and 128 bits and a seed, for decode.py: slow, whole, and checked against vectors.

The checksums of tokvault's files are XXH3-64 with a seed, the hashes of ids XXH3-128
(docs/format/README.md). The algorithm is https://xxhash.com's; what is here follows its
specification and is held against tests/golden/xxh3_vectors.txt, which the C library wrote.
"""

import struct

M32 = 0xFFFFFFFF
M64 = 0xFFFFFFFFFFFFFFFF
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MX1, MX2 = 0x165667919E3779F9, 0x9FB21C651E98DF25

SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
SECRET_MIN = 136  # parts of the algorithm count from the end of a secret of this size


def r32(b, at):
    return int.from_bytes(b[at:at + 4], "little")


def r64(b, at):
    return int.from_bytes(b[at:at + 8], "little")


def rotl(v, n):
    return (v << n | v >> (64 - n)) & M64


def swap(v, size):
    return int.from_bytes(v.to_bytes(size, "little"), "big")


def fold(a, b):
    p = a * b
    return (p ^ p >> 64) & M64


def avalanche(h):
    h ^= h >> 37
    h = h * MX1 & M64
    return h ^ h >> 32


def avalanche_xxh64(h):
    h ^= h >> 33
    h = h * P64_2 & M64
    h ^= h >> 29
    h = h * P64_3 & M64
    return h ^ h >> 32


def mix16(data, at, secret_at, seed):
    return fold(r64(data, at) ^ (r64(SECRET, secret_at) + seed) & M64,
                r64(data, at + 8) ^ (r64(SECRET, secret_at + 8) - seed) & M64)


def accumulate_all(data, seed):
    """The eight lanes after all stripes of 64 bytes, and the secret that the seed makes."""
    parts = struct.unpack("<24Q", SECRET)
    secret = struct.pack("<24Q", *((p + (seed if i % 2 == 0 else -seed)) & M64
                                   for i, p in enumerate(parts)))
    acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    keys = [struct.unpack_from("<8Q", secret, 8 * n) for n in range(17)]
    read = struct.Struct("<8Q").unpack_from

    def stripe(at, key):
        lanes = read(data, at)
        for i in range(8):
            d = lanes[i]
            k = d ^ key[i]
            acc[i ^ 1] += d
            acc[i] = acc[i] + (k & M32) * (k >> 32)

    def reduce():
        for i in range(8):
            acc[i] &= M64

    blocks = (len(data) - 1) // 1024
    for block in range(blocks):
        for n in range(16):
            stripe(block * 1024 + n * 64, keys[n])
        reduce()
        for i in range(8):
            acc[i] = ((acc[i] ^ acc[i] >> 47) ^ keys[16][i]) * P32_1 & M64
    for n in range((len(data) - 1 - blocks * 1024) // 64):
        stripe(blocks * 1024 + n * 64, keys[n])
    stripe(len(data) - 64, read(secret, len(secret) - 64 - 7))
    reduce()
    return acc, secret


def merge(acc, secret, at, start):
    for i in range(4):
        start += fold(acc[2 * i] ^ r64(secret, at + 16 * i),
                      acc[2 * i + 1] ^ r64(secret, at + 16 * i + 8))
    return avalanche(start & M64)


def xxh3_64(data, seed=0):
    n, s = len(data), SECRET
    if n == 0:
        return avalanche_xxh64(seed ^ r64(s, 56) ^ r64(s, 64))
    if n <= 3:
        both = data[0] << 16 | data[n >> 1] << 24 | data[n - 1] | n << 8
        return avalanche_xxh64(both ^ ((r32(s, 0) ^ r32(s, 4)) + seed) & M64)
    if n <= 8:
        seed ^= swap(seed & M32, 4) << 32
        h = (r32(data, n - 4) + (r32(data, 0) << 32)) ^ ((r64(s, 8) ^ r64(s, 16)) - seed) & M64
        h ^= rotl(h, 49) ^ rotl(h, 24)
        h = h * MX2 & M64
        h ^= (h >> 35) + n
        h = h * MX2 & M64
        return h ^ h >> 28
    if n <= 16:
        low = r64(data, 0) ^ ((r64(s, 24) ^ r64(s, 32)) + seed) & M64
        high = r64(data, n - 8) ^ ((r64(s, 40) ^ r64(s, 48)) - seed) & M64
        return avalanche((n + swap(low, 8) + high + fold(low, high)) & M64)
    if n <= 128:
        acc = n * P64_1
        for i in range((n - 1) // 32, -1, -1):
            acc += mix16(data, 16 * i, 32 * i, seed)
            acc += mix16(data, n - 16 * (i + 1), 32 * i + 16, seed)
        return avalanche(acc & M64)
    if n <= 240:
        acc = n * P64_1 + sum(mix16(data, 16 * i, 16 * i, seed) for i in range(8))
        acc = avalanche(acc & M64)
        acc += sum(mix16(data, 16 * i, 16 * (i - 8) + 3, seed) for i in range(8, n // 16))
        acc += mix16(data, n - 16, SECRET_MIN - 17, seed)
        return avalanche(acc & M64)
    acc, secret = accumulate_all(data, seed)
    return merge(acc, secret, 11, n * P64_1)


def mix32(acc, data, a, b, secret_at, seed):
    low = (acc[0] + mix16(data, a, secret_at, seed)) & M64
    low ^= (r64(data, b) + r64(data, b + 8)) & M64
    high = (acc[1] + mix16(data, b, secret_at + 16, seed)) & M64
    high ^= (r64(data, a) + r64(data, a + 8)) & M64
    return low, high


def finish_128(acc, n, seed):
    low = avalanche((acc[0] + acc[1]) & M64)
    high = avalanche((acc[0] * P64_1 + acc[1] * P64_4 + (n - seed) * P64_2) & M64)
    return low, -high & M64


def xxh3_128(data, seed=0):
    """(low, high). At least 4 bytes: nothing shorter is hashed here."""
    n, s = len(data), SECRET
    assert n >= 4
    if n <= 8:
        seed ^= swap(seed & M32, 4) << 32
        keyed = (r32(data, 0) + (r32(data, n - 4) << 32)) ^ ((r64(s, 16) ^ r64(s, 24)) + seed) & M64
        product = keyed * (P64_1 + (n << 2) & M64)
        low, high = product & M64, product >> 64
        high = (high + (low << 1)) & M64
        low ^= high >> 3
        low ^= low >> 35
        low = low * MX2 & M64
        low ^= low >> 28
        return low, avalanche(high)
    if n <= 16:
        flip_low = ((r64(s, 32) ^ r64(s, 40)) - seed) & M64
        flip_high = ((r64(s, 48) ^ r64(s, 56)) + seed) & M64
        first, last = r64(data, 0), r64(data, n - 8)
        product = (first ^ last ^ flip_low) * P64_1
        low, high = (product + ((n - 1) << 54)) & M64, product >> 64
        last ^= flip_high
        high = (high + last + (last & M32) * (P32_2 - 1)) & M64
        low ^= swap(high, 8)
        product = low * P64_2
        return avalanche(product & M64), avalanche((product >> 64) + high * P64_2 & M64)
    if n <= 128:
        acc = n * P64_1 & M64, 0
        for i in range((n - 1) // 32, -1, -1):
            acc = mix32(acc, data, 16 * i, n - 16 * (i + 1), 32 * i, seed)
        return finish_128(acc, n, seed)
    if n <= 240:
        acc = n * P64_1 & M64, 0
        for i in range(32, 160, 32):
            acc = mix32(acc, data, i - 32, i - 16, i - 32, seed)
        acc = avalanche(acc[0]), avalanche(acc[1])
        for i in range(160, n + 1, 32):
            acc = mix32(acc, data, i - 32, i - 16, 3 + i - 160, seed)
        acc = mix32(acc, data, n - 16, n - 32, SECRET_MIN - 17 - 16, -seed & M64)
        return finish_128(acc, n, seed)
    acc, secret = accumulate_all(data, seed)
    return (merge(acc, secret, 11, n * P64_1),
            merge(acc, secret, len(secret) - 64 - 11, ~(n * P64_2) & M64))
