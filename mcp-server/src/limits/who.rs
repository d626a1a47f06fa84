//! Whose bucket.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::Extensions;

use super::shared::hex;
use crate::auth::{Caller, Principal};
use crate::http::Client;

/// A client's address, or a principal. A caller without a token is its address: behind a proxy that is not trusted all such
/// callers are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who<'a> {
    Address(Address),
    /// Issuer and subject.
    Principal(&'a str, &'a str),
}

/// An IPv4 address, or the /64 that one IPv6 client has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Address(u64, bool);

impl Address {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits()), false),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64, true),
        }
    }
}

impl Who<'static> {
    /// The client of that request.
    pub(super) fn client(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Client>().map(|client| Self::Address(Address::of(client.address)))
    }
}

impl<'a> Who<'a> {
    /// The caller of that request, behind authentication.
    pub(crate) fn caller(extensions: &'a Extensions) -> Option<Self> {
        match extensions.get::<Caller>()? {
            Caller::Principal(principal) => {
                let Principal { issuer, subject, .. } = Arc::as_ref(principal);
                Some(Self::Principal(issuer, subject))
            }
            Caller::Anonymous => Who::client(extensions),
        }
    }

    /// The same at every replica, and no name that somebody could read.
    pub(crate) fn write_digest(&self, text: &mut String) {
        match self {
            Self::Address(Address(bits, v6)) => {
                text.push_str(if *v6 { "6:" } else { "4:" });
                text.push_str(&hex(&bits.to_be_bytes()));
            }
            Self::Principal(issuer, subject) => {
                let mut context = digest::Context::new(&digest::SHA256);
                // With its length: no two pairs have the same bytes.
                context.update(&(issuer.len() as u64).to_be_bytes());
                context.update(issuer.as_bytes());
                context.update(subject.as_bytes());
                text.push_str(&hex(&context.finish().as_ref()[..16]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(who: &Who<'_>) -> String {
        let mut text = String::new();
        who.write_digest(&mut text);
        text
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_what_it_maps() {
        let of = |text: &str| Address::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn digests_tell_principals_apart_and_name_nobody() {
        let alice = digest(&Who::Principal("https://issuer", "alice"));
        assert_eq!(alice, digest(&Who::Principal("https://issuer", "alice")));
        assert_ne!(alice, digest(&Who::Principal("https://issuera", "lice")));
        assert!(!alice.contains("alice"));
        assert_eq!(alice.len(), 32);
    }
}
