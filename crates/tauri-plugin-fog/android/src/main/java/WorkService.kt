package network.fog.plugin

import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.Service
import android.content.Intent
import android.os.IBinder
import androidx.core.app.NotificationCompat

/** Shows that the app works, as Android asks of anything that runs without a window. */
class WorkService : Service() {
    override fun onBind(intent: Intent?): IBinder? = null

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        val channel = NotificationChannel(CHANNEL, "Fog Compute", NotificationManager.IMPORTANCE_LOW)
        getSystemService(NotificationManager::class.java).createNotificationChannel(channel)
        val notification = NotificationCompat.Builder(this, CHANNEL)
            .setContentTitle("Fog Compute")
            .setContentText(intent?.getStringExtra(TEXT).orEmpty())
            .setSmallIcon(android.R.drawable.stat_notify_sync)
            .setOngoing(true)
            .build()
        startForeground(1, notification)
        return START_NOT_STICKY
    }

    companion object {
        const val TEXT = "text"
        private const val CHANNEL = "work"
    }
}
