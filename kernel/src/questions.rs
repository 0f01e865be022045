//! Questions to the person, on the socket for standard input. An answer that comes too late goes nowhere.

use crate::messages::read;
use jupyter_protocol::{JupyterMessage, JupyterMessageContent as Content};
use jupyter_zmq_client::KernelStdinConnection;
use tokio::sync::{mpsc, oneshot};

/// A question, with the channel for its answer. Whoever drops the other end has given it up.
pub struct Question {
    pub request: JupyterMessage,
    pub answer: oneshot::Sender<String>,
}

/// Ask one question after the other.
pub async fn ask(
    mut stdin: KernelStdinConnection,
    mut questions: mpsc::UnboundedReceiver<Question>,
) {
    loop {
        let question = tokio::select! {
            biased;
            _ = read(&mut stdin) => continue, // its question is over
            question = questions.recv() => question,
        };
        let Some(Question { request, mut answer }) = question else { return };
        let id = request.header.msg_id.clone();
        if stdin.send(request).await.is_err() {
            continue;
        }
        loop {
            let message = tokio::select! {
                () = answer.closed() => break,
                message = read(&mut stdin) => message,
            };
            if let Some(text) = message.and_then(|message| answer_to(&id, message)) {
                let _ = answer.send(text); // the cell may be gone
                break;
            }
        }
    }
}

/// The text of an answer; `None` if it names another question.
fn answer_to(id: &str, message: JupyterMessage) -> Option<String> {
    let other = message.parent_header.as_ref().is_some_and(|parent| {
        parent.msg_type == "input_request" && parent.msg_id != id // some front ends name the cell
    });
    match message.content {
        Content::InputReply(reply) if !other => Some(reply.value),
        _ => None,
    }
}
