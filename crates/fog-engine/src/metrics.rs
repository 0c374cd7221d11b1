//! Counters in the Prometheus text format.

use fog_api::{ApiError, Reply};

use crate::event_loop::Engine;

impl Engine {
    pub(crate) fn metrics(&self) -> Result<Reply, ApiError> {
        use std::fmt::Write as _;
        let mut text = String::new();
        let counts = self.counts();
        let active = self.ctx.load.running.len();
        let states = [
            ("queued", counts.queued),
            ("running", counts.running),
            ("paused", counts.paused),
            ("finished", counts.finished),
            ("failed", counts.failed),
        ];
        text.push_str("# HELP fog_jobs Jobs by state.\n# TYPE fog_jobs gauge\n");
        for (state, count) in states {
            let _ = writeln!(text, "fog_jobs{{state=\"{state}\"}} {count}");
        }
        for (name, help, value) in [
            ("fog_tasks_running", "Tasks in workers.", active as u64),
            (
                "fog_duty_percent",
                "Share of processor time that is lent.",
                u64::from(self.ctx.rules.verdict().duty.get()),
            ),
            ("fog_peers", "Devices that can be reached.", self.ctx.directory.peers.len() as u64),
            ("fog_hosted_jobs", "Jobs of other devices that are here.", self.exchange.hosted_jobs() as u64),
            ("fog_lent_tasks", "Tasks of this device that others have.", self.exchange.leases() as u64),
            (
                "fog_waiting_tasks",
                "Tasks of this device that wait for another one.",
                self.exchange.open_tasks() as u64,
            ),
            (
                "fog_far_peers",
                "Devices that are known from what they say to everybody.",
                self.network.advertised_peers() as u64,
            ),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        text.push_str("# HELP fog_turns Times that the engine looked at what is due, by reason.\n# TYPE fog_turns counter\n");
        for (why, count) in &self.turns {
            let _ = writeln!(text, "fog_turns{{reason=\"{why}\"}} {count}");
        }
        if let Some(net) = &self.ctx.net {
            // This includes traffic that the data limit does not count: the local network, and strangers.
            text.push_str("# HELP fog_network_bytes Bytes on all networks since they were joined.\n# TYPE fog_network_bytes counter\n");
            let (received, sent) = net.transport.traffic();
            for (direction, bytes) in [("received", received), ("sent", sent)] {
                let _ = writeln!(text, "fog_network_bytes{{direction=\"{direction}\"}} {bytes}");
            }
            text.push_str("# HELP fog_control_refused Messages of other devices that were refused, by reason.\n# TYPE fog_control_refused counter\n");
            for (reason, count) in net.counters.refused() {
                let _ = writeln!(text, "fog_control_refused{{reason=\"{reason}\"}} {count}");
            }
            let opened = net.counters.opened();
            let _ = writeln!(
                text,
                "# HELP fog_control_opened Signed messages that were checked and read.\n# TYPE fog_control_opened counter\nfog_control_opened {opened}"
            );
        }
        match &self.ctx.net {
            Some(net) => text.push_str(&net.transport.metrics()),
            None => text.push_str("# EOF\n"),
        }
        Ok(Reply::Text(text))
    }
}
