package network.fog.plugin

import android.app.Activity
import android.content.BroadcastReceiver
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.net.ConnectivityManager
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import android.os.SystemClock
import android.util.Base64
import android.webkit.WebView
import androidx.appcompat.app.AppCompatActivity
import app.tauri.annotation.Command
import app.tauri.annotation.InvokeArg
import app.tauri.annotation.TauriPlugin
import app.tauri.plugin.Channel
import app.tauri.plugin.Invoke
import app.tauri.plugin.JSObject
import app.tauri.plugin.Plugin

@InvokeArg
class ForegroundArgs {
    var text: String = ""
}

@InvokeArg
class StartArgs {
    var session: Long = 0
    var savesPower: Boolean = false
    lateinit var events: Channel
}

@InvokeArg
class PaceArgs {
    var session: Long = 0
    var savesPower: Boolean = false
}

@InvokeArg
class StopArgs {
    var session: Long = 0
}

@InvokeArg
class PacketArgs {
    var id: Long = 0
    var data: String = ""
}

@InvokeArg
class LinkArgs {
    var id: Long = 0
}

/** Readings of an Android phone, the service that keeps the app alive while it works, and Bluetooth. */
@TauriPlugin
class FogPlugin(private val activity: Activity) : Plugin(activity) {
    private val radio = Radio(activity.applicationContext)

    /** Asked for once while the app runs; after that it is the system's settings that decide. */
    private var wasAsked = false

    /** When the screen went dark, milliseconds since the phone started; null while it is on or nobody saw it. */
    private var darkSince: Long? = null

    override fun load(webView: WebView) {
        val watcher = object : BroadcastReceiver() {
            override fun onReceive(context: Context, intent: Intent) {
                darkSince = if (intent.action == Intent.ACTION_SCREEN_OFF) SystemClock.elapsedRealtime() else null
            }
        }
        val changes = IntentFilter(Intent.ACTION_SCREEN_OFF)
        changes.addAction(Intent.ACTION_SCREEN_ON)
        activity.applicationContext.registerReceiver(watcher, changes)
    }

    @Command
    fun readings(invoke: Invoke) {
        val out = JSObject()
        val battery = activity.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        if (battery != null) {
            val level = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, -1)
            val scale = battery.getIntExtra(BatteryManager.EXTRA_SCALE, -1)
            if (level >= 0 && scale > 0) out.put("battery", 100.0 * level / scale)
            val plugged = battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0)
            out.put("charging", plugged != 0)
            when (plugged) {
                BatteryManager.BATTERY_PLUGGED_AC, BatteryManager.BATTERY_PLUGGED_DOCK -> out.put("charger", "mains")
                BatteryManager.BATTERY_PLUGGED_USB -> out.put("charger", "usb")
                BatteryManager.BATTERY_PLUGGED_WIRELESS -> out.put("charger", "wireless")
            }
            val tenths = battery.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, Int.MIN_VALUE)
            if (tenths != Int.MIN_VALUE) out.put("batteryTemp", tenths / 10.0)
        }
        val power = activity.getSystemService(Context.POWER_SERVICE) as PowerManager
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
            out.put(
                "thermal",
                when (power.currentThermalStatus) {
                    PowerManager.THERMAL_STATUS_NONE -> 0
                    PowerManager.THERMAL_STATUS_LIGHT -> 1
                    PowerManager.THERMAL_STATUS_MODERATE, PowerManager.THERMAL_STATUS_SEVERE -> 2
                    else -> 3
                },
            )
        }
        val dark = darkSince
        if (power.isInteractive) out.put("idleMs", 0) else if (dark != null) out.put("idleMs", SystemClock.elapsedRealtime() - dark)
        val network = activity.getSystemService(Context.CONNECTIVITY_SERVICE) as ConnectivityManager
        out.put("metered", network.isActiveNetworkMetered)
        invoke.resolve(out)
    }

    @Command
    fun foreground(invoke: Invoke) {
        val text = invoke.parseArgs(ForegroundArgs::class.java).text
        val intent = Intent(activity, WorkService::class.java).putExtra(WorkService.TEXT, text)
        if (text.isEmpty()) activity.stopService(intent) else activity.startForegroundService(intent)
        invoke.resolve()
    }

    /** The dialogue for permissions, or the system's settings, may have been in front. */
    override fun onResume(activity: AppCompatActivity) = radio.refresh()

    @Command
    fun bluetoothStart(invoke: Invoke) {
        val args = invoke.parseArgs(StartArgs::class.java)
        radio.main.post {
            radio.start(args.session, args.savesPower, args.events)
            if (!radio.isAllowed() && !wasAsked) {
                wasAsked = true
                activity.requestPermissions(Radio.PERMISSIONS, 0)
            }
            invoke.resolve()
        }
    }

    @Command
    fun bluetoothPace(invoke: Invoke) {
        val args = invoke.parseArgs(PaceArgs::class.java)
        radio.main.post {
            radio.pace(args.session, args.savesPower)
            invoke.resolve()
        }
    }

    @Command
    fun bluetoothStop(invoke: Invoke) {
        val session = invoke.parseArgs(StopArgs::class.java).session
        radio.main.post {
            radio.stop(session)
            invoke.resolve()
        }
    }

    /** Is answered when the packet is across. */
    @Command
    fun bluetoothSend(invoke: Invoke) {
        val args = invoke.parseArgs(PacketArgs::class.java)
        val packet = Base64.decode(args.data, Base64.NO_WRAP)
        radio.main.post {
            radio.send(args.id, packet) { isOut ->
                val answer = JSObject()
                answer.put("sent", isOut)
                invoke.resolve(answer)
            }
        }
    }

    @Command
    fun bluetoothClose(invoke: Invoke) {
        val id = invoke.parseArgs(LinkArgs::class.java).id
        radio.main.post {
            radio.close(id)
            invoke.resolve()
        }
    }
}
