use std::path::Path;

use super::*;
use crate::outcome::{LeftOutReason, MAX_OUTPUT_FILES, MAX_OUTPUT_PATHS};
use crate::wasi::Errno;

fn file(vfs: &mut Vfs, name: &str) -> NodeId {
    vfs.create_file(ROOT, name, 0).unwrap()
}

fn dir(vfs: &mut Vfs, folder: NodeId, name: &str) -> NodeId {
    vfs.create_dir(folder, name, 0).unwrap()
}

/// Restores the encoded state into a new tree with the same quota.
fn restored(vfs: &Vfs, opened: &[NodeId]) -> Result<Vfs, String> {
    let mut fresh = Vfs::new(vfs.quota);
    let state =
        postcard::from_bytes(&postcard::to_stdvec(&vfs.state()).unwrap()).map_err(|e| e.to_string())?;
    fresh.restore(state, opened)?;
    assert_eq!((fresh.state(), fresh.used, fresh.names), (vfs.state(), vfs.used, vfs.names));
    Ok(fresh)
}

#[test]
fn a_write_past_the_quota_is_cut_and_the_next_fails() {
    let mut vfs = Vfs::new(NODE_COST + 10);
    let id = file(&mut vfs, "a");
    assert_eq!(vfs.write_at(id, &[1; 16], 0, 0), Ok(10));
    assert_eq!(vfs.write_at(id, &[1; 16], 10, 0), Err(Errno::NoSpc));
    assert_eq!(vfs.write_at(id, &[2; 4], 0, 0), Ok(4), "overwriting costs nothing");
    assert_eq!(vfs.create_file(ROOT, "b", 0), Err(Errno::NoSpc));
}

#[test]
fn removing_a_file_gives_its_room_back_once_it_is_closed() {
    let mut vfs = Vfs::new(NODE_COST + 10);
    let id = file(&mut vfs, "a");
    vfs.opened(id);
    vfs.write_at(id, &[1; 10], 0, 0).unwrap();
    vfs.unlink(ROOT, "a", false, 0).unwrap();
    assert_eq!(vfs.create_file(ROOT, "b", 0), Err(Errno::NoSpc));
    assert!(restored(&vfs, &[id]).is_ok());
    assert!(restored(&vfs, &[]).is_err(), "nobody can reach it");
    vfs.closed(id);
    assert!(vfs.create_file(ROOT, "b", 0).is_ok());
}

/// The quota counts lengths, so cut off parts must free their memory too.
#[test]
fn files_that_were_cut_off_hold_no_memory() {
    let mut vfs = Vfs::new(256 << 20);
    for number in 0..40 {
        let id = file(&mut vfs, &format!("f{number}"));
        for at in (0..64_u64 << 20).step_by(1 << 20) {
            vfs.write_at(id, &[1; 1 << 20], at, 0).unwrap();
        }
        vfs.resize(id, 0).unwrap();
    }
    let resident: usize = vfs
        .nodes
        .iter()
        .map(|node| if let Kind::Memory(content) = &node.kind { content.resident() } else { 0 })
        .sum();
    assert!(resident < 64 << 10, "{resident}");
    assert_eq!(vfs.used, 40 * NODE_COST);
    assert_eq!(vfs.peak(), 40 * NODE_COST + (64 << 20));
}

#[test]
fn nothing_lies_above_the_root_and_a_folder_is_not_left() {
    let mut vfs = Vfs::new(1 << 20);
    assert_eq!(vfs.lookup(ROOT, "../../../in", true), vfs.lookup(ROOT, "in", true));
    assert_eq!(vfs.lookup(ROOT, "../..", true), Ok(ROOT));
    assert_eq!(vfs.lookup(ROOT, "in/passwd", true), Err(Errno::NoEnt));
    assert_eq!(
        vfs.lookup(ROOT, "/in", true),
        Err(Errno::Perm),
        "what is named is below a folder that was opened"
    );
    let a = dir(&mut vfs, ROOT, "a");
    let b = dir(&mut vfs, a, "b");
    vfs.create_link(b, "up", "../..", 0).unwrap();
    assert_eq!(vfs.lookup(ROOT, "a/b/up/in", true), vfs.lookup(ROOT, "in", true));
    assert_eq!(vfs.lookup(a, "b/..", true), Ok(a));
    assert_eq!(vfs.lookup(a, "b/../..", true), Err(Errno::Perm));
    assert_eq!(vfs.lookup(a, "b/up/in", true), Err(Errno::Perm));
}

#[test]
fn links_lead_on_and_loops_end() {
    let mut vfs = Vfs::new(1 << 20);
    let a = dir(&mut vfs, ROOT, "a");
    let target = vfs.create_file(a, "file", 0).unwrap();
    let to_file = vfs.create_link(ROOT, "to-file", "a/./file", 0).unwrap();
    vfs.create_link(ROOT, "to-dir", "a/", 0).unwrap();
    vfs.create_link(ROOT, "round", "around/x", 0).unwrap();
    vfs.create_link(ROOT, "around", "round", 0).unwrap();
    assert_eq!(vfs.lookup(ROOT, "to-file", true), Ok(target));
    assert_eq!(vfs.lookup(ROOT, "to-file", false), Ok(to_file));
    assert_eq!(vfs.lookup(ROOT, "to-file/", false), Err(Errno::NotDir));
    assert_eq!(vfs.lookup(ROOT, "to-dir/file", false), Ok(target));
    assert_eq!(vfs.lookup(ROOT, "to-dir/", false), Ok(a));
    assert_eq!(vfs.lookup(ROOT, "round", true), Err(Errno::Loop));
    assert_eq!(vfs.lookup(ROOT, "round/y", false), Err(Errno::Loop));
    assert_eq!(vfs.create_link(ROOT, "absolute", "/a", 0), Err(Errno::Perm));
    // A path through forty links with many parts each is long but ends.
    let mut text = "a/../".repeat(800);
    for number in 0..41 {
        vfs.create_link(
            ROOT,
            &format!("l{number}"),
            &format!("{}l{}", &text[..text.len() - 5], number + 1),
            0,
        )
        .unwrap();
    }
    text.clear();
    assert_eq!(vfs.lookup(ROOT, "l0", true), Err(Errno::Loop));
    assert!(vfs.take_work() > 50_000 * VISIT_UNITS, "long ways are charged");
    assert!(restored(&vfs, &[]).is_ok());
}

#[test]
fn a_file_with_two_names_is_one_file() {
    let mut vfs = Vfs::new(1 << 20);
    let a = dir(&mut vfs, ROOT, "a");
    let id = file(&mut vfs, "one");
    vfs.link(id, a, "two", 0).unwrap();
    assert_eq!((vfs.links(id), vfs.used), (2, 3 * NODE_COST));
    assert_eq!(vfs.link(a, ROOT, "b", 0), Err(Errno::Perm));
    assert_eq!(vfs.link(id, a, "two", 0), Err(Errno::Exist));
    assert_eq!(vfs.link(vfs.null(), a, "null", 0), Err(Errno::XDev));
    assert_eq!(vfs.rename((ROOT, "one"), (a, "two"), 0), Ok(()), "both are the same: nothing happens");
    vfs.write_at(id, b"bytes", 0, 0).unwrap();
    let copy = restored(&vfs, &[]).unwrap();
    assert_eq!(copy.links(id), 2);
    let files = copy.outputs().files;
    let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.bytes())).collect();
    assert_eq!(files, [("a/two", b"bytes".to_vec()), ("one", b"bytes".to_vec())]);
    vfs.unlink(ROOT, "one", false, 0).unwrap();
    assert_eq!((vfs.links(id), vfs.used), (1, 2 * NODE_COST + 5));
    vfs.unlink(a, "two", false, 0).unwrap();
    assert_eq!(vfs.used, NODE_COST);
}

#[test]
fn copies_under_second_names_stay_within_the_quota() {
    let mut vfs = Vfs::new(100_000);
    let id = file(&mut vfs, "a");
    vfs.write_at(id, &[1; 30_000], 0, 0).unwrap();
    for name in ["b", "c", "d", "e"] {
        vfs.link(id, ROOT, name, 0).unwrap();
    }
    let outputs = vfs.outputs();
    assert_eq!(
        outputs.files.iter().map(|(path, data)| (path.as_str(), data.len())).collect::<Vec<_>>(),
        [("a", 30_000), ("b", 30_000), ("c", 30_000)]
    );
    assert_eq!(outputs.left_out.count, 2);
    assert!(outputs.left_out.files.iter().all(|file| file.reason == LeftOutReason::SecondName));
}

#[test]
fn inputs_and_devices_cannot_be_changed() {
    let mut vfs = Vfs::new(1 << 20);
    let input = vfs.lookup(ROOT, "in", true).unwrap();
    assert_eq!(vfs.create_file(input, "x", 0), Err(Errno::RoFs));
    assert_eq!(vfs.unlink(ROOT, "in", true, 0), Err(Errno::RoFs));
    assert_eq!(vfs.rename((ROOT, "in"), (ROOT, "mine"), 0), Err(Errno::RoFs));
    dir(&mut vfs, ROOT, "d");
    assert_eq!(vfs.rename((ROOT, "d"), (ROOT, "in"), 0), Err(Errno::RoFs));
    assert_eq!(vfs.unlink(ROOT, "tmp", true, 0), Err(Errno::Busy));
    assert_eq!(vfs.rename((ROOT, "d"), (ROOT, "tmp"), 0), Err(Errno::Busy));
    assert_eq!(vfs.rename((ROOT, "tmp"), (ROOT, "d"), 0), Err(Errno::Busy));
}

#[test]
fn a_folder_cannot_move_into_itself() {
    let mut vfs = Vfs::new(1 << 20);
    let a = dir(&mut vfs, ROOT, "a");
    let b = dir(&mut vfs, a, "b");
    assert_eq!(vfs.rename((ROOT, "a"), (b, "c"), 0), Err(Errno::Inval));
}

/// A removed folder must take no entries: a folder put into it would live on under an id that is reused,
/// and parents could form a ring.
#[test]
fn nothing_can_be_put_into_a_folder_that_was_removed() {
    let mut vfs = Vfs::new(1 << 20);
    let (d, c) = (dir(&mut vfs, ROOT, "d"), dir(&mut vfs, ROOT, "c"));
    let other = file(&mut vfs, "f");
    vfs.opened(d);
    vfs.opened(c);
    vfs.unlink(ROOT, "d", true, 0).unwrap();
    assert_eq!(vfs.rename((ROOT, "c"), (d, "c"), 0), Err(Errno::NoEnt));
    assert_eq!(vfs.create_dir(d, "x", 0), Err(Errno::NoEnt));
    assert_eq!(vfs.link(other, d, "f", 0), Err(Errno::NoEnt));
    assert_eq!(vfs.create_link(d, "l", "x", 0), Err(Errno::NoEnt));
    assert!(restored(&vfs, &[d, c]).is_ok());
    vfs.closed(d);
    let x = dir(&mut vfs, c, "x");
    assert_eq!(x, d, "the place is used again");
    assert_eq!(vfs.rename((ROOT, "f"), (x, "f"), 0), Ok(()));
}

#[test]
fn paths_are_bounded_however_they_come_about() {
    let mut vfs = Vfs::new(1 << 30);
    let (long, mut at) = ("n".repeat(255), ROOT);
    for _ in 0..3 {
        at = dir(&mut vfs, at, &long);
    }
    assert_eq!(vfs.create_dir(at, &"n".repeat(254), 0).map(drop), Ok(()), "3 * 256 + 254 is 1,022");
    assert_eq!(vfs.create_dir(at, &"m".repeat(255), 0).map(drop), Ok(()));
    let last = vfs.child(at, &"m".repeat(255)).unwrap();
    assert_eq!(vfs.create_file(last, "x", 0), Err(Errno::NameTooLong));
    // Moving a tree further down counts its contents.
    let (a, b) = (dir(&mut vfs, ROOT, "a"), dir(&mut vfs, ROOT, "b"));
    vfs.rename((ROOT, &long), (a, &long[2..]), 0).unwrap();
    assert_eq!(vfs.rename((a, &long[2..]), (a, &long), 0), Err(Errno::NameTooLong));
    let deeper = dir(&mut vfs, b, "c");
    assert_eq!(vfs.rename((a, &long[2..]), (deeper, &long[2..]), 0), Err(Errno::NameTooLong));
    assert_eq!(vfs.rename((a, &long[2..]), (b, &long[2..]), 0), Ok(()));
    assert!(restored(&vfs, &[]).is_ok());
}

#[test]
fn the_deepest_tree_there_can_be_is_saved_and_its_results_are_few_bytes() {
    let mut vfs = Vfs::new(1 << 30);
    let mut at = ROOT;
    let mut depth = 0;
    while let Ok(next) = vfs.create_dir(at, "d", 0) {
        vfs.create_file(at, "f", 0).unwrap();
        (at, depth) = (next, depth + 1);
    }
    assert_eq!(depth, 512);
    let copy = restored(&vfs, &[]).unwrap();
    let outputs = copy.outputs();
    // The deepest folder is empty.
    assert_eq!((outputs.files.len(), outputs.left_out.count), (512, 1));
    assert!(outputs.files.iter().all(|(path, _)| path.len() <= 1024));
}

#[test]
fn there_is_a_most_of_nodes_and_names() {
    let mut vfs = Vfs::new(1 << 40);
    let (id, d) = (file(&mut vfs, "f"), dir(&mut vfs, ROOT, "d"));
    for number in 0..MAX_NODES - 2 {
        vfs.link(id, d, &number.to_string(), 0).unwrap();
    }
    assert_eq!(vfs.link(id, ROOT, "more", 0), Err(Errno::NoSpc));
    assert_eq!(vfs.create_file(ROOT, "more", 0), Err(Errno::NoSpc));
    assert!(restored(&vfs, &[]).is_ok());
    let outputs = vfs.outputs();
    assert_eq!(
        (outputs.files.len(), outputs.left_out.count as usize),
        (MAX_OUTPUT_FILES, MAX_NODES - 1 - MAX_OUTPUT_FILES)
    );
    assert_eq!(outputs.left_out.files.len(), 100);
    // Long paths are bounded by their bytes, because the receiver holds all paths of a result.
    let mut vfs = Vfs::new(1 << 40);
    let mut folder = ROOT;
    for _ in 0..3 {
        folder = dir(&mut vfs, folder, &"d".repeat(255));
    }
    for number in 0..20_000 {
        vfs.create_file(folder, &number.to_string(), 0).unwrap();
    }
    let outputs = vfs.outputs();
    let bytes: usize = outputs.files.iter().map(|(path, _)| path.len()).sum();
    assert!(bytes <= MAX_OUTPUT_PATHS && bytes > MAX_OUTPUT_PATHS - 1024, "{bytes}");
    assert_eq!(outputs.files.len() + outputs.left_out.count as usize, 20_000);
    assert!(outputs.files.is_sorted_by_key(|(path, _)| path.clone()));
}

#[test]
fn outputs_leave_out_inputs_devices_and_scratch() {
    let mut vfs = Vfs::new(1 << 20);
    let out = dir(&mut vfs, ROOT, "out");
    let tmp = vfs.lookup(ROOT, "tmp", true).unwrap();
    vfs.create_file(out, "b", 0).unwrap();
    vfs.create_file(tmp, "scratch", 0).unwrap();
    file(&mut vfs, "a");
    file(&mut vfs, "a-file");
    let inner = dir(&mut vfs, out, "tmp");
    vfs.create_file(inner, "kept", 0).unwrap();
    let names: Vec<String> =
        restored(&vfs, &[]).unwrap().outputs().files.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "a-file", "out/b", "out/tmp/kept"]);
}

#[test]
fn a_file_that_no_result_can_hold_costs_that_file_only() {
    let mut vfs = Vfs::new(1 << 20);
    // Each colon takes three bytes in a portable name, which makes this path too long.
    let path = vec![":".repeat(200); 5].join("/");
    for name in ["a\\b", "good", "new\nline"] {
        file(&mut vfs, name);
    }
    vfs.create_link(ROOT, "link", "good", 0).unwrap();
    let outputs = vfs.outputs();
    assert_eq!(
        outputs.files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["a\\b", "good", "new\nline"]
    );
    assert_eq!(
        outputs.left_out.files.iter().map(|file| (file.path.as_str(), file.reason)).collect::<Vec<_>>(),
        [("link", LeftOutReason::Link)]
    );
    let mut search = super::outputs::Search::default();
    search.found(&path, 7);
    assert_eq!(search.left_out.files[0].reason, LeftOutReason::Name);
}

#[test]
fn an_empty_folder_is_no_result_and_is_named() {
    let mut vfs = Vfs::new(1 << 20);
    let outer = dir(&mut vfs, ROOT, "outer");
    dir(&mut vfs, outer, "empty");
    let full = dir(&mut vfs, ROOT, "full");
    vfs.create_file(full, "file", 0).unwrap();
    let tmp = vfs.lookup(ROOT, "tmp", true).unwrap();
    dir(&mut vfs, tmp, "scratch");
    let outputs = vfs.outputs();
    assert_eq!(outputs.files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["full/file"]);
    let left_out: Vec<_> =
        outputs.left_out.files.iter().map(|file| (file.path.as_str(), file.reason)).collect();
    assert_eq!((outputs.left_out.count, left_out), (1, vec![("outer/empty", LeftOutReason::EmptyFolder)]));
}

/// Lists a folder in pieces of `piece` entries, calling `each` for every entry.
fn list(vfs: &mut Vfs, folder: NodeId, piece: usize, mut each: impl FnMut(&mut Vfs, &str)) -> Vec<String> {
    let Kind::Dir(dir) = &vfs.node(folder).kind else { panic!("no folder") };
    let (mut next, end) = (0, dir.next());
    let mut seen = Vec::new();
    loop {
        let Kind::Dir(dir) = &vfs.node(folder).kind else { panic!("no folder") };
        let names: Vec<(u64, String)> =
            dir.listing(next, end).take(piece).map(|(slot, name, _)| (slot, name.to_owned())).collect();
        let Some((last, _)) = names.last() else { return seen };
        next = last + 1;
        for (_, name) in names {
            each(vfs, &name);
            seen.push(name);
        }
    }
}

#[test]
fn a_listing_meets_each_entry_once_whatever_is_done_meanwhile() {
    let mut vfs = Vfs::new(1 << 30);
    let folder = dir(&mut vfs, ROOT, "d");
    let fill = |vfs: &mut Vfs| {
        (0..1000).for_each(|number| _ = vfs.create_file(folder, &format!("f{number}"), 0).unwrap())
    };
    fill(&mut vfs);
    let renamed = list(&mut vfs, folder, 7, |vfs, name| {
        vfs.rename((folder, name), (folder, &format!("{name}.bak")), 0).unwrap()
    });
    assert_eq!(renamed.len(), 1000, "what got another name is not met again");
    let doubled = list(&mut vfs, folder, 7, |vfs, name| {
        _ = vfs.create_file(folder, &format!("{name}.new"), 0).unwrap()
    });
    assert_eq!(doubled.len(), 1000, "what came meanwhile is left to the next listing");
    let removed = list(&mut vfs, folder, 7, |vfs, name| vfs.unlink(folder, name, false, 0).unwrap());
    assert_eq!(removed.len(), 2000);
    assert_eq!(vfs.unlink(ROOT, "d", true, 0), Ok(()));
    let folder = dir(&mut vfs, ROOT, "d");
    (0..10).for_each(|number| _ = vfs.create_file(folder, &number.to_string(), 0).unwrap());
    let replaced = list(&mut vfs, folder, 1, |vfs, name| {
        if name == "3" {
            vfs.rename((folder, "3"), (folder, "8"), 0).unwrap();
        }
    });
    assert!(replaced.contains(&"8".to_owned()), "a name that was there all along: {replaced:?}");
}

#[test]
fn times_are_what_was_set_also_before_the_clock_begins() {
    let mut vfs = Vfs::new(1 << 20);
    let id = file(&mut vfs, "f");
    vfs.set_times(id, None, Some(7), 9);
    assert_eq!(vfs.node(id).times, [0, 7, 9]);
    vfs.set_times(id, Some(1), None, 10);
    assert_eq!(restored(&vfs, &[]).unwrap().node(id).times, [1, 7, 10]);
}

#[test]
fn inputs_are_those_of_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let tree = |file: &Path| {
        let mut vfs = Vfs::new(1 << 20);
        vfs.add_input("sub/x", File::open(file).unwrap()).unwrap();
        vfs
    };
    let mut vfs = tree(&path("a", "four"));
    let id = vfs.lookup(ROOT, "in/sub/x", true).unwrap();
    assert_eq!(vfs.write_at(id, b"x", 0, 0), Err(Errno::RoFs));
    file(&mut vfs, "out");
    let state = vfs.state();
    assert!(tree(&path("b", "4444")).restore(state.clone(), &[]).is_ok());
    assert!(tree(&path("c", "five5")).restore(state.clone(), &[]).is_err());
    assert!(Vfs::new(1 << 20).restore(state, &[]).is_err());
}
