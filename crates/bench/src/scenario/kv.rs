//! Single puts and gets.
use super::{Measured, Stand};
use crate::Result;
use crate::load::Shape;
use crate::report::Figure;
use crate::request::{self, Numbered, Random};

pub const VALUE_BYTES: usize = 256;
pub const GET_KEYS: u64 = 10_000;
pub const GET: Numbered = Numbered { prefix: "get", bytes: 24 };

pub fn many(method: &'static str, answer_bytes_min: usize) -> Shape {
    Shape { method, connections: 100, clients: 1000, answer_bytes_min, streaming: false, refusal: "" }
}

pub fn one(method: &'static str, answer_bytes_min: usize) -> Shape {
    Shape { connections: 1, clients: 1, ..many(method, answer_bytes_min) }
}

pub fn put_many(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    put(stand, many(request::PUT, 1), 200_000)
}

pub fn put_one(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    put(stand, one(request::PUT, 1), 5_000)
}

pub fn get_lin_many(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    get(stand, many(request::RANGE, VALUE_BYTES), 300_000, false)
}

pub fn get_lin_one(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    get(stand, one(request::RANGE, VALUE_BYTES), 20_000, false)
}

pub fn get_ser_many(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    get(stand, many(request::RANGE, VALUE_BYTES), 300_000, true)
}

pub fn get_ser_one(stand: &mut Stand<'_>) -> Result<Vec<Figure>> {
    get(stand, one(request::RANGE, VALUE_BYTES), 20_000, true)
}

fn put(stand: &mut Stand<'_>, shape: Shape, operations: u64) -> Result<Vec<Figure>> {
    let (mut random, value) = (Random(shape.clients as u64), request::value(VALUE_BYTES));
    let operations = stand.options.scaled(operations);
    let measured =
        stand.measure(shape, operations, &mut |_, _, out| request::put(random.key(), &value, out))?;
    Ok([measured.figures(), vec![measured.written()]].concat())
}

fn get(stand: &mut Stand<'_>, shape: Shape, operations: u64, serializable: bool) -> Result<Vec<Figure>> {
    fill_get_keys(stand)?;
    let mut random = Random(shape.clients as u64);
    let operations = stand.options.scaled(operations);
    let measured = stand.measure(shape, operations, &mut |_, _, out| {
        request::get(GET.key(random.below(GET_KEYS)), serializable, out);
    })?;
    Ok(measured.figures())
}

/// Makes sure that the keys for the gets are there.
pub fn fill_get_keys(stand: &mut Stand<'_>) -> Result<()> {
    if !std::mem::replace(&mut stand.has_get_keys, true) {
        fill_keys(stand, GET, GET_KEYS, VALUE_BYTES)?;
    }
    Ok(())
}

/// Puts `count` keys in order: 200 clients on 20 connections.
pub fn fill_keys(stand: &mut Stand<'_>, keys: Numbered, count: u64, value_bytes: usize) -> Result<Measured> {
    let shape = Shape { connections: 20, clients: 200, ..many(request::PUT, 1) };
    let value = request::value(value_bytes);
    stand.cost_of(|stand| {
        let mut load = crate::load::Loop::open(stand.member.port, shape)?;
        load.run(count, &mut |number, _, out| request::put(keys.key(number), &value, out))
    })
}
