"""How the two kinds of phone differ in what they send, beside the cautious profile."""

from dataclasses import dataclass

from . import payloads


@dataclass(frozen=True)
class Flavour:
    """How one kind of phone sends; everybody receives alike."""

    name: str = "plain"
    capabilities: tuple = (payloads.PRIVATE_MEDIA,)
    neighbours: bool = False
    broadcast_recipient: bool = False  # 8 x FF in public messages and files
    sign_noise: bool = False
    compress_level: int | None = None
    rsr: bool = True  # set on gossip replies
    directed_sync: bool = True
    fragment_data: tuple = (454, 454)  # directed, broadcast
    fragment_pause: tuple = (0.020, 0.020)
    strips_before_cutting: bool = False
    eager_handshake: bool = False
    forgets_after: float | None = None  # seconds from losing the last link to dropping a session


FLAVOURS = {
    "plain": Flavour(),
    "ios": Flavour(
        "ios",
        capabilities=(0, 3, 5, 8, 9),
        neighbours=True,
        compress_level=5,
        fragment_data=(469, 469),
        fragment_pause=(0.025, 0.030),
        eager_handshake=True,
    ),
    "android": Flavour(
        "android",
        neighbours=True,
        broadcast_recipient=True,
        sign_noise=True,
        compress_level=6,
        rsr=False,
        directed_sync=False,
        fragment_data=(454, 462),
        strips_before_cutting=True,
        forgets_after=10.0,
    ),
}
