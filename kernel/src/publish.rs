//! Events of the evaluator as Jupyter's messages below the running cell.

use jupyter_protocol::{
    ClearOutput, DisplayData, ErrorOutput, ExecuteResult, ExecutionCount, JupyterMessage, Media,
    ReplyError, StreamContent, Transient, UpdateDisplayData,
};
use paella_wire::Event;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

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
}

impl Publisher {
    pub fn new(all: UnboundedSender<JupyterMessage>) -> Self {
        Self { all, cell: Arc::default(), early: Arc::default() }
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
        match self.cell().as_ref() {
            Some(cell) => self.send(StreamContent::stderr(text).as_child_of(&cell.request)),
            None => *self.early() += text,
        }
    }

    pub fn error(&self, error: &ReplyError) {
        let ReplyError { ename, evalue, traceback } = error.clone();
        if let Some(cell) = self.cell().as_ref().filter(|cell| !cell.silent) {
            self.send(ErrorOutput { ename, evalue, traceback }.as_child_of(&cell.request));
        }
    }

    /// The value of the cell.
    pub fn result(&self, data: &paella_wire::Media) {
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
            Event::Stdout { text } => StreamContent::stdout(&text).as_child_of(request),
            Event::Stderr { text } => StreamContent::stderr(&text).as_child_of(request),
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

/// Show the events that a cell shows and pass on the others, until the bus is closed.
pub async fn pump(
    publisher: Publisher,
    mut events: UnboundedReceiver<Event>,
    rest: UnboundedSender<Event>,
) {
    while let Some(event) = events.recv().await {
        if let Some(event) = publisher.show(event)
            && rest.send(event).is_err()
        {
            return;
        }
    }
}

/// MIME types to content, as the protocol crate has it.
pub fn media(data: &paella_wire::Media) -> Media {
    serde_json::from_value(data.clone().into()).unwrap_or_default()
}
