package network.fog.plugin

import android.Manifest
import android.bluetooth.BluetoothAdapter
import android.bluetooth.BluetoothManager
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.content.pm.PackageManager
import android.os.Build
import android.os.Handler
import android.os.Looper
import android.util.Base64
import app.tauri.Logger
import app.tauri.plugin.Channel
import app.tauri.plugin.JSObject
import java.util.UUID

/** Somebody at the other end, in either role. */
internal interface Link {
    /** Sends one packet; [done] says whether it went out. The next one waits for that. */
    fun send(packet: ByteArray, done: (Boolean) -> Unit)

    fun close()
}

/** Asks the system for something that it refuses when Bluetooth was switched off just now; it tells so in a moment. */
internal fun ifOn(what: () -> Unit) {
    try {
        what()
    } catch (error: IllegalStateException) {
        Logger.debug(Logger.tags("Plugin"), "Bluetooth is off: $error")
    }
}

/**
 * Bluetooth LE in both roles: finds others and is found, and passes packets on.
 *
 * Everything here happens on the main thread; what the system calls back on others is posted to it.
 */
internal class Radio(private val context: Context) {
    val main = Handler(Looper.getMainLooper())
    val manager = context.getSystemService(Context.BLUETOOTH_SERVICE) as? BluetoothManager
    var savesPower = false
        private set

    private val links = HashMap<Long, Link>()
    private var lastId = 0L
    private var session: Long? = null
    private var events: Channel? = null
    private var peripheral: Peripheral? = null
    private var central: Central? = null
    private var told: String? = null

    private val watcher = object : BroadcastReceiver() {
        override fun onReceive(context: Context, intent: Intent) = refresh()
    }

    /** Begins a session and ends the one before. */
    fun start(session: Long, savesPower: Boolean, events: Channel) {
        this.session?.let { stop(it) }
        this.session = session
        this.savesPower = savesPower
        this.events = events
        told = null
        context.registerReceiver(watcher, IntentFilter(BluetoothAdapter.ACTION_STATE_CHANGED))
        refresh()
    }

    fun pace(session: Long, savesPower: Boolean) {
        if (session != this.session || savesPower == this.savesPower) return
        this.savesPower = savesPower
        central?.scanAnew()
        peripheral?.advertiseSoon()
    }

    fun stop(session: Long) {
        if (session != this.session) return
        context.unregisterReceiver(watcher)
        end()
        this.session = null
        events = null
    }

    /** Looks again at what it depends on: the switch, and what the app may do. */
    fun refresh() {
        if (session == null) return
        val problem = problem()
        if (problem != null) {
            end()
            tell(problem)
        } else if (central == null) {
            try {
                begin()
            } catch (error: SecurityException) {
                end()
                tell(FORBIDDEN)
            }
        }
    }

    fun isAllowed() = PERMISSIONS.all { context.checkSelfPermission(it) == PackageManager.PERMISSION_GRANTED }

    fun send(id: Long, packet: ByteArray, done: (Boolean) -> Unit) {
        val link = links[id]
        if (link == null || packet.isEmpty() || packet.size > MAX_PACKET) done(false) else link.send(packet, done)
    }

    fun close(id: Long) {
        links.remove(id)?.close()
    }

    /** A link is there; its number, or null when there are too many. */
    fun opened(link: Link, mtu: Int, isIncoming: Boolean): Long? {
        if (links.size >= MAX_LINKS) return null
        val id = ++lastId
        links[id] = link
        val limit = (mtu - ATT_HEADER).coerceIn(SMALLEST_MTU - ATT_HEADER, MAX_PACKET)
        events?.send(JSObject().put("kind", "link").put("id", id).put("limit", limit).put("isIncoming", isIncoming))
        peripheral?.advertiseSoon()
        return id
    }

    fun heard(id: Long, packet: ByteArray) {
        if (id !in links || packet.isEmpty() || packet.size > MAX_PACKET) return
        val data = Base64.encodeToString(packet, Base64.NO_WRAP)
        events?.send(JSObject().put("kind", "packet").put("id", id).put("data", data))
    }

    /** A link is gone. */
    fun closed(id: Long) {
        links.remove(id)
        events?.send(JSObject().put("kind", "closed").put("id", id))
        peripheral?.advertiseSoon()
    }

    /** Whether others find this phone. */
    fun advertises(isOn: Boolean) {
        if (central != null) tell(if (isOn) "on" else "centralOnly")
    }

    private fun problem(): String? {
        val adapter = manager?.adapter
        return when {
            adapter == null || !context.packageManager.hasSystemFeature(PackageManager.FEATURE_BLUETOOTH_LE) -> "missing"
            !isAllowed() -> FORBIDDEN
            adapter.state != BluetoothAdapter.STATE_ON -> "off"
            else -> null
        }
    }

    private fun begin() {
        val adapter = manager?.adapter ?: return
        central = Central(this, context, adapter).also { it.start() }
        peripheral = Peripheral(this, context, adapter).also { it.start() }
    }

    private fun end() {
        for (id in links.keys.toList()) {
            close(id)
            events?.send(JSObject().put("kind", "closed").put("id", id))
        }
        val ending = peripheral to central
        peripheral = null
        central = null
        try {
            ending.first?.stop()
            ending.second?.stop()
        } catch (error: SecurityException) {
            // What is forbidden by now has ended.
            Logger.debug(Logger.tags("Plugin"), "Bluetooth is forbidden: $error")
        }
    }

    private fun tell(state: String) {
        if (state == told) return
        told = state
        events?.send(JSObject().put("kind", "state").put("state", state))
    }

    companion object {
        val SERVICE: UUID = UUID.fromString("F47B5E2D-4A9E-4C5A-9B3F-8E1D2C3A4B5C")
        val CHARACTERISTIC: UUID = UUID.fromString("A1B2C3D4-E5F6-4A5B-8C9D-0E1F2A3B4C5D")

        /** Where a central says that it wants to be notified. */
        val SUBSCRIPTION: UUID = UUID.fromString("00002902-0000-1000-8000-00805F9B34FB")

        /** Links in both roles together; the engine has the same bound. */
        const val MAX_LINKS = 8

        /** Bytes: what an attribute holds. */
        const val MAX_PACKET = 512
        const val SMALLEST_MTU = 23
        const val LARGEST_MTU = 517

        /** Bytes of an MTU that are not the packet's. */
        const val ATT_HEADER = 3
        private const val FORBIDDEN = "forbidden"

        /** What has to be asked for. Older systems give what a search finds only to who may know the place. */
        val PERMISSIONS: Array<String> = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
            arrayOf(Manifest.permission.BLUETOOTH_SCAN, Manifest.permission.BLUETOOTH_CONNECT, Manifest.permission.BLUETOOTH_ADVERTISE)
        } else {
            arrayOf(Manifest.permission.ACCESS_FINE_LOCATION)
        }
    }
}
