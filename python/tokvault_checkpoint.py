"""The checkpoint store for Python engines, over the C ABI (ctypes, no dependencies).

CheckpointStore      the store: match, get, put of token blocks.
HiCacheStorage       a storage tier in the shape of SGLang's HiCacheStorage: pages by opaque key.
RemoteConnector      in the shape of LMCache's remote connector: chunks by opaque key, asynchronous.

The last two know keys (each a hash of a whole prefix), not tokens: the SHA-512 of a key, as sixteen
token ids, is a chain of one block. A key is found only under the namespace (model, dtype, layout)
that the tier was opened with.

Token ids are sequences of int, or anything with a buffer of unsigned 32-bit numbers (array("I"), a
NumPy array of uint32), which costs no loop. States are anything with a contiguous buffer, tensors
in host memory (data_ptr(), numel(), element_size()), or objects whose byte_array is one of these.
What has another shape, or ids outside 0 to 2^32 - 1, raises TypeError or ValueError and touches
nothing.

The shared library (libtokvault_checkpoint.so: docs/checkpoint.md says how it is built) is found by
the environment variable TOKVAULT_LIBRARY, or by the system's loader.
"""

import array
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
    path = (os.environ.get("TOKVAULT_LIBRARY") or ctypes.util.find_library("tokvault_checkpoint")
            or ctypes.util.find_library("tokvault"))
    if not path:
        raise OSError("libtokvault_checkpoint is not found; set TOKVAULT_LIBRARY to its path")
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
    """Address and size of a state's memory; the third value keeps it alive."""
    buffer = getattr(buffer, "byte_array", buffer)
    if hasattr(buffer, "data_ptr"):
        if not buffer.is_contiguous() or getattr(buffer.device, "type", buffer.device) != "cpu":
            raise ValueError("a tensor has to be contiguous and in host memory")
        return buffer.data_ptr(), buffer.numel() * buffer.element_size(), buffer
    view = memoryview(buffer)
    if not view.c_contiguous:
        raise ValueError("the buffer is not contiguous")
    if view.nbytes == 0:
        return None, 0, view
    view = view.cast("B")
    if view.readonly:
        if writable:
            raise ValueError("the buffer is read-only")
        keep = bytes(view)
        return ctypes.cast(ctypes.c_char_p(keep), ctypes.c_void_p).value, view.nbytes, keep
    memory = (ctypes.c_char * view.nbytes).from_buffer(view)
    return ctypes.addressof(memory), view.nbytes, memory


def _ids(tokens):
    """Token ids as a ctypes array."""
    try:
        view = memoryview(tokens)
    except TypeError:
        tokens = list(tokens)
        try:
            ids = array.array("I", tokens)
        except OverflowError:
            raise ValueError("a token id is not within 0 to 2^32 - 1") from None
        return (ctypes.c_uint32 * len(tokens)).from_buffer_copy(ids)
    if view.format not in ("I", "=I", "<I", "@I") or view.ndim != 1 or view.itemsize != 4:
        raise TypeError("a buffer of token ids has one dimension of unsigned 32-bit numbers")
    return (ctypes.c_uint32 * len(view)).from_buffer_copy(view.tobytes())


def _in_range(name, number, limit=1 << 32):
    """ctypes would cut what does not fit."""
    if not 0 <= number < limit:
        raise ValueError(f"{name} is {number}")


class CheckpointStore:
    """The store under one namespace.

    Threads: all methods from any thread at once, but close(). Failed calls raise CheckpointError,
    arguments of another shape TypeError or ValueError, and so does every call after close().
    """

    def __init__(self, directory, *, budget_bytes=0, block_tokens=0, direct_io=False,
                 read_only=False, codec="none", **namespace):
        self._library = _load()
        unknown = set(namespace) - set(_FIELDS)
        if unknown:
            raise TypeError("a namespace has no field " + ", ".join(sorted(unknown)))
        _in_range("budget_bytes", budget_bytes, 1 << 64)
        _in_range("block_tokens", block_tokens)
        if codec not in _CODECS:
            raise ValueError("a codec is one of " + ", ".join(_CODECS))
        for name, value in namespace.items():
            if "\0" in value:
                raise ValueError(f"the namespace's {name} has a zero byte")
        self._namespace = _Namespace(*(namespace.get(name, "").encode() for name in _FIELDS))
        options = _Options(budget_bytes=budget_bytes, block_tokens=block_tokens,
                           direct_io=direct_io, read_only=read_only, codec=_CODECS[codec])
        self._store = ctypes.c_void_p()
        self._call("open", os.fsencode(directory), ctypes.byref(options),
                   ctypes.byref(self._store))
        self.block_tokens = self._library.tokvault_kv_block_tokens(self._store)

    def _call(self, name, *arguments):
        if name not in ("open", "close") and not self._store:
            raise ValueError("the checkpoint store is closed")
        code = getattr(self._library, "tokvault_kv_" + name)(*arguments)
        if code != OK:
            raise CheckpointError(code, self._library.tokvault_kv_last_error().decode())

    def _prompt(self, tokens):
        ids = _ids(tokens)
        return self._store, ctypes.byref(self._namespace), ids, len(ids)

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
        _in_range("first_block", first_block)
        _in_range("the last block", first_block + len(buffers) - 1 if buffers else 0)
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
        _in_range("block", block)
        read = (_Read * 1)()
        read[0].block = block
        self._call("get", *self._prompt(tokens), read, 1, None)
        return read[0].payload_bytes if read[0].status == OK else None

    def put(self, tokens, states, first_block=0, texts=()):
        """Stores the blocks from first_block on; returns how many were new. `texts` are the
        rendered bytes of each block's tokens, one for each state if any are given."""
        if len(texts) not in (0, len(states)):
            raise ValueError(f"{len(states)} states and {len(texts)} texts")
        _in_range("first_block", first_block)
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
        """Removes the blocks at or behind from_token; returns how many records went."""
        _in_range("from_token", from_token)
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
            size = _address(out, writable=True)[1]
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

    @staticmethod
    def _pairs(keys, values):
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values")
        return zip(keys, values)

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
        targets = [None] * len(keys) if target_locations is None else target_locations
        return [self._get(key, target) for key, target in self._pairs(keys, targets)]

    def set(self, key, value=None, target_location=None, target_sizes=None):
        return self._set(key, value if value is not None else target_location)

    def batch_set(self, keys, values=None, target_locations=None, target_sizes=None):
        pairs = self._pairs(keys, values if values is not None else target_locations)
        return all([self._set(key, value) for key, value in pairs])

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
        await asyncio.gather(*(self.put(k, v) for k, v in self._pairs(keys, values)))

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
