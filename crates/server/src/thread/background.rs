//! Long work beside what clients wait for: hashes of the whole store, snapshots for clients. The kernel gives its
//! threads what others leave, lest a put waits for a processor until one of them has used up its time slice.

use tokio::runtime::{Builder, Runtime};

/// How much these threads yield to others: with 5 a busy one gets a third of what a busy front loop gets. Members ask each
/// other for hashes and do not wait for ever.
const NICE: i32 = 5;

/// Threads for long work, made on demand.
pub struct Background(Option<Runtime>);

impl Background {
    /// # Errors
    /// When the system refuses.
    pub fn new() -> std::io::Result<Background> {
        let yielding = || {
            // On Linux this is the thread's alone. Without it the work gets done, too.
            let _ = rustix::process::nice(NICE);
        };
        Builder::new_current_thread().on_thread_start(yielding).build().map(Some).map(Background)
    }

    /// Does `work` there, which may block; nothing when the member is going down.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.0.as_ref()?.spawn_blocking(work).await.ok()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Whoever lets go of it last may be a task, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
