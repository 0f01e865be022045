//! Waits for what a thread of the stream sends, and looks every tenth of a second whether the work is asked to stop.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::Error;

/// Whether the work that waits for data is asked to stop. None: nobody asks.
pub type StopAsked = Option<fn() -> bool>;

/// Time between two looks.
const TICK: Duration = Duration::from_millis(100);

/// What came of waiting.
#[derive(Debug, PartialEq)]
pub enum Waited<T> {
    Got(T),
    /// Nothing came within the limit.
    Late,
    /// The work was asked to stop meanwhile.
    Stopped,
    /// The thread is gone.
    Broken,
}

/// Waits for the next value, up to `limit`. What is there is taken, even by a work that is asked to stop.
pub fn wait<T>(channel: &Receiver<T>, limit: Duration, asked: StopAsked) -> Waited<T> {
    let start = Instant::now();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match channel.recv_timeout(left.min(TICK)) {
            Ok(value) => return Waited::Got(value),
            Err(RecvTimeoutError::Disconnected) => return Waited::Broken,
            Err(RecvTimeoutError::Timeout) if asked.is_some_and(|asked| asked()) => {
                return Waited::Stopped;
            }
            Err(RecvTimeoutError::Timeout) if start.elapsed() >= limit => return Waited::Late,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// The error of a work that was asked to stop while it waited for data.
pub fn stopped() -> Error {
    let hint = "go on from the last checkpoint with `--resume auto`";
    Error::data("stopped while waiting for data", "`data.stream.shards`", hint)
}

/// The error of a thread that is gone.
pub fn broken() -> Error {
    Error::data("a thread of the stream broke", "", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_request_to_stop_ends_the_wait_long_before_its_limit() {
        let (sender, receiver) = sync_channel(1);
        let (start, hour) = (Instant::now(), Duration::from_secs(3600));
        sender.send(1).expect("sent");
        assert_eq!(wait(&receiver, hour, Some(|| true)), Waited::Got(1));
        assert_eq!(wait(&receiver, hour, Some(|| true)), Waited::Stopped);
        assert_eq!(wait(&receiver, Duration::from_millis(150), Some(|| false)), Waited::Late);
        assert_eq!(wait(&receiver, Duration::ZERO, None), Waited::Late);
        assert!(start.elapsed() < Duration::from_secs(5));
        drop(sender);
        assert_eq!(wait(&receiver, hour, None), Waited::Broken);
    }
}
