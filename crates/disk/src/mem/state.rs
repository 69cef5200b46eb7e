//! Names, files, locks and faults of the simulated disk, behind one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::chance::Chance;
use super::content::{Content, Versions};
use crate::map::{FileLen, Region};
use crate::{Lock, Map, Open};

/// The number of a file or directory.
pub(super) type Inode = u64;
const ROOT: Inode = 0;

pub(super) struct State {
    nodes: BTreeMap<Inode, Node>,
    next: u64,
    seed: u64,
    pub(super) capacity: Option<u64>,
    /// Changes made so far: writes, syncs, names.
    pub(super) ops: u64,
    pub(super) syncs: u64,
    pub(super) dies_at: Option<u64>,
    pub(super) dead: bool,
}

enum Node {
    Dir(Dir),
    File(Box<MemoryFile>),
}

#[derive(Default)]
struct Dir {
    seen: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    /// Not synced yet; each step happens wholly or not at all.
    changes: Vec<Vec<(String, Option<Inode>)>>,
}

#[derive(Default)]
struct MemoryFile {
    versions: Versions,
    /// Memory shown by maps of this file.
    regions: Vec<Weak<Region>>,
    known_len: Arc<AtomicU64>,
    handles: BTreeSet<u64>,
    flock: Holders,
    ofd: Holders,
    next_sync_fails: bool,
}

#[derive(Default)]
struct Holders {
    exclusive: Option<u64>,
    shared: BTreeSet<u64>,
}

fn power_lost() -> io::Error {
    io::Error::other("simulated power loss")
}

fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}

impl Dir {
    fn change(&mut self, step: Vec<(String, Option<Inode>)>) {
        put_names(&mut self.seen, &step);
        self.changes.push(step);
    }
}

fn put_names(names: &mut BTreeMap<String, Inode>, step: &[(String, Option<Inode>)]) {
    for (name, inode) in step {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}

// Faults and their bookkeeping.
impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            next: ROOT + 1,
            seed,
            capacity: None,
            ops: 0,
            syncs: 0,
            dies_at: None,
            dead: false,
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(power_lost()) } else { Ok(()) }
    }

    /// Counts a change, which is then made even if the power goes with it; [`State::alive`] tells the caller.
    fn count(&mut self) -> io::Result<()> {
        self.alive()?;
        self.ops += 1;
        self.dead = self.dies_at.is_some_and(|at| self.ops >= at);
        Ok(())
    }

    /// What a power loss leaves; this disk answers no call any more.
    pub(super) fn crash(&mut self, seed: u64) -> State {
        self.dead = true;
        let mut chance = Chance::new(self.seed ^ seed.rotate_left(32));
        let mut left = State::new(chance.next());
        left.next = self.next;
        left.capacity = self.capacity;
        for (inode, node) in &self.nodes {
            let node = match node {
                Node::Dir(dir) => Node::Dir(dir.crash(&mut chance)),
                Node::File(file) => {
                    Node::File(Box::new(MemoryFile::durable(file.versions.crash(&mut chance))))
                }
            };
            left.nodes.insert(*inode, node);
        }
        left.forget_unreachable();
        left
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(inode) = todo.pop() {
            let Some(Node::Dir(dir)) = self.nodes.get(&inode) else { continue };
            let pending = dir.changes.iter().flatten().filter_map(|(_, inode)| inode.as_ref());
            for inode in dir.seen.values().chain(dir.durable.values()).chain(pending) {
                if reached.insert(*inode) {
                    todo.push(*inode);
                }
            }
        }
        self.nodes.retain(|inode, node| {
            reached.contains(inode) || matches!(node, Node::File(file) if !file.handles.is_empty())
        });
    }

    /// Bytes that visible files take.
    fn used(&self) -> u64 {
        let named = self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir.seen.values()),
            Node::File(_) => None,
        });
        named.flatten().filter_map(|inode| self.nodes.get(inode)).fold(0, |sum, node| match node {
            Node::File(file) => sum + file.versions.seen().len(),
            Node::Dir(_) => sum,
        })
    }

    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        self.alive()?;
        Ok(self.capacity.map_or(1 << 40, |capacity| capacity.saturating_sub(self.used())))
    }

    /// How far a file may grow towards `len`.
    fn room_for(&self, inode: Inode, len: u64) -> io::Result<u64> {
        let now = self.file(inode)?.versions.seen().len();
        match self.capacity {
            Some(capacity) if len > now => Ok(len.min(now + capacity.saturating_sub(self.used()))),
            _ => Ok(len),
        }
    }

    pub(super) fn fail_next_sync(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.resolve(path)?;
        self.file_mut(inode)?.next_sync_fails = true;
        Ok(())
    }

    pub(super) fn flip_bit(&mut self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let inode = self.resolve(path)?;
        let file = self.file_mut(inode)?;
        file.versions.flip_bit(offset, bit);
        let mut byte = [0];
        file.versions.seen().read(&mut byte, offset);
        file.show(&byte, offset);
        Ok(())
    }
}

impl Dir {
    fn crash(&self, chance: &mut Chance) -> Dir {
        let mut left = self.durable.clone();
        for step in &self.changes {
            if chance.coin() {
                put_names(&mut left, step);
            }
        }
        Dir { seen: left.clone(), durable: left, changes: Vec::new() }
    }
}

impl MemoryFile {
    fn durable(content: Content) -> MemoryFile {
        let known_len = Arc::new(AtomicU64::new(content.len()));
        MemoryFile { versions: Versions::durable(content), known_len, ..MemoryFile::default() }
    }

    /// Shows written bytes to the maps.
    fn show(&mut self, data: &[u8], offset: u64) {
        self.regions.retain(|region| match region.upgrade() {
            Some(region) => {
                region.write(data, offset);
                true
            }
            None => false,
        });
        self.known_len.store(self.versions.seen().len(), Ordering::Release);
    }

    fn resize(&mut self, len: u64) {
        let cut = self.versions.seen().len().saturating_sub(len);
        self.versions.set_len(len);
        self.known_len.store(len, Ordering::Release);
        if self.regions.iter().any(|region| region.strong_count() > 0) {
            self.show(&vec![0; cut as usize], len);
        }
    }
}

// Names.
impl State {
    fn dir(&self, inode: Inode) -> io::Result<&Dir> {
        match self.nodes.get(&inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn dir_mut(&mut self, inode: Inode) -> io::Result<&mut Dir> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn file(&self, inode: Inode) -> io::Result<&MemoryFile> {
        match self.nodes.get(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn file_mut(&mut self, inode: Inode) -> io::Result<&mut MemoryFile> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn lookup(&self, dir: Inode, name: &str) -> io::Result<Option<Inode>> {
        Ok(self.dir(dir)?.seen.get(name).copied())
    }

    fn resolve(&self, path: &Path) -> io::Result<Inode> {
        names(path).try_fold(ROOT, |dir, name| {
            self.lookup(dir, &name)?.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    /// The directory a path's last name is in, and that name.
    fn place(&self, path: &Path) -> io::Result<(Inode, String)> {
        let name = names(path).last().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.resolve(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn add(&mut self, dir: Inode, name: String, node: Node) -> io::Result<Inode> {
        let inode = self.next;
        self.next += 1;
        self.dir_mut(dir)?.change(vec![(name, Some(inode))]);
        self.nodes.insert(inode, node);
        Ok(inode)
    }

    pub(super) fn open(&mut self, path: &Path, how: Open) -> io::Result<(Inode, u64)> {
        self.alive()?;
        let (dir, name) = self.place(path)?;
        let inode = match self.lookup(dir, &name)? {
            Some(_) if how.create_new => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(inode) => {
                self.file(inode)?;
                if how.truncate {
                    self.set_len(inode, 0)?;
                }
                inode
            }
            None if how.create || how.create_new => {
                self.count()?;
                let inode = self.add(dir, name, Node::File(Box::default()))?;
                self.alive()?;
                inode
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let handle = self.next;
        self.next += 1;
        self.file_mut(inode)?.handles.insert(handle);
        Ok((inode, handle))
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        self.alive()?;
        let mut dir = ROOT;
        for name in names(path) {
            dir = match self.lookup(dir, &name)? {
                Some(inode) => {
                    self.dir(inode)?;
                    inode
                }
                None => {
                    self.count()?;
                    let inode = self.add(dir, name, Node::Dir(Dir::default()))?;
                    self.alive()?;
                    inode
                }
            };
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        let (from_dir, from) = self.place(from)?;
        let (to_dir, to) = self.place(to)?;
        let inode = self.lookup(from_dir, &from)?.ok_or(io::ErrorKind::NotFound)?;
        if let Some(replaced) = self.lookup(to_dir, &to)? {
            match self.nodes.get(&replaced) {
                Some(Node::Dir(dir)) if !dir.seen.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                _ if replaced == inode => return self.alive(),
                _ => {}
            }
        }
        if from_dir == to_dir {
            self.dir_mut(from_dir)?.change(vec![(from, None), (to, Some(inode))]);
        } else {
            for (dir, name, inode) in [(to_dir, to, Some(inode)), (from_dir, from, None)] {
                let dir = self.dir_mut(dir)?;
                for step in &mut dir.changes {
                    step.retain(|(changed, _)| *changed != name);
                }
                put_names(&mut dir.seen, &[(name.clone(), inode)]);
                put_names(&mut dir.durable, &[(name, inode)]);
            }
        }
        self.alive()
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.count()?;
        let (dir, name) = self.place(path)?;
        let inode = self.lookup(dir, &name)?.ok_or(io::ErrorKind::NotFound)?;
        self.file(inode)?;
        self.dir_mut(dir)?.change(vec![(name, None)]);
        self.alive()
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.resolve(path)?;
        for name in self.dir(inode)?.seen.keys().cloned().collect::<Vec<_>>() {
            let child = path.join(&name);
            match self.lookup(inode, &name)?.and_then(|inode| self.nodes.get(&inode)) {
                Some(Node::Dir(_)) => self.remove_dir_all(&child)?,
                _ => self.remove(&child)?,
            }
        }
        self.count()?;
        let (parent, name) = self.place(path)?;
        self.dir_mut(parent)?.change(vec![(name, None)]);
        self.alive()
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.alive()?;
        Ok(self.dir(self.resolve(dir)?)?.seen.keys().cloned().collect())
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        !self.dead && self.resolve(path).is_ok()
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.count()?;
        self.alive()?;
        self.syncs += 1;
        let inode = self.resolve(dir)?;
        let dir = self.dir_mut(inode)?;
        dir.durable = dir.seen.clone();
        dir.changes.clear();
        self.forget_unreachable();
        Ok(())
    }
}

// Contents.
impl State {
    pub(super) fn read_at(&self, inode: Inode, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.alive()?;
        Ok(self.file(inode)?.versions.seen().read(buf, offset))
    }

    pub(super) fn write_at(&mut self, inode: Inode, data: &[u8], offset: u64) -> io::Result<()> {
        self.count()?;
        let end = offset + data.len() as u64;
        let fits = (self.room_for(inode, end)?.saturating_sub(offset)).min(data.len() as u64) as usize;
        let file = self.file_mut(inode)?;
        if fits > 0 {
            file.versions.write(&data[..fits], offset);
            file.show(&data[..fits], offset);
        }
        self.alive()?;
        if fits < data.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    pub(super) fn sync(&mut self, inode: Inode) -> io::Result<()> {
        self.count()?;
        self.alive()?;
        self.syncs += 1;
        let file = self.file_mut(inode)?;
        if std::mem::take(&mut file.next_sync_fails) {
            file.versions.sync_failed();
            return Err(io::Error::other("simulated failure of a sync"));
        }
        file.versions.sync();
        Ok(())
    }

    pub(super) fn len(&self, inode: Inode) -> io::Result<u64> {
        self.alive()?;
        Ok(self.file(inode)?.versions.seen().len())
    }

    pub(super) fn set_len(&mut self, inode: Inode, len: u64) -> io::Result<()> {
        self.count()?;
        if self.room_for(inode, len)? < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file_mut(inode)?.resize(len);
        self.alive()
    }

    pub(super) fn allocate(&mut self, inode: Inode, len: u64) -> io::Result<()> {
        if self.len(inode)? < len { self.set_len(inode, len) } else { Ok(()) }
    }

    pub(super) fn lock(&mut self, inode: Inode, handle: u64, kind: Lock) -> io::Result<bool> {
        self.alive()?;
        let file = self.file_mut(inode)?;
        let holders = if kind == Lock::Ofd { &mut file.ofd } else { &mut file.flock };
        let held_exclusively = holders.exclusive.is_some_and(|holder| holder != handle);
        let held_by_others = held_exclusively || holders.shared.iter().any(|holder| *holder != handle);
        if kind == Lock::FlockShared {
            if !held_exclusively {
                holders.exclusive = None;
                holders.shared.insert(handle);
            }
            return Ok(!held_exclusively);
        }
        if !held_by_others {
            holders.shared.remove(&handle);
            holders.exclusive = Some(handle);
        }
        Ok(!held_by_others)
    }

    pub(super) fn map(&mut self, inode: Inode, len: u64) -> io::Result<Map> {
        self.alive()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let file = self.file_mut(inode)?;
        let region = match file.regions.iter().filter_map(Weak::upgrade).find(|region| region.len() >= len) {
            Some(region) => region,
            None => {
                let region = Arc::new(Region::new(len)?);
                for (offset, page) in file.versions.seen().pages() {
                    region.write(page, offset);
                }
                file.regions.push(Arc::downgrade(&region));
                region
            }
        };
        Ok(Map::of_region(region, len, FileLen { known: file.known_len.clone(), ask: Weak::new() }))
    }

    pub(super) fn close(&mut self, inode: Inode, handle: u64) {
        let Some(Node::File(file)) = self.nodes.get_mut(&inode) else { return };
        file.handles.remove(&handle);
        for holders in [&mut file.flock, &mut file.ofd] {
            holders.shared.remove(&handle);
            if holders.exclusive == Some(handle) {
                holders.exclusive = None;
            }
        }
    }
}
