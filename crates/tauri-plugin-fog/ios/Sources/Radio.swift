import CoreBluetooth
import Foundation
import Tauri

/// Somebody at the other end, in either role.
protocol Link: AnyObject {
    /// Sends one packet; `done` says whether it went out. The next one waits for that.
    func send(_ packet: Data, _ done: @escaping (Bool) -> Void)

    func close()
}

/// What is told; what is nil is left out.
private struct Told: Encodable {
    let kind: String
    var id: UInt64?
    var limit: Int?
    var isIncoming: Bool?
    var data: String?
    var state: String?
}

/// Bluetooth LE in both roles: finds others and is found, and passes packets on. Everything here happens on the main
/// thread.
final class Radio {
    static let service = CBUUID(string: "F47B5E2D-4A9E-4C5A-9B3F-8E1D2C3A4B5C")
    static let characteristic = CBUUID(string: "A1B2C3D4-E5F6-4A5B-8C9D-0E1F2A3B4C5D")

    /// Links in both roles together; the engine has the same bound.
    static let maxLinks = 8

    /// Bytes: what an attribute holds.
    static let maxPacket = 512
    static let smallestLimit = 20

    private(set) var savesPower = false
    private var links: [UInt64: Link] = [:]
    private var lastId: UInt64 = 0
    private var session: UInt64?
    private var events: Channel?
    private var central: Central?
    private var peripheral: Peripheral?
    private var isFound = false
    private var told: String?

    /// Begins a session and ends the one before. The system asks for permission here, once.
    func start(session: UInt64, savesPower: Bool, events: Channel) {
        if let before = self.session { stop(session: before) }
        self.session = session
        self.savesPower = savesPower
        self.events = events
        told = nil
        isFound = false
        central = Central(self)
        peripheral = Peripheral(self)
    }

    func pace(session: UInt64, savesPower: Bool) {
        if session == self.session { self.savesPower = savesPower }
    }

    func stop(session: UInt64) {
        guard session == self.session else { return }
        central?.stop()
        peripheral?.stop()
        central = nil
        peripheral = nil
        for id in links.keys { tell(Told(kind: "closed", id: id)) }
        links = [:]
        self.session = nil
        events = nil
    }

    func send(_ id: UInt64, _ packet: Data, _ done: @escaping (Bool) -> Void) {
        guard let link = links[id], !packet.isEmpty, packet.count <= Radio.maxPacket else { return done(false) }
        link.send(packet, done)
    }

    func close(_ id: UInt64) {
        links.removeValue(forKey: id)?.close()
    }

    /// A link is there; its number, or nil when there are too many.
    func opened(_ link: Link, limit: Int, isIncoming: Bool) -> UInt64? {
        guard links.count < Radio.maxLinks else { return nil }
        lastId += 1
        links[lastId] = link
        let limit = min(max(limit, Radio.smallestLimit), Radio.maxPacket)
        tell(Told(kind: "link", id: lastId, limit: limit, isIncoming: isIncoming))
        return lastId
    }

    func heard(_ id: UInt64, _ packet: Data) {
        guard links[id] != nil, !packet.isEmpty, packet.count <= Radio.maxPacket else { return }
        tell(Told(kind: "packet", id: id, data: packet.base64EncodedString()))
    }

    /// A link is gone.
    func closed(_ id: UInt64) {
        links[id] = nil
        tell(Told(kind: "closed", id: id))
    }

    /// Whether others find this phone.
    func advertises(_ isOn: Bool) {
        isFound = isOn
        changed()
    }

    /// The switch, or what the app may do, changed.
    func changed() {
        guard let state = central?.state else { return }
        let word: String
        switch state {
        case .poweredOn:
            // It advertises a moment after it is on.
            if peripheral?.isBeginning == true { return }
            word = isFound ? "on" : "centralOnly"
        case .poweredOff: word = "off"
        case .unauthorized: word = "forbidden"
        case .unsupported: word = "missing"
        // On its way; another one follows.
        default: return
        }
        if word != told {
            told = word
            tell(Told(kind: "state", state: word))
        }
    }

    private func tell(_ what: Told) {
        // Numbers and text always become JSON.
        try? events?.send(what)
    }
}
