import CoreBluetooth
import Foundation

/// Finding others: they are written to, and notify. One is called at a time.
final class Central: NSObject, CBCentralManagerDelegate {
    /// Links as central.
    private static let maxCalls = 6
    private static let maxCandidates = 200
    private static let look = 0.5

    /// Seconds of searching, and without. The system tells of a device once in each search, so one does not last long.
    private static let always = (on: 6.0, off: 0.0)
    private static let saving = (on: 4.0, off: 26.0)

    /// Seconds: who was not heard for so long has another address by now.
    private static let stale = 20.0
    private static let jitter = 1.5
    private static let afterLoss = 3.0
    private static let afterFailure = 15.0
    private static let longest = 120.0

    /// A device that advertises the service.
    private struct Candidate {
        let device: CBPeripheral
        var heardAt: Date
        var freeAt = Date.distantPast
        var failures = 0
    }

    var state: CBManagerState? { manager?.state }

    private unowned let radio: Radio
    private var manager: CBCentralManager?
    private var timer: Timer?
    private var candidates: [UUID: Candidate] = [:]
    private var calls: [UUID: Call] = [:]
    private var isScanning = false
    private var scanChanged = Date.distantPast

    init(_ radio: Radio) {
        self.radio = radio
        super.init()
        manager = CBCentralManager(delegate: self, queue: .main, options: [CBCentralManagerOptionShowPowerAlertKey: false])
        timer = Timer.scheduledTimer(withTimeInterval: Central.look, repeats: true) { [weak self] _ in self?.lookAround() }
    }

    func stop() {
        timer?.invalidate()
        timer = nil
        for call in calls.values { call.hangUp() }
        calls = [:]
        manager?.delegate = nil
        if manager?.state == .poweredOn { manager?.stopScan() }
        manager = nil
    }

    func centralManagerDidUpdateState(_ manager: CBCentralManager) {
        if manager.state != .poweredOn {
            // The system ends every connection and does not say so.
            for call in Array(calls.values) { call.end() }
            isScanning = false
            scanChanged = .distantPast
        }
        radio.changed()
    }

    func centralManager(_ manager: CBCentralManager, didDiscover device: CBPeripheral, advertisementData: [String: Any], rssi: NSNumber) {
        let id = device.identifier
        if candidates[id] == nil, candidates.count >= Central.maxCandidates {
            let oldest = candidates.filter { calls[$0.key] == nil }.min { $0.value.heardAt < $1.value.heardAt }
            if let oldest = oldest { candidates[oldest.key] = nil }
        }
        candidates[id, default: Candidate(device: device, heardAt: Date())].heardAt = Date()
    }

    func centralManager(_ manager: CBCentralManager, didConnect device: CBPeripheral) {
        calls[device.identifier]?.connected()
    }

    func centralManager(_ manager: CBCentralManager, didFailToConnect device: CBPeripheral, error: Error?) {
        calls[device.identifier]?.end()
    }

    func centralManager(_ manager: CBCentralManager, didDisconnectPeripheral device: CBPeripheral, error: Error?) {
        calls[device.identifier]?.end()
    }

    private func lookAround() {
        guard let manager = manager, manager.state == .poweredOn else { return }
        let pace = radio.savesPower ? Central.saving : Central.always
        if Date().timeIntervalSince(scanChanged) >= (isScanning ? pace.on : pace.off) {
            scanChanged = Date()
            if isScanning { manager.stopScan() }
            // Begun anew at once when there is no pause.
            isScanning = !isScanning || pace.off == 0
            if isScanning { manager.scanForPeripherals(withServices: [Radio.service]) }
        }
        callNext(manager)
    }

    private func callNext(_ manager: CBCentralManager) {
        guard calls.count < Central.maxCalls, !calls.values.contains(where: { $0.id == nil }) else { return }
        let now = Date()
        let free = candidates.filter { calls[$0.key] == nil && $0.value.freeAt <= now && now.timeIntervalSince($0.value.heardAt) < Central.stale }
        guard let next = free.max(by: { $0.value.heardAt < $1.value.heardAt }) else { return }
        let call = Call(next.value.device, self, radio)
        calls[next.key] = call
        // Two that hear each other for the first time would call each other at the same moment.
        DispatchQueue.main.asyncAfter(deadline: .now() + Double.random(in: 0..<Central.jitter)) { [weak call] in call?.begin() }
    }

    fileprivate func connect(_ device: CBPeripheral) {
        manager?.connect(device)
    }

    fileprivate func disconnect(_ device: CBPeripheral) {
        if manager?.state == .poweredOn { manager?.cancelPeripheralConnection(device) }
    }

    /// A call ended; whoever failed is left alone for longer each time.
    fileprivate func ended(_ device: CBPeripheral, wasLinked: Bool) {
        let id = device.identifier
        calls[id] = nil
        guard var candidate = candidates[id] else { return }
        candidate.failures = wasLinked ? 0 : candidate.failures + 1
        let pause = wasLinked ? Central.afterLoss : min(Central.afterFailure * Double(candidate.failures), Central.longest)
        candidate.freeAt = Date().addingTimeInterval(pause)
        candidates[id] = candidate
    }
}

/// One connection. It does one thing at a time.
private final class Call: NSObject, CBPeripheralDelegate, Link {
    private static let patience = 8.0
    private static let maxEarly = 16

    var id: UInt64?
    private let device: CBPeripheral
    private unowned let central: Central
    private unowned let radio: Radio
    private var characteristic: CBCharacteristic?
    private var isOver = false
    private var sending: ((Bool) -> Void)?
    /// What was heard before the subscription was answered.
    private var early: [Data] = []

    init(_ device: CBPeripheral, _ central: Central, _ radio: Radio) {
        self.device = device
        self.central = central
        self.radio = radio
        super.init()
    }

    func begin() {
        guard !isOver else { return }
        // Set before anything is asked for: the other side begins to speak at once.
        device.delegate = self
        central.connect(device)
        DispatchQueue.main.asyncAfter(deadline: .now() + Call.patience) { [weak self] in
            guard let self = self, self.id == nil else { return }
            self.end()
        }
    }

    func connected() {
        if !isOver { device.discoverServices([Radio.service]) }
    }

    func peripheral(_ device: CBPeripheral, didDiscoverServices error: Error?) {
        guard !isOver else { return }
        guard error == nil, let service = device.services?.first(where: { $0.uuid == Radio.service }) else { return end() }
        device.discoverCharacteristics([Radio.characteristic], for: service)
    }

    func peripheral(_ device: CBPeripheral, didDiscoverCharacteristicsFor service: CBService, error: Error?) {
        guard !isOver, characteristic == nil else { return }
        let found = service.characteristics?.first { $0.uuid == Radio.characteristic }
        guard error == nil, let characteristic = found else { return end() }
        self.characteristic = characteristic
        device.setNotifyValue(true, for: characteristic)
    }

    func peripheral(_ device: CBPeripheral, didUpdateNotificationStateFor characteristic: CBCharacteristic, error: Error?) {
        guard !isOver else { return }
        guard error == nil, characteristic.isNotifying else { return end() }
        guard id == nil else { return }
        // What fits into one write; phones with Android do not take longer ones in pieces.
        let limit = device.maximumWriteValueLength(for: .withoutResponse)
        guard let opened = radio.opened(self, limit: limit, isIncoming: false) else { return end() }
        id = opened
        for packet in early { radio.heard(opened, packet) }
        early = []
    }

    func peripheral(_ device: CBPeripheral, didUpdateValueFor characteristic: CBCharacteristic, error: Error?) {
        guard !isOver, error == nil, let packet = characteristic.value else { return }
        if let id = id {
            radio.heard(id, packet)
        } else if early.count < Call.maxEarly {
            early.append(packet)
        }
    }

    func peripheral(_ device: CBPeripheral, didWriteValueFor characteristic: CBCharacteristic, error: Error?) {
        sent(error == nil)
    }

    func peripheral(_ device: CBPeripheral, didModifyServices invalidated: [CBService]) {
        if invalidated.contains(where: { $0.uuid == Radio.service }) { end() }
    }

    func send(_ packet: Data, _ done: @escaping (Bool) -> Void) {
        guard sending == nil, !isOver, let characteristic = characteristic else { return done(false) }
        sending = done
        // With an answer: nothing is lost, nothing overtakes.
        device.writeValue(packet, for: characteristic, type: .withResponse)
    }

    func close() {
        let wasLinked = id != nil
        id = nil
        end(wasLinked: wasLinked)
    }

    /// Without a word to anybody.
    func hangUp() {
        isOver = true
        sent(false)
        device.delegate = nil
        central.disconnect(device)
    }

    func end(wasLinked: Bool? = nil) {
        guard !isOver else { return }
        hangUp()
        central.ended(device, wasLinked: wasLinked ?? (id != nil))
        if let id = id { radio.closed(id) }
        id = nil
    }

    private func sent(_ isOut: Bool) {
        let done = sending
        sending = nil
        done?(isOut)
    }
}
