//! Messages as bytes. The id of an answer is the client's own, byte for byte.

use rmcp::model::{ErrorData, ServerResult};
use serde::Serialize;
use serde_json::value::RawValue;

/// An answer.
pub(super) fn answer(id: Option<&RawValue>, result: &Result<ServerResult, ErrorData>) -> Vec<u8> {
    let mut message = Vec::with_capacity(256);
    message.extend_from_slice(br#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        message.extend_from_slice(br#","id":"#);
        message.extend_from_slice(id.get().as_bytes());
    }
    let begun = message.len();
    let written = match result {
        Ok(result) => member(&mut message, br#","result":"#, result),
        Err(error) => member(&mut message, br#","error":"#, error),
    };
    if let Err(error) = written {
        // A value that has no JSON, such as a map with keys that are no strings.
        tracing::error!(%error, "the handler's result cannot be written");
        message.truncate(begun);
        message.extend_from_slice(br#","error":{"code":-32603,"message":"Internal error."}"#);
    }
    message.push(b'}');
    message
}

fn member(message: &mut Vec<u8>, name: &[u8], value: &impl Serialize) -> serde_json::Result<()> {
    message.extend_from_slice(name);
    serde_json::to_writer(message, value)
}

/// A request or notification of ours.
pub(super) fn message(message: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(message).inspect_err(|error| tracing::error!(%error, "a message cannot be written")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_clients_own() {
        let id = RawValue::from_string("123456789012345678901234567890".to_owned()).expect("valid");
        let result = Ok(ServerResult::empty(()));
        assert_eq!(answer(Some(&id), &result), br#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"result":{}}"#);
    }
}
