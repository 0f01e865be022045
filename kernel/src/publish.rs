//! Events of the evaluator as Jupyter's messages below the running cell.

use jupyter_protocol::{
    ClearOutput, DisplayData, ErrorOutput, ExecuteResult, ExecutionCount, JupyterMessage, Media,
    ReplyError, Stdio, StreamContent, Transient, UpdateDisplayData,
};
use paella_wire::Event;
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

/// Time between two messages of printed text. Text from in between waits, so that a page need not show every line alone.
const PAUSE: Duration = Duration::from_millis(200);

/// The cell that output belongs to: the running one, else the last one.
struct Cell {
    request: JupyterMessage,
    number: usize,
    silent: bool,
}

/// Sends to all front ends.
#[derive(Clone)]
pub struct Publisher {
    all: UnboundedSender<JupyterMessage>,
    cell: Arc<Mutex<Option<Cell>>>,
    /// Remarks from before the first cell, which shows them.
    early: Arc<Mutex<String>>,
    /// The value that is asked for in a reply; `None` while values go below their cells.
    held: Arc<Mutex<Option<paella_wire::Media>>>,
}

impl Publisher {
    pub fn new(all: UnboundedSender<JupyterMessage>) -> Self {
        Self { all, cell: Arc::default(), early: Arc::default(), held: Arc::default() }
    }

    pub fn send(&self, message: JupyterMessage) {
        let _ = self.all.send(message); // the sockets close last
    }

    /// Output belongs to this cell from now on.
    pub fn begin(&self, request: &JupyterMessage, number: usize, silent: bool) {
        *self.cell() = Some(Cell { request: request.clone(), number, silent });
        let early = std::mem::take(&mut *self.early());
        if !early.is_empty() {
            self.stderr(&early);
        }
    }

    fn early(&self) -> MutexGuard<'_, String> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self) -> MutexGuard<'_, Option<Cell>> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A remark below the cell.
    pub fn stderr(&self, text: &str) {
        let begun = self.cell().is_some();
        match begun {
            true => self.text(Stdio::Stderr, text),
            false => *self.early() += text,
        }
    }

    /// An answer of the kernel itself, as text.
    pub fn stdout(&self, text: &str) {
        self.text(Stdio::Stdout, text);
    }

    /// Text that the cell prints.
    fn text(&self, name: Stdio, text: &str) {
        if let Some(cell) = self.cell().as_ref() {
            let text = paella_wire::without_frames(text).into_owned();
            self.send(StreamContent { name, text }.as_child_of(&cell.request));
        }
    }

    pub fn error(&self, error: &ReplyError) {
        let ReplyError { ename, evalue, traceback } = error.clone();
        if let Some(cell) = self.cell().as_ref().filter(|cell| !cell.silent) {
            self.send(ErrorOutput { ename, evalue, traceback }.as_child_of(&cell.request));
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<paella_wire::Media>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keep the next values for a reply.
    pub fn hold(&self) {
        *self.held() = Some(paella_wire::Media::new());
    }

    /// The value that was kept, empty if none came. Values go below their cells again.
    pub fn release(&self) -> paella_wire::Media {
        self.held().take().unwrap_or_default()
    }

    /// The value of the cell.
    pub fn result(&self, data: &paella_wire::Media) {
        if let Some(held) = self.held().as_mut() {
            return *held = data.clone();
        }
        if let Some(cell) = self.cell().as_ref().filter(|cell| !cell.silent) {
            let execution_count = ExecutionCount(cell.number);
            let (metadata, transient) = (serde_json::Map::new(), Some(Transient::default()));
            let result = ExecuteResult { execution_count, data: media(data), metadata, transient };
            self.send(result.as_child_of(&cell.request));
        }
    }

    /// Show an event of the evaluator below the cell; one that shows nothing comes back.
    fn show(&self, event: Event) -> Option<Event> {
        if let Event::Result { data } = &event {
            self.result(data);
            return None;
        }
        let cell = self.cell();
        let Some(Cell { request, .. }) = cell.as_ref() else { return Some(event) };
        let metadata = serde_json::Map::new();
        let message = match event {
            Event::Display { id, data } => {
                let transient = id.map(|id| Transient { display_id: Some(id) });
                DisplayData { data: media(&data), metadata, transient }.as_child_of(request)
            }
            Event::Update { id, data } => {
                let transient = Transient { display_id: Some(id) };
                UpdateDisplayData { data: media(&data), metadata, transient }.as_child_of(request)
            }
            Event::Clear { wait } => ClearOutput { wait }.as_child_of(request),
            other => return Some(other),
        };
        self.send(message);
        None
    }
}

/// Printed text that waits for its message. The stream that began comes first.
struct Texts {
    streams: Vec<(Stdio, String)>,
    sent: Instant,
}

impl Texts {
    fn new() -> Self {
        Self { streams: Vec::new(), sent: Instant::now() }
    }

    fn add(&mut self, stream: Stdio, text: &str) {
        let is_same = |known: &Stdio| {
            matches!(
                (known, &stream),
                (Stdio::Stdout, Stdio::Stdout) | (Stdio::Stderr, Stdio::Stderr)
            )
        };
        match self.streams.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, waiting)) => waiting.push_str(text),
            None => self.streams.push((stream, text.into())),
        }
    }

    /// Wait until it is time to send; for ever if nothing waits.
    async fn due(&self) {
        match self.streams.is_empty() {
            true => std::future::pending().await,
            false => tokio::time::sleep_until(self.sent + PAUSE).await,
        }
    }

    fn send(&mut self, publisher: &Publisher) {
        for (stream, text) in self.streams.drain(..) {
            publisher.text(stream, &text);
            self.sent = Instant::now();
        }
    }
}

/// Show the events that a cell shows and pass on the others, until the bus is closed.
pub async fn pump(
    publisher: Publisher,
    mut events: UnboundedReceiver<Event>,
    rest: UnboundedSender<Event>,
) {
    let mut texts = Texts::new();
    loop {
        let event = tokio::select! {
            biased;
            () = texts.due() => {
                texts.send(&publisher);
                continue;
            }
            event = events.recv() => event,
        };
        match event {
            Some(Event::Stdout { text }) => texts.add(Stdio::Stdout, &text),
            Some(Event::Stderr { text }) => texts.add(Stdio::Stderr, &text),
            Some(event) => {
                texts.send(&publisher);
                if let Some(event) = publisher.show(event)
                    && rest.send(event).is_err()
                {
                    return;
                }
            }
            None => return texts.send(&publisher),
        }
    }
}

/// A bar below the cell, drawn over as the work goes on. It appears once a cell is there.
pub struct Bar {
    publisher: Publisher,
    id: String,
    shown: bool,
}

impl Bar {
    pub fn new(publisher: Publisher) -> Self {
        Self { publisher, id: uuid::Uuid::new_v4().to_string(), shown: false }
    }

    pub fn is_shown(&self) -> bool {
        self.shown
    }

    /// `text` says it in words.
    pub fn put(&mut self, done: u64, total: Option<u64>, text: &str) {
        let cell = self.publisher.cell();
        let Some(Cell { request, .. }) = cell.as_ref() else { return };
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        let html = match total {
            Some(total) => {
                format!("<progress max=\"{total}\" value=\"{done}\"></progress> {escaped}")
            }
            None => format!("<div style=\"opacity:.7\">{escaped}</div>"),
        };
        let data = json!({ "text/plain": text, "text/html": html });
        let data = serde_json::from_value(data).unwrap_or_default();
        let transient = Transient { display_id: Some(self.id.clone()) };
        let metadata = serde_json::Map::new();
        let message = match std::mem::replace(&mut self.shown, true) {
            true => UpdateDisplayData { data, metadata, transient }.as_child_of(request),
            false => {
                let transient = Some(transient);
                DisplayData { data, metadata, transient }.as_child_of(request)
            }
        };
        self.publisher.send(message);
    }
}

/// MIME types to content, as the protocol crate has it.
pub fn media(data: &paella_wire::Media) -> Media {
    serde_json::from_value(data.clone().into()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupyter_protocol::{ExecuteRequest, JupyterMessageContent as Content};
    use tokio::sync::mpsc::unbounded_channel;

    /// What `events` become as messages: name of the stream, or `other`, and text.
    async fn messages(events: Vec<Event>) -> Vec<(&'static str, String)> {
        let (all, mut sent) = unbounded_channel();
        let publisher = Publisher::new(all);
        publisher.begin(&ExecuteRequest::default().into(), 1, false);
        let (say, said) = unbounded_channel();
        let (rest, _others) = unbounded_channel();
        events.into_iter().for_each(|event| say.send(event).expect("the pump listens"));
        drop(say);
        pump(publisher, said, rest).await;
        let mut found = Vec::new();
        while let Ok(message) = sent.try_recv() {
            found.push(match message.content {
                Content::StreamContent(stream) => match stream.name {
                    Stdio::Stdout => ("out", stream.text),
                    Stdio::Stderr => ("err", stream.text),
                },
                _ => ("other", String::new()),
            });
        }
        found
    }

    #[tokio::test]
    async fn many_lines_are_few_messages_in_order() {
        let line = |i: usize| format!("{i}\n");
        let events = (0..50_000)
            .flat_map(|i| [Event::Stdout { text: line(i) }, Event::Stderr { text: line(i) }]);
        let found = messages(events.collect()).await;
        assert!(found.len() < 40, "{} messages", found.len());
        let all: String = (0..50_000).map(line).collect();
        for stream in ["out", "err"] {
            let own = found.iter().filter(|(name, _)| *name == stream);
            assert_eq!(own.map(|(_, text)| text.as_str()).collect::<String>(), all);
        }
    }

    #[tokio::test]
    async fn text_stays_before_what_was_shown_after_it() {
        let text = |text: &str| Event::Stdout { text: text.into() };
        let found = messages(vec![text("a"), text("b"), Event::Clear { wait: false }, text("c")]);
        let expected = [("out", "ab"), ("other", ""), ("out", "c")];
        assert_eq!(found.await, expected.map(|(name, text)| (name, text.to_string())));
    }
}
