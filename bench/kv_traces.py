#!/usr/bin/env python3
"""Makes request traces to try eviction on: bench/kv_traces.py FOLDER [NAME...].

Writes FOLDER/NAME.jsonl, the form that `tokvault kv replay` reads: blocks of 512 tokens, equal
numbers for equal prefixes. The shapes: chats whose users return after a random time, chats behind
shared system prompts, floods of prompts that never come again, documents of uneven popularity with
questions behind them, agents that loop, sessions that continue at random, and a mix. The seeds are
fixed, so the traces are the same everywhere.
"""

import argparse
import heapq
import json
import math
import pathlib
import random


class Blocks:
    """Numbers of new blocks."""

    def __init__(self):
        self.next = 0

    def new(self, count):
        self.next += count
        return list(range(self.next - count, self.next))


def chats(seed, back=0.75, pause_ms=60000, spread=1.2, flood=0.0, prompts=0, prompt_blocks=8,
          count=6000, gap_ms=1000):
    """Users return with probability `back` after a log-normal pause, one to three blocks later."""
    r, blocks = random.Random(seed), Blocks()
    system = [blocks.new(r.randint(1, prompt_blocks)) for _ in range(max(1, prompts))]
    waiting, requests, arrival, number = [], [], 0.0, 0
    while len(requests) < count:
        if not waiting or arrival <= waiting[0][0]:
            now = arrival
            arrival += r.expovariate(1 / gap_ms)
            if r.random() < flood:
                requests.append((now, blocks.new(r.randint(1, 20))))
                continue
            chat = system[int(len(system) * r.random() ** 2)] if prompts else []
            chat = chat + blocks.new(r.randint(1, 12))
        else:
            now, _, chat = heapq.heappop(waiting)
            chat = chat + blocks.new(r.randint(1, 3))
        requests.append((now, chat))
        if r.random() < back and len(chat) < 250:
            number += 1
            pause = math.exp(r.gauss(math.log(pause_ms), spread))
            heapq.heappush(waiting, (now + pause, number, chat))
    return requests


def documents(seed, documents=600, uneven=2.5, drift=0, count=5000):
    """Questions about documents of uneven popularity, among prompts that come once."""
    r, blocks = random.Random(seed), Blocks()
    all_of = [blocks.new(r.randint(5, 60)) for _ in range(documents)]
    requests = []
    for i in range(count):
        if r.random() < 0.3:
            requests.append((i * 500, blocks.new(r.randint(1, 25))))
            continue
        which = int(documents * r.random() ** uneven)
        if drift:
            which = (which + i // drift) % documents
        requests.append((i * 500, all_of[which] + blocks.new(r.randint(0, 2))))
    return requests


def agents(seed, live=20, tools=12, count=6000):
    """Agents behind shared tool descriptions, each step a block or two longer than the last."""
    r, blocks = random.Random(seed), Blocks()
    shared = [blocks.new(r.randint(4, 16)) for _ in range(tools)]
    running, requests = [], []
    for i in range(count):
        if len(running) < live:
            running.append(shared[int(tools * r.random() ** 1.5)] + blocks.new(r.randint(1, 3)))
        k = r.randrange(len(running))
        running[k] = running[k] + blocks.new(r.randint(1, 2))
        requests.append((i * 200, running[k]))
        if r.random() < 0.06 or len(running[k]) > 120:
            running.pop(k)
    return requests


def sessions(seed, live, count=5000):
    """Sessions that continue at random, whichever was used last."""
    r, blocks = random.Random(seed), Blocks()
    running, requests = [], []
    for i in range(count):
        if len(running) < live or r.random() < 0.25:
            running.append(blocks.new(r.randint(1, 15)))
            k = len(running) - 1
        else:
            k = r.randrange(len(running))
            running[k] = running[k] + blocks.new(r.randint(1, 4))
        requests.append((i * 300, running[k]))
        if r.random() < 0.25:
            running.pop(k)
    return requests


def mix(seed):
    parts = [chats(seed, pause_ms=120000, prompts=3, count=3000, gap_ms=1500),
             documents(seed + 1, count=2500), agents(seed + 2, count=2500)]
    requests = []
    for number, part in enumerate(parts):
        requests += [(t, [b + number * 10**7 for b in blocks]) for t, blocks in part]
    return sorted(requests, key=lambda request: request[0])


TRACES = {
    "chat": lambda: chats(1),
    "chat_long": lambda: chats(2, back=0.9, pause_ms=300000, spread=1.6),
    "chat_short": lambda: chats(3, back=0.6, pause_ms=20000, spread=0.8),
    "chat_prefix": lambda: chats(4, prompts=20, prompt_blocks=12),
    "flood": lambda: chats(5, flood=0.7),
    "flood_long": lambda: chats(6, flood=0.5, pause_ms=400000, spread=1.5),
    "docs": lambda: documents(7),
    "docs_flat": lambda: documents(8, uneven=1.2, documents=400),
    "docs_drift": lambda: documents(9, drift=10),
    "agents": lambda: agents(10),
    "agents_many": lambda: agents(11, live=150),
    "mix": lambda: mix(12),
    "sessions": lambda: sessions(13, 400),
    "sessions_few": lambda: sessions(14, 60),
    "sessions_many": lambda: sessions(15, 1500),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or TRACES:
        with open(given.folder / f"{name}.jsonl", "w") as file:
            for time, blocks in TRACES[name]():
                request = {"timestamp": int(time), "input_length": len(blocks) * 512 + 7,
                           "hash_ids": blocks}
                file.write(json.dumps(request) + "\n")


if __name__ == "__main__":
    main()
