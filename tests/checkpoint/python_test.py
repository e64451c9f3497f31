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
