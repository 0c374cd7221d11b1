use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two reads of the source. Prices change every quarter of an hour at most.
const EVERY: Duration = Duration::from_secs(60);
/// Time between two checks whether the network may be used, while it may not.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const EXPIRES: Duration = Duration::from_secs(1800);

/// Number from a file or a URL, read in the background.
pub(crate) struct EnergySource {
    latest: Arc<Mutex<Option<(Instant, f32)>>>,
}

impl EnergySource {
    /// Starts reading; `None` for an empty source. A URL is read only while `may_download` is set.
    pub(crate) fn start(source: &str, may_download: &Arc<AtomicBool>) -> Option<Self> {
        if source.is_empty() {
            return None;
        }
        let latest = Arc::new(Mutex::new(None));
        let (source, shared, may_download) =
            (source.to_owned(), Arc::downgrade(&latest), Arc::clone(may_download));
        let run = move || {
            while let Some(latest) = shared.upgrade() {
                if is_address(&source) && !may_download.load(Ordering::Relaxed) {
                    drop(latest);
                    std::thread::sleep(LOOK_EVERY);
                    continue;
                }
                if let Some(value) = fetch(&source) {
                    *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), value));
                }
                drop(latest);
                std::thread::sleep(EVERY);
            }
        };
        std::thread::Builder::new().name("energy".to_owned()).spawn(run).ok()?;
        Some(Self { latest })
    }

    pub(crate) fn latest(&self) -> Option<f32> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.filter(|(at, _)| at.elapsed() < EXPIRES).map(|(_, value)| value)
    }
}

fn is_address(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

fn fetch(source: &str) -> Option<f32> {
    let text = if is_address(source) {
        download(source)?
    } else {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(source).ok()?.take(64 << 10).read_to_string(&mut text).ok()?;
        text
    };
    parse_number(&text)
}

#[cfg(not(any(target_os = "android", target_os = "ios")))]
fn download(address: &str) -> Option<String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(15))).build().into();
    agent.get(address).call().ok()?.body_mut().with_config().limit(64 << 10).read_to_string().ok()
}

#[cfg(any(target_os = "android", target_os = "ios"))]
fn download(_address: &str) -> Option<String> {
    None
}

/// Returns the number in a source: plain text, or JSON with a number under `value`, `price` or
/// `carbonIntensity`.
#[must_use]
pub fn parse_number(text: &str) -> Option<f32> {
    let text = fog_types::without_mark(text);
    let finite = |n: f32| n.is_finite().then_some(n);
    if let Ok(number) = text.trim().parse::<f32>() {
        return finite(number);
    }
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    ["value", "price", "carbonIntensity"]
        .iter()
        .find_map(|key| json.get(key)?.as_f64())
        .and_then(|n| finite(n as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_and_json_are_read_and_nonsense_is_not() {
        assert_eq!(parse_number(" 23.5\n"), Some(23.5));
        assert_eq!(parse_number("{\"price\": -3}"), Some(-3.0));
        assert_eq!(parse_number("{\"price\": \"dear\"}"), None);
        assert_eq!(parse_number("NaN"), None);
        assert_eq!(parse_number(""), None);
        assert_eq!(parse_number("\u{feff}7"), Some(7.0));
    }

    #[test]
    fn a_file_is_read_and_silence_stays_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("price");
        std::fs::write(&path, "41").unwrap();
        assert_eq!(fetch(path.to_str().unwrap()), Some(41.0));
        assert_eq!(fetch("/nowhere/at/all"), None);
    }
}
