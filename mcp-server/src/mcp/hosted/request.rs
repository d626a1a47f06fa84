//! The typed request or notification of a message. The envelope knows the method, so that the parameters are read once and
//! into one type; rmcp's own reading tries every type in turn, which costs more than the rest of a call.

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, ClientJsonRpcMessage, ClientNotification, ClientRequest, ConstString, CustomNotification,
    CustomRequest, Extensions, GetMeta as _, JsonObject, MetaObject, Request, RequestId, RequestMetaObject,
    RequestNoParam, RequestOptionalParam,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::mcp::envelope::Envelope;

/// A request, and its `_meta`.
pub(super) struct Typed {
    pub(super) request: ClientRequest,
    pub(super) meta: RequestMetaObject,
}

/// The parameters do not fit the method.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit;

/// Reads a request.
pub(super) fn request(envelope: &Envelope) -> Result<Typed, Unfit> {
    let mut params = params(&envelope.bytes)?;
    let meta = match params.as_mut().and_then(|params| params.remove("_meta")) {
        Some(Value::Object(meta)) => RequestMetaObject(MetaObject(meta)),
        Some(_) => return Err(Unfit),
        None => RequestMetaObject::default(),
    };
    Ok(Typed { request: of(envelope.method(), params)?, meta })
}

fn of(method: &str, params: Option<JsonObject>) -> Result<ClientRequest, Unfit> {
    Ok(match method {
        "tools/call" => ClientRequest::CallToolRequest(Request::new(call(params)?)),
        "tools/list" => ClientRequest::ListToolsRequest(optional(params)?),
        "resources/list" => ClientRequest::ListResourcesRequest(optional(params)?),
        "resources/templates/list" => ClientRequest::ListResourceTemplatesRequest(optional(params)?),
        "resources/read" => ClientRequest::ReadResourceRequest(required(params)?),
        "resources/subscribe" => ClientRequest::SubscribeRequest(required(params)?),
        "resources/unsubscribe" => ClientRequest::UnsubscribeRequest(required(params)?),
        "prompts/list" => ClientRequest::ListPromptsRequest(optional(params)?),
        "prompts/get" => ClientRequest::GetPromptRequest(required(params)?),
        "completion/complete" => ClientRequest::CompleteRequest(required(params)?),
        "logging/setLevel" => ClientRequest::SetLevelRequest(required(params)?),
        "ping" => ClientRequest::PingRequest(RequestNoParam::default()),
        "initialize" => ClientRequest::InitializeRequest(required(params)?),
        "server/discover" => ClientRequest::DiscoverRequest(required(Some(params.unwrap_or_default()))?),
        "subscriptions/listen" => ClientRequest::SubscriptionsListenRequest(required(params)?),
        "tasks/get" => ClientRequest::GetTaskRequest(required(params)?),
        "tasks/update" => ClientRequest::UpdateTaskRequest(required(params)?),
        "tasks/cancel" => ClientRequest::CancelTaskRequest(required(params)?),
        "skills/list" => ClientRequest::ListSkillsRequest(optional(params)?),
        "skills/get" => ClientRequest::GetSkillRequest(required(params)?),
        "resources/directory/read" => ClientRequest::ReadResourceDirectoryRequest(required(params)?),
        other => ClientRequest::CustomRequest(CustomRequest::new(other, params.map(Value::Object))),
    })
}

/// The common case without a detour by way of a value: a name and arguments.
fn call(params: Option<JsonObject>) -> Result<CallToolRequestParams, Unfit> {
    let mut params = params.ok_or(Unfit)?;
    if params.keys().any(|key| !matches!(key.as_str(), "name" | "arguments")) {
        return read(params);
    }
    let Some(Value::String(name)) = params.remove("name") else { return Err(Unfit) };
    let call = CallToolRequestParams::new(name);
    match params.remove("arguments") {
        Some(Value::Object(arguments)) => Ok(call.with_arguments(arguments)),
        None | Some(Value::Null) => Ok(call),
        Some(_) => Err(Unfit),
    }
}

fn required<M: ConstString + Default, P: DeserializeOwned>(params: Option<JsonObject>) -> Result<Request<M, P>, Unfit> {
    Ok(Request::new(read(params.ok_or(Unfit)?)?))
}

fn optional<M: ConstString + Default, P: DeserializeOwned>(
    params: Option<JsonObject>,
) -> Result<RequestOptionalParam<M, P>, Unfit> {
    let params = params.filter(|params| !params.is_empty()).map(read).transpose()?;
    Ok(RequestOptionalParam { method: M::default(), params, extensions: Extensions::default() })
}

fn read<P: DeserializeOwned>(params: JsonObject) -> Result<P, Unfit> {
    serde_json::from_value(Value::Object(params)).map_err(|_| Unfit)
}

fn params(bytes: &[u8]) -> Result<Option<JsonObject>, Unfit> {
    #[derive(Deserialize)]
    struct Message {
        params: Option<JsonObject>,
    }
    serde_json::from_slice::<Message>(bytes).map(|message| message.params).map_err(|_| Unfit)
}

/// As rmcp's loop takes it.
pub(super) fn message(typed: Typed, id: RequestId) -> ClientJsonRpcMessage {
    let Typed { mut request, meta } = typed;
    *request.get_meta_mut() = meta;
    ClientJsonRpcMessage::request(request, id)
}

/// Reads a notification. One that we do not know, or whose parameters do not fit, is the handler's to look at.
pub(super) fn notification(envelope: &Envelope) -> ClientNotification {
    serde_json::from_slice(&envelope.bytes).unwrap_or_else(|_| {
        let params = params(&envelope.bytes).ok().flatten().map(Value::Object);
        ClientNotification::CustomNotification(CustomNotification::new(envelope.method(), params))
    })
}

/// The id in rmcp's form. Integers that do not fit become text; what goes back to the client is written from the bytes.
pub(super) fn id(raw: &RawValue) -> RequestId {
    let text = raw.get();
    match (text.parse::<i64>(), serde_json::from_str::<String>(text)) {
        (Ok(number), _) => RequestId::Number(number),
        (Err(_), Ok(string)) => RequestId::String(string.into()),
        (Err(_), Err(_)) => RequestId::String(Arc::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::mcp::envelope::Kind;

    fn envelope(method: &str, message: &Value) -> Envelope {
        Envelope {
            bytes: Bytes::from(message.to_string()),
            method: Some(method.to_owned()),
            ..Envelope::new(Kind::Request)
        }
    }

    fn typed(method: &str, params: &Value) -> Result<Typed, Unfit> {
        request(&envelope(method, &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})))
    }

    #[test]
    fn a_call_is_read_as_rmcp_reads_it() {
        let params = json!({"name": "echo", "arguments": {"text": "x"}, "_meta": {"progressToken": "p"}});
        let Typed { request, meta } = typed("tools/call", &params).expect("fits");
        let ClientRequest::CallToolRequest(call) = request else { panic!("a call") };
        assert_eq!((&*call.params.name, call.params.arguments.expect("some")["text"].as_str()), ("echo", Some("x")));
        assert_eq!(meta.0.0["progressToken"], "p");
        let again = json!({"name": "echo", "requestState": "s", "inputResponses": {}});
        let ClientRequest::CallToolRequest(call) = typed("tools/call", &again).expect("fits").request else {
            panic!("a call")
        };
        assert_eq!(call.params.request_state.as_deref(), Some("s"));
    }

    #[test]
    fn parameters_that_do_not_fit_are_told_from_methods_that_do_not_exist() {
        for (method, params) in [
            ("tools/call", json!({})),
            ("tools/call", json!({"name": 7})),
            ("tools/call", json!({"name": "echo", "arguments": [1]})),
            ("tools/list", json!({"cursor": 7})),
            ("resources/read", json!({"uri": 1})),
            ("prompts/get", Value::Null),
            ("initialize", json!({"protocolVersion": 7})),
            ("tools/list", json!({"_meta": 7})),
        ] {
            assert!(typed(method, &params).is_err(), "{method} {params}");
        }
        let unknown = typed("no/such", &json!({"a": 1})).expect("the handler's to refuse");
        assert!(matches!(unknown.request, ClientRequest::CustomRequest(_)));
        assert!(matches!(typed("tools/list", &json!({})).expect("fits").request, ClientRequest::ListToolsRequest(_)));
        assert!(typed("server/discover", &Value::Null).is_ok());
    }

    #[test]
    fn an_id_keeps_its_kind() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("valid");
        assert_eq!(id(&raw("7")), RequestId::Number(7));
        assert_eq!(id(&raw("\"7\"")), RequestId::String("7".into()));
        assert_eq!(
            id(&raw("123456789012345678901234567890")),
            RequestId::String("123456789012345678901234567890".into())
        );
    }
}
