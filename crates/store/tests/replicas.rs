//! The same entries make the same member: on two disks, through restarts at any point, through crashes at any disk
//! operation. And foreign bytes never end in a panic.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use store::{ApplyError, Entry, Options};
use support::{Logged, Machine, Random, cases, contents, generate, open, replay, visible};

fn options() -> Options {
    // Checkpoints that are not persisted are lost by a restart, as in etcd.
    Options { member_id: 1, quota_bytes: -1, lease_checkpoint_persist: true, ..Options::default() }
}

fn random_log(random: &mut Random, len: u64) -> Vec<Logged> {
    let mut log = generate::first_members();
    log.extend((0..len).map(|_| generate::entry(random)));
    log
}

fn apply(machine: &mut Machine, logged: &Logged, wanted: bool) -> String {
    match logged {
        Logged::Normal(data) => {
            let outcome = machine.apply(data.clone(), wanted);
            assert!(!outcome.result.as_ref().is_err_and(ApplyError::is_fatal), "{:?}", outcome.result);
            format!("{:?} {:?}", outcome.result, outcome.events)
        }
        Logged::Conf(change) => format!("{:?}", machine.conf_change(change)),
    }
}

fn finish_compactions(machine: &mut Machine) {
    while machine.store().maintain(1000).unwrap() {}
}

#[test]
fn the_same_entries_make_the_same_contents_through_seals_restarts_and_skipped_reads() {
    let mut refused = 0;
    let mut done = 0;
    for seed in 0..cases(40) {
        let mut random = Random(seed);
        let log = random_log(&mut random, 150);
        let (mut plain, mut restless) = (Machine::new(options()), Machine::new(options()));
        for logged in &log {
            let one = apply(&mut plain, logged, true);
            if one.starts_with("Err") {
                refused += 1
            } else {
                done += 1
            }
            let wanted = random.chance(2);
            let other = apply(&mut restless, logged, wanted);
            assert!(!wanted || one == other, "seed {seed}:\n{one}\n{other}");
            match random.below(12) {
                0 => restless.store().commit().unwrap(),
                1 => drop(restless.store().seal()),
                2 => restless.reopen(),
                3 => drop(restless.store().maintain(3).unwrap()),
                _ => {}
            }
        }
        finish_compactions(&mut plain);
        finish_compactions(&mut restless);
        plain.store().commit().unwrap();
        restless.store().commit().unwrap();
        assert_eq!(contents(plain.store()), contents(restless.store()), "seed {seed}");
        assert_eq!(visible(plain.store()), visible(restless.store()), "seed {seed}");
        let hash = |m: &mut Machine| m.store().reader().kv().hash().unwrap();
        assert_eq!(hash(&mut plain), hash(&mut restless), "seed {seed}");
        let before = visible(restless.store());
        restless.reopen();
        assert_eq!(before, visible(restless.store()), "seed {seed}, after a clean restart");
    }
    // The logs must be worth the name: plenty of both.
    assert!(done > refused / 2 && refused > done / 10, "{done} done, {refused} refused");
}

#[test]
fn after_a_crash_at_any_disk_operation_replay_leads_to_the_same_member() {
    let mut crashes = 0;
    for seed in 0..cases(25) {
        let mut random = Random(1000 + seed);
        let log = random_log(&mut random, 60);
        let mut reference = Machine::new(options());
        for logged in &log {
            apply(&mut reference, logged, false);
        }
        finish_compactions(&mut reference);

        let mut machine = Machine::new(options());
        machine.disk.crash_at_op(1 + random.below(60));
        for logged in &log {
            apply(&mut machine, logged, false);
            if random.chance(4) && machine.store().commit().is_err() {
                crashes += 1;
                break;
            }
        }
        drop(machine.store.take());
        let disk = machine.disk.crash(seed);
        let mut store = open(&disk, &options()).unwrap();
        assert!(store.consistent_index() <= machine.log.len() as u64);
        replay(&mut store, &log, machine.term);
        while store.maintain(1000).unwrap() {}
        assert_eq!(contents(reference.store()), contents(&store), "seed {seed}");
        assert_eq!(visible(reference.store()), visible(&store), "seed {seed}");
    }
    assert!(crashes > 0, "no run crashed");
}

#[test]
fn a_leaders_state_in_the_place_of_an_older_one_makes_the_same_member_for_all_who_read_it() {
    for seed in 0..cases(25) {
        let mut random = Random(2000 + seed);
        let log = random_log(&mut random, 120);
        let (known, sent) = (random.below(100) as usize, 100);
        let (mut leader, mut follower) = (Machine::new(options()), Machine::new(options()));
        log[..sent].iter().for_each(|logged| drop(apply(&mut leader, logged, false)));
        log[..known].iter().for_each(|logged| drop(apply(&mut follower, logged, false)));
        follower.store().seal();
        let (reader, committer) = (follower.store().reader(), follower.store().committer());

        leader.store().commit().unwrap();
        let index = leader.store().consistent_index();
        let backend = support::copy(leader.store(), &follower.disk);
        let term = leader.term;
        follower.store().restore(backend, index, term).unwrap();
        assert_eq!(contents(leader.store()), contents(follower.store()), "seed {seed}");
        assert_eq!(visible(leader.store()), visible(follower.store()), "seed {seed}");
        assert_eq!(reader.applied_index(), index);
        assert!(
            !committer.commit_sealed().unwrap(),
            "seed {seed}: nothing of the old state is left to commit"
        );

        follower.log = leader.log.clone();
        for logged in &log[sent..] {
            apply(&mut leader, logged, false);
            apply(&mut follower, logged, false);
        }
        finish_compactions(&mut leader);
        finish_compactions(&mut follower);
        assert_eq!(reader.revision(), leader.store().revision());
        assert_eq!(contents(leader.store()), contents(follower.store()), "seed {seed}");
        leader.store().commit().unwrap();
        follower.store().commit().unwrap();
        // They keep the file locked.
        drop((reader, committer));
        follower.reopen();
        finish_compactions(&mut follower);
        assert_eq!(contents(leader.store()), contents(follower.store()), "seed {seed}, after a restart");
        assert_eq!(visible(leader.store()), visible(follower.store()), "seed {seed}, after a restart");
    }
}

#[test]
fn the_consistent_index_is_durable_exactly_with_its_data() {
    let mut machine = Machine::new(options());
    let mut random = Random(7);
    let log = random_log(&mut random, 150);
    let mut next = 0;
    while next < log.len() {
        for logged in &log[next..(next + 1 + random.below(20) as usize).min(log.len())] {
            apply(&mut machine, logged, false);
            match random.below(6) {
                0 => machine.store().commit().unwrap(),
                1 => drop(machine.store().seal()),
                _ => {}
            }
        }
        drop(machine.store.take());
        machine.disk = machine.disk.crash(random.next());
        let store = open(&machine.disk, &machine.options).unwrap();
        next = store.consistent_index() as usize;
        let mut upto = Machine::new(options());
        log[..next].iter().for_each(|logged| drop(apply(&mut upto, logged, false)));
        assert_eq!(contents(&store), contents(upto.store()), "at index {next}");
        machine.store = Some(store);
        machine.log.truncate(next);
        // Or the file would never get ahead.
        if let Some(logged) = log.get(next) {
            apply(&mut machine, logged, false);
            machine.store().commit().unwrap();
            next += 1;
        }
    }
}

#[test]
fn random_bytes_as_an_entry_are_refused_without_a_panic() {
    let mut random = Random(3);
    let mut machine = Machine::new(options());
    generate::first_members().iter().for_each(|logged| drop(apply(&mut machine, logged, false)));
    for i in 0..cases(20_000) {
        let mut data = match generate::entry(&mut random) {
            Logged::Normal(data) => data.to_vec(),
            Logged::Conf(_) => (0..random.below(40)).map(|_| random.next() as u8).collect(),
        };
        for _ in 0..random.below(4) {
            if !data.is_empty() {
                let at = random.below(data.len() as u64) as usize;
                data[at] = random.next() as u8;
            }
        }
        let (index, data) = (i + 3, data.into());
        let _ = machine.store().apply(Entry { index, term: 2, data: &data }, true);
    }
}
