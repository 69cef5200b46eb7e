//! Whether the request being served is all that its front loop has to do: one connection, one stream. Then the loop may
//! block, as nobody waits for it but the client that waits for this.

use std::cell::Cell;

thread_local! {
    static CONNECTIONS: Cell<usize> = const { Cell::new(0) };
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// A connection of this thread's loop.
pub struct Connection(());

impl Connection {
    /// Counts it until it is dropped.
    pub fn begin() -> Connection {
        CONNECTIONS.set(CONNECTIONS.get() + 1);
        Connection(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        CONNECTIONS.set(CONNECTIONS.get().saturating_sub(1));
    }
}

/// Does the work of a connection with `streams` open ones.
pub fn working<T>(streams: usize, work: impl FnOnce() -> T) -> T {
    ALONE.set(streams == 1 && CONNECTIONS.get() == 1);
    let done = work();
    ALONE.set(false);
    done
}

/// Connections of this thread's loop.
pub fn connections() -> usize {
    CONNECTIONS.get()
}

/// Nobody else is to be served here.
pub fn is_alone() -> bool {
    ALONE.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_stream_of_the_one_connection_is_alone() {
        let alone = |streams| working(streams, is_alone);
        assert!(!alone(1), "not served by a loop");
        let first = Connection::begin();
        assert!(alone(1) && !alone(2) && !is_alone());
        let second = Connection::begin();
        assert!(!alone(1));
        drop(first);
        assert!(alone(1));
        drop(second);
        assert!(!alone(1));
    }
}
