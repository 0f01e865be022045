//! What the person hears while the kernel is at work: lines, and a bar that is drawn over.

use std::sync::Arc;

/// One thing to say.
pub enum Notice<'a> {
    /// Lines with their ends.
    Text(&'a str),
    /// How far the work is. It takes the place of the bar before.
    Bar { done: u64, total: Option<u64>, text: &'a str },
}

/// Hears what the person should know.
pub type Tell = Arc<dyn Fn(Notice<'_>) + Send + Sync>;
