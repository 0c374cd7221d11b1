//! A worker that a job has taken over: what native code can still do inside the sandbox.
//!
//! The attack runs in a child process, which is this test program again.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::Command;

const ROLE: &str = "FOG_TEST_SANDBOX_ROLE";

/// Attempts of an intruder; returns the names of those that worked.
#[expect(unsafe_code, reason = "the attack is made with plain system calls")]
fn attack(parent: rustix::process::Pid) -> Vec<&'static str> {
    let parent_number = parent.as_raw_nonzero().get();
    let call = |number: i64, args: [usize; 4]| unsafe {
        libc::syscall(number, args[0], args[1], args[2], args[3]) >= 0
    };
    let tries: [(&str, bool); 12] = [
        ("read a file", File::open("/etc/passwd").is_ok()),
        (
            "write a file",
            File::create(std::env::temp_dir().join(format!("fog-sandbox-{}", std::process::id()))).is_ok(),
        ),
        ("list a folder", std::fs::read_dir("/").is_ok()),
        (
            "remove a file",
            std::fs::remove_file(std::env::temp_dir().join(format!("fog-sandbox-{}", std::process::id())))
                .is_ok(),
        ),
        ("open a socket", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("start a program", Command::new("/bin/true").status().is_ok()),
        ("start a thread", std::thread::Builder::new().spawn(|| ()).map(|t| t.join()).is_ok()),
        ("signal its parent", rustix::process::test_kill_process(parent).is_ok()),
        ("look into its parent", call(libc::SYS_process_vm_readv, [parent_number as usize, 0, 0, 0])),
        ("take its limits back", call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0, 0])),
        ("make an io_uring", call(libc::SYS_io_uring_setup, [1, [0_u64; 16].as_mut_ptr() as usize, 0, 0])),
        ("make a user namespace", call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0])),
    ];
    tries.into_iter().filter(|(_, worked)| *worked).map(|(name, _)| name).collect()
}

#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut open = File::open("/proc/self/maps").expect("before the walls");
    let parent = rustix::process::getppid().expect("a parent");
    let walls = (role == "inside").then(super::restrict);
    // Memory, open files and output, which a worker needs, still work.
    let memory = vec![7_u8; 64 << 20];
    let mut text = String::new();
    open.rewind().expect("seek");
    open.by_ref().take(100).read_to_string(&mut text).expect("an open file can be read");
    assert!(text.len() == 100 && memory[memory.len() - 1] == 7);
    println!("WALLS {walls:?}\nWORKED {}", attack(parent).join(", "));
}

/// The session of a container's first process may have its leader outside; its id is 0 inside.
#[test]
fn a_session_from_outside_has_no_leader_here() {
    if std::env::var(ROLE).as_deref() == Ok("container") {
        assert!(!super::set_priority(std::process::id(), crate::program::Priority::Idle));
        super::lower_priority(crate::program::Priority::Idle);
        return;
    }
    let contained = |program: &std::ffi::OsStr| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]).arg(program);
        command
    };
    if !contained("true".as_ref()).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this system makes no namespaces");
        return;
    }
    let mut test = contained(std::env::current_exe().expect("this program").as_os_str());
    test.args([
        "--exact",
        "sandbox::os::tests::a_session_from_outside_has_no_leader_here",
        "--test-threads=1",
    ]);
    let output = test.env(ROLE, "container").output().expect("unshare");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn worked(role: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "sandbox::os::tests::child", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .output()
        .expect("a child");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("WORKED "));
    line.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

#[test]
fn a_worker_taken_over_can_do_nothing() {
    // Outside the sandbox nearly all attempts must succeed, or this test shows nothing.
    let outside = worked("outside");
    for name in [
        "read a file",
        "write a file",
        "list a folder",
        "remove a file",
        "open a socket",
        "start a program",
        "start a thread",
        "signal its parent",
    ] {
        assert!(outside.contains(name), "{name} fails even outside: {outside}");
    }
    assert_eq!(worked("inside"), "");
}
