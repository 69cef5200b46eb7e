//! Puts and gets on a cluster of three members, all on this machine.
use prost::Message;
use proto::etcdserverpb::{StatusRequest, StatusResponse};

use super::kv::{GET, GET_KEYS, VALUE_BYTES, fill_get_keys, many, one};
use super::{Measured, Stand, mebibytes};
use crate::Result;
use crate::load::{Next, Shape};
use crate::member::Member;
use crate::report::Figure;
use crate::request::{self, Random};
use crate::wire::Client;

pub const MEMBERS: usize = 3;
const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const FOLLOWERS: [&str; MEMBERS - 1] =
    ["resident after, first follower, MiB", "resident after, second follower, MiB"];

pub fn put_leader(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    put(stand, many(request::PUT, 1), 100_000, false)
}

pub fn put_all(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    put(stand, many(request::PUT, 1), 100_000, true)
}

pub fn put_one(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    put(stand, one(request::PUT, 1), 5_000, false)
}

pub fn get_all(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    find_leader(stand)?;
    fill_get_keys(stand)?;
    let shape = many(request::RANGE, VALUE_BYTES);
    let mut random = Random(shape.clients as u64);
    let next: Next<'_> = &mut |_, _, out| request::get(GET.key(random.below(GET_KEYS)), false, out);
    measure(stand, shape, 200_000, true, next)
}

fn put(stand: &mut Stand<'_>, shape: Shape, operations: u64, to_all: bool) -> Result<Vec<Figure>> {
    find_leader(stand)?;
    // Keys of its own for each scenario: none overwrites what another wrote.
    let seed = shape.clients as u64 | u64::from(to_all) << 32;
    let (mut random, value) = (Random(seed), request::value(VALUE_BYTES));
    measure(stand, shape, operations, to_all, &mut |_, _, out| request::put(random.key(), &value, out))
}

/// To the leader, or with the connections shared out among all.
fn measure(
    stand: &mut Stand<'_>,
    shape: Shape,
    operations: u64,
    to_all: bool,
    next: Next<'_>,
) -> Result<Vec<Figure>> {
    let asked = if to_all { MEMBERS } else { 1 };
    let ports: Vec<u16> = stand.members().take(asked).map(|member| member.port).collect();
    let operations = stand.options.scaled(operations);
    let measured: Measured = stand.measure_at(&ports, shape, operations, next)?;
    let mut figures = measured.figures();
    for (name, follower) in FOLLOWERS.into_iter().zip(&stand.followers) {
        figures.push(Figure::less(name, mebibytes(follower.resident_bytes()?)));
    }
    Ok(figures)
}

/// Puts the leader into its place: it may have changed since the scenario before.
fn find_leader(stand: &mut Stand<'_>) -> Result<()> {
    if leads(&stand.member)? {
        return Ok(());
    }
    for at in 0..stand.followers.len() {
        if leads(&stand.followers[at])? {
            std::mem::swap(&mut stand.member, &mut stand.followers[at]);
            return Ok(());
        }
    }
    Err("the cluster has no leader".into())
}

fn leads(member: &Member) -> Result<bool> {
    let answer = Client::connect(member.port, 1, true)?.ask(STATUS, &StatusRequest::default())?;
    let status = StatusResponse::decode(&*answer)?;
    Ok(status.header.is_some_and(|header| header.member_id == status.leader))
}
