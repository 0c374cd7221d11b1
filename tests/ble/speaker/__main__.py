"""python3 -m speaker --adapter hci0 --role peripheral --name NAME --script FILE|-"""

import argparse
import asyncio
import signal
import sys

from .flavour import FLAVOURS
from .node import Identity, Node
from .script import HELP, Journal, Script, lines_of


async def talk(options):
    journal = Journal()
    identity = Identity.load(options.keys) if options.keys else Identity()
    node = Node(options.name, journal.emit, identity, options.flavour)
    from . import radio  # only here, so that the self-test needs no Bluetooth

    parts, linked = [], frozenset()
    if options.role in ("peripheral", "both"):
        parts.append(radio.Peripheral(node, options.adapter, options.pause / 1000))
        linked = parts[0].linked
    if options.role in ("central", "both"):
        parts.append(radio.Central(node, options.adapter, options.links, linked))
    journal.emit(
        "me",
        name=node.name,
        id=node.me.id.hex(),
        noise=node.me.noise_key.hex(),
        sign=node.me.sign_key.hex(),
        flavour=node.flavour.name,
        role=options.role,
    )

    async def ticking():
        while True:
            node.tick()
            await asyncio.sleep(0.25)

    script = asyncio.ensure_future(Script(node, journal).run(lines_of(options.script)))
    running = [asyncio.ensure_future(p.run()) for p in parts] + [asyncio.ensure_future(ticking())]
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, script.cancel)
    done, _ = await asyncio.wait([script, *running], return_when=asyncio.FIRST_COMPLETED)
    good = False
    if script in done:
        good = not script.cancelled() and script.exception() is None and script.result()
        if not script.cancelled() and script.exception():
            journal.emit("failed", why=repr(script.exception()))
    else:
        script.cancel()
        for task in done:
            journal.emit("failed", why=f"radio: {task.exception()!r}")
    node.leave()
    for pipe in list(node.pipes):
        await pipe.drain(5)
    await asyncio.sleep(0.5)  # for the leave to get out
    for task in running:
        task.cancel()
    for part in parts:
        await part.close()
    journal.emit("end", ok=bool(good))
    return 0 if good else 1


def main():
    about = argparse.ArgumentParser(
        prog="speaker",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A small BitChat phone for tests. Exit status 0 when every wait succeeded.",
    )
    about.add_argument("--adapter", default="hci0")
    about.add_argument("--role", choices=("central", "peripheral", "both"), default="central")
    about.add_argument("--name", default="speaker", help="nickname")
    about.add_argument("--script", default="-", help="file of commands, - for standard input")
    about.add_argument(
        "--flavour",
        choices=sorted(FLAVOURS),
        default="plain",
        help="send as this kind of phone does (default: the cautious profile)",
    )
    about.add_argument("--keys", metavar="FILE", help="keep the identity in this file")
    about.add_argument("--links", type=int, default=6, help="most links as central")
    about.add_argument(
        "--pause", type=float, default=5, metavar="MS", help="least time between two notifications"
    )
    about.add_argument("--self-test", action="store_true")
    options = about.parse_args()
    if options.self_test:
        from .selftest import run

        sys.exit(run())
    sys.exit(asyncio.run(talk(options)))


if __name__ == "__main__":
    main()
