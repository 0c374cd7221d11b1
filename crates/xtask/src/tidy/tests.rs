use super::rules::check;
use super::{exceptions, sum};

/// Rules that a file breaks, with the items.
fn broken(path: &str, text: &str) -> Vec<(String, String)> {
    check(path, text).unwrap().into_iter().map(|violation| (violation.key.rule, violation.key.item)).collect()
}

fn one(rule: &str, item: &str) -> Vec<(String, String)> {
    vec![(rule.to_owned(), item.to_owned())]
}

#[test]
fn a_question_that_changes_something_is_found() {
    let planted = "impl A { fn is_open(&mut self) -> bool { true } fn open(&mut self) {} fn is_shut(&self) -> bool { true } }";
    assert_eq!(broken("crates/a/src/lib.rs", planted), one("question-changes", "is_open"));
    assert_eq!(
        broken("crates/a/src/lib.rs", "trait A { fn may_go(&mut self) -> bool; }"),
        one("question-changes", "may_go")
    );
}

#[test]
fn a_long_file_is_found_and_its_tests_do_not_count() {
    let long = "const A: u8 = 1;\n".repeat(501);
    assert_eq!(broken("crates/a/src/lib.rs", &long), one("file-length", ""));
    assert!(broken("crates/a/src/lib_tests.rs", &long).is_empty());
    let with_tests = format!("const B: u8 = 1;\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert!(broken("crates/a/src/lib.rs", &with_tests).is_empty());
}

#[test]
fn a_doc_comment_without_a_subject_is_found() {
    for (planted, item) in [
        ("/// Which.\nstruct A;", "A"),
        ("/// What it does.\nfn a() {}", "a"),
        ("struct A { /// Who has it.\n b: u8 }", "A.b"),
        ("enum A { /// They come.\n B }", "A::B"),
        ("impl A { /// It goes.\n fn b(&self) {} }", "b"),
        ("//! Where all begins.\n", ""),
    ] {
        assert_eq!(broken("crates/a/src/lib.rs", planted), one("doc-subject", item), "{planted}");
    }
    assert!(
        broken("crates/a/src/lib.rs", "/// Number of jobs.\nstruct A { /// `true`.\n b: u8 }").is_empty()
    );
}

#[test]
fn a_catch_all_in_a_dispatch_is_found() {
    let planted = "fn a(c: Command) { match c { Command::Start => {}, _ => {} } }";
    assert_eq!(broken("crates/a/src/lib.rs", planted), one("catch-all", "a"));
    let nested =
        "fn a(c: Command) { match c { fog_api::Command::Start { id } | Command::Stop => {}, _ => {} } }";
    assert_eq!(broken("crates/a/src/lib.rs", nested), one("catch-all", "a"));
    for fine in [
        "fn a(c: Command) { match c { Command::Start => {}, Command::Stop => {} } }",
        "fn a(c: u8) { match c { 1 => {}, _ => {} } }",
    ] {
        assert!(broken("crates/a/src/lib.rs", fine).is_empty(), "{fine}");
    }
}

#[test]
fn a_subsystem_that_names_another_is_found() {
    let path = "crates/fog-engine/src/chat/views.rs";
    for planted in [
        "use crate::tasks::runner::Launch;",
        "use crate::tasks;",
        "use crate::{message::A, tasks::B};",
        "fn a() { crate::tasks::b() }",
        "struct A(crate::tasks::B);",
    ] {
        assert_eq!(broken(path, planted), one("subsystems", "tasks"), "{planted}");
    }
    for fine in ["use crate::chat::service::A;", "use crate::message::A;", "use fog_api::tasks::A;"] {
        assert!(broken(path, fine).is_empty(), "{fine}");
    }
    let planted = "use crate::tasks::A;";
    assert!(broken("crates/fog-engine/src/event_loop.rs", planted).is_empty(), "the loop names all");
    assert!(broken("crates/fog-engine/src/chat/views_tests.rs", planted).is_empty());
    assert!(broken("crates/fog-store/src/chat.rs", planted).is_empty());
}

#[test]
fn exceptions_are_read_as_they_are_written() {
    let found = check("crates/a/src/lib.rs", "/// Which.\nstruct A { /// Who.\n b: u8 }").unwrap();
    let sizes = sum(&found);
    let written: String = sizes.iter().map(|(key, size)| format!("{key}\t{size}\n")).collect();
    assert_eq!(exceptions(&written).unwrap(), sizes);
    assert!(exceptions("one field\n").is_err());
}
