//! `-w table`: box drawing, centred headings, cells to the right. Only for lists of members and endpoints.
use std::io::Write;

use super::{Answer, Printed, Trouble, hash_row, member_row, status_row};

const MEMBERS: [&str; 6] = ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
const HEALTH: [&str; 4] = ["ENDPOINT", "HEALTH", "TOOK", "ERROR"];
const HASHES: [&str; 3] = ["ENDPOINT", "HASH", "HASH REVISION"];
const STATUS: [&str; 16] = [
    "ENDPOINT",
    "ID",
    "VERSION",
    "STORAGE VERSION",
    "DB SIZE",
    "IN USE",
    "PERCENTAGE NOT IN USE",
    "QUOTA",
    "IS LEADER",
    "IS LEARNER",
    "RAFT TERM",
    "RAFT INDEX",
    "RAFT APPLIED INDEX",
    "ERRORS",
    "DOWNGRADE TARGET VERSION",
    "DOWNGRADE ENABLED",
];

pub fn write(answer: &Answer<'_>, out: &mut dyn Write) -> Printed {
    match answer {
        Answer::MemberList(answer) => draw(&MEMBERS, answer.members.iter().map(member_row).collect(), out),
        Answer::Status(all) => draw(&STATUS, all.iter().map(status_row).collect(), out),
        Answer::HashKv(all) => draw(&HASHES, all.iter().map(hash_row).collect(), out),
        Answer::Health(all) => {
            let row = |health: &super::Health| {
                vec![
                    health.endpoint.clone(),
                    health.error.is_empty().to_string(),
                    crate::golang::duration(health.took),
                    health.error.clone(),
                ]
            };
            draw(&HEALTH, all.iter().map(row).collect(), out)
        }
        _ => Err(Trouble::Unsupported),
    }
}

fn draw(headings: &[&str], rows: Vec<Vec<String>>, out: &mut dyn Write) -> Printed {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| rows.iter().map(|row| width(&row[column])).fold(width(heading), usize::max))
        .collect();
    let rule = |left: char, middle: &str, right: char| {
        let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}", bars.join(middle))
    };
    let line = |cells: Vec<String>| format!("│ {} │", cells.join(" │ "));
    writeln!(out, "{}", rule('┌', "┬", '┐'))?;
    writeln!(
        out,
        "{}",
        line(headings.iter().zip(&widths).map(|(text, width)| format!("{text:^width$}")).collect())
    )?;
    if !rows.is_empty() {
        writeln!(out, "{}", rule('├', "┼", '┤'))?;
    }
    for row in &rows {
        writeln!(
            out,
            "{}",
            line(row.iter().zip(&widths).map(|(text, width)| format!("{text:>width$}")).collect())
        )?;
    }
    writeln!(out, "{}", rule('└', "┴", '┘'))?;
    Ok(())
}
