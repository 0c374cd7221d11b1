#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::cell::Cell;
use std::fs::File;

use fog_api::{Command, JobCommand};
use fog_runtime::WorkerProgram;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::*;
use crate::event_loop::Engine;
use crate::query::tests::{finish, job};
use crate::{ChatSettings, Clock, EngineConfig, NetSettings};

thread_local! {
    /// Number of stored files that were looked up on this thread.
    pub(crate) static LOOKED_UP: Cell<u32> = const { Cell::new(0) };
}

/// A job may have very many tasks, so the loop must not look up their files.
#[test]
fn the_loop_looks_nothing_up_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, blob) = job(&mut store, 3);
    for _ in 0..3 {
        finish(&mut store, blob, 2);
    }
    let config = EngineConfig {
        data_folder: folder.path().to_owned(),
        worker: WorkerProgram::Thread,
        examples: None,
        device: None,
        network: NetSettings::default(),
        chat: ChatSettings::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (to_self, _inbox) = mpsc::channel(64);
        let mut engine = Engine::new(config, store, Clock::new(), to_self, broadcast::channel(64).0).unwrap();
        let out = folder.path().join("out");
        let commands = [
            Command::Jobs(JobCommand::Export { id, folder: out.display().to_string() }),
            Command::Jobs(JobCommand::Output {
                id,
                index: Some(0),
                path: format!("000000-{}", "x".repeat(200)),
            }),
            Command::Jobs(JobCommand::Read {
                id,
                part: ResultPart::Stdout { index: 1 },
                from: ResultPosition::default(),
                limit: 100,
            }),
            Command::Jobs(JobCommand::Show { id, tasks_from: 0 }),
        ];
        for command in commands {
            let (answer, answered) = oneshot::channel();
            engine.command(command, answer);
            assert_eq!(LOOKED_UP.with(Cell::get), 0, "it was looked up in the loop");
            match answered.await.unwrap().unwrap() {
                Reply::Exported { files, count } => assert_eq!((files.len(), count), (12, 12)),
                Reply::Bytes { .. } | Reply::Piece { .. } => {}
                Reply::Job(detail) => assert_eq!(detail.tasks.len(), 3),
                other => panic!("{other:?}"),
            }
        }
    });
}

/// The files of a removed job are deleted while somebody reads them.
#[test]
fn a_job_that_is_removed_while_it_is_read_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let (id, blob) = job(&mut store, 1);
    finish(&mut store, blob, 2);
    let reader = fog_store::Reader::open(folder.path()).unwrap();
    let out = folder.path().join("out");
    let failed = of_job(&reader, id, |reader| {
        let found = export(reader, id, out.clone())?;
        store.remove_jobs(fog_types::UnixMillis(i64::MAX), Some(id)).unwrap();
        while store.sweep_removed().unwrap() {}
        std::fs::remove_dir_all(folder.path().join("blobs")).unwrap();
        found.write()
    });
    let error = failed.unwrap_err();
    assert!(
        error.kind == ErrorKind::NotFound
            && error.message.contains("was removed")
            && !error.message.contains("stay stored"),
        "{}",
        error.message
    );
    let error = of_job(&reader, id, |reader| results_of_none(reader, id)).unwrap_err();
    assert!(!error.message.contains("while"), "it was not there before: {}", error.message);
}

fn results_of_none(store: &Store, id: JobId) -> Result<Reply, ApiError> {
    log(store, TaskId { job: id, index: 0 }, false)
}

#[test]
fn an_export_names_a_thousand_files_and_counts_all() {
    let Reply::Exported { files, count } = Reply::exported((0..60_000).map(|n| format!("/{n}")).collect())
    else {
        panic!()
    };
    assert_eq!((files.len(), count), (1_000, 60_000));
}

/// A picture that is too large for a reply is not returned whole, but is written to a file.
#[test]
fn a_picture_too_large_for_a_reply_is_refused_and_still_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tile.png");
    let side = 600_u32;
    let mut encoder = png::Encoder::new(File::create(&path).unwrap(), side, side);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Eight);
    // Noise cannot be compressed.
    let mut noise = vec![0; (side * side * 4) as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    encoder.write_header().unwrap().write_image_data(&noise).unwrap();
    let tiles = || Found::Tiles { found: vec![(0, Stored::at(path.clone()))], columns: 1, total: 1 };
    let refused = tiles().into_bytes().unwrap_err();
    assert_eq!(refused.kind, ErrorKind::LimitReached);
    assert!(refused.message.contains("job result"), "{}", refused.message);
    let mut file = File::create(folder.path().join("whole.png")).unwrap();
    tiles().write_to(&mut file).unwrap();
    assert!(file.metadata().unwrap().len() > MAX_WHOLE_BYTES);
}
