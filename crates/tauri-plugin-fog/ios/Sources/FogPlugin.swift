import Network
import Tauri
import UIKit
import UIKit.UIGestureRecognizerSubclass
import WebKit

class StartArgs: Decodable {
    let session: UInt64
    let savesPower: Bool
    let events: Channel
}

class PaceArgs: Decodable {
    let session: UInt64
    let savesPower: Bool
}

class StopArgs: Decodable {
    let session: UInt64
}

class PacketArgs: Decodable {
    let id: UInt64
    let data: Data
}

class LinkArgs: Decodable {
    let id: UInt64
}

/// Readings of an iPhone or iPad, and Bluetooth. iOS has no foreground service: work ends with the app's time in front.
class FogPlugin: Plugin {
    private let radio = Radio()
    private let monitor = NWPathMonitor()
    private var expensive: Bool?
    private var touchedAt = Date()

    override func load(webview: WKWebView) {
        UIDevice.current.isBatteryMonitoringEnabled = true
        // Another app in front suspends this one, so a touch that matters is a touch here.
        let recogniser = TouchRecogniser { [weak self] in self?.touchedAt = Date() }
        recogniser.cancelsTouchesInView = false
        webview.addGestureRecognizer(recogniser)
        monitor.pathUpdateHandler = { [weak self] path in self?.expensive = path.isExpensive }
        monitor.start(queue: DispatchQueue.global(qos: .utility))
    }

    @objc public func readings(_ invoke: Invoke) {
        DispatchQueue.main.async {
            var out: [String: Any] = [:]
            let device = UIDevice.current
            if device.batteryLevel >= 0 { out["battery"] = Double(device.batteryLevel) * 100 }
            if device.batteryState != .unknown { out["charging"] = device.batteryState != .unplugged }
            switch ProcessInfo.processInfo.thermalState {
            case .nominal: out["thermal"] = 0
            case .fair: out["thermal"] = 1
            case .serious: out["thermal"] = 2
            case .critical: out["thermal"] = 3
            @unknown default: break
            }
            if let expensive = self.expensive { out["metered"] = expensive }
            out["idleMs"] = Int(Date().timeIntervalSince(self.touchedAt) * 1000)
            invoke.resolve(out)
        }
    }

    @objc public func foreground(_ invoke: Invoke) {
        invoke.resolve()
    }

    @objc public func bluetoothStart(_ invoke: Invoke) throws {
        let args = try invoke.parseArgs(StartArgs.self)
        DispatchQueue.main.async {
            self.radio.start(session: args.session, savesPower: args.savesPower, events: args.events)
            invoke.resolve()
        }
    }

    @objc public func bluetoothPace(_ invoke: Invoke) throws {
        let args = try invoke.parseArgs(PaceArgs.self)
        DispatchQueue.main.async {
            self.radio.pace(session: args.session, savesPower: args.savesPower)
            invoke.resolve()
        }
    }

    @objc public func bluetoothStop(_ invoke: Invoke) throws {
        let args = try invoke.parseArgs(StopArgs.self)
        DispatchQueue.main.async {
            self.radio.stop(session: args.session)
            invoke.resolve()
        }
    }

    /// Is answered when the packet is across.
    @objc public func bluetoothSend(_ invoke: Invoke) throws {
        let args = try invoke.parseArgs(PacketArgs.self)
        DispatchQueue.main.async {
            self.radio.send(args.id, args.data) { isOut in
                let answer: JsonObject = ["sent": isOut]
                invoke.resolve(answer)
            }
        }
    }

    @objc public func bluetoothClose(_ invoke: Invoke) throws {
        let args = try invoke.parseArgs(LinkArgs.self)
        DispatchQueue.main.async {
            self.radio.close(args.id)
            invoke.resolve()
        }
    }
}

/// Sees every touch and takes none.
private final class TouchRecogniser: UIGestureRecognizer {
    private let touched: () -> Void

    init(_ touched: @escaping () -> Void) {
        self.touched = touched
        super.init(target: nil, action: nil)
    }

    override func touchesBegan(_ touches: Set<UITouch>, with event: UIEvent) {
        touched()
        state = .failed
    }
}

@_cdecl("init_plugin_fog")
func initPlugin() -> Plugin { FogPlugin() }
