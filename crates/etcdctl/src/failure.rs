//! Why a command ends with a code other than 0.
use std::fmt;

/// Exit codes of etcdctl.
pub mod code {
    pub const GENERAL: i32 = 1;
    pub const CONNECTION: i32 = 2;
    pub const BAD_INPUT: i32 = 3;
    pub const BAD_FEATURE: i32 = 4;
    pub const INTERRUPTED: i32 = 5;
    pub const BAD_ARGS: i32 = 128;
}

/// An exit code and what stands behind `Error: ` on stderr, if anything.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: i32,
    pub text: Option<String>,
}

impl Failure {
    pub fn new(code: i32, text: impl fmt::Display) -> Failure {
        Failure { code, text: Some(text.to_string()) }
    }

    /// Wrong use of a command.
    pub fn args(text: impl fmt::Display) -> Failure {
        Failure::new(code::BAD_ARGS, text)
    }

    /// Everything was said already.
    pub fn silent(code: i32) -> Failure {
        Failure { code, text: None }
    }

    /// The same failure with another exit code.
    pub fn with_code(self, code: i32) -> Failure {
        Failure { code, ..self }
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        Failure::new(code::GENERAL, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(code::GENERAL, error)
    }
}
