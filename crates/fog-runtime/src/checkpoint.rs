//! A checkpoint on disk: the state of a task together with the task's description. `docs/checkpoint.md`
//! describes the format byte by byte.

mod format;
mod opening;
mod survey;
mod writer;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fog_types::{ErrorKind, HasKind, Limits};
use serde::{Deserialize, Serialize};

use crate::protocol::SavedState;
use crate::seal::Key;
use crate::snapshot::{SNAPSHOT_VERSION, Snapshot};

pub use format::Generation;
pub use opening::CheckpointBytes;
pub use survey::CheckpointSurvey;
pub use writer::CheckpointWriter;

/// Version of the container format.
pub const CHECKPOINT_FORMAT: u32 = 1;

/// Task that a checkpoint is of, and its progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointHeader {
    /// Container version, [`CHECKPOINT_FORMAT`].
    pub format: u32,
    /// Version of the state inside.
    pub state_version: u32,
    /// Version of the cost table by which the units were counted.
    pub cost_version: u32,
    /// BLAKE3 of the original module, in hexadecimal.
    pub module: String,
    /// Name of the program, `argv[0]`.
    pub program: String,
    /// Arguments after the program name.
    pub args: Vec<String>,
    /// Environment variables by name.
    pub env: Vec<(String, String)>,
    /// Inputs by name, with the BLAKE3 of their bytes.
    pub inputs: Vec<(String, String)>,
    /// BLAKE3 of standard input, when there is one.
    pub stdin: Option<String>,
    /// Limits of the task.
    pub limits: Limits,
    /// Seed of all randomness in the task.
    pub seed: u64,
    /// Work units used so far.
    pub units: u64,
    /// Bytes of linear memory.
    pub memory: u64,
    /// Time at which the checkpoint was taken, milliseconds since 1970.
    pub taken_ms: i64,
}

impl CheckpointHeader {
    /// Creates the header of a task that has not begun, with the given module and inputs.
    #[must_use]
    pub fn new(
        spec: &crate::TaskSpec,
        module: blake3::Hash,
        inputs: Vec<(String, String)>,
        stdin: Option<String>,
    ) -> Self {
        Self {
            format: CHECKPOINT_FORMAT,
            state_version: SNAPSHOT_VERSION,
            cost_version: fog_instrument::COST_VERSION,
            module: module.to_hex().to_string(),
            program: spec.program.clone(),
            args: spec.args.clone(),
            env: spec.env.clone(),
            inputs,
            stdin,
            limits: spec.limits.clone(),
            seed: spec.seed,
            units: 0,
            memory: 0,
            taken_ms: 0,
        }
    }

    /// Returns the header with the progress that the worker reported for a saved state.
    #[must_use]
    pub fn saved(self, saved: &SavedState, now_ms: i64) -> Self {
        Self { units: saved.units, memory: saved.memory, taken_ms: now_ms, ..self }
    }

    /// Whether two headers differ only in progress.
    fn is_of_run(&self, other: &Self) -> bool {
        let Self {
            format,
            state_version,
            cost_version,
            module,
            program,
            args,
            env,
            inputs,
            stdin,
            limits,
            seed,
            units: _,
            memory: _,
            taken_ms: _,
        } = self;
        (format, state_version, cost_version, seed)
            == (&other.format, &other.state_version, &other.cost_version, &other.seed)
            && (module, program, args, env) == (&other.module, &other.program, &other.args, &other.env)
            && (inputs, stdin, limits) == (&other.inputs, &other.stdin, &other.limits)
    }

    /// BLAKE3 of everything that determines what the task does: module, arguments, environment, inputs,
    /// limits, seed. All checkpoints of one run have the same value.
    #[must_use]
    pub fn task_identity(&self) -> String {
        let Self { cost_version, module, program, args, env, inputs, stdin, limits, seed, .. } = self;
        let all =
            postcard::to_stdvec(&(cost_version, module, program, args, env, inputs, stdin, limits, seed))
                .unwrap_or_default();
        blake3::Hasher::new_derive_key("fog-compute task identity v1")
            .update(&all)
            .finalize()
            .to_hex()
            .to_string()
    }
}

/// A checkpoint that was read, with its output and files.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Task and progress.
    pub header: CheckpointHeader,
    /// Standard output so far.
    pub stdout: Vec<u8>,
    /// Standard error so far.
    pub stderr: Vec<u8>,
    /// State, with its parts put together.
    pub snapshot: Snapshot,
    /// Module and inputs, if the checkpoint contains them.
    pub files: Option<CheckpointFiles>,
    /// Number of times that changes were added to a whole state.
    pub added: u32,
    /// Bytes that the state takes in the file.
    pub state_bytes: u64,
}

/// Files that are needed to continue a checkpoint on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFiles {
    /// Original module.
    pub module: Vec<u8>,
    /// Inputs in the order of the header.
    pub inputs: Vec<Vec<u8>>,
    /// Standard input, when there is one.
    pub stdin: Option<Vec<u8>>,
}

/// Error when writing or reading a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file cannot be opened, read or written.
    #[error("{path}: {source}")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file is not a checkpoint, or is cut off or changed.
    #[error("{path} is not a whole checkpoint: {problem}")]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Description of the damage.
        problem: String,
    },
    /// The file is sealed with another key.
    #[error(
        "{path} is sealed for another device, or changed; export it there with `fog job export-checkpoint`"
    )]
    Sealed {
        /// Path of the file.
        path: PathBuf,
    },
}

impl HasKind for CheckpointError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::File { .. } => ErrorKind::Storage,
            Self::Damaged { .. } | Self::Sealed { .. } => ErrorKind::BadInput,
        }
    }
}

impl Checkpoint {
    /// Reads the newest whole checkpoint at `path`: the last one in the file, an earlier one in it when the
    /// last is torn or changed, or one of the previous file. If it is not the last, the problem is returned
    /// with it.
    ///
    /// # Errors
    /// [`CheckpointError`] of the newer file when no checkpoint can be used.
    pub fn read(path: &Path, key: Option<&Key>) -> Result<(Self, Option<CheckpointError>), CheckpointError> {
        writer::read(path, key)
    }

    /// Reads a checkpoint from untrusted bytes, such as a file that is opened while it is read.
    ///
    /// # Errors
    /// A description of the problem when the bytes hold no whole checkpoint.
    pub fn read_from(mut from: impl Read) -> Result<Self, String> {
        Self::decode_from(&mut from).map(|(checkpoint, _)| checkpoint)
    }

    /// Opens the newest file at `path` to copy its bytes, without checking what they hold. Only a piece is
    /// in memory at a time; the bytes end where a part is torn.
    ///
    /// # Errors
    /// [`CheckpointError`] when neither the file nor the previous one can be opened.
    pub fn open(path: &Path, key: Option<&Key>) -> Result<CheckpointBytes, CheckpointError> {
        writer::open(path, key)
    }

    /// Writes such bytes to a new file, sealed piece by piece. Whether they hold a checkpoint is checked
    /// when the file is read.
    ///
    /// # Errors
    /// [`CheckpointError`] when the bytes do not begin like a checkpoint or the file cannot be written.
    pub fn seal(from: impl Read, path: &Path, key: &Key) -> Result<(), CheckpointError> {
        writer::seal_from(from, path, key)
    }

    /// Whether the file at `path` begins like a checkpoint, sealed or not.
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        writer::is_checkpoint(path)
    }

    /// Reads a checkpoint from untrusted bytes.
    ///
    /// # Errors
    /// A description of the problem when the bytes hold no whole checkpoint.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        Self::decode(bytes).map(|(checkpoint, _)| checkpoint)
    }

    /// Converts the checkpoint into one whole generation with the given files, to be written elsewhere.
    ///
    /// # Errors
    /// A description when the state cannot be encoded, which does not happen in practice.
    pub fn into_generation(self, files: Option<CheckpointFiles>) -> Result<Generation, String> {
        let state = self.snapshot.settled().encode().map_err(|e| e.to_string())?;
        Ok(Generation { header: self.header, stdout: self.stdout, stderr: self.stderr, state, files })
    }

    /// Removes the checkpoint before the newest one at `path`, to make room. Returns its size in bytes; `None`
    /// if there was none, or if the newest is missing.
    #[must_use]
    pub fn remove_previous(path: &Path) -> Option<u64> {
        writer::remove_previous(path)
    }

    /// Removes the checkpoint at `path` and the previous one; missing files are ignored.
    pub fn remove(path: &Path) {
        writer::remove(path);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::{Rest, Tracker};
    use crate::wasi::WasiState;

    /// Three checkpoints of one run, each with a little more output and memory.
    fn sample() -> [Generation; 3] {
        let files = CheckpointFiles {
            module: b"module".to_vec(),
            inputs: vec![b"one".to_vec()],
            stdin: Some(vec![]),
        };
        let id = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
        let mut tracker = Tracker::new();
        let mut memory = vec![0; 65536];
        [1, 2, 3].map(|round: u8| {
            memory[usize::from(round) * 5000] = round;
            let rest = Rest {
                globals: vec![],
                left: -i64::from(round),
                granted: 100,
                active_millis: 1,
                tables: vec![],
            };
            let snapshot = tracker
                .take(&[&memory], &[round], WasiState::default(), rest, false)
                .unwrap()
                .snapshot()
                .unwrap();
            let header = CheckpointHeader {
                format: CHECKPOINT_FORMAT,
                state_version: SNAPSHOT_VERSION,
                cost_version: 1,
                module: id(b"module"),
                program: "p".to_owned(),
                args: vec!["a".to_owned()],
                env: vec![],
                inputs: vec![("n".to_owned(), id(b"one"))],
                stdin: Some(id(b"")),
                limits: Limits::default(),
                seed: 3,
                units: snapshot.units().0,
                memory: 65536,
                taken_ms: i64::from(round),
            };
            let stdout = vec![b'o'; usize::from(round) * 10];
            Generation {
                header,
                stdout,
                stderr: vec![],
                state: snapshot.encode().unwrap(),
                files: Some(files.clone()),
            }
        })
    }

    fn bytes_of(generations: &[Generation]) -> Vec<Vec<u8>> {
        let mut chain = format::Chain::default();
        let mut logs = [0, 0];
        let mut beginning = format::Chain::beginning().to_vec();
        let encode = |generation: &Generation| {
            let is_first = !beginning.is_empty();
            let mut bytes = std::mem::take(&mut beginning);
            generation.state.chunks(100).for_each(|piece| chain.state(piece, &mut bytes));
            chain.rest(generation, generation.files.as_ref().filter(|_| is_first), logs, &mut bytes);
            logs = [generation.stdout.len(), generation.stderr.len()];
            bytes
        };
        generations.iter().map(encode).collect()
    }

    #[test]
    fn any_change_or_cut_is_seen_and_what_lies_before_it_stands() {
        let generations = sample();
        let parts = bytes_of(&generations);
        let ends: Vec<usize> = parts
            .iter()
            .scan(0, |end, part| Some(std::mem::replace(end, *end + part.len()) + part.len()))
            .collect();
        let bytes = parts.concat();
        let whole = Checkpoint::parse(&bytes).unwrap();
        assert_eq!((whole.added, whole.header.units, whole.stdout.len()), (2, 103, 30));
        assert_eq!(whole.files, generations[0].files);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            let before = ends.iter().filter(|end| **end <= at).count();
            for (what, damaged) in [("changed", &changed[..]), ("cut", &bytes[..at])] {
                let found = Checkpoint::decode(damaged);
                match before {
                    0 => {
                        assert!(found.is_err() && CheckpointSurvey::read(damaged).is_err(), "{what} at {at}")
                    }
                    _ => {
                        let survey = CheckpointSurvey::read(damaged).unwrap();
                        assert_eq!(
                            (survey.header.units, survey.stdout),
                            (100 + before as u64, blake3::hash(&vec![b'o'; before * 10])),
                            "{what} at {at}"
                        );
                        let (found, problem) = found.unwrap();
                        assert_eq!(found.header.units, 100 + before as u64, "{what} at {at}");
                        assert!(
                            problem.is_some() || at == ends[before - 1] && what == "cut",
                            "{what} at {at}"
                        );
                    }
                }
            }
        }
        // Generations out of order, repeated, or without the first.
        let [first, second, third] = [&parts[0], &parts[1], &parts[2]];
        for wrong in [[first, third].as_slice(), &[first, second, second], &[second], &[]] {
            let bytes: Vec<u8> = wrong.iter().flat_map(|part| part.iter().copied()).collect();
            assert!(Checkpoint::decode(&bytes).map_or(true, |(_, problem)| problem.is_some()));
        }
    }

    /// Reader that records the largest number of bytes requested at once.
    struct Counted<'a>(&'a [u8], usize);

    impl Read for Counted<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.1 = self.1.max(into.len());
            self.0.read(into)
        }
    }

    #[test]
    fn a_state_is_looked_through_with_a_piece_of_it_in_memory() {
        let [mut first, ..] = sample();
        let bytes_with = |first: &Generation| {
            let mut chain = format::Chain::default();
            let mut bytes = format::Chain::beginning().to_vec();
            first.state.chunks(3 << 20).for_each(|piece| chain.state(piece, &mut bytes));
            chain.rest(first, None, [0, 0], &mut bytes);
            bytes
        };
        let mut memory = vec![0; 8 << 20];
        let mut noise = blake3::Hasher::new().finalize_xof();
        noise.fill(&mut memory);
        let rest =
            Rest { globals: vec![], left: -1, granted: 100, active_millis: 1, tables: vec![vec![7; 300]] };
        let snapshot = Tracker::new()
            .take(&[&memory], &[1; 200_000], WasiState::default(), rest, false)
            .unwrap()
            .snapshot()
            .unwrap();
        first.state = snapshot.encode().unwrap();
        first.header.memory = memory.len() as u64;
        let bytes = bytes_with(&first);
        let mut counted = Counted(&bytes, 0);
        let survey = CheckpointSurvey::read(&mut counted).unwrap();
        assert_eq!(survey.header, first.header);
        assert!(counted.1 <= 64 << 10, "{} bytes at once", counted.1);
        assert!(survey.outline.encode().unwrap().len() < 100, "it is kept");
        let mut counted = Counted(&bytes, 0);
        assert!(Checkpoint::read_from(&mut counted).is_ok() && counted.1 > 64 << 10);

        // Files with a valid header and checksums whose state is invalid or does not match the header.
        let whole = first.state.clone();
        let refused = |what: &str, generation: &Generation| {
            let bytes = bytes_with(generation);
            let problem = CheckpointSurvey::read(&bytes[..]).expect_err(what);
            assert!(Checkpoint::parse(&bytes).is_err(), "{what}");
            problem
        };
        first.state = vec![0xff; 4 << 20];
        refused("nothing of a state", &first);
        first.state = whole[..whole.len() - 1].to_vec();
        refused("cut off", &first);
        first.state = [&whole[..], &[0]].concat();
        assert!(refused("longer", &first).contains("followed"));
        first.state = whole;
        first.header.units += 1;
        assert!(refused("more units", &first).contains("tell"));
        first.header.units -= 1;
        first.header.memory -= 1;
        assert!(refused("less memory", &first).contains("tell"));
    }

    #[test]
    fn the_one_before_is_used_when_the_last_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let key = Key::from([7; 32]);
        let [first, second, third] = sample();
        let mut writer = CheckpointWriter::new(path.clone(), Some(key));
        assert!(writer.write(&second, false).is_err(), "nothing to add to");
        assert!(writer.wants_whole());
        writer.write(&first, true).unwrap();
        assert!(!writer.wants_whole());
        writer.write(&second, false).unwrap();
        writer.write(&third, false).unwrap();
        let read = || Checkpoint::read(&path, Some(&key)).unwrap();
        assert_eq!((read().0.header.units, read().0.stdout.len(), read().1.is_none()), (103, 30, true));
        assert!(matches!(
            Checkpoint::read(&path, Some(&Key::from([8; 32]))),
            Err(CheckpointError::Sealed { .. })
        ));
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"module"), "nothing can be read without the key");
        // With a torn tail, the checkpoints before it can still be read.
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read().0.header.units, 102);
        assert!(read().1.is_some());
        assert!(writer.write(&third, false).is_err(), "somebody else has changed it");
        // An abandoned checkpoint leaves the earlier ones, for an addition as for a whole one.
        std::fs::write(&path, &bytes).unwrap();
        let mut writer = CheckpointWriter::new(path.clone(), Some(key));
        writer.start(true).unwrap();
        writer.piece(b"half").unwrap();
        assert_eq!(read().0.header.units, 103);
        writer.abandon();
        assert_eq!((read().0.header.units, std::fs::read_dir(folder.path()).unwrap().count()), (103, 1));
        writer.write(&first, true).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        writer.start(false).unwrap();
        writer.piece(b"half").unwrap();
        assert!(read().1.is_some() && read().0.header.units == 101);
        writer.start(true).unwrap();
        assert_eq!((std::fs::metadata(&path).unwrap().len(), read().1.is_none()), (length, true));
        writer.abandon();
        Checkpoint::remove(&path);
        // A whole checkpoint moves the last file to the previous name.
        std::fs::write(&path, &bytes).unwrap();
        let mut writer = CheckpointWriter::new(path.clone(), Some(key));
        writer.write(&first, true).unwrap();
        assert_eq!(read().0.header.units, 101);
        let bytes = std::fs::read(&path).unwrap();
        for torn in [&bytes[..bytes.len() / 2], &bytes[..3], &[]] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(read().0.header.units, 103);
            assert!(read().1.is_some());
        }
        Checkpoint::remove(&path);
        assert!(matches!(Checkpoint::read(&path, Some(&key)), Err(CheckpointError::File { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_exported_checkpoint_is_one_whole_generation() {
        let generations = sample();
        let read = Checkpoint::parse(&bytes_of(&generations).concat()).unwrap();
        let files = read.files.clone();
        let again = read.clone().into_generation(files).unwrap();
        let again = Checkpoint::parse(&bytes_of(&[again])[0]).unwrap();
        assert_eq!((again.added, &again.header, &again.stdout), (0, &read.header, &read.stdout));
        let filled = |checkpoint: &Checkpoint| {
            let mut memory = vec![1; 65536];
            checkpoint.snapshot.fill(0, &mut memory).unwrap();
            memory
        };
        assert_eq!(filled(&again), filled(&read));
    }

    proptest! {
        #[test]
        fn nonsense_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Checkpoint::decode(&[b"FOGCKPT1".as_slice(), &bytes].concat()).is_err());
            prop_assert!(Snapshot::decode(&bytes).is_err());
        }
    }
}
