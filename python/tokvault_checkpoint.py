"""The checkpoint store for Python engines, over the C ABI (ctypes, no dependencies).

CheckpointStore      the store: match, get, put of token blocks.
HiCacheStorage       a storage tier in the shape of SGLang's HiCacheStorage: pages by opaque key.
RemoteConnector      in the shape of LMCache's remote connector: chunks by opaque key, asynchronous.

The last two know keys (each a hash of a whole prefix), not tokens: the SHA-512 of a key, as sixteen
token ids, is a chain of one block. A key is found only under the namespace (model, dtype, layout)
that the tier was opened with.

The shared library is found by the environment variable TOKVAULT_LIBRARY, or by the system's loader.
"""

import asyncio
import ctypes
import ctypes.util
import hashlib
import os

OK, NOT_FOUND, EXHAUSTED = 0, 1, 8
_CODECS = {"none": 0, "zstd": 1, "plane8": 2, "planes16": 3, "by_dtype": 255}
_FIELDS = ("model", "tokenizer", "chat_template", "dtype", "layout", "lora", "tenant", "extra")


class CheckpointError(Exception):
    """A call failed: `code` is that of tokvault/result.h."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class _Namespace(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in _FIELDS]


class _Options(ctypes.Structure):
    _fields_ = [("budget_bytes", ctypes.c_uint64)] + [
        (name, ctypes.c_uint32)
        for name in ("block_tokens", "eviction", "direct_io", "sync_every_put", "read_only",
                     "threads", "codec")]


class _Match(ctypes.Structure):
    _fields_ = [("tokens", ctypes.c_uint64), ("blocks", ctypes.c_uint32),
                ("tail_tokens", ctypes.c_uint32)]


class _Block(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t),
                ("text", ctypes.c_void_p), ("text_size", ctypes.c_size_t)]


_Visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p,
                          ctypes.c_size_t)


class _Read(ctypes.Structure):
    _fields_ = [("block", ctypes.c_uint32), ("status", ctypes.c_uint32),
                ("offset", ctypes.c_uint64), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t),
                ("bytes", ctypes.c_uint64), ("payload_bytes", ctypes.c_uint64),
                ("tokens", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]


class _Stats(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in (
        "blocks", "sidecars", "states", "disk_bytes", "budget_bytes", "lookup_tokens",
        "hit_tokens", "bytes_written", "bytes_read", "evicted", "refused", "quarantined")]


def _load():
    path = os.environ.get("TOKVAULT_LIBRARY") or ctypes.util.find_library("tokvault")
    if not path:
        raise OSError("libtokvault is not found; set TOKVAULT_LIBRARY to its path")
    library = ctypes.CDLL(path)
    library.tokvault_kv_last_error.restype = ctypes.c_char_p
    library.tokvault_kv_block_tokens.restype = ctypes.c_uint32
    store, size = ctypes.c_void_p, ctypes.c_size_t
    namespace, tokens = ctypes.POINTER(_Namespace), ctypes.POINTER(ctypes.c_uint32)
    prompt = [store, namespace, tokens, size]
    for name, arguments in {
        "open": [ctypes.c_char_p, ctypes.POINTER(_Options), ctypes.POINTER(store)],
        "close": [store],
        "block_tokens": [store],
        "match_prefix": prompt + [ctypes.POINTER(_Match)],
        "get": prompt + [ctypes.POINTER(_Read), size, ctypes.POINTER(ctypes.c_uint64)],
        "put": prompt + [size, ctypes.POINTER(_Block), size, ctypes.POINTER(ctypes.c_uint32)],
        "remove": prompt + [ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64)],
        "remove_namespace": [store, namespace, ctypes.POINTER(ctypes.c_uint64)],
        "visit_texts": [store, namespace, _Visit, ctypes.c_void_p],
        "flush": [store],
        "get_stats": [store, ctypes.POINTER(_Stats)],
    }.items():
        getattr(library, "tokvault_kv_" + name).argtypes = arguments
    return library


def _address(buffer, writable):
    """Address and size of a bytes-like object; the third value keeps it alive."""
    view = memoryview(buffer).cast("B")
    if view.nbytes == 0:
        return None, 0, view
    if view.readonly:
        if writable:
            raise ValueError("the buffer is read-only")
        keep = bytes(view)
        return ctypes.cast(ctypes.c_char_p(keep), ctypes.c_void_p).value, view.nbytes, keep
    array = (ctypes.c_char * view.nbytes).from_buffer(view)
    return ctypes.addressof(array), view.nbytes, array


class CheckpointStore:
    """Threads: all methods from any thread at once, but close()."""

    def __init__(self, directory, *, budget_bytes=0, block_tokens=0, direct_io=False,
                 read_only=False, codec="none", **namespace):
        self._library = _load()
        unknown = set(namespace) - set(_FIELDS)
        if unknown:
            raise TypeError("a namespace has no field " + ", ".join(sorted(unknown)))
        self._namespace = _Namespace(*(namespace.get(name, "").encode() for name in _FIELDS))
        options = _Options(budget_bytes=budget_bytes, block_tokens=block_tokens,
                           direct_io=direct_io, read_only=read_only, codec=_CODECS[codec])
        self._store = ctypes.c_void_p()
        self._call("open", os.fsencode(directory), ctypes.byref(options),
                   ctypes.byref(self._store))
        self.block_tokens = self._library.tokvault_kv_block_tokens(self._store)

    def _call(self, name, *arguments):
        code = getattr(self._library, "tokvault_kv_" + name)(*arguments)
        if code != OK:
            raise CheckpointError(code, self._library.tokvault_kv_last_error().decode())

    def _prompt(self, tokens):
        return (self._store, ctypes.byref(self._namespace),
                (ctypes.c_uint32 * len(tokens))(*tokens), len(tokens))

    def match(self, tokens):
        """How many tokens of the prompt are stored."""
        match = _Match()
        self._call("match_prefix", *self._prompt(tokens), ctypes.byref(match))
        return match.tokens

    def get(self, tokens, buffers, first_block=0):
        """Reads block first_block + i into buffers[i]; a list of bytes read, None for a miss. A
        buffer that is smaller than its block gets the block's front."""
        return [read[0] if read else None for read in self._read(tokens, buffers, first_block)]

    def _read(self, tokens, buffers, first_block=0):
        """For each buffer the bytes that were read and those of the whole block, or None."""
        reads = (_Read * len(buffers))()
        kept = []
        for i, buffer in enumerate(buffers):
            reads[i].block = first_block + i
            reads[i].data, reads[i].size, keep = _address(buffer, writable=True)
            kept.append(keep)
        self._call("get", *self._prompt(tokens), reads, len(buffers), None)
        return [(r.bytes, r.payload_bytes) if r.status == OK else None for r in reads]

    def block_bytes(self, tokens, block):
        """Size of a stored block's state; None if it is not there."""
        read = (_Read * 1)()
        read[0].block = block
        self._call("get", *self._prompt(tokens), read, 1, None)
        return read[0].payload_bytes if read[0].status == OK else None

    def put(self, tokens, states, first_block=0, texts=()):
        """Stores the blocks from first_block on; returns how many were new. `texts` are the
        rendered bytes of each block's tokens."""
        blocks = (_Block * len(states))()
        kept = []
        for i, state in enumerate(states):
            blocks[i].data, blocks[i].size, keep = _address(state, writable=False)
            kept.append(keep)
        for i, text in enumerate(texts):
            blocks[i].text, blocks[i].text_size, keep = _address(text, writable=False)
            kept.append(keep)
        written = ctypes.c_uint32()
        self._call("put", *self._prompt(tokens), first_block, blocks, len(states),
                   ctypes.byref(written))
        return written.value

    def remove(self, tokens, from_token=0):
        removed = ctypes.c_uint64()
        self._call("remove", *self._prompt(tokens), from_token, ctypes.byref(removed))
        return removed.value

    def clear(self):
        """Removes everything under the namespace; returns how many records went."""
        removed = ctypes.c_uint64()
        self._call("remove_namespace", self._store, ctypes.byref(self._namespace),
                   ctypes.byref(removed))
        return removed.value

    def texts(self):
        """(tokens before it, text) of every block that was put with a text."""
        found = []

        def visit(_, position, text, size):
            found.append((position, ctypes.string_at(text, size)))
            return 0

        self._call("visit_texts", self._store, ctypes.byref(self._namespace), _Visit(visit), None)
        return found

    def stats(self):
        stats = _Stats()
        self._call("get_stats", self._store, ctypes.byref(stats))
        return {name: getattr(stats, name) for name, _ in _Stats._fields_}

    def flush(self):
        self._call("flush", self._store)

    def close(self):
        if self._store:
            store, self._store = self._store, ctypes.c_void_p()
            self._call("close", store)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class _Keyed:
    """Opaque keys over the store: a key is a chain of one block."""

    def __init__(self, directory, *, budget_bytes=0, codec="none", **namespace):
        self.store = CheckpointStore(directory, budget_bytes=budget_bytes, block_tokens=16,
                                     codec=codec, **namespace)

    @staticmethod
    def _tokens(key):
        digest = hashlib.sha512(str(key).encode()).digest()
        return [int.from_bytes(digest[i:i + 4], "little") for i in range(0, 64, 4)]

    def _get(self, key, out=None):
        tokens = self._tokens(key)
        if out is not None:
            size = memoryview(out).nbytes
            return out if self.store._read(tokens, [out])[0] == (size, size) else None
        size = self.store.block_bytes(tokens, 0)
        if size is None:
            return None
        out = bytearray(size)
        return out if self.store.get(tokens, [out])[0] == size else None

    def _set(self, key, value):
        tokens = self._tokens(key)
        try:
            self.store.put(tokens, [value], texts=[str(key).encode()])
        except CheckpointError as error:
            if error.code != EXHAUSTED:
                raise
            return False
        return self.store.match(tokens) > 0

    def _exists(self, key):
        return self.store.match(self._tokens(key)) > 0

    def _leading(self, keys):
        for count, key in enumerate(keys):
            if not self._exists(key):
                return count
        return len(keys)


class HiCacheStorage(_Keyed):
    """Pages by key, as SGLang asks of its storage tier."""

    def get(self, key, target_location=None, target_sizes=None):
        return self._get(key, target_location)

    def batch_get(self, keys, target_locations=None, target_sizes=None):
        targets = target_locations or [None] * len(keys)
        return [self._get(key, target) for key, target in zip(keys, targets)]

    def set(self, key, value=None, target_location=None, target_sizes=None):
        return self._set(key, value if value is not None else target_location)

    def batch_set(self, keys, values=None, target_locations=None, target_sizes=None):
        return all([self._set(k, v) for k, v in zip(keys, values or target_locations)])

    def exists(self, key):
        return self._exists(key)

    def batch_exists(self, keys, extra_info=None):
        """How many leading keys are there."""
        return self._leading(keys)

    def delete(self, key):
        self.store.remove(self._tokens(key))

    def clear(self):
        self.store.clear()

    def get_stats(self):
        return self.store.stats()

    def close(self):
        self.store.close()


class RemoteConnector(_Keyed):
    """Chunks by key, as LMCache asks of a remote connector. Calls run on the loop's threads. Keys
    are strings, or objects whose str() names them; list() gives the strings."""

    async def exists(self, key):
        return self._exists(key)

    def exists_sync(self, key):
        return self._exists(key)

    async def get(self, key):
        return await asyncio.to_thread(self._get, key)

    async def put(self, key, value):
        await asyncio.to_thread(self._set, key, value)

    async def list(self):
        """Every key that is there, in no order."""
        texts = await asyncio.to_thread(self.store.texts)
        return [text.decode() for _, text in texts]

    def remove_sync(self, key):
        """Whether there was something to remove."""
        return self.store.remove(self._tokens(key)) > 0

    def support_ping(self):
        return True

    async def ping(self):
        return 0

    def support_batched_get(self):
        return True

    async def batched_get(self, keys):
        return await asyncio.gather(*(self.get(key) for key in keys))

    def support_batched_put(self):
        return True

    async def batched_put(self, keys, values):
        await asyncio.gather(*(self.put(k, v) for k, v in zip(keys, values)))

    def support_batched_contains(self):
        return True

    def batched_contains(self, keys):
        """How many leading keys are there."""
        return self._leading(keys)

    def support_batched_async_contains(self):
        return True

    async def batched_async_contains(self, lookup_id, keys, pin=False):
        """How many leading keys are there; nothing is pinned: a chunk that goes is a miss."""
        return self._leading(keys)

    async def close(self):
        await asyncio.to_thread(self.store.close)
