"""Nodes that talk over memory pipes: sessions, receipts, files, crossing, restart, relaying."""

import asyncio
import json
import os
from hashlib import sha256
from pathlib import Path

from .links import Link, Pipe
from .node import Node
from .payloads import File
from .script import Journal, Script


def join(a, b, lose=lambda frame: False):
    """A link between two nodes, as between a central a and a peripheral b."""
    links = {}

    def pipe(to, role):
        async def write(frame):
            assert len(frame) <= 512
            await asyncio.sleep(0)
            if not lose(frame):
                to.receive(links[to], frame)

        return Pipe("memory", write, role=role)

    links[a], links[b] = Link("b", pipe(b, "central")), Link("a", pipe(a, "peripheral"))
    a.link_up(links[a])
    b.link_up(links[b])
    return links


def part(links):
    for node, link in links.items():
        node.pipe_down(link.pipe)
        link.pipe.close()


def story(journals):
    return "".join(
        f"\n   {i}: {json.dumps(e)}" for i, j in enumerate(journals) for e, _ in j.events
    )


async def lines(text):
    for line in text.strip().splitlines():
        yield line


async def talk(flavour_a, flavour_b, folder):
    content = os.urandom(100_000)
    digest = sha256(content).hexdigest()
    path = Path(folder) / f"photo of {flavour_a} {flavour_b}.bin"
    path.write_bytes(content)
    journals = [Journal(out=None), Journal(out=None)]
    a = Node("alice", journals[0].emit, flavour=flavour_a)
    b = Node("bob", journals[1].emit, flavour=flavour_b)
    b.say("said before anybody came")
    join(a, b)
    scripts = [
        f"""
        wait-person bob 5
        wait-text "said before anybody came" 10
        say hello mesh
        tell bob hello "bob"
        wait-delivered 10
        wait-read 10
        wait-private and hello to you 10
        give bob {path}
        wait-event delivered 5
        wait-event delivered 60
        verify bob
        wait-verified bob 30
        wait-file {digest} 60
        """,
        f"""
        wait-person alice 5
        wait-text hello mesh 10
        wait-private ~hello 10
        tell alice and hello to you
        wait-delivered 10
        wait-file {digest} 60
        share {path}
        wait-gone alice 60
        """,
    ]
    runs = [Script(n, j).run(lines(s)) for n, j, s in zip((a, b), journals, scripts)]

    async def alice():
        good = await runs[0]
        a.leave()
        return good

    ticker = asyncio.ensure_future(ticking(a, b))
    good = await asyncio.gather(alice(), runs[1])
    ticker.cancel()
    events = [e for j in journals for e, _ in j.events]
    if not all(good) or any(e["event"] in ("error", "failed") for e in events):
        raise AssertionError(story(journals))


async def talks(folder):
    pairs = [("plain", "plain"), ("ios", "android"), ("android", "ios"), ("plain", "android")]
    await asyncio.gather(*(talk(x, y, folder) for x, y in pairs))


async def ticking(*nodes):
    while True:
        for node in nodes:
            node.tick()
        await asyncio.sleep(0.1)


async def crossed_and_restarted():
    """Both begin at once; then one side forgets everything and comes back."""
    journals = [Journal(out=None) for _ in range(3)]
    a, b = Node("alice", journals[0].emit), Node("bob", journals[1].emit)
    links = join(a, b)
    await asyncio.sleep(0.1)
    a.private.tell(a.find("bob"), "from alice")
    b.private.tell(b.find("alice"), "from bob")
    await asyncio.sleep(0.5)
    assert journals[0].take("private", text="from bob") and journals[1].take(
        "private", text="from alice"
    )
    assert journals[0].take("session", state="~crossed") and journals[1].take(
        "session", state="~crossed"
    )
    part(links)
    a.private.tell(a.find("bob"), "while you were away")
    again = Node("bob", journals[2].emit, identity=b.me)
    join(a, again)
    await asyncio.sleep(0.5)
    again.private.tell(again.find("alice"), "back again")
    await asyncio.sleep(1)
    assert journals[0].take("private", text="back again")
    assert journals[2].take("private", text="while you were away")


async def relayed():
    """A line of three: the ends hear each other through the middle."""
    journals = [Journal(out=None) for _ in range(3)]
    a, b, c = (Node(n, j.emit) for n, j in zip(("ann", "ben", "cleo"), journals))
    join(a, b)
    join(b, c)
    await asyncio.sleep(0.3)
    for n in (a, b, c):
        n.announce()
    await asyncio.sleep(0.3)
    a.say("over the middle")
    a.private.tell(a.find("cleo"), "through the middle")
    a.private.give(a.find("cleo"), File("x.bin", "application/octet-stream", os.urandom(5000)))
    await asyncio.sleep(2.5)
    for event in ("text", "private", "file"):
        if not journals[2].take(event):
            raise AssertionError(story(journals))
    assert not journals[1].take("private") and journals[0].take("delivered")
