//! What the handler sends to its client, each message where it belongs, and what the client answers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rmcp::ServerHandler;
use rmcp::model::{
    ClientJsonRpcMessage, ErrorData, GetExtensions as _, JsonRpcError, JsonRpcRequest, RequestId, ServerJsonRpcMessage,
    ServerNotification, ServerRequest, ServerResult,
};
use rmcp::service::OriginatingRequestId;

use super::{Ongoing, Session};
use crate::mcp::hosted::line::Outlet;
use crate::mcp::hosted::stream::Stream;
use crate::mcp::hosted::{encode, outcome};

impl<S: ServerHandler> Session<S> {
    /// The client's answer to a request of ours. One that nobody waits for is ignored.
    pub(in super::super) fn answered(&self, message: ClientJsonRpcMessage) {
        let id = match &message {
            ClientJsonRpcMessage::Response(response) => Some(&response.id),
            ClientJsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        let Some(RequestId::String(name)) = id else { return };
        let Some((of, line, number)) = asked_by(name) else { return };
        if of != self.shared.replica.id() {
            return;
        }
        let line = {
            let mut state = self.lock();
            if state.lines != line || state.asked.remove(&number).is_none() {
                return;
            }
            state.line.clone()
        };
        let id = RequestId::Number(number);
        let message = match message {
            ClientJsonRpcMessage::Response(response) => ClientJsonRpcMessage::response(response.result, id),
            ClientJsonRpcMessage::Error(error) => ClientJsonRpcMessage::error(error.error, Some(id)),
            other => other,
        };
        if let Some(line) = line {
            line.push(message);
        }
    }

    /// A message of the handler, to where it belongs. It is in its place when this returns.
    fn route(&self, message: ServerJsonRpcMessage, line: u32) -> BoxFuture<'static, ()> {
        let sent = match message {
            ServerJsonRpcMessage::Response(response) => self.finish(&response.id, &Ok(response.result)),
            ServerJsonRpcMessage::Error(JsonRpcError { id: Some(id), error, .. }) => self.finish(&id, &Err(error)),
            ServerJsonRpcMessage::Error(_) => None,
            ServerJsonRpcMessage::Request(request) => self.ask(request, line),
            ServerJsonRpcMessage::Notification(notification) => {
                let mut notification = notification;
                let stream = self.stream_of(&mut notification.notification, line);
                encode::message(&ServerJsonRpcMessage::Notification(notification)).map(|text| (stream, text))
            }
        };
        match sent {
            Some((stream, text)) => stream.push(&text).boxed(),
            None => std::future::ready(()).boxed(),
        }
    }

    /// The handler has answered.
    pub(super) fn finish(
        &self,
        id: &RequestId,
        result: &Result<ServerResult, ErrorData>,
    ) -> Option<(Arc<Stream>, Vec<u8>)> {
        let RequestId::Number(number) = id else { return None };
        let mut ongoing = {
            let mut state = self.lock();
            state.last_call = Instant::now();
            let ongoing = state.calls.remove(number)?;
            // What it has asked and did not wait for.
            state.asked.retain(|_, stream| !Arc::ptr_eq(stream, &ongoing.stream));
            ongoing
        };
        if let Some(call) = &mut ongoing.call {
            call.finish(outcome(result));
        }
        ongoing.stream.finish(&encode::answer(Some(&ongoing.id), result));
        None
    }

    /// A request of the handler to the client. Its id must be told from those of other lines and other replicas.
    fn ask(&self, mut request: JsonRpcRequest<ServerRequest>, line: u32) -> Option<(Arc<Stream>, Vec<u8>)> {
        let RequestId::Number(number) = request.id else { return None };
        let origin = request.request.extensions().get::<OriginatingRequestId>().cloned();
        let stream = {
            let mut state = self.lock();
            let call = match origin {
                Some(OriginatingRequestId(RequestId::Number(call))) => state.calls.get(&call),
                _ => only(&state.calls),
            };
            let stream = Arc::clone(call.map_or(&self.beside, |call| &call.stream));
            state.asked.insert(number, Arc::clone(&stream));
            stream
        };
        request.id = RequestId::String(format!("{}:{line}:{number}", self.shared.replica.id()).into());
        encode::message(&ServerJsonRpcMessage::Request(request)).map(|text| (stream, text))
    }

    /// Where a notification belongs: what a call says of itself to the call, all else beside the calls.
    fn stream_of(&self, notification: &mut ServerNotification, line: u32) -> Arc<Stream> {
        let mut state = self.lock();
        let stream = match notification {
            ServerNotification::ProgressNotification(progress) => {
                let token = Some(&progress.params.progress_token);
                state.calls.values().find(|call| call.progress.as_ref() == token).map(|call| &call.stream)
            }
            // Nothing says which call it is about, but for where there is only one.
            ServerNotification::LoggingMessageNotification(_) | ServerNotification::CustomNotification(_) => {
                only(&state.calls).map(|call| &call.stream)
            }
            ServerNotification::CancelledNotification(cancelled) => {
                let asked = match cancelled.params.request_id {
                    Some(RequestId::Number(number)) => state.asked.remove(&number).map(|stream| (number, stream)),
                    _ => None,
                };
                if let Some((number, stream)) = asked {
                    let name = format!("{}:{line}:{number}", self.shared.replica.id());
                    cancelled.params.request_id = Some(RequestId::String(name.into()));
                    return stream;
                }
                None
            }
            _ => None,
        };
        Arc::clone(stream.unwrap_or(&self.beside))
    }
}

/// Replica, line and number of a request of ours.
pub(in super::super) fn asked_by(name: &str) -> Option<(&str, u32, i64)> {
    let mut parts = name.split(':');
    let found = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(found)
}

fn only(calls: &HashMap<i64, Ongoing>) -> Option<&Ongoing> {
    let mut calls = calls.values();
    calls.next().filter(|_| calls.next().is_none())
}

/// Messages of a session's line.
pub(super) struct ToSession<S: ServerHandler> {
    pub(super) session: Weak<Session<S>>,
    pub(super) line: u32,
}

impl<S: ServerHandler> Outlet for ToSession<S> {
    fn send(&self, message: ServerJsonRpcMessage) -> BoxFuture<'static, ()> {
        match self.session.upgrade() {
            Some(session) => session.route(message, self.line),
            None => std::future::ready(()).boxed(),
        }
    }
}
