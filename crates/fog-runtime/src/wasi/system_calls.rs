use super::memory::offset;
use super::{Call, Context, Errno, GuestMemory};

const CLOCK_REALTIME: u32 = 0;
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

/// Calls for arguments, environment, clocks, waiting and randomness; socket calls all fail.
impl Context {
    pub(super) fn args_get(&mut self, m: &mut GuestMemory<'_>, argv: u32, buffer: u32) -> Call {
        Self::put_strings(m, &self.args, &mut self.moved, argv, buffer)
    }

    pub(super) fn args_sizes_get(&mut self, m: &mut GuestMemory<'_>, count: u32, size: u32) -> Call {
        put_sizes(m, &self.args, count, size)
    }

    pub(super) fn environ_get(&mut self, m: &mut GuestMemory<'_>, environ: u32, buffer: u32) -> Call {
        Self::put_strings(m, &self.env, &mut self.moved, environ, buffer)
    }

    pub(super) fn environ_sizes_get(&mut self, m: &mut GuestMemory<'_>, count: u32, size: u32) -> Call {
        put_sizes(m, &self.env, count, size)
    }

    pub(super) fn clock_res_get(&mut self, m: &mut GuestMemory<'_>, id: u32, out: u32) -> Call {
        if id > 3 {
            return Err(Errno::Inval);
        }
        m.put_u64(out, 1)
    }

    pub(super) fn clock_time_get(
        &mut self,
        m: &mut GuestMemory<'_>,
        id: u32,
        _precision: u64,
        out: u32,
    ) -> Call {
        let now = self.clock(id)?;
        m.put_u64(out, now)
    }

    fn clock(&self, id: u32) -> Result<u64, Errno> {
        match id {
            CLOCK_REALTIME => Ok(self.today()),
            1..=3 => Ok(self.now()),
            _ => Err(Errno::Inval),
        }
    }

    /// Sleeping advances the job's clock and takes no time. Files are always ready.
    pub(super) fn poll_oneoff(
        &mut self,
        m: &mut GuestMemory<'_>,
        subscriptions: u32,
        events: u32,
        count: u32,
        out: u32,
    ) -> Call {
        if count == 0 || count > 1024 {
            return Err(Errno::Inval);
        }
        self.vfs.visit(count.into());
        let mut ready: Vec<(u64, u16, u8, u64)> = Vec::new();
        let mut timers: Vec<(u64, u64)> = Vec::new();
        for i in 0..count {
            let at = offset(subscriptions, i * SUBSCRIPTION_BYTES)?;
            let userdata = m.u64_at(at)?;
            let kind = m.slice(offset(at, 8)?, 1)?[0];
            match kind {
                0 => {
                    let timeout = m.u64_at(offset(at, 24)?)?;
                    let is_absolute = m.slice(offset(at, 40)?, 1)?[0] & 1 != 0;
                    let clock = self.clock(m.u32_at(offset(at, 16)?)?)?;
                    timers
                        .push((if is_absolute { timeout.saturating_sub(clock) } else { timeout }, userdata));
                }
                1 | 2 => {
                    let fd = m.u32_at(offset(at, 16)?)?;
                    let (errno, bytes) = match self.node_of(fd) {
                        Ok(id) => (0, self.vfs.size(id).saturating_sub(self.fd(fd)?.position)),
                        Err(Errno::SPipe) => (0, 0),
                        Err(errno) => (errno as u16, 0),
                    };
                    ready.push((userdata, errno, kind, bytes));
                }
                _ => return Err(Errno::Inval),
            }
        }
        if ready.is_empty() {
            let wait = timers.iter().map(|(wait, _)| *wait).min().unwrap_or(0);
            self.slept_nanos = self.slept_nanos.saturating_add(wait);
            ready.extend(
                timers.iter().filter(|(at, _)| *at <= wait).map(|(_, userdata)| (*userdata, 0, 0, 0)),
            );
        }
        for (i, (userdata, errno, kind, bytes)) in ready.iter().enumerate() {
            let at = offset(events, i as u32 * EVENT_BYTES)?;
            m.put(at, &[0; EVENT_BYTES as usize])?;
            m.put_u64(at, *userdata)?;
            m.put_u16(offset(at, 8)?, *errno)?;
            m.put(offset(at, 10)?, &[*kind])?;
            m.put_u64(offset(at, 16)?, *bytes)?;
        }
        m.put_u32(out, ready.len() as u32)
    }

    pub(super) fn proc_raise(&mut self, _m: &mut GuestMemory<'_>, _signal: u32) -> Call {
        Err(Errno::NotSup)
    }

    pub(super) fn random_get(&mut self, m: &mut GuestMemory<'_>, buffer: u32, len: u32) -> Call {
        self.random.fill(m.slice_mut(buffer, len)?);
        // Hashing costs more than copying.
        self.moved += u64::from(len) * 16;
        Ok(())
    }

    pub(super) fn sched_yield(&mut self, _m: &mut GuestMemory<'_>) -> Call {
        Ok(())
    }

    pub(super) fn sock_accept(&mut self, _m: &mut GuestMemory<'_>, fd: u32, _flags: u32, _out: u32) -> Call {
        self.no_socket(fd)
    }

    #[expect(clippy::too_many_arguments, reason = "the signature is the specification's")]
    pub(super) fn sock_recv(
        &mut self,
        _m: &mut GuestMemory<'_>,
        fd: u32,
        _iovs: u32,
        _count: u32,
        _flags: u32,
        _out: u32,
        _out_flags: u32,
    ) -> Call {
        self.no_socket(fd)
    }

    pub(super) fn sock_send(
        &mut self,
        _m: &mut GuestMemory<'_>,
        fd: u32,
        _iovs: u32,
        _count: u32,
        _flags: u32,
        _out: u32,
    ) -> Call {
        self.no_socket(fd)
    }

    pub(super) fn sock_shutdown(&mut self, _m: &mut GuestMemory<'_>, fd: u32, _how: u32) -> Call {
        self.no_socket(fd)
    }

    /// Returns an error: no descriptor is a socket.
    fn no_socket(&self, fd: u32) -> Call {
        self.fd(fd)?;
        Err(Errno::NotSock)
    }
}

fn put_sizes(m: &mut GuestMemory<'_>, strings: &[String], count: u32, size: u32) -> Call {
    let bytes: usize = strings.iter().map(|text| text.len() + 1).sum();
    m.put_u32(count, u32::try_from(strings.len()).map_err(|_| Errno::Inval)?)?;
    m.put_u32(size, u32::try_from(bytes).map_err(|_| Errno::Inval)?)
}
