//! A replica that holds something.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

/// Written as `<replica>@<address>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// [`super::Peers::id`].
    pub(crate) replica: Arc<str>,
    /// Its management listener.
    pub(crate) address: SocketAddr,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.replica, self.address)
    }
}

impl FromStr for Holder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (replica, address) = text.split_once('@').ok_or(())?;
        Ok(Self { replica: replica.into(), address: address.parse().map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_read_as_written() {
        for text in ["abc@10.0.0.7:9090", "abc@[fd00::7]:19090"] {
            assert_eq!(text.parse::<Holder>().map(|holder| holder.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "abc", "abc@", "abc@10.0.0.7", "abc@host:1"] {
            assert_eq!(text.parse::<Holder>(), Err(()), "{text}");
        }
    }
}
