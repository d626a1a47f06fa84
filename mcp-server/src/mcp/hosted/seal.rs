//! `requestState` (2026-07-28, multi round-trip requests): what a handler wants to remember between two calls goes by way
//! of the client, who could change it, keep it, or give it to somebody else. So it is encrypted, and opens only for the
//! same principal, the same method, name and arguments, and for a while.

use std::sync::Arc;

use aws_lc_rs::aead::{Aad, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rmcp::model::{ClientRequest, JsonObject};
use sha2::{Digest as _, Sha256};

use crate::mcp::session::Owner;
use crate::state::StateKeys;

/// How long a client, and the person behind it, may take for its answers.
const LIFETIME_SECONDS: u64 = 15 * 60;
const NONCE_BYTES: usize = 12;
const TIME_BYTES: usize = 8;

/// Seals and opens.
pub(super) struct Seal {
    keys: Arc<StateKeys>,
}

/// It is not a state of ours for this caller and this call, or its time is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What a state belongs to.
pub(super) struct Purpose([u8; 32]);

impl Purpose {
    /// `None` for the methods that have no state.
    pub(super) fn of(request: &ClientRequest, owner: &Owner) -> Option<Self> {
        let no_arguments = JsonObject::new();
        let (method, name, arguments) = match request {
            ClientRequest::CallToolRequest(call) => ("tools/call", &*call.params.name, call.params.arguments.as_ref()),
            ClientRequest::GetPromptRequest(get) => ("prompts/get", &*get.params.name, get.params.arguments.as_ref()),
            ClientRequest::ReadResourceRequest(read) => ("resources/read", &*read.params.uri, None),
            _ => return None,
        };
        // Members of a value are sorted, so that a client may write the same arguments in another order.
        let arguments = serde_json::to_string(arguments.unwrap_or(&no_arguments)).ok()?;
        let mut hash = Sha256::new();
        for part in [owner.to_text().as_str(), method, name, &arguments] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Some(Self(hash.finalize().into()))
    }
}

impl Seal {
    pub(super) fn new(keys: &Arc<StateKeys>) -> Self {
        Self { keys: Arc::clone(keys) }
    }

    pub(super) fn seal(&self, state: &str, purpose: &Purpose, now: u64) -> Option<String> {
        let mut sealed = Vec::with_capacity(TIME_BYTES + state.len() + 16);
        sealed.extend_from_slice(&(now + LIFETIME_SECONDS).to_be_bytes());
        sealed.extend_from_slice(state.as_bytes());
        let nonce = self.keys.now().seals().seal_in_place_append_tag(Aad::from(purpose.0), &mut sealed).ok()?;
        let mut out = nonce.as_ref().to_vec();
        out.append(&mut sealed);
        Some(URL_SAFE_NO_PAD.encode(out))
    }

    pub(super) fn open(&self, sealed: &str, purpose: &Purpose, now: u64) -> Result<String, Broken> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Broken)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or(Broken)?;
        let opened = self.keys.now().open().find_map(|key| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut sealed = sealed.to_vec();
            let opened = key.open_in_place(nonce, Aad::from(purpose.0), &mut sealed).ok()?;
            Some(opened.to_vec())
        });
        let opened = opened.ok_or(Broken)?;
        let (until, state) = opened.split_at_checked(TIME_BYTES).ok_or(Broken)?;
        let until = u64::from_be_bytes(until.try_into().map_err(|_| Broken)?);
        if now >= until {
            return Err(Broken);
        }
        String::from_utf8(state.to_vec()).map_err(|_| Broken)
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::{CallToolRequestParams, Request};
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::Caller;
    use crate::state::SessionKey;

    fn seal(key: u8, previous: Option<u8>) -> Seal {
        let previous = previous.map(|byte| [byte; 32]);
        Seal::new(&Arc::new(StateKeys::of_bytes(&[key; 32], previous.as_ref().map(|bytes| &bytes[..]))))
    }

    fn purpose(owner: &Owner, tool: &str, arguments: &Value) -> Purpose {
        let arguments = arguments.as_object().expect("an object").clone();
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        Purpose::of(&ClientRequest::CallToolRequest(Request::new(call)), owner).expect("a method with state")
    }

    #[test]
    fn a_state_opens_only_for_what_it_was_made_for() {
        let (alice, bob) = (
            Owner::of(&Caller::Anonymous, &SessionKey::random()),
            Owner::of(&Caller::Anonymous, &SessionKey::random()),
        );
        let seal = seal(1, None);
        let made_for = purpose(&alice, "pay", &json!({"to": "x", "amount": 1}));
        let sealed = seal.seal("secret state", &made_for, 1000).expect("sealed");
        assert!(!sealed.contains("secret"));
        assert_eq!(seal.open(&sealed, &made_for, 1001).as_deref(), Ok("secret state"));
        let reordered: Value = serde_json::from_str(r#"{"amount": 1, "to": "x"}"#).expect("valid");
        assert!(seal.open(&sealed, &purpose(&alice, "pay", &reordered), 1001).is_ok());
        for wrong in [
            purpose(&bob, "pay", &json!({"to": "x", "amount": 1})),
            purpose(&alice, "refund", &json!({"to": "x", "amount": 1})),
            purpose(&alice, "pay", &json!({"to": "x", "amount": 2})),
        ] {
            assert_eq!(seal.open(&sealed, &wrong, 1001), Err(Broken));
        }
        assert_eq!(seal.open(&sealed, &made_for, 1000 + LIFETIME_SECONDS), Err(Broken), "its time is over");
    }

    #[test]
    fn nothing_that_was_changed_opens() {
        let owner = Owner::of(&Caller::Anonymous, &SessionKey::random());
        let (seal, made_for) = (seal(1, None), purpose(&owner, "t", &json!({})));
        let sealed = seal.seal("s", &made_for, 0).expect("sealed");
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).expect("base64");
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert_eq!(seal.open(&URL_SAFE_NO_PAD.encode(changed), &made_for, 1), Err(Broken), "byte {index}");
        }
        for junk in ["", "AAAA", "not base64!", &"A".repeat(100)] {
            assert_eq!(seal.open(junk, &made_for, 1), Err(Broken), "{junk}");
        }
    }

    #[test]
    fn a_changed_key_opens_what_the_one_before_it_sealed() {
        let owner = Owner::of(&Caller::Anonymous, &SessionKey::random());
        let made_for = purpose(&owner, "t", &json!({}));
        let sealed = seal(1, None).seal("s", &made_for, 0).expect("sealed");
        assert!(seal(2, Some(1)).open(&sealed, &made_for, 1).is_ok());
        assert_eq!(seal(2, None).open(&sealed, &made_for, 1), Err(Broken));
    }
}
