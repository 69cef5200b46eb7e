//! Asking for passwords on the terminal.
use std::io::{BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Shows `question` and reads one line, without echo if stdin is a terminal.
pub fn password(question: &str) -> Result<String, Failure> {
    print!("{question}");
    std::io::stdout().flush()?;
    let stdin = std::io::stdin();
    let before = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
    if let Some(mut silent) = before.clone() {
        silent.local_modes -= LocalModes::ECHO;
        // A terminal that keeps its echo still takes the password.
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
    }
    let answer = line();
    if let Some(before) = before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
    }
    // The end of the answer was not echoed.
    println!();
    answer
}

/// One line of stdin without its end; empty at the end of input.
fn line() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
