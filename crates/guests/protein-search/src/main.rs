//! Smith–Waterman search of FASTA queries against a FASTA database: local alignment with affine
//! gaps (Gotoh 1982), BLOSUM62, gap open 11 and extend 1 (NCBI BLAST's defaults).
//!
//! A gap of length n costs open + (n - 1) × extend.

mod blosum62;

use std::cmp::Reverse;
use std::io::Write;
use std::process::ExitCode;

const GAP_OPEN: i32 = 11;
const GAP_EXTEND: i32 = 1;

struct Record {
    name: String,
    /// Indices into the matrix.
    residues: Vec<u8>,
}

struct Options {
    query: String,
    database: String,
    part: (usize, usize),
    top: usize,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\nusage: protein-search --query FASTA --db FASTA [--part I/N] [--top K]");
            return ExitCode::from(2);
        }
    };
    match search(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { query: String::new(), database: String::new(), part: (0, 1), top: 10 };
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--query" => options.query = value,
            "--db" => options.database = value,
            "--top" => options.top = value.parse().map_err(|_| format!("'{value}' is not a number"))?,
            "--part" => {
                let (i, n) = value.split_once('/').ok_or("--part is I/N")?;
                options.part =
                    (i.parse().map_err(|_| "--part is I/N")?, n.parse().map_err(|_| "--part is I/N")?);
                if options.part.0 >= options.part.1 {
                    return Err("--part counts from 0 to N-1".to_owned());
                }
            }
            _ => return Err(format!("'{name}' is not an option")),
        }
    }
    Ok(options)
}

fn search(options: &Options) -> Result<(), String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let queries = parse(&read(&options.query)?);
    let database = parse(&read(&options.database)?);
    if queries.is_empty() || database.is_empty() {
        return Err("a FASTA file holds no sequence".to_owned());
    }
    let mine: Vec<&Record> = database.iter().skip(options.part.0).step_by(options.part.1).collect();
    let mut progress = std::fs::File::create("/dev/progress").ok();
    let mut done = 0;
    for query in &queries {
        let mut hits: Vec<(i32, &str)> = Vec::new();
        for target in &mine {
            hits.push((score(&query.residues, &target.residues), &target.name));
            done += 1;
            if let Some(file) = &mut progress {
                // Progress is a courtesy; nothing depends on it.
                let _ = writeln!(file, "{:.1}", 100.0 * done as f64 / (mine.len() * queries.len()) as f64);
            }
        }
        hits.sort_by_key(|(score, name)| (Reverse(*score), *name));
        for (score, name) in hits.iter().take(options.top) {
            println!("{}\t{name}\t{score}", query.name);
        }
    }
    Ok(())
}

fn parse(text: &str) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix('>') {
            let name = header.split_whitespace().next().unwrap_or("unnamed").to_owned();
            records.push(Record { name, residues: Vec::new() });
        } else if let Some(record) = records.last_mut() {
            record.residues.extend(line.bytes().filter(u8::is_ascii_alphabetic).map(blosum62::index));
        }
    }
    records.retain(|record| !record.residues.is_empty());
    records
}

/// The best local alignment score of two sequences.
fn score(query: &[u8], target: &[u8]) -> i32 {
    let low = i32::MIN / 2;
    // One row at a time: best score ending here, and best ending with a gap in the query.
    let mut best_row = vec![0; query.len() + 1];
    let mut gap_row = vec![low; query.len() + 1];
    let mut best = 0;
    for &t in target {
        let row = &blosum62::SCORES[usize::from(t)];
        let (mut diagonal, mut gap_here) = (0, low);
        for (i, &q) in query.iter().enumerate() {
            let gap_down = (gap_row[i + 1] - GAP_EXTEND).max(best_row[i + 1] - GAP_OPEN);
            gap_here = (gap_here - GAP_EXTEND).max(best_row[i] - GAP_OPEN);
            let here = (diagonal + i32::from(row[usize::from(q)])).max(gap_down).max(gap_here).max(0);
            diagonal = best_row[i + 1];
            best_row[i + 1] = here;
            gap_row[i + 1] = gap_down;
            best = best.max(here);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn residues(text: &str) -> Vec<u8> {
        text.bytes().map(blosum62::index).collect()
    }

    #[test]
    fn known_small_scores() {
        // W-W is 11 and C-C is 9 in BLOSUM62.
        assert_eq!(score(&residues("W"), &residues("W")), 11);
        assert_eq!(score(&residues("CC"), &residues("CC")), 18);
        assert_eq!(score(&residues("W"), &residues("C")), 0);
    }

    #[test]
    fn a_gap_is_opened_once_and_extended() {
        let whole = "WWWWWCCCCC";
        let with_gap = "WWWWWAAACCCCC";
        // 5 × 11 + 5 × 9, less a gap of three: 11 + 2 × 1.
        assert_eq!(score(&residues(whole), &residues(with_gap)), 100 - 13);
        assert_eq!(score(&residues(with_gap), &residues(whole)), 100 - 13);
    }

    #[test]
    fn fasta_is_read_with_any_line_length() {
        let records = parse(">a first\nWW\nCC\n\n>empty\n>b\nw-c*\n");
        let names: Vec<_> = records.iter().map(|r| (r.name.as_str(), r.residues.len())).collect();
        assert_eq!(names, [("a", 4), ("b", 2)]);
    }
}
