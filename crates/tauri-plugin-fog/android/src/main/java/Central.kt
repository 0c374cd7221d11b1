package network.fog.plugin

import android.annotation.SuppressLint
import android.bluetooth.BluetoothAdapter
import android.bluetooth.BluetoothDevice
import android.bluetooth.BluetoothGatt
import android.bluetooth.BluetoothGattCallback
import android.bluetooth.BluetoothGattCharacteristic
import android.bluetooth.BluetoothGattDescriptor
import android.bluetooth.BluetoothProfile
import android.bluetooth.BluetoothStatusCodes
import android.bluetooth.le.ScanCallback
import android.bluetooth.le.ScanFilter
import android.bluetooth.le.ScanResult
import android.bluetooth.le.ScanSettings
import android.content.Context
import android.os.Build
import android.os.ParcelUuid
import android.os.SystemClock
import kotlin.random.Random

/** Finding others: they are written to, and notify. One is called at a time. */
@SuppressLint("MissingPermission") // The radio looks before it begins.
internal class Central(private val radio: Radio, private val context: Context, private val adapter: BluetoothAdapter) {
    /** A device that advertises the service. Times are milliseconds since the phone started. */
    private class Candidate(val device: BluetoothDevice) {
        var heardAt = 0L
        var freeAt = 0L
        var failures = 0
    }

    private val candidates = HashMap<String, Candidate>()
    private val calls = HashMap<String, Call>()
    private var isScanning = false
    private var isStopped = false
    private var scanBegan = 0L

    private val scanned = object : ScanCallback() {
        override fun onScanResult(callbackType: Int, result: ScanResult) {
            val fits = result.scanRecord?.serviceUuids?.contains(ParcelUuid(Radio.SERVICE)) == true
            later { if (fits) heard(result.device) }
        }

        override fun onScanFailed(errorCode: Int) = later {
            // Too many searches begun, for one; the next look tries again.
            isScanning = false
        }
    }

    private val look = object : Runnable {
        override fun run() {
            if (isStopped) return
            val age = SystemClock.elapsedRealtime() - scanBegan
            if (isScanning && age > SCAN_LIFE_MS) endScan()
            if (!isScanning && age > SCAN_PAUSE_MS) beginScan()
            callNext()
            radio.main.postDelayed(this, LOOK_MS)
        }
    }

    fun start() {
        beginScan()
        radio.main.postDelayed(look, LOOK_MS)
    }

    fun stop() {
        isStopped = true
        radio.main.removeCallbacks(look)
        endScan()
        for (call in calls.values.toList()) call.hangUp()
        calls.clear()
    }

    /** The pace changed; the next look begins a search with it. */
    fun scanAnew() = endScan()

    private fun later(what: () -> Unit) {
        radio.main.post { if (!isStopped) what() }
    }

    private fun beginScan() {
        val scanner = adapter.bluetoothLeScanner ?: return
        val filter = ScanFilter.Builder().setServiceUuid(ParcelUuid(Radio.SERVICE)).build()
        val mode = if (radio.savesPower) ScanSettings.SCAN_MODE_LOW_POWER else ScanSettings.SCAN_MODE_BALANCED
        scanBegan = SystemClock.elapsedRealtime()
        ifOn {
            scanner.startScan(listOf(filter), ScanSettings.Builder().setScanMode(mode).build(), scanned)
            isScanning = true
        }
    }

    private fun endScan() {
        if (isScanning) ifOn { adapter.bluetoothLeScanner?.stopScan(scanned) }
        isScanning = false
    }

    private fun heard(device: BluetoothDevice) {
        if (device.address !in candidates && candidates.size >= MAX_CANDIDATES) {
            candidates.values.filter { it.device.address !in calls }.minByOrNull { it.heardAt }?.let { candidates.remove(it.device.address) }
        }
        candidates.getOrPut(device.address) { Candidate(device) }.heardAt = SystemClock.elapsedRealtime()
    }

    private fun callNext() {
        if (calls.size >= MAX_CALLS || calls.values.any { it.id == null }) return
        val now = SystemClock.elapsedRealtime()
        val next = candidates.values
            .filter { it.device.address !in calls && it.freeAt <= now && now - it.heardAt < STALE_MS }
            .maxByOrNull { it.heardAt } ?: return
        calls[next.device.address] = Call(next).also { it.begin() }
    }

    /** A call ended; whoever failed is left alone for longer each time. */
    private fun ended(candidate: Candidate, wasLinked: Boolean) {
        calls.remove(candidate.device.address)
        candidate.failures = if (wasLinked) 0 else candidate.failures + 1
        val pause = if (wasLinked) AFTER_LOSS_MS else (AFTER_FAILURE_MS * candidate.failures).coerceAtMost(LONGEST_MS)
        candidate.freeAt = SystemClock.elapsedRealtime() + pause
    }

    /** One connection. It does one thing at a time, as the system asks for. */
    private inner class Call(private val candidate: Candidate) : BluetoothGattCallback(), Link {
        var id: Long? = null
        private var gatt: BluetoothGatt? = null
        private var characteristic: BluetoothGattCharacteristic? = null
        private var mtu = Radio.SMALLEST_MTU
        private var isOver = false
        private var sending: ((Boolean) -> Unit)? = null

        /** What was heard before the subscription was answered. */
        private val early = ArrayDeque<ByteArray>()
        private val slow = Runnable { end() }
        private val connect = Runnable {
            gatt = candidate.device.connectGatt(context, false, this, BluetoothDevice.TRANSPORT_LE)
            if (gatt == null) end() else radio.main.postDelayed(slow, PATIENCE_MS)
        }

        fun begin() {
            // Two that hear each other for the first time would call each other at the same moment.
            radio.main.postDelayed(connect, Random.nextLong(JITTER_MS))
        }

        override fun onConnectionStateChange(gatt: BluetoothGatt, status: Int, newState: Int) = step {
            when {
                newState != BluetoothProfile.STATE_CONNECTED || status != BluetoothGatt.GATT_SUCCESS -> end()
                // Right after connecting, some phones do not answer.
                else -> radio.main.postDelayed({ if (!isOver && !gatt.requestMtu(Radio.LARGEST_MTU)) end() }, AFTER_CONNECTING_MS)
            }
        }

        override fun onMtuChanged(gatt: BluetoothGatt, mtu: Int, status: Int) = step {
            if (status == BluetoothGatt.GATT_SUCCESS) this.mtu = mtu
            // The other side may change it later, too.
            if (characteristic == null && (status != BluetoothGatt.GATT_SUCCESS || !gatt.discoverServices())) end()
        }

        override fun onServicesDiscovered(gatt: BluetoothGatt, status: Int) = step {
            if (characteristic != null) return@step
            val found = gatt.getService(Radio.SERVICE)?.getCharacteristic(Radio.CHARACTERISTIC)
            val descriptor = found?.getDescriptor(Radio.SUBSCRIPTION)
            characteristic = found
            // The stream is open before it is asked for: the other side begins to speak at once.
            val begun = descriptor != null && gatt.setCharacteristicNotification(found, true) && subscribe(gatt, descriptor)
            if (!begun) end()
        }

        override fun onDescriptorWrite(gatt: BluetoothGatt, descriptor: BluetoothGattDescriptor, status: Int) = step {
            if (id != null) return@step
            radio.main.removeCallbacks(slow)
            id = if (status == BluetoothGatt.GATT_SUCCESS) radio.opened(this, mtu, false) else null
            val opened = id ?: return@step end()
            while (early.isNotEmpty()) radio.heard(opened, early.removeFirst())
        }

        override fun onCharacteristicWrite(gatt: BluetoothGatt, characteristic: BluetoothGattCharacteristic, status: Int) = step {
            sent(status == BluetoothGatt.GATT_SUCCESS)
        }

        override fun onCharacteristicChanged(gatt: BluetoothGatt, characteristic: BluetoothGattCharacteristic, value: ByteArray) {
            val packet = value.copyOf()
            step { notified(packet) }
        }

        @Deprecated("Called before Android 13 only.")
        @Suppress("DEPRECATION")
        override fun onCharacteristicChanged(gatt: BluetoothGatt, characteristic: BluetoothGattCharacteristic) {
            val packet = characteristic.value?.copyOf() ?: return
            step { notified(packet) }
        }

        override fun send(packet: ByteArray, done: (Boolean) -> Unit) {
            val gatt = gatt
            val characteristic = characteristic
            if (sending != null || gatt == null || characteristic == null) return done(false)
            sending = done
            if (!write(gatt, characteristic, packet)) sent(false)
        }

        override fun close() {
            id = null
            end(wasLinked = true)
        }

        /** Without a word to anybody. */
        fun hangUp() {
            isOver = true
            radio.main.removeCallbacks(connect)
            radio.main.removeCallbacks(slow)
            sent(false)
            gatt?.disconnect()
            gatt?.close()
            gatt = null
        }

        private fun step(what: () -> Unit) {
            radio.main.post { if (!isOver) what() }
        }

        private fun sent(isOut: Boolean) {
            val done = sending
            sending = null
            done?.invoke(isOut)
        }

        private fun notified(packet: ByteArray) {
            val id = id
            if (id != null) radio.heard(id, packet) else if (early.size < MAX_EARLY) early.addLast(packet)
        }

        private fun end(wasLinked: Boolean = id != null) {
            if (isOver) return
            hangUp()
            ended(candidate, wasLinked)
            id?.let { radio.closed(it) }
            id = null
        }

        @Suppress("DEPRECATION") // The only way before Android 13.
        private fun subscribe(gatt: BluetoothGatt, descriptor: BluetoothGattDescriptor): Boolean {
            val value = BluetoothGattDescriptor.ENABLE_NOTIFICATION_VALUE
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
                return gatt.writeDescriptor(descriptor, value) == BluetoothStatusCodes.SUCCESS
            }
            descriptor.value = value
            return gatt.writeDescriptor(descriptor)
        }

        /** With an answer: nothing is lost, nothing overtakes. */
        @Suppress("DEPRECATION") // The only way before Android 13.
        private fun write(gatt: BluetoothGatt, characteristic: BluetoothGattCharacteristic, packet: ByteArray): Boolean {
            val type = BluetoothGattCharacteristic.WRITE_TYPE_DEFAULT
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
                return gatt.writeCharacteristic(characteristic, packet, type) == BluetoothStatusCodes.SUCCESS
            }
            characteristic.writeType = type
            characteristic.value = packet
            return gatt.writeCharacteristic(characteristic)
        }
    }

    private companion object {
        /** Links as central. */
        const val MAX_CALLS = 6
        const val MAX_CANDIDATES = 200
        const val MAX_EARLY = 16
        const val LOOK_MS = 500L

        /** The system takes five searches in 30 s, and slows one down that lasts for half an hour. */
        const val SCAN_PAUSE_MS = 7_000L
        const val SCAN_LIFE_MS = 600_000L

        /** Who was not heard for so long has another address by now. */
        const val STALE_MS = 20_000L
        const val PATIENCE_MS = 8_000L
        const val JITTER_MS = 1_500L
        const val AFTER_CONNECTING_MS = 200L
        const val AFTER_LOSS_MS = 3_000L
        const val AFTER_FAILURE_MS = 15_000L
        const val LONGEST_MS = 120_000L
    }
}
