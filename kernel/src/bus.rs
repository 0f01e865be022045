//! The line to the evaluator: requests go out, events come back, in order.

use crate::trouble::{Result, Trouble};
use paella_wire::{Event, Request, decode, encode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};

/// Time between two looks at whether the evaluator is there.
const LOOK: Duration = Duration::from_millis(100);

/// The kernel's end. After the evaluator's death it belongs to the next one.
#[derive(Clone, Default)]
pub struct Bus {
    writer: Arc<Mutex<Option<OwnedWriteHalf>>>,
    /// Process number of the evaluator; 0 if none runs.
    pid: Arc<AtomicI32>,
}

impl Bus {
    /// Listen at `path` and pass the evaluators' events on to `events`.
    ///
    /// Errors: the socket cannot be made.
    pub fn open(path: &Path, events: mpsc::UnboundedSender<Event>) -> Result<Self> {
        let listener = UnixListener::bind(path).map_err(|e| Trouble::file(&e, path))?;
        let bus = Self::default();
        let own = bus.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.serve(stream, &events).await;
            }
        });
        Ok(bus)
    }

    /// Serve one evaluator until it ends.
    async fn serve(&self, stream: UnixStream, events: &mpsc::UnboundedSender<Event>) {
        let (reader, writer) = stream.into_split();
        *self.writer.lock().await = Some(writer);
        let mut lines = BufReader::new(reader).lines();
        let mut ended = false;
        while let Ok(Some(line)) = lines.next_line().await {
            let event = decode(&line).unwrap_or_else(|text| Event::Refused { text });
            match &event {
                Event::Hello { pid } => self.pid.store(*pid, Ordering::SeqCst),
                Event::Exit { .. } => {
                    ended = true;
                    self.pid.store(0, Ordering::SeqCst);
                }
                _ => {}
            }
            if events.send(event).is_err() {
                return;
            }
            if ended {
                break; // a process that a cell has started may hold the socket open
            }
        }
        self.pid.store(0, Ordering::SeqCst);
        if !ended {
            let text = "its guard was killed".into();
            let _ = events.send(Event::Exit { text }); // a kernel that ends hears nothing any more
        }
    }

    /// Wait until the evaluator that is connected has ended. The next one may be there by then.
    pub async fn gone(&self) {
        let pid = self.pid.load(Ordering::SeqCst);
        while pid > 0 && self.pid.load(Ordering::SeqCst) == pid {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub fn is_connected(&self) -> bool {
        self.pid.load(Ordering::SeqCst) > 0
    }

    /// Returns false if no evaluator is connected.
    pub async fn send(&self, request: &Request) -> bool {
        let mut writer = self.writer.lock().await;
        match writer.as_mut() {
            Some(writer) => writer.write_all(encode(request).as_bytes()).await.is_ok(),
            None => false,
        }
    }

    /// Send the evaluator a signal: SIGINT asks it to stop after its step, SIGKILL ends it.
    pub fn signal(&self, signal: i32) {
        let pid = self.pid.load(Ordering::SeqCst);
        if pid > 0 {
            // SAFETY: the process is ours, and its guard still waits for it.
            unsafe { libc::kill(pid, signal) };
        }
    }
}
