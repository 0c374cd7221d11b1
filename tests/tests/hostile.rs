//! A great many damaged inputs against every decoder that meets strangers: none may panic.
//!
//! Mutations of valid inputs from a fixed seed, not guided by coverage. `FOG_TEST_FULL` makes it a
//! million for each decoder.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_instrument::{Abilities, instrument};
use fog_runtime::{Checkpoint, FromWorker, ToWorker, accepted, decode_frame, validate};
use fog_tests::is_full;

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// One to eight changes: a byte replaced, inserted, removed, a span repeated or cut off.
fn damage(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            1 => bytes.insert(at, random.next() as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 if bytes.len() < 4096 => {
                let span = bytes[at..(at + random.below(16)).min(bytes.len())].to_vec();
                bytes.splice(at..at, span);
            }
            _ if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}

fn attack(seeds: &[Vec<u8>], decode: impl Fn(&[u8])) {
    let rounds = if is_full() { 1_000_000 } else { 20_000 };
    let mut random = Random(1);
    for _ in 0..rounds {
        let seed = &seeds[random.below(seeds.len())];
        decode(&damage(seed, &mut random));
    }
}

#[test]
fn job_files() {
    let seeds = ["protein-search", "path-tracer", "lucas-lehmer"]
        .map(|name| std::fs::read(format!("{}/../examples/{name}/job.toml", env!("CARGO_MANIFEST_DIR"))).unwrap());
    attack(&seeds, |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Ok(job) = fog_types::job::parse(text)
        {
            assert!(job.check().is_ok() && job.task_count() > 0);
            drop((job.args_of(0), job.env_of(job.task_count() - 1)));
        }
    });
}

#[test]
fn frames_of_front_ends() {
    let commands = [
        fog_api::Command::Snapshot,
        fog_api::Command::Why { with: vec![("battery".to_owned(), "3".to_owned())] },
        fog_api::Command::Submit { job_file: "version = 1".to_owned(), folder: "/".to_owned() },
        fog_api::Command::Jobs(fog_api::JobQuery::default()),
    ];
    let seeds = commands.map(|command| fog_ipc::encode(&fog_api::Request::Call { id: 1, command }).unwrap());
    attack(&seeds, |bytes| drop(fog_ipc::decode::<fog_api::Request>(bytes)));
}

#[test]
fn frames_of_workers() {
    // Postcard by hand: a variant's number, then its fields.
    let seeds = [vec![3], vec![4, 3, 1, 2, 3], vec![6, 10, 1, 5], vec![9, 1, b'a', 2, 0, 0], vec![10, 0, 0, 1, 1, 1, 1, 0, 0], vec![11, 1, 2, b'o', b'k']];
    attack(&seeds, |bytes| {
        drop(decode_frame::<FromWorker>(bytes));
        drop(decode_frame::<ToWorker>(bytes));
    });
}

#[test]
fn modules() {
    let wat = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))) (memory (export "memory") 1) (table 4 funcref)
        (global (mut i64) (i64.const 1)) (data (i32.const 0) "abc") (elem (i32.const 0) 1)
        (func (export "_start") (local i32) (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let seeds = [wat::parse_str(wat).unwrap()];
    attack(&seeds, |bytes| {
        drop(validate(bytes));
        let rewritten = instrument(bytes, accepted(), Abilities::default());
        // What can be rewritten is what is valid.
        assert_eq!(rewritten.is_ok(), validate(bytes).is_ok());
    });
}

#[test]
fn checkpoints() {
    let seed = std::fs::read(format!("{}/fuzz/seeds/checkpoint.fog", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let whole = Checkpoint::parse(&seed).unwrap();
    let mut taken = 0;
    let mut random = Random(2);
    let rounds = if is_full() { 1_000_000 } else { 20_000 };
    for _ in 0..rounds {
        let bytes = damage(&seed, &mut random);
        if let Ok(found) = Checkpoint::parse(&bytes) {
            taken += 1;
            // An earlier generation of the same, untouched; never something that was altered.
            assert!(found.added <= whole.added && found.header.units <= whole.header.units, "{:?}", found.header);
            assert_eq!((&found.header.module, &found.files), (&whole.header.module, &whole.files));
            let begins = bytes.iter().zip(&seed).take_while(|(a, b)| a == b).count();
            assert!(begins == seed.len() || found.added < whole.added || bytes.len() > seed.len(), "an altered file was taken whole");
        }
    }
    println!("{taken} of {rounds} fell back to what lies before the damage");
}
