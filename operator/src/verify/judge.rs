//! `Verified`: from what was asked to what is said. Pure.

use jiff::{SignedDuration, Timestamp};
use mcp_server_config::report::{BackendState, ServerReport};

use super::findings::{Anonymous, Findings, Trouble, trouble};
use super::target::Target;
use crate::status::{Reason, Verdict};
use crate::text::clean;

/// Rounds in a row that may fail before an earlier answer is no longer believed.
pub const PATIENCE: u32 = 3;

/// Certificates that end sooner should have been renewed: cert-manager does so a month before the end of three.
const EXPIRING: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// This.
    Say(Verdict),
    /// What was true before, where it still speaks of this configuration; else this.
    Keep(Verdict),
}

/// Judges the findings by what the target expects.
#[must_use]
pub fn judge(target: &Target, findings: Option<&Findings>, now: Timestamp) -> Judgement {
    if target.ready_pods().next().is_none() {
        let verdict = nobody_serves(findings);
        // The pods of a server that is down tell why, once they are asked.
        let unasked = findings.is_none() && !target.pods.is_empty();
        return if unasked { Judgement::Keep(verdict) } else { Judgement::Say(verdict) };
    }
    let Some(findings) = findings else { return not_asked() };
    let mut unasked = false;
    let mut failed = None;
    let mut bad: Option<Verdict> = None;
    for pod in target.ready_pods() {
        match findings.of_pod(&pod.pod) {
            None => unasked = true,
            Some(Err(why)) => failed = Some(format!("pod {}: {why}", pod.pod)),
            Some(Ok(report)) => bad = worse(bad, of_pod(&pod.pod, report, target)),
        }
    }
    if let Some(bad) = bad {
        return Judgement::Say(bad);
    }
    if let Some(why) = failed {
        return out_of_reach(findings, &why);
    }
    let current = findings.live_digest == target.live_digest && findings.enforced_auth == target.enforces_auth;
    match findings.anonymous.as_ref().filter(|_| current && !unasked) {
        None => not_asked(),
        Some(anonymous) => of_anonymous(anonymous, target, findings, now),
    }
}

fn not_asked() -> Judgement {
    Judgement::Keep(Verdict::unknown(Reason::NotAsked, "the server has not been asked yet"))
}

fn out_of_reach(findings: &Findings, why: &str) -> Judgement {
    let verdict = Verdict::unknown(Reason::Unreachable, format!("cannot be asked: {}", clean(why)));
    if findings.misses >= PATIENCE { Judgement::Say(verdict) } else { Judgement::Keep(verdict) }
}

fn nobody_serves(findings: Option<&Findings>) -> Verdict {
    match findings.and_then(Findings::trouble_of_unready) {
        Some(trouble) => of_trouble(trouble),
        None => Verdict::no(Reason::NotServing, "no pod is ready"),
    }
}

fn of_trouble(trouble: Trouble) -> Verdict {
    match trouble {
        Trouble::Issuer(message) => Verdict::no(Reason::IssuerUnreachable, message),
        Trouble::Backend(message) => Verdict::no(Reason::HandshakeFailed, message),
    }
}

fn of_pod(pod: &str, report: &ServerReport, target: &Target) -> Option<Verdict> {
    if report.live.digest != target.live_digest {
        return Some(match &report.live.error {
            Some(why) => {
                Verdict::no(Reason::ConfigRefused, format!("pod {pod} refuses its new configuration: {}", clean(why)))
            }
            None => Verdict::unknown(Reason::ReloadPending, "pods still use the configuration of before"),
        });
    }
    if let Some(trouble) = trouble(report) {
        return Some(of_trouble(trouble));
    }
    (report.backend.state == BackendState::Pending)
        .then(|| Verdict::unknown(Reason::NotAsked, "the runtime's handshake with its backend is under way"))
}

/// What is False is worse than what is Unknown; the first of equals is kept, so that the message does not wander.
fn worse(one: Option<Verdict>, other: Option<Verdict>) -> Option<Verdict> {
    match (one, other) {
        (Some(one), Some(other)) if other.truth < one.truth => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

fn of_anonymous(anonymous: &Anonymous, target: &Target, findings: &Findings, now: Timestamp) -> Judgement {
    let verdict = match (anonymous, target.enforces_auth) {
        (Anonymous::Served, false) | (Anonymous::Refused { metadata: true }, true) | (Anonymous::NotAdmitted, _) => {
            certificate(target, findings, now).unwrap_or_else(|| verified(findings))
        }
        (Anonymous::BadCertificate(why), _) => Verdict::no(Reason::CertificateInvalid, clean(why)),
        (Anonymous::Served, true) => {
            Verdict::no(Reason::AuthNotEnforced, "a caller without a token was served although spec.auth asks for one")
        }
        (Anonymous::Refused { metadata: false }, true) => Verdict::no(
            Reason::MetadataMissing,
            "a caller without a token was refused without resource_metadata: clients cannot find the authorization server",
        ),
        (Anonymous::Refused { .. }, false) => unexpected(401),
        (Anonymous::Other(status), _) => unexpected(*status),
        (Anonymous::Failed(why), _) => return out_of_reach(findings, why),
        (Anonymous::Limited, _) => {
            let message = "the server's own rate limit keeps the operator from asking";
            return Judgement::Keep(Verdict::unknown(Reason::NotAsked, message));
        }
    };
    Judgement::Say(verdict)
}

/// What is to be said of the certificates that the pods use themselves; most often nothing. The one that ends first
/// counts: a pod whose volume was not brought up to date has the old one still.
fn certificate(target: &Target, findings: &Findings, now: Timestamp) -> Option<Verdict> {
    let ready = target.ready_pods().filter_map(|pod| findings.of_pod(&pod.pod)?.as_ref().ok());
    let used: Vec<_> = ready.filter_map(|report| report.tls.as_ref()).collect();
    let first = used.iter().filter_map(|tls| tls.not_after.parse::<Timestamp>().ok()).min();
    let refused = used.iter().find_map(|tls| tls.error.as_deref());
    let why = refused.map(|why| format!("; the newest files are refused: {}", clean(why))).unwrap_or_default();
    match first {
        Some(end) if end <= now => {
            Some(Verdict::no(Reason::CertificateExpired, format!("the certificate of the pods ended at {end}{why}")))
        }
        Some(end) if end.duration_since(now) < EXPIRING => {
            Some(Verdict::yes(Reason::CertificateExpiring, format!("the certificate of the pods ends at {end}{why}")))
        }
        _ if refused.is_some() => Some(Verdict::yes(
            Reason::CertificateRefused,
            format!("the pods go on with their certificate of before{why}"),
        )),
        _ => None,
    }
}

fn unexpected(status: u16) -> Verdict {
    Verdict::no(Reason::UnexpectedAnswer, format!("a call through the Service was answered with status {status}"))
}

fn verified(findings: &Findings) -> Verdict {
    let report = findings.report();
    let newest = report.and_then(|report| report.backend.protocol_versions.first());
    let tools = report.and_then(|report| report.backend.tools);
    let mut said: Vec<String> = newest.map(|version| format!("speaks {}", clean(version))).into_iter().collect();
    said.extend(tools.map(|count| if count == 1 { "1 tool".to_owned() } else { format!("{count} tools") }));
    let direct = findings
        .pods
        .iter()
        .any(|pod| pod.report.as_ref().is_ok_and(|report| report.backend.reachable_directly == Some(true)));
    if direct {
        said.push(
            "the backend also answers at the pod's own address, past the runtime: let it listen on 127.0.0.1"
                .to_owned(),
        );
        return Verdict::yes(Reason::BackendReachableDirectly, said.join("; "));
    }
    Verdict::yes(Reason::Verified, said.join("; "))
}

#[cfg(test)]
mod tests {
    use mcp_server_config::report::{BackendReport, IssuerReport, LiveReport, TlsReport};

    use super::super::findings::PodAnswer;
    use super::*;
    use crate::cache::{Endpoint, Key};
    use crate::status::Truth;

    fn target(auth: bool) -> Target {
        let pod = |name: &str, ready| Endpoint { pod: name.to_owned(), address: "10.0.0.1".parse().unwrap(), ready };
        Target {
            server: Key::new("ns", "demo"),
            uid: "u".to_owned(),
            host: "demo.ns.svc".to_owned(),
            dns: "demo.ns.svc".to_owned(),
            port: 80,
            path: "/mcp".to_owned(),
            enforces_auth: auth,
            tls: None,
            live_digest: "new".to_owned(),
            mcp_port: 8000,
            management_port: 9090,
            pods: vec![pod("a", true), pod("b", false)],
        }
    }

    fn now() -> Timestamp {
        "2026-11-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_certificate_that_ends_soon_is_said_and_one_that_ended_counts() {
        let said_of = |not_after: &str, error: Option<&str>| {
            let tls = TlsReport { not_after: not_after.to_owned(), error: error.map(str::to_owned) };
            let report = ServerReport { tls: Some(tls), ..report("new") };
            said(false, &findings(false, Ok(report), Some(Anonymous::Served)))
        };
        assert_eq!(said_of("2026-12-01T00:00:00Z", None), (Truth::True, Reason::Verified));
        assert_eq!(said_of("2026-11-07T23:59:59Z", None), (Truth::True, Reason::CertificateExpiring));
        assert_eq!(said_of("2026-11-01T00:00:00Z", None), (Truth::False, Reason::CertificateExpired));
        assert_eq!(said_of("2026-12-01T00:00:00Z", Some("no key")), (Truth::True, Reason::CertificateRefused));
    }

    #[test]
    fn what_nobody_without_a_certificate_is_told_is_no_failure() {
        let found = findings(true, Ok(report("new")), Some(Anonymous::NotAdmitted));
        assert_eq!(said(true, &found), (Truth::True, Reason::Verified));
        let bad = findings(false, Ok(report("new")), Some(Anonymous::BadCertificate("unknown issuer".to_owned())));
        assert_eq!(said(false, &bad), (Truth::False, Reason::CertificateInvalid));
    }

    fn report(digest: &str) -> ServerReport {
        ServerReport {
            live: LiveReport { digest: digest.to_owned(), error: None },
            backend: BackendReport {
                state: BackendState::Ready,
                protocol_versions: vec!["2026-07-28".to_owned()],
                tools: Some(5),
                ..BackendReport::default()
            },
            ..ServerReport::default()
        }
    }

    fn findings(auth: bool, report: Result<ServerReport, String>, anonymous: Option<Anonymous>) -> Findings {
        Findings {
            live_digest: "new".to_owned(),
            enforced_auth: auth,
            pods: vec![PodAnswer { pod: "a".to_owned(), ready: true, report }],
            anonymous,
            misses: 0,
        }
    }

    fn said(auth: bool, findings: &Findings) -> (Truth, Reason) {
        match judge(&target(auth), Some(findings), now()) {
            Judgement::Say(verdict) => (verdict.truth, verdict.reason),
            Judgement::Keep(verdict) => panic!("kept: {verdict:?}"),
        }
    }

    #[test]
    fn a_server_that_serves_or_refuses_as_it_should_is_verified() {
        let open = findings(false, Ok(report("new")), Some(Anonymous::Served));
        assert_eq!(said(false, &open), (Truth::True, Reason::Verified));
        let guarded = findings(true, Ok(report("new")), Some(Anonymous::Refused { metadata: true }));
        assert_eq!(said(true, &guarded), (Truth::True, Reason::Verified));
    }

    #[test]
    fn a_server_that_serves_callers_without_a_token_against_its_spec_is_not() {
        let leaky = findings(true, Ok(report("new")), Some(Anonymous::Served));
        assert_eq!(said(true, &leaky), (Truth::False, Reason::AuthNotEnforced));
        let mute = findings(true, Ok(report("new")), Some(Anonymous::Refused { metadata: false }));
        assert_eq!(said(true, &mute), (Truth::False, Reason::MetadataMissing));
    }

    #[test]
    fn an_answer_from_before_a_change_does_not_count() {
        let old = Findings { enforced_auth: false, ..findings(true, Ok(report("new")), Some(Anonymous::Served)) };
        assert!(matches!(judge(&target(true), Some(&old), now()), Judgement::Keep(_)));
    }

    #[test]
    fn a_pod_with_the_old_configuration_takes_the_verdict_back() {
        let old = findings(true, Ok(report("old")), None);
        assert_eq!(said(true, &old), (Truth::Unknown, Reason::ReloadPending));
        let mut refusing = report("old");
        refusing.live.error = Some("line 3: bad".to_owned());
        assert_eq!(said(true, &findings(true, Ok(refusing), None)), (Truth::False, Reason::ConfigRefused));
    }

    #[test]
    fn an_issuer_without_keys_is_named() {
        let mut broken = report("new");
        broken.issuers =
            vec![IssuerReport { url: "https://auth.example".to_owned(), ok: false, error: Some("timeout".to_owned()) }];
        let Judgement::Say(verdict) = judge(&target(true), Some(&findings(true, Ok(broken), None)), now()) else {
            panic!()
        };
        assert_eq!(verdict.reason, Reason::IssuerUnreachable);
        assert!(verdict.message.contains("https://auth.example") && verdict.message.contains("timeout"), "{verdict:?}");
    }

    #[test]
    fn an_earlier_answer_is_believed_until_three_rounds_have_failed() {
        let mut missed = findings(false, Err("connection refused".to_owned()), None);
        missed.misses = 2;
        assert!(matches!(judge(&target(false), Some(&missed), now()), Judgement::Keep(_)));
        missed.misses = 3;
        assert_eq!(said(false, &missed), (Truth::Unknown, Reason::Unreachable));
    }

    #[test]
    fn without_a_ready_pod_the_runtime_of_an_unready_one_tells_why() {
        let mut none_ready = target(false);
        none_ready.pods.retain(|pod| !pod.ready);
        let mut failing = report("new");
        failing.backend.state = BackendState::Failed;
        failing.backend.error = Some("connection refused".to_owned());
        let mut found = findings(false, Ok(failing), None);
        found.pods.iter_mut().for_each(|pod| pod.ready = false);
        let Judgement::Say(verdict) = judge(&none_ready, Some(&found), now()) else { panic!() };
        assert_eq!((verdict.truth, verdict.reason), (Truth::False, Reason::HandshakeFailed));
    }
}
