"""Commands line by line; one JSON object a line for everything that happens."""

import asyncio
import json
import mimetypes
import os
import sys
import threading
import time

from . import payloads

HELP = """Commands, one a line ('#' begins a comment). NAME is a nickname or the start of a peer
ID; put it in double quotes when it has spaces. TEXT may be a JSON string; '~TEXT' in a wait means
"contains". The first command that fails ends the script.
  wait-person NAME SECONDS     until this person is known by a verified announce
  wait-gone NAME SECONDS       until this person is not (or no longer) known
  say TEXT                     public text, in pieces below 100 bytes
  wait-text TEXT SECONDS       a public text; each wait takes one event, past ones count
  tell NAME TEXT               private text
  wait-private TEXT SECONDS    a private text; seeing it sends the read receipt
  wait-delivered SECONDS       until every private text so far was delivered
  wait-read SECONDS            until every private text so far was read
  give NAME FILE               private file
  share FILE                   public file
  wait-file SHA256 SECONDS     a file, private or public, by its hash in hex
  verify NAME                  challenge a person as after scanning their QR code
  wait-verified NAME SECONDS   their answer came and its signature is right
  wait-event EVENT SECONDS     any event of that kind, each taken once
  name NEW                     change the nickname and announce it
  qr                           print our QR code's text
  sleep SECONDS
  quit                         leave, and end; the end of the script does the same"""


class Failed(Exception):
    """A wait ran out, or a command could not be carried out."""


class Journal:
    """Prints events and lets the script wait for them, also for those already past."""

    def __init__(self, out=sys.stdout):
        self.events, self._out = [], out
        self._news = asyncio.Event()
        self._start = time.monotonic()

    def emit(self, event, **fields):
        line = {"t": round(time.monotonic() - self._start, 3), "event": event, **fields}
        if self._out:
            print(json.dumps(line, ensure_ascii=False), file=self._out, flush=True)
        self.events.append([line, False])
        self._news.set()

    async def until(self, test, seconds, what):
        """Waits until `test()` gives something true, and returns it."""
        end = time.monotonic() + seconds
        while True:
            self._news.clear()
            found = test()
            if found:
                return found
            left = end - time.monotonic()
            if left <= 0:
                raise Failed(f"waited {seconds:g} s for {what}")
            try:
                await asyncio.wait_for(self._news.wait(), min(left, 0.5))
            except asyncio.TimeoutError:
                pass

    def take(self, event, **fields):
        """The first such event nobody waited for yet. A wanted text '~x' means "contains x"."""

        def same(got, want):
            return want[1:] in str(got) if str(want).startswith("~") else got == want

        for entry in self.events:
            line, taken = entry
            if not taken and line["event"] == event:
                if all(same(line.get(k), v) for k, v in fields.items()):
                    entry[1] = True
                    return line
        return None


def word(line):
    """The first word of a line, perhaps in double quotes, and the rest."""
    line = line.strip()
    if line.startswith('"'):
        value, end = json.JSONDecoder().raw_decode(line)
        return value, line[end:].strip()
    head, _, rest = line.partition(" ")
    return head, rest.strip()


def text_of(raw):
    raw = raw.strip()
    return json.loads(raw) if len(raw) > 1 and raw[0] == raw[-1] == '"' else raw


def text_and_seconds(rest):
    raw, _, seconds = rest.strip().rpartition(" ")
    return text_of(raw), float(seconds)


class Script:
    def __init__(self, node, journal):
        self.node, self.journal = node, journal

    async def run(self, lines):
        """Carries out lines from an async iterator; False when one of them failed."""
        async for line in lines:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            command, rest = word(line)
            if command == "quit":
                break
            try:
                do = getattr(self, "do_" + command.replace("-", "_"), None)
                if do is None:
                    raise Failed("no such command")
                await do(rest)
                self.journal.emit("done", command=line)
            except (Failed, OSError, ValueError) as e:
                self.journal.emit("failed", command=line, why=str(e))
                return False
        return True

    def person(self, name):
        found = self.node.find(name)
        if found is None:
            raise Failed(f"nobody called {name}")
        return found

    async def do_wait_person(self, rest):
        name, seconds = text_and_seconds(rest)
        await self.journal.until(lambda: self.node.find(name), seconds, name)

    async def do_wait_gone(self, rest):
        name, seconds = text_and_seconds(rest)
        await self.journal.until(lambda: not self.node.find(name), seconds, f"{name} to leave")

    async def do_say(self, rest):
        self.node.say(text_of(rest))

    async def do_wait_text(self, rest):
        text, seconds = text_and_seconds(rest)
        await self.journal.until(lambda: self.journal.take("text", text=text), seconds, text)

    async def do_tell(self, rest):
        name, text = word(rest)
        message = self.node.private.tell(self.person(name), text_of(text))
        self.journal.emit("told", message=message)

    async def do_wait_private(self, rest):
        text, seconds = text_and_seconds(rest)
        got = await self.journal.until(
            lambda: self.journal.take("private", text=text), seconds, text
        )
        self.node.private.saw(got["message"])

    async def do_wait_delivered(self, rest):
        sent = self.node.private.sent
        await self.journal.until(
            lambda: all(x.delivered for x in sent.values()), float(rest), "delivery"
        )

    async def do_wait_read(self, rest):
        sent = self.node.private.sent
        await self.journal.until(lambda: all(x.read for x in sent.values()), float(rest), "reading")

    async def do_give(self, rest):
        name, path = word(rest)
        self.node.private.give(self.person(name), load(text_of(path)))

    async def do_share(self, rest):
        self.node.share(load(text_of(rest)))

    async def do_wait_file(self, rest):
        digest, seconds = text_and_seconds(rest)
        digest = digest.lower()
        await self.journal.until(lambda: self.journal.take("file", sha256=digest), seconds, digest)

    async def do_verify(self, rest):
        self.node.private.verify(self.person(word(rest)[0]))

    async def do_wait_verified(self, rest):
        name, seconds = text_and_seconds(rest)
        who = self.person(name).id.hex()
        await self.journal.until(
            lambda: self.journal.take("verify", what="verified", id=who), seconds, "verification"
        )

    async def do_wait_event(self, rest):
        event, seconds = text_and_seconds(rest)
        await self.journal.until(lambda: self.journal.take(event), seconds, event)

    async def do_name(self, rest):
        self.node.name = text_of(rest)
        self.node.announce()

    async def do_qr(self, rest):
        me = self.node.me
        url = payloads.qr_url(
            me.noise_key, me.sign, self.node.name, int(time.time()), os.urandom(16)
        )
        self.journal.emit("qr", url=url)

    async def do_sleep(self, rest):
        await asyncio.sleep(float(rest))


# What iPhones take; everything else goes as bytes.
MIMES = {
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "audio/mp4",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "application/pdf",
}


def load(path):
    mime = mimetypes.guess_type(path)[0]
    with open(path, "rb") as f:
        content = f.read()
    name = os.path.basename(path)
    return payloads.File(name, mime if mime in MIMES else "application/octet-stream", content)


async def lines_of(path):
    """The lines of a file or of standard input, which may come slowly."""
    queue, loop = asyncio.Queue(), asyncio.get_running_loop()

    def read():
        with sys.stdin if path == "-" else open(path) as source:
            for line in source:
                loop.call_soon_threadsafe(queue.put_nowait, line)
        loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line
