//! Messages as they come in: read, checked, and completed where a front end leaves out what the protocol lets it.

use jupyter_protocol::{Header, JupyterMessage, JupyterMessageContent as Content};
use jupyter_zmq_client::{Connection, RawMessage};
use serde_json::{Value, json};
use std::time::Duration;
use zeromq::SocketRecv;

/// The next message with a right signature. Messages that cannot be read are refused in a line of the server's log.
pub async fn read<S: SocketRecv>(connection: &mut Connection<S>) -> Option<JupyterMessage> {
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

/// The parts of a message. The crate's own reading drops requests without their optional fields.
fn understand(raw: RawMessage) -> Result<JupyterMessage, String> {
    let part =
        |i: usize| serde_json::from_slice::<Value>(&raw.jparts[i]).map_err(|e| e.to_string());
    let header: Header = serde_json::from_value(part(0)?).map_err(|e| e.to_string())?;
    let mut content = part(3)?;
    complete(&header.msg_type, &mut content);
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

/// Fields that the protocol leaves optional, with their defaults.
fn complete(kind: &str, content: &mut Value) {
    let defaults = match kind {
        "history_request" => {
            json!({ "unique": false, "n": 0, "output": false, "raw": true, "start": 0, "stop": 0, "pattern": "*" })
        }
        "execute_request" => {
            json!({
                "silent": false, "store_history": true, "user_expressions": {},
                "allow_stdin": false, "stop_on_error": true
            })
        }
        _ => return,
    };
    let (Some(content), Some(defaults)) = (content.as_object_mut(), defaults.as_object()) else {
        return;
    };
    for (name, value) in defaults {
        if content.get(name).is_none_or(Value::is_null) {
            content.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let mut request = json!({ "code": "1", "silent": true, "user_expressions": null });
        complete("execute_request", &mut request);
        assert_eq!(
            request,
            json!({
                "code": "1", "silent": true, "store_history": true, "user_expressions": {},
                "allow_stdin": false, "stop_on_error": true
            })
        );
        let mut other = json!({});
        complete("comm_open", &mut other);
        assert_eq!(other, json!({}));
    }
}
