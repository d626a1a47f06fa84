//! What is said of a server beside its conditions: its own account of itself, and of its keys. Pure.

use mcp_crds::{KeysPhase, KeysStatus, ServerInfo, ToolsInfo};
use mcp_server_config::report::ServerReport;

use crate::apply::rotation::{Phase, Rotation};
use crate::text::clean;

/// Nothing is said of keys that nobody asked to change.
pub(super) fn keys_status(rotation: &Rotation) -> Option<KeysStatus> {
    let Rotation { request, phase, since } = rotation;
    (!request.is_empty()).then(|| KeysStatus {
        rotation: clean(request),
        phase: match phase {
            Phase::Announced => KeysPhase::Announced,
            Phase::Taken => KeysPhase::Taken,
            Phase::Done => KeysPhase::Done,
        },
        since: since.to_string(),
        until: rotation.ends().map(|end| end.to_string()),
    })
}

pub(super) fn server_info(report: &ServerReport) -> ServerInfo {
    let backend = &report.backend;
    ServerInfo {
        name: clean(backend.server_name.as_deref().unwrap_or(&report.name)),
        version: clean(backend.server_version.as_deref().unwrap_or(&report.version)),
        protocol_versions: backend.protocol_versions.iter().take(16).map(|version| clean(version)).collect(),
    }
}

pub(super) fn tools_info(report: &ServerReport) -> Option<ToolsInfo> {
    let count = i32::try_from(report.backend.tools?).unwrap_or(i32::MAX);
    Some(ToolsInfo { count, digest: clean(report.backend.tools_digest.as_deref().unwrap_or_default()) })
}
