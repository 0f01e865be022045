//! The sockets: requests come in, replies and outputs go out. The protocol itself is the crates'.

use crate::bus::Bus;
use crate::complete;
use crate::engine;
use crate::history::History;
use crate::info;
use crate::interrupt::Interrupts;
use crate::kernel::Kernel;
use crate::messages::read;
use crate::place::Tools;
use crate::publish::{Bar, Publisher, pump};
use crate::questions::ask;
use crate::runner::CellRunner;
use crate::tell::{Notice, Tell};
use crate::trouble::{Result, Trouble};
use crate::whole;
use crate::workplace::Workplace;
use jupyter_protocol::{
    CommClose, CommInfoReply, ConnectionInfo, ExecuteReply, InspectReply, InterruptReply,
    IoPubWelcome, JupyterMessage, JupyterMessageContent as Content, ReplyStatus, ShutdownReply,
    Status,
};
use jupyter_zmq_client::{self as zmq, Connection, SubscriptionEvent};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use zeromq::SocketSend;

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
struct Answers {
    shell: Messages,
    publisher: Publisher,
    history: Arc<Mutex<History>>,
    interrupts: Interrupts,
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
    let bar = Mutex::new(Bar::new(publisher.clone()));
    let own = publisher.clone();
    let tell: Tell = Arc::new(move |said: Notice<'_>| match said {
        Notice::Text(text) => own.stderr(text),
        Notice::Bar { done, total, text } => {
            bar.lock().unwrap_or_else(PoisonError::into_inner).put(done, total, text)
        }
    });
    let jobs = engine::start(place, tools, tell.clone(), started_at);
    let (history, interrupts) = (Arc::<Mutex<History>>::default(), Interrupts::default());
    let answers = Answers {
        shell,
        publisher: publisher.clone(),
        history: history.clone(),
        interrupts: interrupts.clone(),
    };
    let kernel = Kernel {
        runner: CellRunner::new(bus.clone(), jobs, events, interrupts, true),
        publisher,
        questions,
        history,
        started,
        count: 0,
        pages: Vec::new(),
        awaited: false,
        broken: false,
    };
    answers.publisher.send(Status::starting().into());
    let (queue, queued) = mpsc::unbounded_channel();
    tokio::spawn(read_shell(shell_in, answers.clone(), queue));
    tokio::spawn(work(kernel, answers.clone(), queued));
    steer(control, answers, bus, tell).await
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

async fn read_shell(
    mut shell: Connection<zeromq::RouterRecvHalf>,
    answers: Answers,
    queue: mpsc::UnboundedSender<JupyterMessage>,
) {
    loop {
        if let Some(message) = read(&mut shell).await
            && !answers.answer(&message, answers.interrupts.is_running())
            && queue.send(message).is_err()
        {
            return;
        }
    }
}

/// Cells, completions and inspections, in the order they came.
async fn work(
    mut kernel: Kernel,
    answers: Answers,
    mut queue: mpsc::UnboundedReceiver<JupyterMessage>,
) {
    loop {
        let message = tokio::select! {
            message = queue.recv() => message,
            () = kernel.runner.watch() => {
                kernel.restart().await;
                continue;
            }
        };
        let Some(message) = message else { return };
        answers.publisher.send(Status::busy().as_child_of(&message));
        let reply = match &message.content {
            Content::ExecuteRequest(request) => kernel.execute(&message, request).await,
            Content::CompleteRequest(request) => {
                kernel.complete(request).await.as_child_of(&message)
            }
            Content::InspectRequest(request) => kernel.inspect(request).await.as_child_of(&message),
            _ => {
                answers.publisher.send(Status::idle().as_child_of(&message));
                continue;
            }
        };
        let stop = match (&message.content, &reply.content) {
            (Content::ExecuteRequest(request), Content::ExecuteReply(reply)) => {
                request.stop_on_error && matches!(reply.status, ReplyStatus::Error)
            }
            _ => false,
        };
        answers.reply(reply);
        answers.publisher.send(Status::idle().as_child_of(&message));
        if stop {
            answers.drop_cells(&mut queue);
        }
    }
}

impl Answers {
    fn reply(&self, message: JupyterMessage) {
        let _ = self.shell.send(message); // the sockets close last
    }

    /// Busy, the answer, idle.
    fn around(&self, message: &JupyterMessage, reply: Option<JupyterMessage>) {
        self.publisher.send(Status::busy().as_child_of(message));
        reply.into_iter().for_each(|reply| self.reply(reply));
        self.publisher.send(Status::idle().as_child_of(message));
    }

    /// Answer what needs no evaluation, also while a cell is `running`; false for the rest.
    fn answer(&self, message: &JupyterMessage, running: bool) -> bool {
        let reply = match &message.content {
            Content::KernelInfoRequest(_) => info::reply().as_child_of(message),
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
            } else {
                self.answer(&message, true); // completions and the like: nothing is found
            }
        }
    }
}

/// Interrupts and the end.
async fn steer(
    mut control: zmq::KernelControlConnection,
    answers: Answers,
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
        answers.publisher.send(Status::busy().as_child_of(&message));
        match &message.content {
            Content::KernelInfoRequest(_) => {
                control.send(info::reply().as_child_of(&message)).await?
            }
            Content::InterruptRequest(_) => {
                answers.interrupts.press(&bus, &tell);
                control.send(InterruptReply::new().as_child_of(&message)).await?;
            }
            Content::ShutdownRequest(request) => {
                let reply = ShutdownReply {
                    restart: request.restart,
                    status: ReplyStatus::Ok,
                    error: None,
                };
                control.send(reply.as_child_of(&message)).await?;
                answers.publisher.send(Status::idle().as_child_of(&message));
                tokio::time::sleep(Duration::from_millis(50)).await; // for the messages to leave
                return Ok(());
            }
            _ => {}
        }
        answers.publisher.send(Status::idle().as_child_of(&message));
    }
}
