//! The sockets: requests come in, replies and outputs go out. The protocol itself is the crates'.

use crate::bus::Bus;
use crate::complete;
use crate::engine;
use crate::history::History;
use crate::info;
use crate::interrupt::Interrupts;
use crate::kernel::{Kernel, Question};
use crate::place::Tools;
use crate::publish::{Publisher, pump};
use crate::runner::Runner;
use crate::trouble::{Result, Tell, Trouble};
use crate::whole;
use crate::workplace::Workplace;
use jupyter_protocol::{
    CommClose, CommInfoReply, ConnectionInfo, ExecuteReply, Header, InspectReply, InterruptReply,
    IoPubWelcome, JupyterMessage, JupyterMessageContent as Content, ReplyStatus, ShutdownReply,
    Status,
};
use jupyter_zmq_client::{self as zmq, Connection, RawMessage, SubscriptionEvent};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use zeromq::{SocketRecv, SocketSend};

type Messages = mpsc::UnboundedSender<JupyterMessage>;

/// Be the kernel of this connection file, until it is shut down or its parent is gone.
///
/// Errors: the file cannot be read, Rust is missing, or a socket cannot be bound.
pub fn run(file: &str) -> Result<()> {
    let fault = |text: String| {
        Trouble::new(text, file, "Jupyter writes this file and starts the kernel with it")
    };
    let text = std::fs::read_to_string(file).map_err(|e| fault(e.to_string()))?;
    let connection: ConnectionInfo =
        serde_json::from_str(&text).map_err(|e| fault(e.to_string()))?;
    let tools = Tools::find()?;
    let place = Workplace::claim(tools.prepared())?;
    place.announce(&tools);
    // SAFETY: an interrupt comes as a message; Ctrl-C in the terminal of the server is not for us.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|e| fault(e.to_string()))?;
    let outcome = runtime.block_on(serve(connection, place.clone(), tools));
    place.remove();
    outcome.map_err(|e| fault(e.to_string()))?;
    std::process::exit(0) // the guard dies with us, and the evaluator with the guard
}

/// What requests that need no evaluation are answered from.
#[derive(Clone)]
struct Desk {
    shell: Messages,
    publisher: Publisher,
    history: Arc<Mutex<History>>,
    interrupts: Interrupts,
    rust: String,
}

async fn serve(
    connection: ConnectionInfo,
    place: Workplace,
    tools: Tools,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let session = uuid::Uuid::new_v4().to_string();
    let mut heartbeat = zmq::create_kernel_heartbeat_connection(&connection).await?;
    let (shell_out, shell_in) =
        zmq::create_kernel_shell_connection(&connection, &session).await?.split();
    let control = zmq::create_kernel_control_connection(&connection, &session).await?;
    let stdin = zmq::create_kernel_stdin_connection(&connection, &session).await?;
    let iopub = zmq::create_kernel_iopub_xpub_connection(&connection, &session).await?;
    tokio::spawn(async move { while heartbeat.single_heartbeat().await.is_ok() {} });
    let (all, outputs) = mpsc::unbounded_channel();
    tokio::spawn(publish(iopub, outputs));
    let (shell, replies) = mpsc::unbounded_channel();
    tokio::spawn(send_all(shell_out, replies));
    let (questions, asked) = mpsc::unbounded_channel();
    tokio::spawn(ask(stdin, asked));

    let publisher = Publisher::new(all);
    let (said, heard) = mpsc::unbounded_channel();
    let (rest, events) = mpsc::unbounded_channel();
    tokio::spawn(pump(publisher.clone(), heard, rest));
    let bus = Bus::open(&place.socket(), said)?;
    let (started_at, started) = watch::channel(None);
    let rust = tools.version.split_whitespace().nth(1).unwrap_or_default().to_string();
    let own = publisher.clone();
    let tell: Tell = Arc::new(move |text: &str| own.stderr(text));
    let jobs = engine::start(place, tools, tell.clone(), started_at);
    let (history, interrupts) = (Arc::<Mutex<History>>::default(), Interrupts::default());
    let desk = Desk {
        shell,
        publisher: publisher.clone(),
        history: history.clone(),
        interrupts: interrupts.clone(),
        rust,
    };
    let kernel = Kernel {
        runner: Runner { bus: bus.clone(), jobs, events, interrupts, sign: true },
        publisher,
        questions,
        history,
        started,
        count: 0,
        pages: Vec::new(),
    };
    desk.publisher.send(Status::starting().into());
    let (queue, queued) = mpsc::unbounded_channel();
    tokio::spawn(read_shell(shell_in, desk.clone(), queue));
    tokio::spawn(work(kernel, desk.clone(), queued));
    steer(control, desk, bus, tell).await
}

/// The next message with a right signature. Messages that cannot be read are refused in a line of the server's log.
async fn read<S: SocketRecv>(connection: &mut Connection<S>) -> Option<JupyterMessage> {
    let raw = match connection.socket.recv().await {
        Ok(raw) => raw,
        Err(error) => {
            eprintln!("error: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        }
    };
    let message = RawMessage::from_multipart(raw, &connection.mac)
        .map_err(|e| e.to_string())
        .and_then(understand);
    message.map_err(|error| eprintln!("error: a message is refused: {error}")).ok()
}

/// The parts of a message. The crate's own reading drops a history request without its optional fields.
fn understand(raw: RawMessage) -> std::result::Result<JupyterMessage, String> {
    let part =
        |i: usize| serde_json::from_slice::<Value>(&raw.jparts[i]).map_err(|e| e.to_string());
    let header: Header = serde_json::from_value(part(0)?).map_err(|e| e.to_string())?;
    let mut content = part(3)?;
    if header.msg_type == "history_request" {
        complete_history(&mut content);
    }
    let content =
        Content::from_type_and_content(&header.msg_type, content).map_err(|e| e.to_string())?;
    let (parent_header, metadata) = (serde_json::from_value(part(1)?).ok(), part(2)?);
    let buffers = raw.jparts[4..].to_vec();
    let zmq_identities = raw.zmq_identities;
    Ok(JupyterMessage {
        zmq_identities,
        header,
        parent_header,
        metadata,
        content,
        buffers,
        channel: None,
    })
}

/// Fields that the protocol leaves optional.
fn complete_history(content: &mut Value) {
    let defaults = json!({ "unique": false, "n": 0, "output": false, "raw": true, "start": 0, "stop": 0, "pattern": "*" });
    let (Some(content), Some(defaults)) = (content.as_object_mut(), defaults.as_object()) else {
        return;
    };
    for (name, value) in defaults {
        if content.get(name).is_none_or(Value::is_null) {
            content.insert(name.clone(), value.clone());
        }
    }
}

async fn publish(
    mut iopub: zmq::KernelIoPubXPubConnection,
    mut outputs: mpsc::UnboundedReceiver<JupyterMessage>,
) {
    loop {
        let message = tokio::select! {
            message = outputs.recv() => message,
            event = iopub.recv_subscription() => match event {
                Ok(SubscriptionEvent::Subscribe(topic)) => Some(IoPubWelcome::new(topic).into()),
                _ => continue,
            },
        };
        let Some(message) = message else { return };
        if let Err(error) = iopub.send(message).await {
            eprintln!("error: an output is lost: {error}");
        }
    }
}

async fn send_all<S: SocketSend>(
    mut out: Connection<S>,
    mut replies: mpsc::UnboundedReceiver<JupyterMessage>,
) {
    while let Some(reply) = replies.recv().await {
        if let Err(error) = out.send(reply).await {
            eprintln!("error: a reply is lost: {error}");
        }
    }
}

async fn ask(
    mut stdin: zmq::KernelStdinConnection,
    mut questions: mpsc::UnboundedReceiver<Question>,
) {
    while let Some(Question { request, answer }) = questions.recv().await {
        if stdin.send(request).await.is_err() {
            continue;
        }
        if let Some(JupyterMessage { content: Content::InputReply(reply), .. }) =
            read(&mut stdin).await
        {
            let _ = answer.send(reply.value); // the cell may be gone
        }
    }
}

async fn read_shell(
    mut shell: Connection<zeromq::RouterRecvHalf>,
    desk: Desk,
    queue: mpsc::UnboundedSender<JupyterMessage>,
) {
    loop {
        if let Some(message) = read(&mut shell).await
            && !desk.answer(&message)
            && queue.send(message).is_err()
        {
            return;
        }
    }
}

/// Cells, completions and inspections, in the order they came.
async fn work(mut kernel: Kernel, desk: Desk, mut queue: mpsc::UnboundedReceiver<JupyterMessage>) {
    while let Some(message) = queue.recv().await {
        desk.publisher.send(Status::busy().as_child_of(&message));
        let reply = match &message.content {
            Content::ExecuteRequest(request) => kernel.execute(&message, request).await,
            Content::CompleteRequest(request) => {
                kernel.complete(request).await.as_child_of(&message)
            }
            Content::InspectRequest(request) => kernel.inspect(request).await.as_child_of(&message),
            _ => {
                desk.publisher.send(Status::idle().as_child_of(&message));
                continue;
            }
        };
        let stop = match (&message.content, &reply.content) {
            (Content::ExecuteRequest(request), Content::ExecuteReply(reply)) => {
                request.stop_on_error && matches!(reply.status, ReplyStatus::Error)
            }
            _ => false,
        };
        desk.reply(reply);
        desk.publisher.send(Status::idle().as_child_of(&message));
        if stop {
            desk.drop_cells(&mut queue);
        }
    }
}

impl Desk {
    fn reply(&self, message: JupyterMessage) {
        let _ = self.shell.send(message); // the sockets close last
    }

    /// Busy, the answer, idle.
    fn around(&self, message: &JupyterMessage, reply: Option<JupyterMessage>) {
        self.publisher.send(Status::busy().as_child_of(message));
        reply.into_iter().for_each(|reply| self.reply(reply));
        self.publisher.send(Status::idle().as_child_of(message));
    }

    /// Answer what needs no evaluation, also while a cell runs; false for the rest.
    fn answer(&self, message: &JupyterMessage) -> bool {
        let running = self.interrupts.is_running();
        let reply = match &message.content {
            Content::KernelInfoRequest(_) => info::reply(&self.rust).as_child_of(message),
            Content::IsCompleteRequest(request) => whole::reply(&request.code).as_child_of(message),
            Content::CommInfoRequest(_) => {
                let comms = Default::default();
                CommInfoReply { status: ReplyStatus::Ok, comms, error: None }.as_child_of(message)
            }
            Content::HistoryRequest(request) => {
                let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
                history.answer(request).as_child_of(message)
            }
            Content::CompleteRequest(request) if running => {
                complete::nothing(request.cursor_pos).as_child_of(message)
            }
            Content::InspectRequest(_) if running => InspectReply::default().as_child_of(message),
            Content::CommOpen(comm) => {
                let close = CommClose { comm_id: comm.comm_id.clone(), data: Default::default() };
                self.publisher.send(close.as_child_of(message));
                self.around(message, None);
                return true;
            }
            Content::CommMsg(_) | Content::CommClose(_) => {
                self.around(message, None);
                return true;
            }
            _ => return false,
        };
        self.around(message, Some(reply));
        true
    }

    /// After an error: the cells that wait are not run.
    fn drop_cells(&self, queue: &mut mpsc::UnboundedReceiver<JupyterMessage>) {
        while let Ok(message) = queue.try_recv() {
            if let Content::ExecuteRequest(_) = message.content {
                let user_expressions = Some(HashMap::new());
                let aborted = ExecuteReply {
                    status: ReplyStatus::Aborted,
                    user_expressions,
                    ..Default::default()
                };
                self.around(&message, Some(aborted.as_child_of(&message)));
            }
        }
    }
}

/// Interrupts and the end.
async fn steer(
    mut control: zmq::KernelControlConnection,
    desk: Desk,
    bus: Bus,
    tell: Tell,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    // SAFETY: asks for a number.
    let parent = unsafe { libc::getppid() };
    let mut ends = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut watch = tokio::time::interval(Duration::from_secs(1));
    loop {
        let message = tokio::select! {
            message = read(&mut control) => message,
            _ = ends.recv() => return Ok(()),
            // SAFETY: as above.
            _ = watch.tick() => match unsafe { libc::getppid() } == parent {
                true => None,
                false => return Ok(()),
            },
        };
        let Some(message) = message else { continue };
        desk.publisher.send(Status::busy().as_child_of(&message));
        match &message.content {
            Content::KernelInfoRequest(_) => {
                control.send(info::reply(&desk.rust).as_child_of(&message)).await?
            }
            Content::InterruptRequest(_) => {
                desk.interrupts.press(&bus, &tell);
                control.send(InterruptReply::new().as_child_of(&message)).await?;
            }
            Content::ShutdownRequest(request) => {
                let reply = ShutdownReply {
                    restart: request.restart,
                    status: ReplyStatus::Ok,
                    error: None,
                };
                control.send(reply.as_child_of(&message)).await?;
                desk.publisher.send(Status::idle().as_child_of(&message));
                tokio::time::sleep(Duration::from_millis(50)).await; // for the messages to leave
                return Ok(());
            }
            _ => {}
        }
        desk.publisher.send(Status::idle().as_child_of(&message));
    }
}
