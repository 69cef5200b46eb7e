//! Simple tokens: what Authenticate handed out, kept where the clock is, prolonged on use.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use crate::applied::Applied;
use crate::member::Who;

/// Letters in the random part of a token.
const PREFIX_LETTERS: usize = 16;
/// Longest wait for the entry that made a token.
const WAIT: Duration = Duration::from_secs(7);

struct Token {
    user: String,
    expires: Instant,
}

/// The table of simple tokens.
pub struct Simple {
    table: Mutex<HashMap<String, Token>>,
    ttl: Duration,
}

impl Simple {
    /// Tokens that live for `ttl` after their last use.
    pub fn new(ttl: Duration) -> Simple {
        Simple { table: Mutex::default(), ttl }
    }

    /// A user authenticated.
    pub fn grant(&self, user: &str, token: &str) {
        if token.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut table = self.table.lock();
        table.retain(|_, t| t.expires > now);
        table.insert(token.to_owned(), Token { user: user.to_owned(), expires: now + self.ttl });
    }

    /// All tokens of this user are void.
    pub fn forget_user(&self, user: &str) {
        self.table.lock().retain(|_, t| t.user != user);
    }

    /// All tokens are void.
    pub fn forget_all(&self) {
        self.table.lock().clear();
    }

    /// Whose token this is. Waits until the entry that made it (its suffix) is applied here.
    pub async fn resolve(&self, token: &str, applied: &Applied, auth_revision: u64) -> Option<Who> {
        let index: u64 = token.split_once('.')?.1.parse().ok()?;
        tokio::time::timeout(WAIT, applied.reach(index)).await.ok()?;
        let mut table = self.table.lock();
        let now = Instant::now();
        let found = table.get_mut(token).filter(|t| t.expires > now)?;
        found.expires = now + self.ttl;
        Some(Who { user: found.user.clone(), revision: auth_revision })
    }
}

/// The random part of a new token.
pub fn prefix() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rng = rand::rng();
    (0..PREFIX_LETTERS).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}
