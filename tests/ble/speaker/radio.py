"""The node on BlueZ: as central through bleak, as peripheral through D-Bus."""

import asyncio
import os
import time

from bleak import BleakClient, BleakScanner
from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from dbus_fast.constants import PropertyAccess
from dbus_fast.service import ServiceInterface, dbus_property, method

from .links import Link, Pipe
from .wire import MAX_VALUE

SERVICE = "f47b5e2d-4a9e-4c5a-9b3f-8e1d2c3a4b5c"
CHARACTERISTIC = "a1b2c3d4-e5f6-4a5b-8c9d-0e1f2a3b4c5d"
FLAGS = ["read", "write", "write-without-response", "notify"]
CCCD = "00002902-0000-1000-8000-00805f9b34fb"


if not os.path.exists("/var/run/dbus/system_bus_socket"):  # a small system without that symlink
    os.environ.setdefault("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/dbus/system_bus_socket")


class Central:
    """Scans for the service, connects, subscribes; writes without response."""

    CONNECT_SECONDS = 20
    MAX_LINKS = 6

    def __init__(self, node, adapter, max_links=MAX_LINKS, linked=frozenset()):
        self.node, self.adapter, self.max_links = node, adapter, max_links
        self._linked = linked  # addresses that have connected to us; BlueZ has one link to each
        self.clients = {}  # address -> client
        self._not_before = {}  # address -> when it may be tried again

    async def run(self):
        while True:
            if len(self.clients) >= self.max_links:
                await asyncio.sleep(1)
                continue
            # Scanning takes air time from the links: short and seldom once there is one.
            found = await self._scan(4 if self.clients else 20)
            if found:
                await self._connect(*found)
            else:
                await asyncio.sleep(10 if self.clients else 0.5)

    async def _scan(self, seconds):
        found = asyncio.get_running_loop().create_future()

        def seen(device, advertisement):
            # BlueZ also reports devices that do not match the filter.
            wanted = SERVICE in [u.lower() for u in advertisement.service_uuids]
            free = device.address not in self.clients and device.address not in self._linked
            if wanted and free and time.time() > self._not_before.get(device.address, 0):
                if not found.done():
                    found.set_result((device, advertisement))

        try:
            async with BleakScanner(seen, [SERVICE], bluez={"adapter": self.adapter}):
                return await asyncio.wait_for(found, seconds)
        except asyncio.TimeoutError:
            return None
        except Exception as e:
            self.node.emit("error", what=f"scan: {e!r}")
            await asyncio.sleep(2)
            return None

    async def _connect(self, device, advertisement):
        self.node.emit(
            "connecting",
            address=device.address,
            name=advertisement.local_name,
            service_data=list(advertisement.service_data),
            manufacturers=list(advertisement.manufacturer_data),
        )
        pipe = None

        def gone(_):
            self.clients.pop(device.address, None)
            self._not_before[device.address] = time.time() + 2
            if pipe:
                self.node.pipe_down(pipe)
                pipe.close()

        client = BleakClient(
            device, gone, timeout=self.CONNECT_SECONDS, bluez={"adapter": self.adapter}
        )
        try:
            await client.connect()
            characteristic = self._check(client)
            limit = min(MAX_VALUE, characteristic.max_write_without_response_size)
            pipe = Pipe(
                device.address,
                lambda frame: client.write_gatt_char(characteristic, frame, response=False),
                limit,
            )
            link = Link(device.address, pipe)
            self.clients[device.address] = client
            await client.start_notify(
                characteristic, lambda _, data: self.node.receive(link, bytes(data))
            )
            self.node.link_up(link)  # which sends our announce first
        except Exception as e:
            self.node.emit("error", what=f"connect: {e!r}", address=device.address)
            try:
                await asyncio.wait_for(client.disconnect(), 5)
            except Exception:
                pass
            gone(None)
            self._not_before[device.address] = time.time() + 3

    def _check(self, client):
        service = client.services.get_service(SERVICE)
        found = [c for c in service.characteristics if c.uuid == CHARACTERISTIC] if service else []
        if len(found) != 1:
            raise LookupError("not exactly one BitChat characteristic")
        lacking = set(FLAGS) - set(found[0].properties)
        if lacking or len(service.characteristics) != 1:
            self.node.emit(
                "warning",
                what="GATT table differs",
                lacking=sorted(lacking),
                characteristics=len(service.characteristics),
            )
        if not any(d.uuid == CCCD for d in found[0].descriptors):
            self.node.emit("warning", what="no 0x2902 descriptor seen")
        return found[0]

    async def close(self):
        for client in list(self.clients.values()):
            try:
                await asyncio.wait_for(client.disconnect(), 5)
            except Exception:
                pass


class _Service(ServiceInterface):
    def __init__(self):
        super().__init__("org.bluez.GattService1")

    @dbus_property(access=PropertyAccess.READ)
    def UUID(self) -> "s":
        return SERVICE

    @dbus_property(access=PropertyAccess.READ)
    def Primary(self) -> "b":
        return True


class _Characteristic(ServiceInterface):
    def __init__(self, service_path, on_write, on_notify):
        super().__init__("org.bluez.GattCharacteristic1")
        self._service, self._on_write, self._on_notify = service_path, on_write, on_notify

    @dbus_property(access=PropertyAccess.READ)
    def UUID(self) -> "s":
        return CHARACTERISTIC

    @dbus_property(access=PropertyAccess.READ)
    def Service(self) -> "o":
        return self._service

    @dbus_property(access=PropertyAccess.READ)
    def Flags(self) -> "as":
        return FLAGS

    @dbus_property(access=PropertyAccess.READ)
    def Value(self) -> "ay":
        return b""

    @method()
    def ReadValue(self, options: "a{sv}") -> "ay":
        return b""

    @method()
    def WriteValue(self, value: "ay", options: "a{sv}"):
        self._on_write(bytes(value), {k: v.value for k, v in options.items()})

    @method()
    def StartNotify(self):
        self._on_notify(True)

    @method()
    def StopNotify(self):
        self._on_notify(False)


class _Advertisement(ServiceInterface):
    """Flags and the service UUID, nothing else."""

    def __init__(self):
        super().__init__("org.bluez.LEAdvertisement1")

    @dbus_property(access=PropertyAccess.READ)
    def Type(self) -> "s":
        return "peripheral"

    @dbus_property(access=PropertyAccess.READ)
    def ServiceUUIDs(self) -> "as":
        return [SERVICE]

    @dbus_property(access=PropertyAccess.READ)
    def Discoverable(self) -> "b":
        return True

    @method()
    def Release(self):
        pass


def address_of(device_path):
    return device_path.rsplit("/dev_", 1)[-1].replace("_", ":")


class Peripheral:
    """Serves the characteristic and advertises; a notification goes to all subscribers."""

    ROOT, ADVERTISEMENT = "/speaker", "/speaker_advertisement"

    def __init__(self, node, adapter, pause=0.0):
        self.node, self.path = node, f"/org/bluez/{adapter}"
        self.pipe = Pipe("subscribers", self._notify, role="peripheral")
        self.links = {}  # device path -> link
        self.mtus = {}
        self.linked = set()  # addresses of connected devices
        self._pause, self._notifying, self._bus = pause, False, None
        self._changed = 0.0  # when a connection may have ended the advertising
        self._advertised = 0.0

    async def run(self):
        self._bus = bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        service = self.ROOT + "/service0"
        self._characteristic = _Characteristic(service, self._on_write, self._on_notify)
        bus.export(service, _Service())
        bus.export(service + "/char0", self._characteristic)
        bus.export(self.ADVERTISEMENT, _Advertisement())
        bus.add_message_handler(self._on_signal)
        for rule in (
            "interface='org.freedesktop.DBus.Properties',arg0='org.bluez.Device1',"
            f"path_namespace='{self.path}'",
            "interface='org.freedesktop.DBus.ObjectManager'",
        ):
            await self._call(
                "org.freedesktop.DBus",
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "AddMatch",
                "s",
                f"type='signal',sender='org.bluez',{rule}",
            )
        await self._bluez(
            "org.freedesktop.DBus.Properties",
            "Set",
            "ssv",
            "org.bluez.Adapter1",
            "Powered",
            Variant("b", True),
        )
        await self._bluez("org.bluez.GattManager1", "RegisterApplication", "oa{sv}", self.ROOT, {})
        await self._advertise()
        self.node.emit("advertising", adapter=self.path)
        # BlueZ may stop advertising when a central connects: begin anew a little after that (not
        # at once, which disturbs the connection), and now and then anyway.
        while True:
            await asyncio.sleep(1)
            age = time.time() - self._advertised
            if not (self._changed and time.time() - self._changed > 3) and age < 20:
                continue
            try:
                await self._bluez(
                    "org.bluez.LEAdvertisingManager1",
                    "UnregisterAdvertisement",
                    "o",
                    self.ADVERTISEMENT,
                )
            except RuntimeError:
                pass  # BlueZ had dropped it
            await asyncio.sleep(0.1)
            try:
                await self._advertise()
            except RuntimeError as e:
                self._changed = time.time()
                self.node.emit("error", what=f"advertise: {e}")

    async def _advertise(self):
        await self._bluez(
            "org.bluez.LEAdvertisingManager1",
            "RegisterAdvertisement",
            "oa{sv}",
            self.ADVERTISEMENT,
            {},
        )
        self._changed, self._advertised = 0.0, time.time()

    async def _bluez(self, interface, member, signature, *body):
        return await self._call("org.bluez", self.path, interface, member, signature, *body)

    async def _call(self, destination, path, interface, member, signature, *body):
        reply = await self._bus.call(
            Message(
                destination=destination,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=list(body),
            )
        )
        if reply.message_type == MessageType.ERROR:
            raise RuntimeError(f"{member}: {reply.error_name} {reply.body}")
        return reply

    async def _notify(self, frame):
        if self._notifying:
            self._characteristic.emit_properties_changed({"Value": frame})
            await asyncio.sleep(self._pause)

    def _on_notify(self, on):
        self._notifying = on
        self.node.emit("subscribed" if on else "unsubscribed")
        if not on:
            self.node.pipe_down(self.pipe)
            self.links.clear()
            return

        def hello():
            if self.pipe in self.node.pipes:
                self.node.announce_on(self.pipe)
            else:
                self.node.pipe_up(self.pipe)

        self.node.later(0.1, hello)

    def _on_write(self, value, options):
        device = options.get("device", "?")
        if options.get("mtu"):
            self.mtus[device] = options["mtu"]
            self._fit()
        link = self.links.get(device)
        if link is None:
            link = self.links[device] = Link(address_of(device), self.pipe)
            if self._notifying:
                self.node.link_up(link)
        elif self._notifying and link not in self.node.links:
            self.node.link_up(link)
        self.node.receive(link, value)

    def _fit(self):
        """A notification must fit the smallest MTU among the centrals that have written."""
        self.pipe.limit = min([MAX_VALUE] + [m - 3 for m in self.mtus.values()])

    def _on_signal(self, message):
        """Devices that connect or disconnect, whether their objects come and go or only change."""
        if message.member == "PropertiesChanged" and message.path.startswith(self.path + "/"):
            device, changed = message.path, message.body[1]
        elif message.member == "InterfacesAdded" and message.body[0].startswith(self.path + "/"):
            device, changed = message.body[0], message.body[1].get("org.bluez.Device1", {})
        elif message.member == "InterfacesRemoved" and "org.bluez.Device1" in message.body[1]:
            device, changed = message.body[0], {"Connected": Variant("b", False)}
        else:
            return
        if "Connected" not in changed or not device.startswith(self.path + "/"):
            return
        self._changed = time.time()
        if changed["Connected"].value:
            self.linked.add(address_of(device))
        else:
            self.linked.discard(address_of(device))
            link = self.links.pop(device, None)
            self.mtus.pop(device, None)
            self._fit()
            if link:
                self.node.link_down(link)

    async def close(self):
        if self._bus:
            self._bus.disconnect()
