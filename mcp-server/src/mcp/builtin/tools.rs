//! The built-in tools: for a first look, and to see what arrives at the other end of proxies and policies. Every input is
//! bounded, and one that is out of bounds is an error of the tool, which a model can read and mend (SEP-1303).

use std::sync::Arc;
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, ProgressNotificationParam, Tool, ToolAnnotations};
use rmcp::service::RequestContext;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::auth::Caller;

const MAX_TEXT: usize = 65_536;
const MAX_STEPS: u32 = 1_000;
const MAX_MILLIS: u64 = 3_600_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Echo {
    /// The text to return.
    #[schemars(length(max = 65_536))]
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct Echoed {
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    /// The first number.
    a: f64,
    /// The second number.
    b: f64,
}

#[derive(Serialize, JsonSchema)]
struct Sum {
    sum: f64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Progress {
    /// How many steps to report.
    #[schemars(range(min = 1, max = 1_000))]
    steps: u32,
    /// Milliseconds between two steps; one hour for all steps together.
    #[serde(default)]
    #[schemars(range(max = 3_600_000))]
    delay_ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct Steps {
    steps: u32,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhoAmI {}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Identity {
    /// No token was needed or shown.
    anonymous: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    scopes: Vec<String>,
    /// The host that answered: the pod's name in Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sleep {
    /// Milliseconds to wait.
    #[schemars(range(max = 3_600_000))]
    ms: u64,
}

#[derive(Serialize, JsonSchema)]
struct Slept {
    ms: u64,
}

/// The definitions, by name.
pub(super) fn definitions() -> Vec<Tool> {
    vec![
        define::<Add, Sum>("add", "Add", "Adds two numbers."),
        define::<Echo, Echoed>("echo", "Echo", "Returns the text that it is given."),
        define::<Progress, Steps>(
            "progress",
            "Progress",
            "Counts steps, reports each as a progress notification, and returns how many there were.",
        ),
        define::<Sleep, Slept>("sleep", "Sleep", "Waits, then returns how long."),
        define::<WhoAmI, Identity>(
            "whoami",
            "Who am I",
            "Returns the caller's principal and scopes as the server sees them.",
        ),
    ]
}

fn define<Input: JsonSchema + 'static, Output: JsonSchema + 'static>(
    name: &'static str,
    title: &str,
    description: &'static str,
) -> Tool {
    let mut tool = Tool::new(name, description, JsonObject::default())
        .with_title(title)
        .with_input_schema::<Input>()
        .with_output_schema::<Output>()
        .with_annotations(ToolAnnotations::new().read_only(true).idempotent(true).open_world(false));
    without_formats(Arc::make_mut(&mut tool.input_schema));
    tool.output_schema.as_mut().map(Arc::make_mut).into_iter().for_each(without_formats);
    tool
}

/// schemars names Rust's types of numbers as formats, which validators of clients complain about.
fn without_formats(schema: &mut JsonObject) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(JsonObject::values_mut).filter_map(Value::as_object_mut) {
        property.remove("format");
    }
}

/// Runs a tool; `None` where there is none of that name.
pub(super) async fn call(
    name: &str,
    arguments: Option<JsonObject>,
    context: &RequestContext<RoleServer>,
) -> Option<CallToolResult> {
    let arguments = arguments.unwrap_or_default();
    let outcome = match name {
        "add" => add(arguments),
        "echo" => echo(arguments),
        "progress" => progress(arguments, context).await,
        "sleep" => sleep(arguments, context).await,
        "whoami" => whoami(arguments, context),
        _ => return None,
    };
    Some(outcome.unwrap_or_else(|error| CallToolResult::error(vec![ContentBlock::text(error)])))
}

type Outcome = Result<CallToolResult, String>;

fn add(arguments: JsonObject) -> Outcome {
    let Add { a, b } = read(arguments)?;
    let sum = a + b;
    if !sum.is_finite() {
        return Err("The sum is too large for a number.".to_owned());
    }
    answer(&Sum { sum })
}

fn echo(arguments: JsonObject) -> Outcome {
    let Echo { text } = read(arguments)?;
    if text.len() > MAX_TEXT {
        return Err(format!("text has {} bytes; at most {MAX_TEXT} are allowed.", text.len()));
    }
    // The text itself is what a reader wants to see, not JSON around it.
    let mut result = answer(&Echoed { text: text.clone() })?;
    result.content = vec![ContentBlock::text(text)];
    Ok(result)
}

async fn progress(arguments: JsonObject, context: &RequestContext<RoleServer>) -> Outcome {
    let Progress { steps, delay_ms } = read(arguments)?;
    if !(1..=MAX_STEPS).contains(&steps) {
        return Err(format!("steps is {steps}; it must be from 1 to {MAX_STEPS}."));
    }
    if delay_ms.saturating_mul(steps.into()) > MAX_MILLIS {
        return Err(format!("steps × delayMs is more than {MAX_MILLIS} milliseconds."));
    }
    let token = context.meta.get_progress_token();
    for step in 1..=steps {
        if let Some(token) = &token {
            let report = ProgressNotificationParam::new(token.clone(), step.into())
                .with_total(steps.into())
                .with_message(format!("step {step} of {steps}"));
            // A client that is gone cancels the call by itself.
            let _ = context.peer.notify_progress(report).await;
        }
        pause(delay_ms, context).await?;
    }
    answer(&Steps { steps })
}

async fn sleep(arguments: JsonObject, context: &RequestContext<RoleServer>) -> Outcome {
    let Sleep { ms } = read(arguments)?;
    if ms > MAX_MILLIS {
        return Err(format!("ms is {ms}; at most {MAX_MILLIS} are allowed."));
    }
    pause(ms, context).await?;
    answer(&Slept { ms })
}

fn whoami(arguments: JsonObject, context: &RequestContext<RoleServer>) -> Outcome {
    let WhoAmI {} = read(arguments)?;
    let parts = context.extensions.get::<http::request::Parts>();
    let replica = std::env::var("HOSTNAME").ok();
    answer(&match parts.and_then(|parts| parts.extensions.get::<Caller>()) {
        Some(Caller::Principal(principal)) => Identity {
            anonymous: false,
            issuer: Some(principal.issuer.to_string()),
            subject: Some(principal.subject.to_string()),
            client_id: principal.client_id.as_deref().map(str::to_owned),
            scopes: principal.scopes.to_vec(),
            replica,
        },
        Some(Caller::Anonymous) | None => {
            Identity { anonymous: true, issuer: None, subject: None, client_id: None, scopes: Vec::new(), replica }
        }
    })
}

async fn pause(millis: u64, context: &RequestContext<RoleServer>) -> Result<(), String> {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(millis)) => Ok(()),
        () = context.ct.cancelled() => Err("The call was cancelled.".to_owned()),
    }
}

/// The error names the argument: the types are ours.
fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, String> {
    serde_json::from_value(arguments.into()).map_err(|error| format!("Wrong arguments: {error}."))
}

fn answer(value: &impl Serialize) -> Outcome {
    let value = serde_json::to_value(value).map_err(|_| "The result cannot be written.".to_owned())?;
    Ok(CallToolResult::structured(value))
}

/// A definition, for the header checks of 2026-07-28.
pub(super) fn find(tools: &Arc<[Tool]>, name: &str) -> Option<Tool> {
    tools.iter().find(|tool| tool.name == name).cloned()
}
