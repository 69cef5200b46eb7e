//! Watching: from written revisions to the responses of watch streams.
