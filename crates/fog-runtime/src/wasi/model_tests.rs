//! Random file operations through the calls of a job, compared with a simple model of a file system that
//! shares no code with the real one: files are vectors, folders are lists, and links are expanded in the
//! text of paths.

use std::collections::BTreeMap;

use fog_types::{Limits, Percent};
use proptest::prelude::*;

use super::context::Context;
use super::{Errno, GuestMemory};
use crate::compile::EngineKind;
use crate::run::{Control, Observer, Order};
use crate::snapshot::Taken;
use crate::task::TaskSpec;

const QUOTA: u64 = 200_000;
const NAME_COST: u64 = 256;
/// Addresses of paths and buffers in the job's memory.
const PATH: u32 = 0;
const OTHER: u32 = 8_192;
const OUT: u32 = 16_384;
const IOV: u32 = 16_400;
const BUFFER: u32 = 20_000;

struct Nobody;

impl Observer for Nobody {
    fn output(&mut self, _stderr: bool, _bytes: &[u8]) {}
    fn progress(&mut self, _permille: u16) {}
}

impl Control for Nobody {
    fn safe_point(&mut self, _worked: std::time::Duration, _units: u64) -> Order {
        Order::Go
    }
    fn save(&mut self, _taken: Result<Taken<'_>, String>) {}
}

fn context() -> Context {
    let spec = TaskSpec {
        artifact: "none".into(),
        engine: EngineKind::Compiled,
        program: "test".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
        stdin: None,
        inputs: Vec::new(),
        limits: Limits { disk: fog_types::ByteCount(QUOTA), ..Limits::default() },
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    };
    Context::new(&spec, Box::new(Nobody), Box::new(Nobody)).unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    Mkdir(u8, String),
    Open { base: u8, path: String, follow: bool, oflags: u32, rights: u64, append: bool },
    Close(u8),
    Write(u8, usize, u8),
    Pwrite(u8, u64, usize, u8),
    Read(u8, usize),
    Pread(u8, u64, usize),
    SetSize(u8, u64),
    Allocate(u8, u64, u64),
    Seek(u8, i64, u32),
    Unlink(u8, String),
    Rmdir(u8, String),
    Rename(u8, String, u8, String),
    Link(u8, bool, String, u8, String),
    Symlink(String, u8, String),
    Readlink(u8, String),
    Stat(u8, bool, String),
    SetTimes(u8, bool, String, u64),
    Readdir(u8),
    Renumber(u8, u8),
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Dir(Vec<(String, usize)>),
    File(Vec<u8>),
    Link(String),
    Null,
}

#[derive(Debug, Clone)]
struct Inode {
    body: Body,
    names: u64,
    opens: u64,
    /// Cannot be changed (`frozen`) or moved (`fixed`).
    frozen: bool,
    fixed: bool,
    mtime: Option<u64>,
    up: usize,
}

#[derive(Debug, Clone)]
struct Handle {
    inode: usize,
    at: u64,
    append: bool,
    read: bool,
    write: bool,
}

/// Simple model of the file system.
struct Model {
    inodes: BTreeMap<usize, Inode>,
    next: usize,
    handles: BTreeMap<u32, Handle>,
}

struct Place {
    folder: usize,
    name: Option<String>,
    inode: Option<usize>,
    slash: bool,
}

type Answer = Option<Vec<u64>>;

impl Model {
    fn new() -> Self {
        let dir = |entries: &[(&str, usize)], frozen| Inode {
            body: Body::Dir(entries.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect()),
            names: 1,
            opens: 1,
            frozen,
            fixed: true,
            mtime: None,
            up: 0,
        };
        let device = Inode { body: Body::Null, ..dir(&[], true) };
        let inodes = [
            (0, dir(&[("dev", 1), ("in", 2), ("tmp", 3)], false)),
            (
                1,
                Inode {
                    body: Body::Dir(vec![("null".to_owned(), 4), ("progress".to_owned(), 5)]),
                    ..dir(&[], true)
                },
            ),
            (2, dir(&[], true)),
            (3, dir(&[], false)),
            (4, device.clone()),
            (5, device),
        ];
        let root = Handle { inode: 0, at: 0, append: false, read: true, write: true };
        Self { inodes: inodes.into(), next: 6, handles: [(3, root)].into() }
    }

    fn entries(&self, id: usize) -> Option<&Vec<(String, usize)>> {
        if let Body::Dir(entries) = &self.inodes[&id].body { Some(entries) } else { None }
    }

    fn entries_mut(&mut self, id: usize) -> &mut Vec<(String, usize)> {
        match &mut self.inodes.get_mut(&id).unwrap().body {
            Body::Dir(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    fn used(&self) -> u64 {
        let cost = |inode: &Inode| {
            NAME_COST * inode.names.max(1)
                + match &inode.body {
                    Body::File(bytes) => bytes.len() as u64,
                    Body::Link(text) => text.len() as u64,
                    Body::Dir(_) | Body::Null => 0,
                }
        };
        self.inodes.values().filter(|inode| !inode.fixed).map(cost).sum()
    }

    fn fits(&self, more: u64) -> Option<()> {
        (self.used() + more <= QUOTA).then_some(())
    }

    fn walk(&self, base: u8, path: &str, follow: bool) -> Option<Place> {
        let start = self.handles.get(&u32::from(base))?.inode;
        self.entries(start)?;
        if path.is_empty() || path.starts_with('/') || path.len() > 4096 {
            return None;
        }
        let mut followed = 0;
        self.step(&mut vec![start], path.to_owned(), follow, &mut followed)
    }

    /// Takes the first part of the remaining text; a link is replaced by its text.
    fn step(&self, trail: &mut Vec<usize>, text: String, follow: bool, followed: &mut u32) -> Option<Place> {
        let here = *trail.last().unwrap();
        let Some((first, rest)) = cut(&text) else {
            return Some(Place { folder: here, name: None, inode: Some(here), slash: true });
        };
        if first == ".." {
            if trail.len() > 1 {
                trail.pop();
            } else if here != 0 {
                return None;
            }
            return self.step(trail, rest, follow, followed);
        }
        if first.len() > 255 {
            return None;
        }
        let is_last = cut(&rest).is_none();
        let slash = is_last && (rest.ends_with('/') || rest.ends_with("/."));
        let entries = self.entries(here)?;
        let Some((_, inode)) = entries.iter().find(|(name, _)| *name == first) else {
            return is_last.then_some(Place { folder: here, name: Some(first), inode: None, slash });
        };
        match &self.inodes[inode].body {
            Body::Link(says) if !is_last || follow => {
                *followed += 1;
                if *followed > 40 {
                    return None;
                }
                self.step(trail, format!("{says}{rest}"), follow, followed)
            }
            Body::Dir(_) if !is_last => {
                trail.push(*inode);
                self.step(trail, rest, follow, followed)
            }
            body => {
                if !matches!(body, Body::Dir(_)) && (!is_last || slash) {
                    return None;
                }
                Some(Place { folder: here, name: Some(first), inode: Some(*inode), slash })
            }
        }
    }

    fn find(&self, base: u8, path: &str, follow: bool) -> Option<usize> {
        self.walk(base, path, follow || path.ends_with('/') || path.ends_with("/."))?.inode
    }

    fn depth(&self, mut folder: usize) -> usize {
        let mut bytes = 0;
        while folder != 0 {
            let up = self.inodes[&folder].up;
            bytes += self.entries(up).unwrap().iter().find(|(_, id)| *id == folder).unwrap().0.len() + 1;
            folder = up;
        }
        bytes
    }

    fn longest(&self, id: usize) -> usize {
        let below = |(name, id): &(String, usize)| {
            name.len()
                + if self.entries(*id).is_some_and(|e| !e.is_empty()) { 1 + self.longest(*id) } else { 0 }
        };
        self.entries(id).map_or(0, |entries| entries.iter().map(below).max().unwrap_or(0))
    }

    /// Whether the folder can take another name.
    fn takes(&self, folder: usize, name: &str) -> Option<()> {
        let inode = &self.inodes[&folder];
        (!inode.frozen && inode.names > 0 && self.depth(folder) + name.len() <= 1024).then_some(())
    }

    fn add(&mut self, place: &Place, body: Body) -> Option<usize> {
        let name = place.name.clone()?;
        self.takes(place.folder, &name)?;
        let bytes = if let Body::Link(text) = &body { text.len() as u64 } else { 0 };
        self.fits(NAME_COST + bytes)?;
        let id = self.next;
        self.next += 1;
        self.inodes.insert(
            id,
            Inode { body, names: 1, opens: 0, frozen: false, fixed: false, mtime: None, up: place.folder },
        );
        self.entries_mut(place.folder).push((name, id));
        Some(id)
    }

    fn drop_name(&mut self, folder: usize, name: &str) {
        let entries = self.entries_mut(folder);
        let at = entries.iter().position(|(n, _)| n == name).unwrap();
        let (_, id) = entries.remove(at);
        self.inodes.get_mut(&id).unwrap().names -= 1;
        self.sweep(id);
    }

    fn sweep(&mut self, id: usize) {
        let inode = &self.inodes[&id];
        if inode.names == 0 && inode.opens == 0 && !inode.fixed {
            self.inodes.remove(&id);
        }
    }

    fn file(&mut self, fd: u8, write: bool) -> Option<(Handle, &mut Inode)> {
        let handle = self.handles.get(&u32::from(fd))?.clone();
        let inode = self.inodes.get_mut(&handle.inode)?;
        let allowed = if write { handle.write } else { handle.read };
        (allowed && !matches!(inode.body, Body::Dir(_))).then_some((handle, inode))
    }

    fn put(&mut self, fd: u8, at: u64, bytes: &[u8]) -> Option<u64> {
        let room = QUOTA - self.used();
        let (_, inode) = self.file(fd, true)?;
        let Body::File(file) = &mut inode.body else { return Some(bytes.len() as u64) };
        if bytes.is_empty() {
            return Some(0);
        }
        let end = (at + bytes.len() as u64).min(file.len() as u64 + room);
        let count = end.checked_sub(at).filter(|count| *count > 0)? as usize;
        if file.len() < end as usize {
            file.resize(end as usize, 0);
        }
        file[at as usize..end as usize].copy_from_slice(&bytes[..count]);
        inode.mtime = None;
        Some(count as u64)
    }

    fn get(&mut self, fd: u8, at: u64, len: usize) -> Option<Vec<u64>> {
        let (_, inode) = self.file(fd, false)?;
        let Body::File(file) = &inode.body else { return Some(vec![0]) };
        let begin = (at as usize).min(file.len());
        let bytes = &file[begin..file.len().min(begin + len)];
        Some(std::iter::once(bytes.len() as u64).chain(bytes.iter().map(|byte| u64::from(*byte))).collect())
    }

    fn size(&mut self, fd: u8, len: u64, may_shrink: bool) -> Answer {
        let room = QUOTA - self.used();
        let (_, inode) = self.file(fd, true)?;
        let Body::File(file) = &mut inode.body else { return (!may_shrink && len == 0).then(Vec::new) };
        let old = file.len() as u64;
        if len > old && len - old > room {
            return None;
        }
        if len > old || may_shrink {
            file.resize(len as usize, 0);
            inode.mtime = None;
        }
        Some(Vec::new())
    }

    fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Mkdir(base, path) => {
                let place = self.walk(*base, path, false)?;
                if place.inode.is_some() {
                    return None;
                }
                self.add(&place, Body::Dir(Vec::new())).map(|_| Vec::new())
            }
            Op::Open { base, path, follow, oflags, rights, append } => {
                self.open(*base, path, *follow, *oflags, *rights, *append)
            }
            Op::Close(fd) => {
                let handle = self.handles.remove(&u32::from(*fd))?;
                self.inodes.get_mut(&handle.inode)?.opens -= 1;
                self.sweep(handle.inode);
                Some(Vec::new())
            }
            Op::Write(fd, len, value) => {
                let (handle, inode) = self.file(*fd, true)?;
                let at = match &inode.body {
                    Body::File(file) if handle.append => file.len() as u64,
                    _ if handle.append => 0,
                    _ => handle.at,
                };
                let count = self.put(*fd, at, &vec![*value; *len])?;
                self.handles.get_mut(&u32::from(*fd))?.at = at + count;
                Some(vec![count])
            }
            Op::Pwrite(fd, at, len, value) => {
                self.put(*fd, *at, &vec![*value; *len]).map(|count| vec![count])
            }
            Op::Read(fd, len) => {
                let (handle, _) = self.file(*fd, false)?;
                let answer = self.get(*fd, handle.at, *len)?;
                self.handles.get_mut(&u32::from(*fd))?.at += answer[0];
                Some(answer)
            }
            Op::Pread(fd, at, len) => self.get(*fd, *at, *len),
            Op::SetSize(fd, len) => self.size(*fd, *len, true),
            Op::Allocate(fd, at, len) => self.size(*fd, at + len, false),
            Op::Seek(fd, delta, whence) => {
                let handle = self.handles.get(&u32::from(*fd))?;
                let size = match &self.inodes[&handle.inode].body {
                    Body::File(file) => file.len() as u64,
                    Body::Null => 0,
                    Body::Dir(_) | Body::Link(_) => return None,
                };
                let base = [0, handle.at, size][*whence as usize];
                let at = base.checked_add_signed(*delta)?;
                self.handles.get_mut(&u32::from(*fd))?.at = at;
                Some(vec![at])
            }
            Op::Unlink(base, path) => self.remove(*base, path, false),
            Op::Rmdir(base, path) => self.remove(*base, path, true),
            Op::Rename(base, from, to_base, to) => self.rename(*base, from, *to_base, to),
            Op::Link(base, follow, from, to_base, to) => {
                let id = self.find(*base, from, *follow)?;
                let place = self.walk(*to_base, to, false)?;
                let inode = &self.inodes[&id];
                if place.inode.is_some()
                    || place.slash
                    || matches!(inode.body, Body::Dir(_))
                    || inode.frozen
                    || inode.fixed
                {
                    return None;
                }
                let name = place.name.clone()?;
                self.takes(place.folder, &name)?;
                self.fits(NAME_COST)?;
                self.entries_mut(place.folder).push((name, id));
                self.inodes.get_mut(&id)?.names += 1;
                Some(Vec::new())
            }
            Op::Symlink(text, base, path) => {
                let place = self.walk(*base, path, false)?;
                if place.inode.is_some() || place.slash || text.is_empty() || text.starts_with('/') {
                    return None;
                }
                self.add(&place, Body::Link(text.clone())).map(|_| Vec::new())
            }
            Op::Readlink(base, path) => match &self.inodes[&self.find(*base, path, false)?].body {
                Body::Link(text) => Some(text.bytes().map(u64::from).collect()),
                Body::Dir(_) | Body::File(_) | Body::Null => None,
            },
            Op::Stat(base, follow, path) => {
                let inode = &self.inodes[&self.find(*base, path, *follow)?];
                let (kind, size) = match &inode.body {
                    Body::Dir(_) => (3, 0),
                    Body::File(file) => (4, file.len() as u64),
                    Body::Link(text) => (7, text.len() as u64),
                    Body::Null => (2, 0),
                };
                Some(vec![kind, size, inode.names, inode.mtime.unwrap_or(0)])
            }
            Op::SetTimes(base, follow, path, time) => {
                let inode = self.find(*base, path, *follow)?;
                let inode = self.inodes.get_mut(&inode)?;
                if inode.frozen {
                    return None;
                }
                // The model does not know the times of later changes; only files and links are compared.
                inode.mtime = (!matches!(inode.body, Body::Dir(_))).then_some(*time);
                Some(Vec::new())
            }
            Op::Readdir(fd) => {
                let handle = self.handles.get(&u32::from(*fd))?;
                let mut names: Vec<&str> = self
                    .entries(handle.inode)?
                    .iter()
                    .map(|(name, _)| name.as_str())
                    .chain([".", ".."])
                    .collect();
                names.sort_unstable();
                Some(names.iter().flat_map(|name| name.bytes().map(u64::from).chain([0])).collect())
            }
            Op::Renumber(from, to) => {
                let (from, to) = (u32::from(*from), u32::from(*to));
                let (one, _) = (self.handles.get(&from)?.clone(), self.handles.get(&to)?);
                if from != to {
                    let old = self.handles.insert(to, one)?;
                    self.handles.remove(&from);
                    self.inodes.get_mut(&old.inode)?.opens -= 1;
                    self.sweep(old.inode);
                }
                Some(Vec::new())
            }
        }
    }

    fn open(&mut self, base: u8, path: &str, follow: bool, oflags: u32, rights: u64, append: bool) -> Answer {
        let (create, directory, exclusive, truncate) =
            (oflags & 1 != 0, oflags & 2 != 0, oflags & 4 != 0, oflags & 8 != 0);
        let (read, write) = (rights & 2 != 0, rights & 64 != 0);
        let is_new = create && exclusive;
        let place =
            self.walk(base, path, (follow || path.ends_with('/') || path.ends_with("/.")) && !is_new)?;
        let id = match place.inode {
            Some(_) if is_new => return None,
            Some(id) => {
                let inode = self.inodes.get_mut(&id)?;
                match &mut inode.body {
                    Body::Link(_) => return None,
                    Body::Dir(_) if write || truncate || (create && !directory) => return None,
                    Body::Dir(_) => {}
                    Body::File(_) | Body::Null if directory => return None,
                    Body::File(file) => {
                        if truncate {
                            file.clear();
                            inode.mtime = None;
                        }
                    }
                    Body::Null => {}
                }
                id
            }
            None if create && !directory && !place.slash => self.add(&place, Body::File(Vec::new()))?,
            None => return None,
        };
        let fd = (0..).find(|fd| *fd > 2 && !self.handles.contains_key(fd))?;
        self.inodes.get_mut(&id)?.opens += 1;
        self.handles.insert(fd, Handle { inode: id, at: 0, append, read, write });
        Some(vec![u64::from(fd)])
    }

    fn remove(&mut self, base: u8, path: &str, directory: bool) -> Answer {
        let place = self.walk(base, path, false)?;
        let (id, name) = (place.inode?, place.name?);
        let inode = &self.inodes[&id];
        let is_fit = match &inode.body {
            Body::Dir(entries) => directory && entries.is_empty(),
            Body::File(_) | Body::Link(_) | Body::Null => !directory,
        };
        if !is_fit || inode.frozen || inode.fixed || self.inodes[&place.folder].frozen {
            return None;
        }
        self.drop_name(place.folder, &name);
        Some(Vec::new())
    }

    fn rename(&mut self, base: u8, from: &str, to_base: u8, to: &str) -> Answer {
        let from = self.walk(base, from, false)?;
        let to = self.walk(to_base, to, false)?;
        let (id, old, new) = (from.inode?, from.name?, to.name?);
        let is_dir = self.entries(id).is_some();
        let moving = &self.inodes[&id];
        let target = &self.inodes[&to.folder];
        if moving.frozen
            || moving.fixed
            || self.inodes[&from.folder].frozen
            || target.frozen
            || target.names == 0
            || (to.slash && !is_dir)
        {
            return None;
        }
        let mut up = to.folder;
        while up != 0 {
            if up == id {
                return None;
            }
            up = self.inodes[&up].up;
        }
        if let Some(there) = to.inode {
            if there == id {
                return Some(Vec::new());
            }
            let replaced = &self.inodes[&there];
            let is_fit = match &replaced.body {
                Body::Dir(entries) => is_dir && entries.is_empty(),
                Body::File(_) | Body::Link(_) | Body::Null => !is_dir,
            };
            if !is_fit || replaced.frozen || replaced.fixed {
                return None;
            }
        }
        let below = self.longest(id);
        if self.depth(to.folder) + new.len() + if below > 0 { below + 1 } else { 0 } > 1024 {
            return None;
        }
        if to.inode.is_some() {
            self.drop_name(to.folder, &new);
        }
        let entries = self.entries_mut(from.folder);
        entries.retain(|(name, _)| *name != old);
        self.entries_mut(to.folder).push((new, id));
        if is_dir {
            self.inodes.get_mut(&id)?.up = to.folder;
        }
        Some(Vec::new())
    }
}

/// Splits off the first meaningful part of a path; the rest keeps its slash.
fn cut(text: &str) -> Option<(String, String)> {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches('/');
        let (first, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        match first {
            "" => return None,
            "." => rest = after,
            _ => return Some((first.to_owned(), after.to_owned())),
        }
    }
}

/// The real file system: its memory and its calls.
struct Real {
    context: Context,
    memory: Vec<u8>,
}

impl Real {
    fn call(
        &mut self,
        body: impl FnOnce(&mut Context, &mut GuestMemory<'_>) -> Result<(), Errno>,
    ) -> Option<()> {
        // The clock advances, so that times that were set differ from others.
        self.context.units += 1;
        body(&mut self.context, &mut GuestMemory::new(&mut self.memory)).ok()
    }

    fn text(&mut self, at: u32, text: &str) -> u32 {
        self.memory[at as usize..at as usize + text.len()].copy_from_slice(text.as_bytes());
        text.len() as u32
    }

    fn number(&self, at: u32) -> u64 {
        u64::from(u32::from_le_bytes(self.memory[at as usize..at as usize + 4].try_into().unwrap()))
    }

    fn iov(&mut self, len: usize) {
        self.memory[IOV as usize..IOV as usize + 4].copy_from_slice(&BUFFER.to_le_bytes());
        self.memory[IOV as usize + 4..IOV as usize + 8].copy_from_slice(&(len as u32).to_le_bytes());
    }

    fn bytes(&self, count: u64) -> Vec<u64> {
        self.memory[BUFFER as usize..BUFFER as usize + count as usize]
            .iter()
            .map(|byte| u64::from(*byte))
            .collect()
    }

    fn got(&self) -> Vec<u64> {
        let count = self.number(OUT);
        std::iter::once(count).chain(self.bytes(count)).collect()
    }

    fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Mkdir(base, path) => {
                let len = self.text(PATH, path);
                self.call(|c, m| c.path_create_directory(m, (*base).into(), PATH, len)).map(|()| Vec::new())
            }
            Op::Open { base, path, follow, oflags, rights, append } => {
                let len = self.text(PATH, path);
                self.call(|c, m| {
                    c.path_open(
                        m,
                        (*base).into(),
                        (*follow).into(),
                        PATH,
                        len,
                        *oflags,
                        *rights,
                        0,
                        (*append).into(),
                        OUT,
                    )
                })?;
                Some(vec![self.number(OUT)])
            }
            Op::Close(fd) => self.call(|c, m| c.fd_close(m, (*fd).into())).map(|()| Vec::new()),
            Op::Write(fd, len, value) => {
                self.iov(*len);
                self.memory[BUFFER as usize..BUFFER as usize + len].fill(*value);
                self.call(|c, m| c.fd_write(m, (*fd).into(), IOV, 1, OUT))?;
                Some(vec![self.number(OUT)])
            }
            Op::Pwrite(fd, at, len, value) => {
                self.iov(*len);
                self.memory[BUFFER as usize..BUFFER as usize + len].fill(*value);
                self.call(|c, m| c.fd_pwrite(m, (*fd).into(), IOV, 1, *at, OUT))?;
                Some(vec![self.number(OUT)])
            }
            Op::Read(fd, len) => {
                self.iov(*len);
                self.call(|c, m| c.fd_read(m, (*fd).into(), IOV, 1, OUT))?;
                Some(self.got())
            }
            Op::Pread(fd, at, len) => {
                self.iov(*len);
                self.call(|c, m| c.fd_pread(m, (*fd).into(), IOV, 1, *at, OUT))?;
                Some(self.got())
            }
            Op::SetSize(fd, len) => {
                self.call(|c, m| c.fd_filestat_set_size(m, (*fd).into(), *len)).map(|()| Vec::new())
            }
            Op::Allocate(fd, at, len) => {
                self.call(|c, m| c.fd_allocate(m, (*fd).into(), *at, *len)).map(|()| Vec::new())
            }
            Op::Seek(fd, delta, whence) => {
                self.call(|c, m| c.fd_seek(m, (*fd).into(), *delta, *whence, OUT))?;
                Some(vec![self.number(OUT)])
            }
            Op::Unlink(base, path) => {
                let len = self.text(PATH, path);
                self.call(|c, m| c.path_unlink_file(m, (*base).into(), PATH, len)).map(|()| Vec::new())
            }
            Op::Rmdir(base, path) => {
                let len = self.text(PATH, path);
                self.call(|c, m| c.path_remove_directory(m, (*base).into(), PATH, len)).map(|()| Vec::new())
            }
            Op::Rename(base, from, to_base, to) => {
                let (len, to_len) = (self.text(PATH, from), self.text(OTHER, to));
                self.call(|c, m| {
                    c.path_rename(m, (*base).into(), PATH, len, (*to_base).into(), OTHER, to_len)
                })
                .map(|()| Vec::new())
            }
            Op::Link(base, follow, from, to_base, to) => {
                let (len, to_len) = (self.text(PATH, from), self.text(OTHER, to));
                self.call(|c, m| {
                    c.path_link(
                        m,
                        (*base).into(),
                        (*follow).into(),
                        PATH,
                        len,
                        (*to_base).into(),
                        OTHER,
                        to_len,
                    )
                })
                .map(|()| Vec::new())
            }
            Op::Symlink(text, base, path) => {
                let (len, path_len) = (self.text(PATH, text), self.text(OTHER, path));
                self.call(|c, m| c.path_symlink(m, PATH, len, (*base).into(), OTHER, path_len))
                    .map(|()| Vec::new())
            }
            Op::Readlink(base, path) => {
                let len = self.text(PATH, path);
                self.call(|c, m| c.path_readlink(m, (*base).into(), PATH, len, BUFFER, 4096, OUT))?;
                Some(self.bytes(self.number(OUT)))
            }
            Op::Stat(base, follow, path) => {
                let len = self.text(PATH, path);
                self.call(|c, m| {
                    c.path_filestat_get(m, (*base).into(), (*follow).into(), PATH, len, BUFFER)
                })?;
                let word = |at: u32| self.number(BUFFER + at) | self.number(BUFFER + at + 4) << 32;
                let (kind, time) = (u64::from(self.memory[BUFFER as usize + 16]), word(48));
                Some(vec![kind, word(32), word(24), if time < 1_000 && kind != 3 { time } else { 0 }])
            }
            Op::SetTimes(base, follow, path, time) => {
                let len = self.text(PATH, path);
                self.call(|c, m| {
                    c.path_filestat_set_times(m, (*base).into(), (*follow).into(), PATH, len, 0, *time, 4)
                })
                .map(|()| Vec::new())
            }
            Op::Readdir(fd) => self.readdir((*fd).into()),
            Op::Renumber(from, to) => {
                self.call(|c, m| c.fd_renumber(m, (*from).into(), (*to).into())).map(|()| Vec::new())
            }
        }
    }

    /// Lists a folder like a C library, with a buffer that cuts entries.
    fn readdir(&mut self, fd: u32) -> Answer {
        let (mut names, mut cookie, room) = (Vec::new(), 0_u64, 300_u32);
        loop {
            self.call(|c, m| c.fd_readdir(m, fd, BUFFER, room, cookie, OUT))?;
            let used = self.number(OUT) as usize;
            let mut rest = &self.memory[BUFFER as usize..BUFFER as usize + used];
            while rest.len() >= 24 {
                let len = u32::from_le_bytes(rest[16..20].try_into().unwrap()) as usize;
                let Some(name) = rest.get(24..24 + len) else { break };
                names.push(String::from_utf8(name.to_vec()).unwrap());
                cookie = u64::from_le_bytes(rest[..8].try_into().unwrap());
                rest = &rest[24 + len..];
            }
            if used < room as usize {
                break;
            }
        }
        names.sort_unstable();
        Some(names.iter().flat_map(|name| name.bytes().map(u64::from).chain([0])).collect())
    }
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![".", "..", "in", "tmp", "dev", "dev/null", ""]).prop_map(str::to_owned),
        1 => prop::sample::select(vec![200_usize, 255, 256]).prop_map(|len| "n".repeat(len)),
    ]
}

fn path() -> impl Strategy<Value = String> {
    (prop::collection::vec(part(), 1..5), prop::sample::select(vec!["", "", "", "", "/", "/."]))
        .prop_map(|(parts, end)| parts.join("/") + end)
}

/// Mostly the root, sometimes an opened folder.
fn base() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(3_u8), 1 => 4_u8..12]
}

fn fd() -> impl Strategy<Value = u8> {
    4_u8..12
}

fn op() -> impl Strategy<Value = Op> {
    let place = || prop_oneof![3 => 0_u64..3_000, 1 => 0_u64..250_000];
    let rights = || prop::sample::select(vec![0_u64, 2, 64, 66, 66]);
    let open = (
        base(),
        path(),
        any::<bool>(),
        prop_oneof![3 => Just(1_u32), 1 => Just(2), 2 => 0_u32..16],
        rights(),
        any::<bool>(),
    );
    prop_oneof![
        4 => (base(), path()).prop_map(|(b, p)| Op::Mkdir(b, p)),
        8 => open.prop_map(|(base, path, follow, oflags, rights, append)| Op::Open { base, path, follow, oflags, rights, append }),
        3 => fd().prop_map(Op::Close),
        4 => (fd(), 0_usize..9_000, any::<u8>()).prop_map(|(f, n, v)| Op::Write(f, n, v)),
        4 => (fd(), place(), 0_usize..9_000, any::<u8>()).prop_map(|(f, at, n, v)| Op::Pwrite(f, at, n, v)),
        2 => (fd(), 0_usize..9_000).prop_map(|(f, n)| Op::Read(f, n)),
        3 => (fd(), place(), 0_usize..9_000).prop_map(|(f, at, n)| Op::Pread(f, at, n)),
        3 => (fd(), place()).prop_map(|(f, n)| Op::SetSize(f, n)),
        1 => (fd(), place(), place()).prop_map(|(f, at, n)| Op::Allocate(f, at, n)),
        1 => (fd(), -5_000_i64..5_000, 0_u32..3).prop_map(|(f, d, w)| Op::Seek(f, d, w)),
        3 => (base(), path()).prop_map(|(b, p)| Op::Unlink(b, p)),
        3 => (base(), path()).prop_map(|(b, p)| Op::Rmdir(b, p)),
        6 => (base(), path(), base(), path()).prop_map(|(b, p, c, q)| Op::Rename(b, p, c, q)),
        3 => (base(), any::<bool>(), path(), base(), path()).prop_map(|(b, f, p, c, q)| Op::Link(b, f, p, c, q)),
        3 => (path(), base(), path()).prop_map(|(t, b, p)| Op::Symlink(t, b, p)),
        1 => (base(), path()).prop_map(|(b, p)| Op::Readlink(b, p)),
        3 => (base(), any::<bool>(), path()).prop_map(|(b, f, p)| Op::Stat(b, f, p)),
        1 => (base(), any::<bool>(), path(), 1_u64..1_000).prop_map(|(b, f, p, t)| Op::SetTimes(b, f, p, t)),
        2 => prop_oneof![Just(3_u8), fd()].prop_map(Op::Readdir),
        1 => (fd(), fd()).prop_map(|(a, b)| Op::Renumber(a, b)),
    ]
}

/// Compares the names of everything below a folder, with the contents.
fn tree(real: &mut Real, model: &mut Model) {
    let all = Op::Readdir(3);
    assert_eq!(real.apply(&all), model.apply(&all));
    let mut paths = vec![(0, String::new())];
    while let Some((id, path)) = paths.pop() {
        for (name, child) in model.entries(id).unwrap().clone() {
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let stat = Op::Stat(3, false, path.clone());
            assert_eq!(real.apply(&stat), model.apply(&stat), "{path}");
            if model.entries(child).is_some() {
                paths.push((child, path));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn file_operations_are_those_of_the_model(ops in prop::collection::vec(op(), 1..80)) {
        let (mut model, mut real) = (Model::new(), Real { context: context(), memory: vec![0; 65_536] });
        for (number, op) in ops.iter().enumerate() {
            let expected = model.apply(op);
            prop_assert_eq!(real.apply(op), expected, "{} {:?}", number, op);
            prop_assert_eq!(real.context.vfs.used(), model.used(), "{} {:?}", number, op);
            prop_assert!(real.context.vfs.resident() as u64 <= QUOTA / 8 * 9 + real.context.vfs.count() as u64 * 4096);
            if number % 16 == 7 {
                // Saves the state and continues from it.
                let state = postcard::to_stdvec(&real.context.shown()).unwrap();
                let mut fresh = context();
                fresh.units = real.context.units;
                prop_assert_eq!(fresh.restore(postcard::from_bytes(&state).unwrap()), Ok(()));
                prop_assert_eq!(postcard::to_stdvec(&fresh.shown()).unwrap(), state);
                real.context = fresh;
            }
        }
        tree(&mut real, &mut model);
    }
}
