"""Offline checks: the published vectors, then nodes talking over memory pipes."""

import asyncio
import json
import os
import random
import time
import zlib
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import memory_talk, payloads, wire
from .fragments import Assembly, Fragment, cut
from .node import Identity, split_text
from .noise import Handshake, NoiseError, Transport
from .payloads import Announce, File, bits_of, capabilities
from .syncset import Filter, Request, packet_id

hx = bytes.fromhex


def same(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, expected {want!r}")


def refused(do, *arguments):
    try:
        got = do(*arguments)
    except (ValueError, NoiseError):
        return
    raise AssertionError(f"accepted: {got!r}")


# ---- vectors asserted by the apps' own tests -------------------------------------------------


def test_frames():
    v1 = hx("01020701020304050607080000031011121314151617aabbcc")
    p = wire.decode(v1)
    same(
        (p.type, p.ttl, p.timestamp, p.sender, p.payload),
        (2, 7, 0x0102030405060708, hx("1011121314151617"), hx("aabbcc")),
    )
    same(wire.encode(p), v1)
    v2 = (
        hx(
            "021105000000000000002a0b00000002"
            "0102030405060708"
            "1112131415161718"
            "02"
            "2122232425262728"
            "3132333435363738"
            "dead"
        )
        + b"\x5a" * 64
    )
    p = wire.decode(v2)
    same((p.type, p.ttl, p.timestamp, p.payload), (0x11, 5, 42, hx("dead")))
    same(p.route, (hx("2122232425262728"), hx("3132333435363738")))
    same((p.recipient, p.signature), (hx("1112131415161718"), b"\x5a" * 64))
    same(wire.encode(p), v2)
    for end in range(22, len(v2)):
        refused(wire.decode, v2[:end])
    refused(wire.decode, b"\x03" + v1[1:])
    same(wire.decode(wire.pad(v1)).payload, hx("aabbcc"))


def test_padding():
    table = [
        (22, 240, 256),
        (241, 256, None),
        (257, 496, 512),
        (497, 768, None),
        (769, 1008, 1024),
        (1009, 1792, None),
        (1793, 2032, 2048),
        (2033, 2100, None),
    ]
    for low, high, block in table:
        for n in (low, (low + high) // 2, high):
            same(len(wire.pad(bytes(n))), block or n)
            if block:
                same(wire.unpad(wire.pad(b"\xff" * n)), b"\xff" * n)


def test_compression():
    text = b"the same words again and again, " * 8
    body = wire.deflate(text, 1)
    p = wire.Packet(2, bytes(8), body, 1, compressed=True)
    same(wire.decode(wire.encode(p)).payload, text)
    same(wire.deflate(text[:99], 1), None)
    same(wire.deflate(bytes(range(200)), 1), None)
    same(wire.deflate(os.urandom(300), 1), None)
    for bad in (
        body + b"x",
        body[:-1],
        b"\x00\x05" + body[2:],
        body[:2],
        len(text).to_bytes(2, "big") + zlib.compress(text),
    ):
        refused(wire.decode, wire.encode(replace(p, body=bad)))


def test_payloads():
    announce = (
        hx("0103626f620220") + b"\x11" * 32 + hx("0320") + b"\x22" * 32 + hx("050200017f02cafe")
    )
    a = Announce.decode(announce)
    same(
        (a.name, a.noise_key, a.sign_key, a.capabilities), ("bob", b"\x11" * 32, b"\x22" * 32, {8})
    )
    same(a.encode(), announce[:-4])
    refused(Announce.decode, hx("0103626f62022011"))
    for bits, raw in [
        ((), "00"),
        ((0,), "01"),
        ((6,), "40"),
        ((8,), "0001"),
        ((9,), "0002"),
        ((10,), "0004"),
        ((11,), "0008"),
    ]:
        same(capabilities(bits), hx(raw))
        same(bits_of(hx(raw)), set(bits))

    body = hx("00026d3101026869")
    same(payloads.private_message("m1", "hi"), body)
    same(payloads.read_private_message(body), ("m1", "hi"))
    refused(payloads.read_private_message, hx("00026d31"))
    refused(payloads.read_private_message, hx("00026d3101036869"))
    refused(payloads.read_private_message, body + hx("020100"))
    refused(payloads.private_message, "m1", "x" * 256)

    f = hx("00010203040506070001000302aabb")
    same(Fragment(hx("0001020304050607"), 1, 3, 2, hx("aabb")).encode(), f)
    same(Fragment.decode(f).data, hx("aabb"))
    refused(Fragment.decode, f[:12])

    file = hx("01000161020004000000020300016d0400000002dead")
    same(File("a", "m", hx("dead")).encode(), file)
    same(File.decode(file), File("a", "m", hx("dead")))
    same(
        File.decode(hx("0100016102000800000000000000020300016d0400000002dead")).content, hx("dead")
    )
    refused(File.decode, hx("010001610400000002de"))
    private = hx("20010005612e7478740200040000000303000a746578742f706c61696e0400000003010203")
    same(b"\x20" + File("a.txt", "text/plain", hx("010203")).encode(), private)
    same(File.decode(hx("010001") + b"a" + hx("0400000002cafe")).content, hx("cafe"))

    key = bytes(range(32))
    state = hx("01010200010220") + key
    same(payloads.peer_state({8}, key), state)
    same(payloads.read_peer_state(state), ({8}, key))
    same(
        payloads.read_peer_state(b"\x01\x02\x20" + key + hx("7f01aa") + hx("01020001")), ({8}, key)
    )
    for bad in (
        b"\x01" + hx("010201000220") + key,
        state + hx("01020001"),
        b"\x02" + state[1:],
        state[:5],
        state[:-1],
    ):
        refused(payloads.read_peer_state, bad)

    sender = hx("0011223344556677")
    same(
        payloads.stable_message_id(sender, 1750000000123, "hello mesh"),
        "b83f94d81dcdd1b0c0048f6645995dd4",
    )
    name = "img_20260725_105708_1CC2760D-76AA-40C3-8013-C7FAA6C2EF99.jpg"
    same(
        payloads.stable_media_id(sender, hx("8899aabbccddeeff"), name),
        "media-910bd42c65060ab76bb6406f220c4516",
    )


def test_sync_set():
    raw = hx("0100011302000401020304030002aabb")
    r = Request.decode(raw)
    same((r.filter.p, r.filter.m, r.filter.stream), (19, 0x01020304, hx("aabb")))
    same(r.encode(), raw)
    same(Request.decode(hx("7f0002cafe") + raw).filter, r.filter)
    refused(Request.decode, hx("0100011302000401020304"))
    f = Filter.of([bytes([i]) * 16 for i in (1, 2, 3, 4)])
    same((f.m, f.stream, f.values()), (512, hx("3516509380"), {54, 77, 158, 326}))
    same(Request(f).encode(), hx("01000107020004000002000300053516509380"))
    same(Filter.of([]), Filter(7, 1, b""))
    ids = [os.urandom(16) for _ in range(600)]
    big = Filter.of(ids)
    assert len(big.stream) <= 400 and len(big.values()) > 300


# ---- the examples computed for the description -----------------------------------------------

ALICE = Identity(bytes(range(1, 33)), bytes(range(0x21, 0x41)))
WHEN = 1750000000123


def test_identity_and_signatures():
    same(ALICE.noise_key.hex(), "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c")
    same(ALICE.sign_key.hex(), "e7f162a10bec559afea195e4dce84b69568d5d2cb0963eb446c0685e2b17f2f0")
    same(
        payloads.fingerprint(ALICE.noise_key).hex(),
        "aaa8fff703b50b2297f4f6e13508f72420d96fd01ebb84cb074449caaef64041",
    )
    same(ALICE.id.hex(), "aaa8fff703b50b22")

    body = Announce("alice", ALICE.noise_key, ALICE.sign_key, {8}).encode()
    same(len(body), 79)
    p = wire.Packet(wire.ANNOUNCE, ALICE.id, body, WHEN)
    same(wire.preimage(p), wire.encode(replace(p, ttl=0)) + b"\x9b" * 155)
    p = wire.sign(p, ALICE.sign)
    same(
        wire.encode(p),
        hx(
            "010107000001977420dc7b02004faaa8fff703b50b220105616c696365022007a37cbc142093c8b755dc1b10e86c"
            "b426374ad16aa853ed0bdfc0b2b86d1c7c0320e7f162a10bec559afea195e4dce84b69568d5d2cb0963eb446c068"
            "5e2b17f2f005020001a18db7aa611e487927c2f6707d766c442989f52943eed63d1a74b14aeab3b6da08c9613bb0"
            "1c600e0d07005c44d3230c526f42595ca49c165303271adc355a00"
        ),
    )
    assert wire.verify(replace(wire.decode(wire.encode(p)), ttl=3, rsr=True), ALICE.sign_key)
    assert not wire.verify(replace(p, timestamp=WHEN + 1), ALICE.sign_key)

    p = wire.Packet(wire.MESSAGE, ALICE.id, b"hello mesh", WHEN)
    same(wire.preimage(p), wire.encode(replace(p, ttl=0)) + b"\xe0" * 224)
    same(
        wire.encode(wire.sign(p, ALICE.sign)),
        hx(
            "010207000001977420dc7b02000aaaa8fff703b50b2268656c6c6f206d65736898613c09cfbe390954671b6cea0f"
            "176f23143810e60b5202fb1b1c9825ed124fb4cbcdb5f48fd7dce5c2b31a0d69a1a5fbb918e15dea4736afb0e887"
            "5cb7040d"
        ),
    )
    same(
        payloads.stable_message_id(ALICE.id, WHEN, "hello mesh"), "38f19d48be17060a01745ca09855b77f"
    )
    same(packet_id(p).hex(), "ae170875dba3a5ce89b267c76e6c86e7")


def test_recompressed_by_a_relay():
    text = b"one phone says this, another phone says that, and so it goes on and on and on. " * 3
    for level in (1, 6, 9):
        p = wire.Packet(wire.MESSAGE, ALICE.id, wire.deflate(text, 1, level), WHEN, compressed=True)
        signed = wire.sign(p, ALICE.sign)
        assert wire.verify(signed, ALICE.sign_key)
    # Compressed anew by a relay with the default level, after signing with another.
    signed = wire.sign(replace(p, body=wire.deflate(text, 1, 6)), ALICE.sign)
    assert wire.verify(replace(signed, body=wire.deflate(text, 1, 1)), ALICE.sign_key)
    # Signed uncompressed, then compressed by whoever passed it on.
    signed = wire.sign(wire.Packet(wire.MESSAGE, ALICE.id, text, WHEN), ALICE.sign)
    relayed = replace(signed, body=wire.deflate(text, 1, 9), compressed=True)
    assert wire.verify(relayed, ALICE.sign_key)


def test_qr():
    url = payloads.qr_url(ALICE.noise_key, ALICE.sign, "al & ice", 1750000000, bytes(16))
    q, signed = payloads.read_qr(url)
    same((q["nick"], q["nonce"]), ("al & ice", "A" * 22))
    ALICE.sign.public_key().verify(hx(q["sig"]), signed)
    same(
        payloads.read_challenge(payloads.challenge(ALICE.noise_key, b"abc")),
        (ALICE.noise_key.hex(), b"abc"),
    )


# ---- Noise -----------------------------------------------------------------------------------


def test_noise_vectors():
    with open(Path(__file__).parent / "vectors" / "NoiseTestVectors.json") as f:
        vectors = json.load(f)
    for v in vectors:

        def side(who, initiator):
            keys = [
                X25519PrivateKey.from_private_bytes(hx(v[f"{who}_{k}"]))
                for k in ("static", "ephemeral")
            ]
            return Handshake(initiator, keys[0], hx(v.get(f"{who}_prologue", "")), keys[1])

        sides = [side("init", True), side("resp", False)]
        for i, message in enumerate(v["messages"][:3]):
            same(sides[i % 2].write(hx(message["payload"])).hex(), message["ciphertext"])
            same(sides[1 - i % 2].read(hx(message["ciphertext"])).hex(), message["payload"])
        same(sides[0].h, sides[1].h)
        if v.get("handshake_hash"):
            same(sides[0].h.hex(), v["handshake_hash"])
        ends = [Transport(*x.split()) for x in sides]
        for i, message in enumerate(v["messages"][3:]):
            out, into = ends[(i + 1) % 2], ends[i % 2]
            sealed = out.seal(hx(message["payload"]))
            same(sealed[4:].hex(), message["ciphertext"])
            same(into.open(sealed).hex(), message["payload"])


def test_noise_transport():
    a, b = Transport(bytes(range(32)), bytes(32)), Transport(bytes(32), bytes(range(32)))
    one = a.seal(b"\x01" + payloads.private_message("m1", "hi"))
    two = a.seal(b"\x03m1")
    same(one, hx("0000000019b8405c9ce7a4b97a7ad1a044b7473e2f4bdca5bf5b8b57d1"))
    same(two, hx("000000019c3ac2c9c28c05bd46f25135611925216195b4"))
    same(b.open(two), b"\x03m1")
    same(b.open(one)[0], 1)
    refused(b.open, one)
    refused(b.open, two)
    later = [a.seal(bytes([i % 256])) for i in range(1500)]
    order = list(range(0, 1000))
    random.Random(1).shuffle(order)
    for i in order:
        b.open(later[i])
    for i in order[:50]:
        refused(b.open, later[i])
    b.open(later[1499])
    refused(b.open, later[1499 - 1024])
    same(b.open(later[1499 - 1000 + 600]), bytes([1099 % 256]))


def test_noise_sizes_and_low_order():
    a, b = Handshake(True, ALICE.noise), Handshake(False, X25519PrivateKey.generate())
    sizes = []
    for out, into in ((a, b), (b, a), (a, b)):
        message = out.write()
        sizes.append(len(message))
        same(into.read(message), b"")
    same(sizes, [32, 96, 64])
    same(b.rs, ALICE.noise_key)
    c = Handshake(False, ALICE.noise)
    c.read(bytes(32))
    refused(c.write)
    frame = wire.encode(wire.Packet(wire.HANDSHAKE, bytes(8), bytes(96), recipient=bytes(8)))
    same((len(frame), len(wire.pad(frame))), (126, 256))


# ---- fragments -------------------------------------------------------------------------------


def test_fragments():
    p = wire.sign(wire.Packet(wire.FILE, ALICE.id, os.urandom(20000), WHEN, version=2), ALICE.sign)
    parts = cut(p, wire.encode(p), 454)
    assert all(len(wire.encode(x)) <= 512 for x in parts)
    random.Random(2).shuffle(parts)
    parts.insert(3, parts[0])
    joined = Assembly()
    whole = [x for x in (joined.add(wire.decode(wire.encode(f)), 0.0) for f in parts) if x]
    same(len(whole), 1)
    same(whole[0], p)
    refused(cut, p, bytes(257 * 454), 454)
    # A sender that strips a last byte of value 1 as if it were padding.
    for n in range(2000):
        p = wire.sign(replace(p, timestamp=WHEN + n), ALICE.sign)
        frame = wire.encode(p)
        if frame[-1] == 1:
            break
    joined = Assembly()
    whole = [joined.add(f, 0.0) for f in cut(p, wire.unpad(frame), 462)][-1]
    assert wire.verify(whole, ALICE.sign_key)


def test_splitting():
    text = "a phone splits long texts at spaces, " * 9 + "ü" * 120
    pieces = split_text(text, 99)
    assert all(len(x.encode()) <= 99 for x in pieces)
    same("".join(pieces).replace(" ", ""), text.replace(" ", ""))


def run():
    import tempfile

    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    with tempfile.TemporaryDirectory() as folder:
        tests.append(("talks of all flavours", lambda: asyncio.run(memory_talk.talks(folder))))
        tests.append(
            ("crossed and restarted", lambda: asyncio.run(memory_talk.crossed_and_restarted()))
        )
        tests.append(("relayed", lambda: asyncio.run(memory_talk.relayed())))
        failed = 0
        for name, test in tests:
            start = time.time()
            try:
                test()
                print(f"ok    {name} ({time.time() - start:.1f} s)", flush=True)
            except Exception as e:
                failed += 1
                print(f"FAIL  {name}: {type(e).__name__} {e}", flush=True)
    print(f"{len(tests) - failed} of {len(tests)} passed")
    return 1 if failed else 0
