use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use wasmtime::{Global, Memory, ResourceLimiter};

use super::rights::Rights;
use super::{Call, Errno, GuestMemory};
use crate::outcome::LimitKind;
use crate::run::{Control, Meter, Numbers, Observer, Reached};
use crate::task::TaskSpec;
use crate::vfs::{CLOCK_START_NANOS, Kind, NodeId, ROOT, Vfs, VfsShown, VfsState};

const MAX_FDS: usize = 1024;

/// Exit code of a program that called `proc_exit`.
#[derive(Debug)]
pub(crate) struct Exit(pub(crate) u32);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exited with code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// State shared by all calls of one job.
pub(crate) struct Context {
    pub(crate) vfs: Vfs,
    pub(super) fds: Vec<Option<Fd>>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) random: blake3::OutputReader,
    pub(super) slept_nanos: u64,
    pub(crate) units: u64,
    /// Unit count that the module charges.
    pub(crate) left: Option<Global>,
    pub(crate) meter: Meter,
    pub(crate) control: Box<dyn Control>,
    /// Whether the stack is being unwound; memory then grows for the runtime, not for the job.
    pub(crate) is_stopping: bool,
    /// Requested checkpoint; true for a whole one.
    pub(crate) wants_save: Option<bool>,
    /// Numbers of functions, once the module has saved a reference.
    pub(crate) references: Option<Numbers>,
    /// Bytes moved by the current call.
    pub(super) moved: u64,
    pub(crate) memory: Option<Memory>,
    pub(crate) memory_limit: usize,
    pub(crate) memory_peak: usize,
    pub(crate) table_limit: usize,
    tables: usize,
    log_limit: u64,
    /// Bytes written to stdout and stderr, kept or not.
    pub(crate) log_seen: [u64; 2],
    /// Digest over all writes to each of them.
    log_digests: [[u8; 32]; 2],
    pub(crate) observer: Box<dyn Observer>,
}

/// Open file of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fd {
    pub(super) target: Target,
    pub(super) position: u64,
    /// Flags as numbered in the specification.
    pub(super) flags: u16,
    pub(super) rights: Rights,
    /// Slot at which the current listing ends, so that a job that adds names meanwhile reaches its end.
    pub(super) listing_end: u64,
}

impl Fd {
    fn new(target: Target, rights: Rights) -> Self {
        Self { target, position: 0, flags: 0, rights, listing_end: u64::MAX }
    }

    pub(super) fn is_appending(&self) -> bool {
        self.flags & FDFLAG_APPEND != 0
    }
}

/// Flag for appending: every write goes to the end.
pub(super) const FDFLAG_APPEND: u16 = 1;
/// All flags of descriptors.
pub(super) const FDFLAGS: u16 = (1 << 5) - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Target {
    Stdout,
    Stderr,
    Node(NodeId),
}

/// State of files, descriptors, clock and randomness, as it is read from a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
pub(crate) struct WasiState {
    files: VfsState,
    fds: Vec<Option<Fd>>,
    random_position: u64,
    slept_nanos: u64,
    memory_peak: u64,
    log_seen: [u64; 2],
    log_digests: [[u8; 32]; 2],
}

/// The same state as it is written to a checkpoint, without a copy.
#[derive(Serialize)]
pub(crate) struct WasiShown<'a> {
    files: VfsShown<'a>,
    fds: &'a [Option<Fd>],
    random_position: u64,
    slept_nanos: u64,
    memory_peak: u64,
    log_seen: [u64; 2],
    log_digests: [[u8; 32]; 2],
}

impl Context {
    /// Returns the state for a checkpoint, without a copy.
    pub(crate) fn shown(&self) -> WasiShown<'_> {
        WasiShown {
            files: self.vfs.shown(),
            fds: &self.fds,
            random_position: self.random.position(),
            slept_nanos: self.slept_nanos,
            memory_peak: self.memory_peak as u64,
            log_seen: self.log_seen,
            log_digests: self.log_digests,
        }
    }

    /// Restores the state of a checkpoint; the error says what does not fit.
    pub(crate) fn restore(&mut self, state: WasiState) -> Result<(), String> {
        let node = |fd: &Fd| if let Target::Node(id) = fd.target { Some(id) } else { None };
        let opened: Vec<NodeId> = state.fds.iter().flatten().filter_map(node).collect();
        if state.fds.len() > MAX_FDS {
            return Err("it has too many open files".to_owned());
        }
        self.vfs.restore(state.files, &opened)?;
        self.fds = state.fds;
        self.random.set_position(state.random_position);
        (self.slept_nanos, self.log_seen, self.log_digests) =
            (state.slept_nanos, state.log_seen, state.log_digests);
        self.memory_peak = usize::try_from(state.memory_peak).unwrap_or(usize::MAX);
        Ok(())
    }

    pub(crate) fn new(
        spec: &TaskSpec,
        observer: Box<dyn Observer>,
        control: Box<dyn Control>,
    ) -> io::Result<Self> {
        let mut vfs = Vfs::new(spec.limits.disk.0);
        for mount in &spec.inputs {
            vfs.add_input(&mount.name, std::fs::File::open(&mount.path)?)?;
        }
        let stdin = match &spec.stdin {
            Some(path) => vfs.add_nameless(std::fs::File::open(path)?)?,
            None => vfs.null(),
        };
        let fd = |target, rights| Some(Fd::new(target, rights));
        let mut hasher = blake3::Hasher::new_derive_key("fog-compute job randomness v1");
        hasher.update(&spec.seed.to_le_bytes());
        Ok(Self {
            vfs,
            fds: vec![
                fd(Target::Node(stdin), Rights::of_file(true, false)),
                fd(Target::Stdout, Rights::of_stream()),
                fd(Target::Stderr, Rights::of_stream()),
                fd(Target::Node(ROOT), Rights::of_root()),
            ],
            args: std::iter::once(spec.program.clone()).chain(spec.args.iter().cloned()).collect(),
            env: spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            random: hasher.finalize_xof(),
            slept_nanos: 0,
            units: 0,
            left: None,
            meter: Meter::new(&spec.limits, spec.segments),
            control,
            is_stopping: false,
            wants_save: None,
            references: None,
            moved: 0,
            memory: None,
            memory_limit: usize::try_from(spec.limits.memory.0).unwrap_or(usize::MAX),
            memory_peak: 0,
            table_limit: usize::try_from(spec.limits.table_elements).unwrap_or(usize::MAX),
            tables: 0,
            log_limit: spec.limits.log.0,
            log_seen: [0; 2],
            log_digests: [[0; 32]; 2],
            observer,
        })
    }

    /// Nanoseconds on the job's own clock.
    pub(super) fn now(&self) -> u64 {
        self.units.saturating_add(self.slept_nanos)
    }

    /// Nanoseconds since 1970 on the job's own clock.
    pub(super) fn today(&self) -> u64 {
        CLOCK_START_NANOS.saturating_add(self.now())
    }

    pub(super) fn fd(&self, fd: u32) -> Result<&Fd, Errno> {
        self.fds.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::BadF)
    }

    pub(super) fn fd_mut(&mut self, fd: u32) -> Result<&mut Fd, Errno> {
        self.fds.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::BadF)
    }

    /// Returns a descriptor if it has the right.
    pub(super) fn allowed(&self, fd: u32, right: u64) -> Result<&Fd, Errno> {
        let entry = self.fd(fd)?;
        if entry.rights.has(right) { Ok(entry) } else { Err(Errno::NotCapable) }
    }

    /// Returns the folder of a descriptor if it has the right.
    pub(super) fn dir(&self, fd: u32, right: u64) -> Result<NodeId, Errno> {
        match self.fd(fd)?.target {
            Target::Node(id) if self.vfs.is_dir(id) => self.allowed(fd, right).map(|_| id),
            _ => Err(Errno::NotDir),
        }
    }

    pub(super) fn node_of(&self, fd: u32) -> Result<NodeId, Errno> {
        match self.fd(fd)?.target {
            Target::Node(id) => Ok(id),
            Target::Stdout | Target::Stderr => Err(Errno::SPipe),
        }
    }

    /// Lowest free descriptor number.
    pub(super) fn free_fd(&mut self) -> Result<usize, Errno> {
        let free = self.fds.iter().position(Option::is_none).unwrap_or(self.fds.len());
        self.vfs.work(free as u64 / 16);
        if free >= MAX_FDS { Err(Errno::MFile) } else { Ok(free) }
    }

    /// Opens `node` under the lowest free number.
    pub(super) fn open(&mut self, node: NodeId, rights: Rights, flags: u16) -> Result<u32, Errno> {
        let free = self.free_fd()?;
        if free == self.fds.len() {
            self.fds.push(None);
        }
        self.fds[free] = Some(Fd { flags, ..Fd::new(Target::Node(node), rights) });
        self.vfs.opened(node);
        u32::try_from(free).map_err(|_| Errno::MFile)
    }

    pub(super) fn close(&mut self, fd: u32) -> Call {
        let entry = self.fds.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::BadF)?;
        if let Target::Node(id) = entry.target {
            self.vfs.closed(id);
        }
        Ok(())
    }

    /// Passes on output of the job up to the log limit; the rest is counted and dropped.
    pub(super) fn log(&mut self, stderr: bool, bytes: &[u8]) {
        let seen = &mut self.log_seen[usize::from(stderr)];
        let room = usize::try_from(self.log_limit.saturating_sub(*seen)).unwrap_or(usize::MAX);
        *seen = seen.saturating_add(bytes.len() as u64);
        let digest = &mut self.log_digests[usize::from(stderr)];
        *digest = *blake3::Hasher::new_keyed(digest).update(bytes).finalize().as_bytes();
        let kept = &bytes[..bytes.len().min(room)];
        // Hashing takes longer than copying.
        self.moved = self.moved.saturating_add(bytes.len() as u64 * 8);
        self.vfs.visit(1);
        if !kept.is_empty() {
            self.observer.output(stderr, kept);
        }
    }

    /// Bytes dropped from stdout and stderr.
    pub(crate) fn dropped(&self) -> [u64; 2] {
        self.log_seen.map(|seen| seen.saturating_sub(self.log_limit))
    }

    /// Notes progress that was written to `/dev/progress`: the last number, in percent.
    pub(super) fn progress(&mut self, bytes: &[u8]) {
        let text = std::str::from_utf8(&bytes[bytes.len().saturating_sub(64)..]).unwrap_or("");
        let number = text
            .split_whitespace()
            .next_back()
            .and_then(|word| word.trim_end_matches('%').parse::<f64>().ok());
        if let Some(percent) = number.filter(|percent| (0.0..=100.0).contains(percent)) {
            self.observer.progress((percent * 10.0) as u16);
        }
    }

    pub(super) fn is_progress(&self, id: NodeId) -> bool {
        matches!(self.vfs.node(id).kind, Kind::Progress)
    }

    /// Writes strings, each with a NUL, and their addresses.
    pub(super) fn put_strings(
        memory: &mut GuestMemory<'_>,
        strings: &[String],
        moved: &mut u64,
        mut list: u32,
        mut at: u32,
    ) -> Call {
        for text in strings {
            *moved += text.len() as u64 + 64;
            memory.put_u32(list, at)?;
            memory.put(at, text.as_bytes())?;
            let end = super::memory::offset(at, u32::try_from(text.len()).map_err(|_| Errno::Fault)?)?;
            memory.put(end, &[0])?;
            at = super::memory::offset(end, 1)?;
            list = super::memory::offset(list, 4)?;
        }
        Ok(())
    }
}

impl ResourceLimiter for Context {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if self.is_stopping {
            return Ok(true);
        }
        let fits = desired <= self.memory_limit && maximum.is_none_or(|maximum| desired <= maximum);
        if fits {
            self.memory_peak = self.memory_peak.max(desired);
        }
        Ok(fits)
    }

    /// Ends the job when the system refuses a growth within all limits: whether that happens differs from
    /// run to run, so the job must not see it.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // A growth past the address space fails everywhere and gives -1 inside the job.
        if error.to_string().contains("memory type's limits") {
            Ok(())
        } else {
            Err(Reached(LimitKind::Memory).into())
        }
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A growth that the module's own maximum refuses must not count: a continued task would not know of
        // it.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let total = self.tables.saturating_add(desired.saturating_sub(current));
        let fits = total <= self.table_limit;
        if fits {
            self.tables = total;
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        // Memories of the job, of the frames, and of the exception heap.
        3
    }
}
