//! Log of the daemon and of the app, bounded in file size and in the lines from each place in the program.
//!
//! Other devices can cause many log lines, as often as they like.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// Largest log file in bytes; the previous one is kept beside it.
const MAX_LOG_BYTES: u64 = 8 << 20;
/// Most lines from one place in the program within [`WINDOW`].
const MAX_ALIKE: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);

/// Filter that applies without `FOG_LOG`: lines of this program from `level` on, and errors of its
/// libraries.
///
/// Other nodes can cause log lines of the network libraries as often as they like. Those of `yamux` report
/// errors of the other side.
fn default_filter(level: &str) -> String {
    format!("error,fog={level},tauri_plugin_fog={level},yamux=off,libp2p_yamux=off")
}

/// Starts the log to a file or to standard error, from `level` on. `FOG_LOG` replaces the filter and
/// removes the limit on lines. A log that is running already stays as it is.
///
/// # Errors
/// Fails when the file cannot be written.
pub fn start_log(file: Option<&Path>, level: &str) -> io::Result<()> {
    let sink = match file {
        Some(path) => Sink::new(LogFile::open(path, MAX_LOG_BYTES)?),
        None => Sink::new(io::stderr()),
    };
    let is_coloured = file.is_none() && io::stderr().is_terminal();
    // On a phone, a second start finds the log running.
    let _ = subscriber(sink, EnvFilter::try_from_env("FOG_LOG").ok(), level, is_coloured).try_init();
    Ok(())
}

fn subscriber(
    sink: Sink,
    asked: Option<EnvFilter>,
    level: &str,
    is_coloured: bool,
) -> impl Subscriber + Send + Sync + use<> {
    let limit = if asked.is_none() { Limit::new(sink.clone()) } else { Limit::none() };
    let filter = asked.unwrap_or_else(|| EnvFilter::new(default_filter(level)));
    let lines = fmt::layer().with_ansi(is_coloured).with_writer(move || sink.clone());
    tracing_subscriber::registry().with(filter).with(lines.with_filter(limit))
}

/// Sink of log lines, shared by all threads.
#[derive(Clone)]
struct Sink(Arc<Mutex<dyn Write + Send>>);

impl Sink {
    fn new(to: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(to)))
    }

    fn lock(&self) -> MutexGuard<'_, dyn Write + Send + 'static> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.lock().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// File that is renamed when it is full, with the suffix `.1`, replacing the earlier one, and then begun
/// anew.
struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    most: u64,
}

impl LogFile {
    fn open(path: &Path, most: u64) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let about = file.metadata()?;
        // The size of a pipe or a device is not bounded.
        let most = if about.is_file() { most } else { u64::MAX };
        Ok(Self { path: path.to_owned(), file, size: about.len(), most })
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        let mut before = self.path.clone().into_os_string();
        before.push(".1");
        match std::fs::rename(&self.path, before) {
            Ok(()) => self.file = File::options().create(true).append(true).open(&self.path)?,
            // The log file was moved or removed, so a new one is created.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.file = File::options().create(true).append(true).open(&self.path)?
            }
            // Losing old lines is better than filling the disk.
            Err(_) => self.file.set_len(0)?,
        }
        self.size = self.file.metadata()?.len();
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size.saturating_add(bytes.len() as u64) > self.most {
            self.begin_anew()?;
        }
        let written = self.file.write(bytes)?;
        self.size = self.size.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Filter that lets a limited number of lines per minute through from each place in the program, and
/// reports how many it left out.
struct Limit {
    /// Sink for those reports; `None` lets all lines through.
    tell: Option<Sink>,
    seen: Mutex<HashMap<Identifier, Window>>,
}

struct Window {
    begun: Instant,
    lines: u32,
}

impl Limit {
    fn new(tell: Sink) -> Self {
        Self { tell: Some(tell), seen: Mutex::new(HashMap::new()) }
    }

    fn none() -> Self {
        Self { tell: None, seen: Mutex::new(HashMap::new()) }
    }

    /// Returns whether one more line from this place may be logged, and how many were left out before it.
    fn count(&self, place: Identifier, now: Instant) -> (bool, u32) {
        // The map has at most one entry per logging place in the program.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let window = seen.entry(place).or_insert(Window { begun: now, lines: 0 });
        let mut left_out = 0;
        if now.duration_since(window.begun) >= WINDOW {
            left_out = window.lines.saturating_sub(MAX_ALIKE);
            *window = Window { begun: now, lines: 0 };
        }
        window.lines = window.lines.saturating_add(1);
        (window.lines <= MAX_ALIKE, left_out)
    }
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let Some(tell) = &self.tell else { return true };
        let (is_let_through, left_out) = self.count(event.metadata().callsite(), Instant::now());
        if left_out > 0 {
            // If this write fails, that of the line fails as well.
            let _ = writeln!(
                tell.lock(),
                "{left_out} more lines like the next one were left out; FOG_LOG=info shows them all"
            );
        }
        is_let_through
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use tracing::callsite::Callsite;

    use super::*;

    #[test]
    fn a_log_file_and_the_one_before_it_are_all_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.log");
        std::fs::write(&path, "from the run before\n").unwrap();
        let mut log = LogFile::open(&path, 1000).unwrap();
        for number in 0..500 {
            writeln!(log, "line {number}").unwrap();
        }
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["fog.log", "fog.log.1"]);
        let (new, old) = (
            std::fs::read_to_string(&path).unwrap(),
            std::fs::read_to_string(folder.path().join("fog.log.1")).unwrap(),
        );
        assert!(new.len() <= 1000 && old.len() <= 1000 && old.len() > 900, "{} {}", new.len(), old.len());
        assert!(new.ends_with("line 499\n"), "{new}");
        let numbers: Vec<u32> =
            (old + &new).lines().map(|line| line.trim_start_matches("line ").parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "no line is lost or cut");
    }

    #[test]
    fn what_is_no_file_is_not_renamed() {
        let mut log = LogFile::open(Path::new("/dev/null"), 10).unwrap();
        for _ in 0..10 {
            log.write_all(b"a line that is longer\n").unwrap();
        }
        assert!(!Path::new("/dev/null.1").exists());
    }

    #[test]
    fn one_place_cannot_fill_the_log() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink(kept.clone());
        let subscriber = subscriber(sink, None, "info", false);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..10_000 {
                tracing::info!(number, "a name that somebody made up");
            }
            tracing::info!("another line");
        });
        let said = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        assert_eq!(said.lines().count(), MAX_ALIKE as usize + 1, "{said}");
        assert!(said.contains("another line"));
    }

    #[test]
    fn who_asks_for_lines_gets_all_of_them() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let subscriber = subscriber(Sink(kept.clone()), Some(EnvFilter::new("debug")), "warn", false);
        tracing::subscriber::with_default(subscriber, || {
            (0..100).for_each(|number| tracing::debug!(number, "a line"))
        });
        assert_eq!(String::from_utf8(kept.lock().unwrap().clone()).unwrap().lines().count(), 100);
    }

    struct Place;

    impl Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            panic!("nobody asks")
        }
    }

    #[test]
    fn what_was_left_out_is_counted_in_the_next_minute() {
        let (limit, place) = (Limit::none(), || Identifier(&Place));
        let begun = Instant::now();
        let counts: Vec<(bool, u32)> = (0..MAX_ALIKE + 5).map(|_| limit.count(place(), begun)).collect();
        assert_eq!(counts.iter().filter(|(is_let_through, _)| *is_let_through).count(), MAX_ALIKE as usize);
        assert_eq!(limit.count(place(), begun + WINDOW), (true, 5));
        assert_eq!(limit.count(place(), begun + WINDOW), (true, 0));
    }

    #[test]
    fn libraries_that_others_can_make_talk_are_silent() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let subscriber = subscriber(Sink(kept.clone()), None, "info", false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "libp2p_mdns::behaviour", "discovered peer on address");
            tracing::warn!(target: "libp2p_identify::handler", "a failed stream");
            tracing::warn!(target: "libp2p_yamux", "dropping stream because buffer is full");
            tracing::error!(target: "yamux::connection", "could not increase");
            tracing::error!(target: "libp2p_mdns::behaviour::iface", "failed reading datagram");
            tracing::info!(target: "fog_engine::core", "the engine serves");
            tracing::debug!(target: "fog_engine::core", "a state did not arrive");
        });
        let said = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.contains("datagram") && said.contains("the engine serves"), "{said}");
    }
}
