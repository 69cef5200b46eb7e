//! One invocation of a command: its flags, its arguments, and the way to a cluster.
use std::time::Duration;

use bytes::Bytes;
use client::Client;

use crate::failure::{Failure, code};
use crate::flag::Flags;
use crate::global::Global;
use crate::print::{Answer, Style};

/// What a command is given.
pub struct Call {
    pub flags: Flags,
    pub args: Vec<Bytes>,
    /// The whole command line, for those who look for `--` in it.
    pub line: Vec<Bytes>,
}

/// A connected command.
pub struct Session {
    pub client: Client,
    pub style: Style,
    pub command_timeout: Duration,
}

impl Call {
    /// An argument as text; empty if there is none.
    pub fn text(&self, at: usize) -> String {
        self.args.get(at).map_or_else(String::new, |arg| String::from_utf8_lossy(arg).into_owned())
    }

    /// Connects; unary calls get `--command-timeout`.
    pub async fn session(&mut self) -> Result<Session, Failure> {
        self.session_as("etcd-client", false).await
    }

    pub async fn session_as(&mut self, logger: &'static str, is_watch: bool) -> Result<Session, Failure> {
        let global = Global::resolve(&mut self.flags, logger, is_watch)?;
        let client =
            Client::connect(global.options).await.map_err(|error| Failure::new(code::CONNECTION, error))?;
        let timeout = global.command_timeout;
        Ok(Session {
            client: client.with_timeout(Some(timeout)),
            style: global.style,
            command_timeout: timeout,
        })
    }
}

impl Session {
    pub fn show(&self, answer: &Answer<'_>) -> Result<(), Failure> {
        self.style.show(answer)
    }
}
