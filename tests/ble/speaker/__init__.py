"""A second, independent BitChat: a small phone for tests, in Python.

Written from the protocol description alone, without looking at the Rust crate, so that two
readings of one text check each other. It is a test partner, not a product: it keeps nothing
on disk (but its keys, when asked), trusts whoever runs the script and shows everything.

    wire       frames: header, padding, compression, signature
    payloads   what stands inside frames and inside Noise messages
    noise      Noise XX and the numbered transport messages
    fragments  cutting frames and joining them
    syncset    the Golomb-coded set and the store behind REQUEST_SYNC
    links      ways out and in
    flavour    how iPhones and Android phones differ in what they send
    node       one phone: announces, public messages, relaying; no radio
    private    the phone's Noise sessions and all that travels in them
    radio      the same phone on BlueZ, as central and as peripheral
    script     commands in, one JSON object a line out
    selftest   the vectors of the description
    memory_talk   nodes that talk without a radio
"""
