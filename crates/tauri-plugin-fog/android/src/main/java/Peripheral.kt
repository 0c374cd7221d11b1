package network.fog.plugin

import android.annotation.SuppressLint
import android.bluetooth.BluetoothAdapter
import android.bluetooth.BluetoothDevice
import android.bluetooth.BluetoothGatt
import android.bluetooth.BluetoothGattCharacteristic
import android.bluetooth.BluetoothGattDescriptor
import android.bluetooth.BluetoothGattServer
import android.bluetooth.BluetoothGattServerCallback
import android.bluetooth.BluetoothGattService
import android.bluetooth.BluetoothProfile
import android.bluetooth.BluetoothStatusCodes
import android.bluetooth.le.AdvertiseCallback
import android.bluetooth.le.AdvertiseData
import android.bluetooth.le.AdvertiseSettings
import android.content.Context
import android.os.Build
import android.os.ParcelUuid

/** Being found: others write, and are notified. A link begins when a device subscribes. */
@SuppressLint("MissingPermission") // The radio looks before it begins.
internal class Peripheral(private val radio: Radio, private val context: Context, private val adapter: BluetoothAdapter) {
    /** What is known of a device while it is connected. */
    private inner class Guest(val device: BluetoothDevice) : Link {
        var id: Long? = null
        var mtu = Radio.SMALLEST_MTU
        var isSubscribed = false

        /** Pieces of a long write. */
        var pieces = ByteArray(0)
        private var sending: ((Boolean) -> Unit)? = null

        override fun send(packet: ByteArray, done: (Boolean) -> Unit) {
            if (sending != null) return done(false)
            sending = done
            if (!notify(device, packet)) sent(false)
        }

        fun sent(isOut: Boolean) {
            val done = sending
            sending = null
            done?.invoke(isOut)
        }

        override fun close() {
            id = null
            sent(false)
            server?.cancelConnection(device)
        }
    }

    private val guests = HashMap<String, Guest>()
    private var server: BluetoothGattServer? = null
    private var isStopped = false

    private val characteristic = BluetoothGattCharacteristic(
        Radio.CHARACTERISTIC,
        // Read is not used for data, but phones expect it to be there.
        BluetoothGattCharacteristic.PROPERTY_READ or BluetoothGattCharacteristic.PROPERTY_WRITE or
            BluetoothGattCharacteristic.PROPERTY_WRITE_NO_RESPONSE or BluetoothGattCharacteristic.PROPERTY_NOTIFY,
        BluetoothGattCharacteristic.PERMISSION_READ or BluetoothGattCharacteristic.PERMISSION_WRITE,
    ).apply {
        val permissions = BluetoothGattDescriptor.PERMISSION_READ or BluetoothGattDescriptor.PERMISSION_WRITE
        addDescriptor(BluetoothGattDescriptor(Radio.SUBSCRIPTION, permissions))
    }

    private val calls = object : BluetoothGattServerCallback() {
        override fun onServiceAdded(status: Int, service: BluetoothGattService) = later {
            if (status == BluetoothGatt.GATT_SUCCESS) advertise() else radio.advertises(false)
        }

        override fun onConnectionStateChange(device: BluetoothDevice, status: Int, newState: Int) = later {
            if (newState == BluetoothProfile.STATE_DISCONNECTED) gone(device)
        }

        override fun onMtuChanged(device: BluetoothDevice, mtu: Int) = later {
            guest(device)?.mtu = mtu
        }

        override fun onCharacteristicReadRequest(
            device: BluetoothDevice, requestId: Int, offset: Int, characteristic: BluetoothGattCharacteristic,
        ) = later { answer(device, requestId, BluetoothGatt.GATT_SUCCESS, offset, ByteArray(0)) }

        override fun onCharacteristicWriteRequest(
            device: BluetoothDevice, requestId: Int, characteristic: BluetoothGattCharacteristic,
            preparedWrite: Boolean, responseNeeded: Boolean, offset: Int, value: ByteArray?,
        ) {
            val packet = value?.copyOf() ?: ByteArray(0)
            later {
                val status = if (preparedWrite) prepare(device, offset, packet) else written(device, offset, packet)
                if (responseNeeded) answer(device, requestId, status, offset, packet)
            }
        }

        override fun onExecuteWrite(device: BluetoothDevice, requestId: Int, execute: Boolean) = later {
            val guest = guest(device)
            val packet = guest?.pieces ?: ByteArray(0)
            guest?.pieces = ByteArray(0)
            val status = if (execute) written(device, 0, packet) else BluetoothGatt.GATT_SUCCESS
            answer(device, requestId, status, 0, null)
        }

        override fun onDescriptorReadRequest(
            device: BluetoothDevice, requestId: Int, offset: Int, descriptor: BluetoothGattDescriptor,
        ) = later {
            val isOn = guests[device.address]?.isSubscribed == true
            val value = if (isOn) BluetoothGattDescriptor.ENABLE_NOTIFICATION_VALUE else BluetoothGattDescriptor.DISABLE_NOTIFICATION_VALUE
            answer(device, requestId, BluetoothGatt.GATT_SUCCESS, offset, value.copyOfRange(offset.coerceIn(0, value.size), value.size))
        }

        override fun onDescriptorWriteRequest(
            device: BluetoothDevice, requestId: Int, descriptor: BluetoothGattDescriptor,
            preparedWrite: Boolean, responseNeeded: Boolean, offset: Int, value: ByteArray?,
        ) {
            val isOn = value?.contentEquals(BluetoothGattDescriptor.ENABLE_NOTIFICATION_VALUE) == true
            later {
                val guest = guest(device)
                guest?.isSubscribed = isOn
                val hasRoom = !isOn || (guest != null && open(guest))
                if (responseNeeded) answer(device, requestId, if (hasRoom) BluetoothGatt.GATT_SUCCESS else NO_ROOM, offset, value)
                if (!isOn) guest?.let { unlink(it) }
            }
        }

        override fun onNotificationSent(device: BluetoothDevice, status: Int) = later {
            guests[device.address]?.sent(status == BluetoothGatt.GATT_SUCCESS)
        }
    }

    private val advertising = object : AdvertiseCallback() {
        override fun onStartSuccess(settingsInEffect: AdvertiseSettings) = later { radio.advertises(true) }

        override fun onStartFailure(errorCode: Int) = later { radio.advertises(errorCode == ADVERTISE_FAILED_ALREADY_STARTED) }
    }

    private val again = Runnable {
        if (!isStopped) {
            endAdvertising()
            advertise()
        }
    }

    fun start() {
        server = radio.manager?.openGattServer(context, calls)
        val service = BluetoothGattService(Radio.SERVICE, BluetoothGattService.SERVICE_TYPE_PRIMARY)
        service.addCharacteristic(characteristic)
        if (server?.addService(service) != true) radio.advertises(false)
    }

    fun stop() {
        isStopped = true
        radio.main.removeCallbacks(again)
        endAdvertising()
        server?.clearServices()
        server?.close()
        server = null
        guests.clear()
    }

    /** Some phones stop to advertise when somebody connects, and do not say so. */
    fun advertiseSoon() {
        radio.main.removeCallbacks(again)
        radio.main.postDelayed(again, SETTING_UP_MS)
    }

    private fun later(what: () -> Unit) {
        radio.main.post { if (!isStopped) what() }
    }

    private fun advertise() {
        val advertiser = adapter.bluetoothLeAdvertiser ?: return radio.advertises(false)
        val mode = if (radio.savesPower) AdvertiseSettings.ADVERTISE_MODE_LOW_POWER else AdvertiseSettings.ADVERTISE_MODE_BALANCED
        val settings = AdvertiseSettings.Builder().setAdvertiseMode(mode).setConnectable(true).setTimeout(0)
            .setTxPowerLevel(AdvertiseSettings.ADVERTISE_TX_POWER_MEDIUM).build()
        // The service and nothing else: no name, and no id that could be followed.
        val data = AdvertiseData.Builder().setIncludeDeviceName(false).setIncludeTxPowerLevel(false)
            .addServiceUuid(ParcelUuid(Radio.SERVICE)).build()
        ifOn { advertiser.startAdvertising(settings, data, advertising) }
    }

    private fun endAdvertising() = ifOn { adapter.bluetoothLeAdvertiser?.stopAdvertising(advertising) }

    /** What is known of a device; null when there are too many. */
    private fun guest(device: BluetoothDevice): Guest? {
        if (device.address !in guests && guests.size >= MAX_GUESTS) return null
        return guests.getOrPut(device.address) { Guest(device) }
    }

    /** Opens the link of a device that subscribed and has none; whether it has one then. */
    private fun open(guest: Guest): Boolean {
        if (guest.id == null && guest.isSubscribed) guest.id = radio.opened(guest, guest.mtu, true)
        return guest.id != null
    }

    private fun unlink(guest: Guest) {
        guest.sent(false)
        guest.id?.let { radio.closed(it) }
        guest.id = null
    }

    private fun gone(device: BluetoothDevice) {
        guests.remove(device.address)?.let { unlink(it) }
    }

    private fun written(device: BluetoothDevice, offset: Int, packet: ByteArray): Int {
        if (offset != 0 || packet.isEmpty() || packet.size > Radio.MAX_PACKET) return BluetoothGatt.GATT_INVALID_OFFSET
        // After its link was closed here, it gets another.
        val guest = guest(device) ?: return NO_ROOM
        if (!open(guest)) return NO_ROOM
        guest.id?.let { radio.heard(it, packet) }
        return BluetoothGatt.GATT_SUCCESS
    }

    private fun prepare(device: BluetoothDevice, offset: Int, piece: ByteArray): Int {
        val guest = guest(device) ?: return NO_ROOM
        if (offset == 0) guest.pieces = ByteArray(0)
        if (offset != guest.pieces.size || offset + piece.size > Radio.MAX_PACKET) return BluetoothGatt.GATT_INVALID_OFFSET
        guest.pieces += piece
        return BluetoothGatt.GATT_SUCCESS
    }

    private fun answer(device: BluetoothDevice, requestId: Int, status: Int, offset: Int, value: ByteArray?) {
        server?.sendResponse(device, requestId, status, offset, value)
    }

    @Suppress("DEPRECATION") // The only way before Android 13.
    private fun notify(device: BluetoothDevice, packet: ByteArray): Boolean {
        val server = server ?: return false
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) {
            return server.notifyCharacteristicChanged(device, characteristic, false, packet) == BluetoothStatusCodes.SUCCESS
        }
        characteristic.value = packet
        return server.notifyCharacteristicChanged(device, characteristic, false)
    }

    private companion object {
        /** The ATT error for insufficient resources. */
        const val NO_ROOM = 0x11

        /** Devices that are connected; some of them may be no friends. */
        const val MAX_GUESTS = 32

        /** Whoever just connected is in the middle of setting its link up. */
        const val SETTING_UP_MS = 500L
    }
}
