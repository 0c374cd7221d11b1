//! Time that the owner waits for `fog off`, a pause and a status: on an idle engine, with a hundred
//! thousand stored tasks that run as fast as they can, during the compilation of a module of some 60 MiB,
//! and during a flood of strangers. Measured over the socket, which the app uses too.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fog_api::{Command, DutyCommand, JobAction, JobCommand};
use fog_grid::Invite;
use fog_ipc::Client;
use fog_libp2p::{Config, LibP2p};
use fog_tests::{Bench, wait_for};
use fog_transport::{Channel, NetEvent, Transport as _, write_frame};
use fog_types::{JobId, NodeId};
use wasm_encoder::{
    CodeSection, DataSection, ExportKind, ExportSection, Function, FunctionSection, MemorySection,
    MemoryType, Module, TypeSection, ValType,
};

const NOTHING: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";
const TASKS: u32 = 100_000;
/// Number of functions of 1.2 KiB each: with many more a compiler reaches its memory limit before the
/// measurement ends.
const FUNCTIONS: u32 = 16_000;
/// Bytes of unused data.
const DATA: usize = 40 << 20;
const STRANGERS: usize = 6;
const ROUNDS: usize = 40;
const TARGET: &str = "100 ms";

/// Returns a module that takes minutes to compile.
fn large_module() -> Vec<u8> {
    let (mut types, mut functions, mut memories, mut exports, mut code) = (
        TypeSection::new(),
        FunctionSection::new(),
        MemorySection::new(),
        ExportSection::new(),
        CodeSection::new(),
    );
    types.ty().function([], []);
    types.ty().function([ValType::I64], [ValType::I64]);
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    functions.function(0);
    let mut start = Function::new([]);
    start.instructions().end();
    code.function(&start);
    for number in 0..FUNCTIONS {
        functions.function(1);
        let mut function = Function::new([]);
        let mut body = function.instructions();
        for line in 0..70 {
            body.local_get(0).i64_const(i64::from(number) * 31 + line).i64_mul().local_get(0).i32_wrap_i64();
            body.i64_load(wasm_encoder::MemArg { offset: 0, align: 3, memory_index: 0 })
                .i64_add()
                .local_set(0);
        }
        body.local_get(0).end();
        code.function(&function);
    }
    exports.export("memory", ExportKind::Memory, 0).export("_start", ExportKind::Func, 0);
    let mut module = Module::new();
    let mut data = DataSection::new();
    data.passive(vec![0x5a; DATA]);
    module
        .section(&types)
        .section(&functions)
        .section(&memories)
        .section(&exports)
        .section(&code)
        .section(&data);
    module.finish()
}

/// Opens streams as a stranger and sends garbage until it is cut off, then starts again with a new
/// identity.
async fn shout(victim: NodeId, addresses: Vec<String>, is_over: Arc<AtomicBool>, frames: Arc<AtomicU64>) {
    let noise = vec![0x5a; 16 << 10];
    while !is_over.load(Ordering::Relaxed) {
        let (net, mut events) =
            LibP2p::start(&rand::random(), &Config { loopback: true, ..Config::default() }).unwrap();
        net.dial(victim, addresses.clone());
        let linked =
            async { while !matches!(events.recv().await, Some(NetEvent::Connected { .. }) | None) {} };
        if tokio::time::timeout(Duration::from_secs(5), linked).await.is_err() {
            continue;
        }
        while let Ok(Ok(mut link)) =
            tokio::time::timeout(Duration::from_secs(1), net.open(victim, Channel::Control)).await
        {
            if write_frame(&mut link.pipe, &noise).await.is_ok() {
                frames.fetch_add(1, Ordering::Relaxed);
            }
            if is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

struct Times(Vec<Duration>);

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |percent: usize| {
            sorted
                .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        write!(f, "{:>9.1?} {:>9.1?} {:>9.1?}", at(50), at(95), at(100))
    }
}

async fn call(client: &Client, command: Command) -> Duration {
    let begun = Instant::now();
    client.call(command).await.unwrap();
    begun.elapsed()
}

/// Measures off and on, a pause and its end, the job's pause and its end, and the data of the first screen.
async fn measure(what: &str, client: &Client, job: Option<JobId>) {
    let mut times: [Vec<Duration>; 4] = Default::default();
    let rest = || tokio::time::sleep(Duration::from_millis(150));
    for _ in 0..ROUNDS {
        times[0].push(call(client, Command::Duty(DutyCommand::SetContributing { on: false })).await);
        call(client, Command::Duty(DutyCommand::SetContributing { on: true })).await;
        rest().await;
        times[1].push(call(client, Command::Duty(DutyCommand::Snooze { minutes: 5 })).await);
        call(client, Command::Duty(DutyCommand::Snooze { minutes: 0 })).await;
        rest().await;
        if let Some(id) = job {
            times[2]
                .push(call(client, Command::Jobs(JobCommand::Change { id, action: JobAction::Pause })).await);
            call(client, Command::Jobs(JobCommand::Change { id, action: JobAction::Resume })).await;
            rest().await;
        }
        times[3].push(call(client, Command::Snapshot).await);
    }
    for (call, times) in ["off", "pause", "pause of the job", "status"]
        .into_iter()
        .zip(times)
        .filter(|(_, times)| !times.is_empty())
    {
        println!("{what:<44} {call:<18} {} {TARGET:>8}", Times(times));
    }
}

fn main() {
    println!("{:<44} {:<18} {:>9} {:>9} {:>9} {:>8}", "", "", "median", "95 of 100", "longest", "target");
    let bench = Bench::device("anna").unwrap();
    bench.work_always().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = runtime.block_on(Client::connect(&fog_ipc::endpoint(&bench.data()))).unwrap();
    runtime.block_on(measure("alone", &client, None));

    bench.module("nothing.wasm", NOTHING).unwrap();
    std::fs::write(
        bench.scratch().join("job.toml"),
        format!("version = 1\nmodule = \"nothing.wasm\"\n[map]\nrange = [0, {TASKS}]\n"),
    )
    .unwrap();
    let id = bench.json(&["submit", "job.toml"]).unwrap()["id"].as_u64().unwrap();
    runtime.block_on(measure("with 100,000 tasks", &client, Some(JobId(id))));

    let module = large_module();
    std::fs::write(bench.scratch().join("large.wasm"), &module).unwrap();
    let large = bench.json(&["submit", "large.wasm", "--now"]).unwrap()["id"].to_string();
    let mib = module.len() >> 20;
    drop(module);
    let is_at_work =
        || (bench.json(&["job", "show", &large]).ok()?["summary"]["state"] == "running").then_some(());
    wait_for("the compiler", Duration::from_secs(60), is_at_work).unwrap();
    runtime.block_on(measure(
        &format!("beside a module of {mib} MiB that is compiled"),
        &client,
        Some(JobId(id)),
    ));
    let state = |when: &str| {
        let large = bench.json(&["job", "show", &large]).unwrap();
        println!(
            "the large module's job is {} {when} {}",
            large["summary"]["state"], large["summary"]["problem"]
        );
    };
    state("then");

    let (is_over, frames) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let invite: Invite =
        bench.json(&["network", "invite"]).unwrap()["invite"].as_str().unwrap().parse().unwrap();
    let strangers =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for _ in 0..STRANGERS {
        strangers.spawn(shout(invite.node, invite.addresses.clone(), is_over.clone(), frames.clone()));
    }
    runtime.block_on(measure(&format!("and while {STRANGERS} strangers shout"), &client, Some(JobId(id))));
    is_over.store(true, Ordering::Relaxed);
    println!("{} frames of strangers were sent", frames.load(Ordering::Relaxed));
    state("at the end");
}
