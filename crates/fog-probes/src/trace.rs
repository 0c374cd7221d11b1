use fog_eligibility::{Moment, Readings};
use serde::{Deserialize, Serialize};

/// One recorded sample: a JSON line with `t_ms` and the known readings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceLine {
    /// Milliseconds since the start of the recording; never decreases.
    pub t_ms: u64,
    /// Readings of the sample.
    pub readings: Readings,
}

/// Error in a trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The line is not a valid sample.
    #[error("line {line} of the trace is not a sample: {message}")]
    Line {
        /// Line number, counted from 1.
        line: usize,
        /// Description of the fault.
        message: String,
    },
}

/// Reads a trace; empty lines are skipped.
///
/// # Errors
/// [`TraceError::Line`] for the first line that is not a sample or goes back in time.
pub fn parse_trace(text: &str) -> Result<Vec<(Moment, Readings)>, TraceError> {
    let mut last = 0;
    let mut samples = Vec::new();
    for (number, line) in
        fog_types::without_mark(text).lines().enumerate().filter(|(_, line)| !line.trim().is_empty())
    {
        let wrong = |message: String| TraceError::Line { line: number + 1, message };
        let TraceLine { t_ms, readings } = serde_json::from_str(line).map_err(|e| wrong(e.to_string()))?;
        if t_ms < last {
            return Err(wrong(format!("time goes back from {last} to {t_ms} ms")));
        }
        last = t_ms;
        samples.push((Moment(t_ms), readings));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_and_mistakes_are_found_by_line() {
        let good = "{\"t_ms\":0,\"readings\":{\"battery\":80}}\n\n{\"t_ms\":1000,\"readings\":{\"charging\":false}}\n";
        assert_eq!(parse_trace(good).unwrap().len(), 2);
        assert_eq!(parse_trace(&format!("\u{feff}{good}")).unwrap().len(), 2);
        let back = "{\"t_ms\":5,\"readings\":{}}\n{\"t_ms\":4,\"readings\":{}}";
        assert!(parse_trace(back).unwrap_err().to_string().contains("line 2"));
        assert!(
            parse_trace("{\"t_ms\":0,\"readings\":{\"batery\":80}}")
                .unwrap_err()
                .to_string()
                .contains("batery")
        );
    }
}
