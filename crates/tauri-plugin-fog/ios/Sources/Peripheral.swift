import CoreBluetooth
import Foundation

/// Being found: others write, and are notified. A link begins when a device subscribes.
final class Peripheral: NSObject, CBPeripheralManagerDelegate {
    /// A service that was added just now is not found by who connects at once.
    private static let afterAdding = 0.4

    /// A device that subscribed.
    private final class Guest: Link {
        let central: CBCentral
        var id: UInt64?
        /// What waits for room, and who waits for it.
        var waiting: (packet: Data, done: (Bool) -> Void)?
        private weak var server: Peripheral?

        init(_ central: CBCentral, _ server: Peripheral) {
            self.central = central
            self.server = server
        }

        func send(_ packet: Data, _ done: @escaping (Bool) -> Void) {
            guard waiting == nil, let server = server else { return done(false) }
            waiting = (packet, done)
            server.notify(self)
        }

        /// The system lets nobody hang up a device that called; its link is forgotten.
        func close() {
            id = nil
            sent(false)
        }

        func sent(_ isOut: Bool) {
            let done = waiting?.done
            waiting = nil
            done?(isOut)
        }
    }

    /// It is not known yet whether others find this phone.
    private(set) var isBeginning = true
    private unowned let radio: Radio
    private var manager: CBPeripheralManager?
    private var characteristic: CBMutableCharacteristic?
    private var guests: [UUID: Guest] = [:]

    init(_ radio: Radio) {
        self.radio = radio
        super.init()
        manager = CBPeripheralManager(delegate: self, queue: .main, options: [CBPeripheralManagerOptionShowPowerAlertKey: false])
    }

    func stop() {
        manager?.delegate = nil
        if manager?.state == .poweredOn {
            manager?.stopAdvertising()
            manager?.removeAllServices()
        }
        manager = nil
        for guest in guests.values { guest.close() }
        guests = [:]
    }

    func peripheralManagerDidUpdateState(_ manager: CBPeripheralManager) {
        isBeginning = true
        guard manager.state == .poweredOn else {
            for guest in guests.values { unlink(guest) }
            guests = [:]
            return
        }
        // What is added before it is on is passed over, and what was there is gone when it was off.
        manager.removeAllServices()
        let characteristic = CBMutableCharacteristic(
            type: Radio.characteristic,
            // Read is not used for data, but phones expect it to be there.
            properties: [.read, .write, .writeWithoutResponse, .notify],
            value: nil,
            permissions: [.readable, .writeable]
        )
        self.characteristic = characteristic
        let service = CBMutableService(type: Radio.service, primary: true)
        service.characteristics = [characteristic]
        manager.add(service)
    }

    func peripheralManager(_ manager: CBPeripheralManager, didAdd service: CBService, error: Error?) {
        guard error == nil else { return advertises(false) }
        DispatchQueue.main.asyncAfter(deadline: .now() + Peripheral.afterAdding) { [weak self] in
            guard let manager = self?.manager, manager.state == .poweredOn, !manager.isAdvertising else { return }
            // The service and nothing else: no name.
            manager.startAdvertising([CBAdvertisementDataServiceUUIDsKey: [Radio.service]])
        }
    }

    func peripheralManagerDidStartAdvertising(_ manager: CBPeripheralManager, error: Error?) {
        advertises(error == nil)
    }

    func peripheralManager(_ manager: CBPeripheralManager, central: CBCentral, didSubscribeTo characteristic: CBCharacteristic) {
        let guest = Guest(central, self)
        if let before = guests.updateValue(guest, forKey: central.identifier) { unlink(before) }
        open(guest)
    }

    func peripheralManager(_ manager: CBPeripheralManager, central: CBCentral, didUnsubscribeFrom characteristic: CBCharacteristic) {
        if let guest = guests.removeValue(forKey: central.identifier) { unlink(guest) }
    }

    func peripheralManager(_ manager: CBPeripheralManager, didReceiveRead request: CBATTRequest) {
        request.value = Data()
        manager.respond(to: request, withResult: .success)
    }

    func peripheralManager(_ manager: CBPeripheralManager, didReceiveWrite requests: [CBATTRequest]) {
        // The first is answered for all.
        guard let first = requests.first else { return }
        // A long write comes as several pieces, each with its place.
        var packets: [(device: UUID, packet: Data)] = []
        for request in requests {
            let piece = request.value ?? Data()
            if request.offset == 0 {
                packets.append((request.central.identifier, piece))
            } else if let last = packets.last, last.device == request.central.identifier, last.packet.count == request.offset,
                request.offset + piece.count <= Radio.maxPacket
            {
                packets[packets.count - 1].packet.append(piece)
            } else {
                return manager.respond(to: first, withResult: .invalidOffset)
            }
        }
        var isTaken = true
        for (device, packet) in packets {
            guard let guest = guests[device], open(guest), let id = guest.id else {
                isTaken = false
                continue
            }
            radio.heard(id, packet)
        }
        manager.respond(to: first, withResult: isTaken ? .success : .insufficientResources)
    }

    func peripheralManagerIsReady(toUpdateSubscribers manager: CBPeripheralManager) {
        for guest in guests.values where guest.waiting != nil { notify(guest) }
    }

    private func notify(_ guest: Guest) {
        guard let packet = guest.waiting?.packet else { return }
        guard let manager = manager, let characteristic = characteristic else { return guest.sent(false) }
        // Without room it is tried again when there is.
        if manager.updateValue(packet, for: characteristic, onSubscribedCentrals: [guest.central]) { guest.sent(true) }
    }

    /// Opens the link of a device that has none; whether it has one then. After its link was closed here, it gets
    /// another when it writes.
    @discardableResult
    private func open(_ guest: Guest) -> Bool {
        if guest.id == nil { guest.id = radio.opened(guest, limit: guest.central.maximumUpdateValueLength, isIncoming: true) }
        return guest.id != nil
    }

    private func unlink(_ guest: Guest) {
        guest.sent(false)
        if let id = guest.id { radio.closed(id) }
        guest.id = nil
    }

    private func advertises(_ isOn: Bool) {
        isBeginning = false
        radio.advertises(isOn)
    }
}
