#!/usr/bin/env python3
"""python/tokvault_checkpoint.py against the built library (TOKVAULT_LIBRARY), as engines use it."""

import array
import asyncio
import hashlib
import os
import pathlib
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "python"))
import tokvault_checkpoint as kv  # noqa: E402

MODEL = {"model": "aster-large@7", "dtype": "bf16", "layout": "tp1"}


class Tensor:
    """What the module asks of a tensor, over an array."""

    device = "cpu"

    def __init__(self, data, contiguous=True):
        self.data, self.contiguous = data, contiguous

    def data_ptr(self):
        return self.data.buffer_info()[0]

    def numel(self):
        return len(self.data)

    def element_size(self):
        return self.data.itemsize

    def is_contiguous(self):
        return self.contiguous


class MemoryObject:
    def __init__(self, data):
        self.byte_array = memoryview(data)


def page(key, size=70000):
    """Bytes that tell which key they are of."""
    seed = hashlib.sha256(str(key).encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


class Test(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tokvault-kv-")
        self.path = os.path.join(self.folder.name, "store")
        self.addCleanup(self.folder.cleanup)

    def test_blocks(self):
        tokens = list(range(100, 140))
        states = [page(i, 3000) for i in range(3)]  # two blocks of 16 and a tail
        with kv.CheckpointStore(self.path, block_tokens=16, codec="by_dtype", **MODEL) as store:
            self.assertEqual(store.put(tokens, states), 3)
            self.assertEqual(store.put(tokens, states), 0)
            self.assertEqual(store.match(tokens + [1, 2]), 40)
            self.assertEqual(store.match(tokens[:20]), 16)
            self.assertEqual(store.block_bytes(tokens, 1), 3000)
            self.assertIsNone(store.block_bytes(tokens, 3))
            out = [bytearray(3000) for _ in range(2)]
            self.assertEqual(store.get(tokens, out, first_block=1), [3000, 3000])
            self.assertEqual([bytes(b) for b in out], states[1:])
            self.assertEqual(store.remove(tokens, 16), 2)
            self.assertEqual(store.stats()["blocks"], 1)
            with self.assertRaises(kv.CheckpointError) as raised:
                store.put(tokens, states[:1])
            self.assertEqual(raised.exception.code, 3)
            with self.assertRaises(kv.CheckpointError) as raised:
                kv.CheckpointStore(self.path)
            self.assertEqual(raised.exception.code, 7)  # busy: one writer
            with kv.CheckpointStore(self.path, read_only=True, **MODEL) as reader:
                self.assertEqual(reader.match(tokens), 16)
        with kv.CheckpointStore(self.path, **{**MODEL, "dtype": "fp8"}) as store:
            self.assertEqual(store.block_tokens, 16)
            self.assertEqual(store.match(tokens), 0)
        with self.assertRaises(TypeError):
            kv.CheckpointStore(self.path, flavour="x")

    def test_wrong_shapes(self):
        """What does not fit is an exception, never another prompt's state or a crash."""
        tokens = list(range(100, 132))
        states = [page(i, 3000) for i in range(2)]
        store = kv.CheckpointStore(self.path, block_tokens=16, **MODEL)
        self.addCleanup(store.close)
        self.assertEqual(store.put(tokens, states), 2)
        for wrong in (tokens[:31] + [tokens[31] + 2**32], [-1] + tokens[1:], ["a"] * 32, [1.5],
                      array.array("i", tokens), array.array("Q", tokens), b"abcd", 7, None):
            with self.assertRaises((TypeError, ValueError)):
                store.match(wrong)
        self.assertEqual(store.match(array.array("I", tokens)), 32)
        self.assertEqual(store.match(iter(tokens)), 32)
        self.assertEqual(store.match([]), 0)
        for wrong in (["text"], [7], [None], [memoryview(bytearray(64))[::2]],
                      [Tensor(array.array("H", [1, 2]), contiguous=False)]):
            with self.assertRaises((TypeError, ValueError)):
                store.put(tokens[:16], wrong)
            with self.assertRaises((TypeError, ValueError)):
                store.get(tokens, wrong)
        with self.assertRaises(ValueError):
            store.put(tokens, states, texts=[b"a", b"b", b"c"])
        for number in (-1, 2**32, 2**64 - 1):
            with self.assertRaises(ValueError):
                store.put(tokens, states, first_block=number)
            with self.assertRaises(ValueError):
                store.get(tokens, [bytearray(3000)], first_block=number)
        # Not block 0 behind the last that there can be.
        self.assertEqual(store.get(tokens, [bytearray(3000)], first_block=(1 << 32) - 1), [None])
        with self.assertRaises(ValueError):
            store.get(tokens, [bytearray(3000)] * 2, first_block=(1 << 32) - 1)
            with self.assertRaises(ValueError):
                store.block_bytes(tokens, number)
        with self.assertRaises(ValueError):
            store.remove(tokens, -1)
        with self.assertRaises(ValueError):
            store.get(tokens, [bytes(3000)])  # read-only memory
        self.assertEqual(store.get(tokens, [bytearray(0), bytearray(9000)]), [0, 3000])
        self.assertEqual(store.get(tokens, []), [])
        for options in ({"codec": "x"}, {"budget_bytes": -1}, {"block_tokens": 2**32 + 16},
                        {"model": "a\0b"}):
            with self.assertRaises(ValueError):
                kv.CheckpointStore(self.path + "-other", **options)
        self.assertEqual(store.match(tokens), 32)
        store.close()
        store.close()
        for call in (lambda: store.match(tokens), lambda: store.put(tokens, states), store.stats,
                     lambda: store.get(tokens, [bytearray(3000)]), store.flush, store.texts,
                     store.clear, lambda: store.remove(tokens)):
            self.assertRaises(ValueError, call)

    def test_tensors_and_memory_objects(self):
        storage = kv.HiCacheStorage(self.path, budget_bytes=64 << 20, **MODEL)
        value = Tensor(array.array("H", range(3000)))
        self.assertTrue(storage.batch_set(["a"], [value]))
        target = Tensor(array.array("H", bytes(6000)))
        self.assertIs(storage.get("a", target), target)
        self.assertEqual(target.data, value.data)
        self.assertIsNone(storage.get("a", Tensor(array.array("H", [0]))))
        self.assertTrue(storage.set("b", MemoryObject(page("b"))))
        self.assertEqual(bytes(storage.get("b")), page("b"))
        for keys, values in ((["c", "d"], [b"1"]), (["c"], [b"1", b"2"]), (["c"], [])):
            with self.assertRaises(ValueError):
                storage.batch_set(keys, values)
        self.assertFalse(storage.exists("c"))
        with self.assertRaises(ValueError):
            storage.batch_get(["a", "b"], [bytearray(6000)])
        self.assertEqual(storage.batch_get([]), [])
        self.assertTrue(storage.batch_set([], []))
        with self.assertRaises(TypeError):
            storage.set("c")
        storage.close()

    def test_hicache(self):
        storage = kv.HiCacheStorage(self.path, budget_bytes=64 << 20, **MODEL)
        keys = [hashlib.sha256(bytes([i])).hexdigest() for i in range(6)]
        self.assertTrue(storage.set(keys[0], page(keys[0])))
        self.assertTrue(storage.batch_set(keys[1:4], [page(k) for k in keys[1:4]]))
        self.assertTrue(storage.exists(keys[3]))
        self.assertFalse(storage.exists(keys[4]))
        self.assertEqual(storage.batch_exists(keys), 4)
        self.assertEqual(storage.batch_exists([keys[5], keys[0]]), 0)
        self.assertEqual(bytes(storage.get(keys[0])), page(keys[0]))
        self.assertIsNone(storage.get(keys[5]))
        target = array.array("H", bytes(70000))  # a tensor's memory
        self.assertIs(storage.get(keys[1], target), target)
        self.assertEqual(target.tobytes(), page(keys[1]))
        got = storage.batch_get(keys[2:5], [bytearray(70000) for _ in range(3)])
        self.assertEqual([g and bytes(g) for g in got], [page(keys[2]), page(keys[3]), None])
        self.assertIsNone(storage.get(keys[1], bytearray(10)))  # of another size
        storage.delete(keys[1])
        self.assertEqual(storage.batch_exists(keys), 1)
        self.assertEqual(storage.get_stats()["blocks"], 3)
        storage.clear()
        self.assertFalse(storage.exists(keys[0]))
        self.assertTrue(storage.set(keys[0], page(keys[0])))
        storage.close()
        again = kv.HiCacheStorage(self.path, **MODEL)
        self.assertEqual(bytes(again.get(keys[0])), page(keys[0]))
        again.close()

    def test_full_budget_and_threads(self):
        storage = kv.HiCacheStorage(self.path, budget_bytes=2 << 20, **MODEL)
        self.assertFalse(storage.set("too large", bytes(4 << 20)))
        wrong = []

        def work(number):
            for i in range(60):
                key = f"{number}-{i % 20}"
                storage.set(key, page(key))
                got = storage.get(key)
                if got is not None and bytes(got) != page(key):
                    wrong.append(key)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertLessEqual(storage.get_stats()["disk_bytes"], 2 << 20)
        self.assertGreater(storage.get_stats()["evicted"] + storage.get_stats()["refused"], 0)
        storage.close()

    def test_remote_connector(self):
        async def use():
            remote = kv.RemoteConnector(self.path, budget_bytes=64 << 20, **MODEL)
            self.assertFalse(await remote.exists("a"))
            await remote.put("a", page("a"))
            await remote.batched_put(["b", "c"], [page("b"), page("c")])
            self.assertTrue(remote.exists_sync("c"))
            self.assertEqual(bytes(await remote.get("a")), page("a"))
            got = await remote.batched_get(["b", "x", "c"])
            self.assertEqual([g and bytes(g) for g in got], [page("b"), None, page("c")])
            self.assertEqual(await remote.ping(), 0)
            self.assertEqual(sorted(await remote.list()), ["a", "b", "c"])
            self.assertEqual(remote.batched_contains(["a", "b", "x", "c"]), 2)
            self.assertEqual(await remote.batched_async_contains("id", ["c", "a"]), 2)
            self.assertTrue(remote.remove_sync("b"))
            self.assertFalse(remote.remove_sync("b"))
            self.assertEqual(sorted(await remote.list()), ["a", "c"])
            self.assertIsNone(await remote.get("b"))
            for name in ("ping", "batched_get", "batched_put", "batched_contains",
                         "batched_async_contains"):
                self.assertTrue(getattr(remote, "support_" + name)())
            await remote.close()

        asyncio.run(use())


if __name__ == "__main__":
    unittest.main()
