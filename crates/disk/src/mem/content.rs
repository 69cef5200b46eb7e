//! What a simulated file holds: as seen, and as a power loss may leave it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chance::Chance;

const PAGE: usize = 4096;
const SECTOR: u64 = 512;

/// Bytes of a file. Pages of zeros take no memory; copies share pages.
#[derive(Clone, Default)]
pub(super) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let n = (self.len.saturating_sub(offset)).min(buf.len() as u64) as usize;
        for (page, within, part) in split(offset, n) {
            match self.pages.get(&page) {
                Some(bytes) => buf[part.clone()].copy_from_slice(&bytes[within..within + part.len()]),
                None => buf[part].fill(0),
            }
        }
        n
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        if data.is_empty() {
            return;
        }
        for (page, within, part) in split(offset, data.len()) {
            let data = &data[part];
            if data.iter().all(|b| *b == 0) && !self.pages.contains_key(&page) {
                continue;
            }
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[within..within + data.len()].copy_from_slice(data);
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, within) = (len / PAGE as u64, (len % PAGE as u64) as usize);
            self.pages.split_off(&(page + u64::from(within > 0)));
            if let Some(bytes) = self.pages.get_mut(&page) {
                Arc::make_mut(bytes)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// The pages that may hold something other than zeros, with their offsets.
    pub(super) fn pages(&self) -> impl Iterator<Item = (u64, &[u8; PAGE])> {
        self.pages.iter().map(|(page, bytes)| (page * PAGE as u64, &**bytes))
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { data, offset } => self.write(data, *offset),
            Change::Zeros { len, offset } => self.write_zeros(*len, *offset, 0),
            Change::Len(len) => self.set_len(*len),
        }
    }

    fn write_zeros(&mut self, len: u64, offset: u64, first: u64) {
        const CHUNK: u64 = 65536;
        let mut at = first;
        while at < len {
            let n = CHUNK.min(len - at);
            self.write(&[0; CHUNK as usize][..n as usize], offset + at);
            at += n;
        }
    }
}

/// Cuts `[offset, offset + len)` at page borders: page number, offset in the page, range within the buffer.
fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == len {
            return None;
        }
        let place = offset + at as u64;
        let within = (place % PAGE as u64) as usize;
        let n = (PAGE - within).min(len - at);
        let part = at..at + n;
        at += n;
        Some((place / PAGE as u64, within, part))
    })
}

enum Change {
    Write {
        data: Vec<u8>,
        offset: u64,
    },
    /// A long write of zeros, kept short.
    Zeros {
        len: u64,
        offset: u64,
    },
    Len(u64),
}

#[derive(PartialEq)]
enum Fate {
    /// Made since the last sync.
    Unsynced,
    /// Part of a sync that failed.
    InDoubt,
    /// Durable, but after something in doubt, so it must keep its place in the order.
    Synced,
}

/// A file's content as seen, and what is known about it on the plate.
#[derive(Default)]
pub(super) struct Versions {
    seen: Content,
    durable: Content,
    changes: Vec<(Change, Fate)>,
}

impl Versions {
    /// A file that is wholly durable.
    pub(super) fn durable(content: Content) -> Versions {
        Versions { seen: content.clone(), durable: content, changes: Vec::new() }
    }

    pub(super) fn seen(&self) -> &Content {
        &self.seen
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        self.seen.write(data, offset);
        let change = if data.len() > PAGE && data.iter().all(|b| *b == 0) {
            Change::Zeros { len: data.len() as u64, offset }
        } else {
            Change::Write { data: data.to_vec(), offset }
        };
        self.changes.push((change, Fate::Unsynced));
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.seen.set_len(len);
        self.changes.push((Change::Len(len), Fate::Unsynced));
    }

    pub(super) fn sync(&mut self) {
        if self.changes.iter().any(|(_, fate)| *fate == Fate::InDoubt) {
            for (_, fate) in &mut self.changes {
                if *fate == Fate::Unsynced {
                    *fate = Fate::Synced;
                }
            }
            return;
        }
        for (change, _) in self.changes.drain(..) {
            self.durable.apply(&change);
        }
    }

    pub(super) fn sync_failed(&mut self) {
        for (_, fate) in &mut self.changes {
            if *fate == Fate::Unsynced {
                *fate = Fate::InDoubt;
            }
        }
    }

    /// Turns one bit, everywhere.
    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) {
        for content in [&mut self.seen, &mut self.durable] {
            let mut byte = [0];
            if content.read(&mut byte, offset) == 1 {
                content.write(&[byte[0] ^ (1 << bit)], offset);
            }
        }
    }

    /// What a power loss leaves of the file.
    pub(super) fn crash(&self, chance: &mut Chance) -> Content {
        let mut left = self.durable.clone();
        // Half of the time the changes reach the plate in order, up to some point; else each has its own luck.
        let in_order = chance.coin();
        let reached = chance.below(self.changes.len() as u64 + 1);
        for (at, (change, fate)) in self.changes.iter().enumerate() {
            let kept = match fate {
                Fate::Synced => Luck::Kept,
                _ if in_order && (at as u64) < reached => Luck::Kept,
                _ if in_order && at as u64 > reached => Luck::Lost,
                _ => [Luck::Lost, Luck::Kept, Luck::Torn][chance.below(3) as usize],
            };
            match kept {
                Luck::Kept => left.apply(change),
                Luck::Torn => tear(&mut left, change, chance),
                Luck::Lost => {}
            }
        }
        left
    }
}

#[derive(Clone, Copy)]
enum Luck {
    Lost,
    Kept,
    Torn,
}

/// Applies some sectors of a write, and perhaps its growth of the file.
fn tear(left: &mut Content, change: &Change, chance: &mut Chance) {
    let (data, offset, len) = match change {
        Change::Write { data, offset } => (Some(data), *offset, data.len() as u64),
        Change::Zeros { len, offset } => (None, *offset, *len),
        Change::Len(len) => {
            return if chance.coin() {
                left.set_len(*len)
            };
        }
    };
    if chance.coin() && left.len() < offset + len {
        left.set_len(offset + len);
    }
    let mut at = 0;
    while at < len {
        let n = (SECTOR - (offset + at) % SECTOR).min(len - at);
        if chance.coin() {
            match data {
                Some(data) => left.write(&data[at as usize..(at + n) as usize], offset + at),
                None => left.write(&[0; SECTOR as usize][..n as usize], offset + at),
            }
        }
        at += n;
    }
}
