//! The same work on many items, shared out among threads.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{available_parallelism, scope};

/// Processors that this process may use.
pub(super) fn processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

/// `make` of every item, in their order, by this many threads.
pub(super) fn side_by_side<T: Sync, U: Send>(
    items: &[T],
    threads: usize,
    make: impl Fn(&T) -> U + Sync,
) -> Vec<U> {
    if threads <= 1 {
        return items.iter().map(make).collect();
    }
    let made = |part: &[T]| part.iter().map(&make).collect::<Vec<U>>();
    let share = items.len().div_ceil(threads).max(1);
    scope(|scope| {
        let started: Vec<_> = items.chunks(share).map(|part| scope.spawn(|| made(part))).collect();
        let joined = started.into_iter().map(|part| part.join());
        joined.flat_map(|part| part.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}
