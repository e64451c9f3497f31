"""Conversations that nobody had: digits, ids, base64, pictures and very short texts in a vault.

Each generator yields one conversation after another, the same ones for the same number on every
machine (random.Random with a fixed seed). They are what docs/decisions/0016-token-lz.md measures.
"""

import base64
import datetime
import json
import random
import uuid

DAY = datetime.datetime(2026, 3, 1)
WORDS = ("yes no thanks stop again more list open close next back help undo save send who "
         "why").split()


def hex_digits(rng, count):
    return f"{rng.getrandbits(4 * count):0{count}x}"


def log_lines(rng, clock, low, high):
    lines = []
    for _ in range(rng.randint(low, high)):
        clock[0] += datetime.timedelta(milliseconds=rng.randint(1, 5000))
        time = clock[0].isoformat(timespec="milliseconds")
        lines.append(f"{time} {hex_digits(rng, 16)}")
    return "\n".join(lines)


def chat(user, assistant=None):
    messages = [{"role": "user", "content": user}]
    if assistant is not None:
        messages.append({"role": "assistant", "content": assistant})
    return {"messages": messages}


def logs(rng, count):
    """1 to 12 lines of a time and 16 hexadecimal digits."""
    clock = [DAY]
    for number in range(count):
        yield {"id": f"log-{number}", **chat(log_lines(rng, clock, 1, 12))}


def logs_without_ids(rng, count):
    """2 to 6 such lines, and no id."""
    clock = [DAY]
    for _ in range(count):
        yield chat(log_lines(rng, clock, 2, 6))


def long_logs(rng, count):
    """20 to 40 such lines."""
    clock = [DAY]
    for number in range(count):
        yield {"id": f"log-{number}", **chat(log_lines(rng, clock, 20, 40))}


def integers(rng, count):
    """12 integers, answered by 30 to 200 bytes in base64."""
    for number in range(count):
        user = " ".join(str(rng.randrange(10 ** rng.randint(1, 9))) for _ in range(12))
        code = base64.b64encode(rng.randbytes(rng.randint(30, 200))).decode()
        yield {"id": f"numbers-{number}", **chat(user, code)}


def chats(rng, count):
    """One chat, each time with another UUID."""
    for number in range(count):
        ticket = uuid.UUID(int=rng.getrandbits(128))
        yield {
            "id": f"chat-{number}",
            "model": "aster-large",
            **chat(
                f"Please look up ticket {ticket} and tell me whether it is still open, who works "
                "on it and when it was last changed.",
                "The ticket is open. It was assigned to the team for billing, which changed it "
                "last on Tuesday. They wait for an answer of the customer, who was asked for the "
                "number of the invoice and the date of the payment.",
            ),
        }


def hex_runs(rng, count):
    """Eight runs of 16 hexadecimal digits and nothing else."""
    for number in range(count):
        yield {"id": f"hex-{number}", **chat(" ".join(hex_digits(rng, 16) for _ in range(8)))}


def short_chats(rng, count):
    """A word and a number, answered by a word."""
    for number in range(count):
        yield {
            "id": f"short-{number}",
            **chat(f"{rng.choice(WORDS)} {rng.randrange(1000)}", rng.choice(WORDS)),
        }


def sentence(rng, low, high):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def images(rng, count):
    """A picture of 10 to 60 KB as a data URL, and a few words about it."""
    for number in range(count):
        picture = base64.b64encode(rng.randbytes(rng.randint(10_000, 60_000))).decode()
        parts = [
            {"type": "text", "text": sentence(rng, 5, 20)},
            {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}},
        ]
        yield {"id": f"image-{number}", **chat(parts, sentence(rng, 10, 60))}


def agents(rng, count):
    """Steps of an agent with the ids, signatures and encrypted reasoning that interfaces add."""
    for number in range(count):
        messages = [{"role": "user", "content": sentence(rng, 10, 40)}]
        for _ in range(rng.randint(1, 6)):
            call = f"call_{hex_digits(rng, 24)}"
            arguments = json.dumps({"query": sentence(rng, 1, 5), "limit": rng.randrange(50)})
            function = {"name": "search", "arguments": arguments}
            hidden = base64.urlsafe_b64encode(rng.randbytes(rng.randint(200, 900))).decode()
            messages += [
                {
                    "role": "assistant",
                    "id": f"msg_{hex_digits(rng, 48)}",
                    "content": sentence(rng, 5, 30),
                    "reasoning": {"id": f"rs_{hex_digits(rng, 48)}", "encrypted_content": hidden},
                    "signature": base64.b64encode(rng.randbytes(rng.randint(100, 300))).decode(),
                    "tool_calls": [{"id": call, "type": "function", "function": function}],
                },
                {
                    "role": "tool",
                    "tool_call_id": call,
                    "request_id": str(uuid.UUID(int=rng.getrandbits(128))),
                    "content": sentence(rng, 10, 80),
                },
            ]
        yield {"id": f"resp_{hex_digits(rng, 48)}", "messages": messages}


def logprobs(rng, count):
    """Answers with the log-probability of each of their tokens."""
    for number in range(count):
        tokens = sentence(rng, 20, 60).split()
        made = chat(sentence(rng, 5, 20), " ".join(tokens))
        made["messages"][1]["logprobs"] = {
            "content": [
                {
                    "token": token,
                    "logprob": -rng.random() * rng.random() * rng.random(),
                    "bytes": list(token.encode()),
                    "top_logprobs": [],
                }
                for token in tokens
            ]
        }
        yield {"id": f"probed-{number}", **made}


# How many conversations of each make the corpus of the record.
CORPORA = {
    "logs": (logs, 2_000),
    "logs_without_ids": (logs_without_ids, 2_000),
    "long_logs": (long_logs, 12_000),
    "integers": (integers, 3_000),
    "chats": (chats, 20_000),
    "hex_runs": (hex_runs, 4_000),
    "short_chats": (short_chats, 20_000),
    "images": (images, 100),
    "agents": (agents, 1_000),
    "logprobs": (logprobs, 1_500),
}


def write(name, path, scale=1.0):
    """Writes a corpus as JSON lines, `scale` times as many as usual."""
    make, count = CORPORA[name]
    rng = random.Random(f"tokvault {name}")
    with open(path, "w", encoding="utf-8") as file:
        for conversation in make(rng, max(1, round(count * scale))):
            file.write(json.dumps(conversation, separators=(",", ":")) + "\n")
