//! What `make fuzz` asks: each function takes any bytes and panics where a promise of ours does not hold. Behind the feature
//! `fuzzing`, so that nobody serves with it. A test asks the same of the inputs that are kept in `fuzz/corpus`.

use mcp_server_config::{Invalid, parse_boot, parse_live};

use crate::mcp::envelope::properties;
use crate::policy;

/// The body of a POST: a message or a batch.
pub fn envelope(input: &[u8]) {
    properties::body(input);
}

/// Lines `name: value`, an empty line, a message.
pub fn headers(input: &[u8]) {
    properties::headers(input);
}

/// A boot file and a live file. What is accepted is accepted again when it is written anew, and is the same; what is
/// refused is refused with the place where it is wrong, and without the password that stands there.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match parse_boot(text) {
        Ok(config) => {
            let again = serde_json::to_string(&config).expect("written");
            assert_eq!(parse_boot(&again).as_ref(), Ok(&config), "{again}");
        }
        Err(error) => check_explained(&error),
    }
    match parse_live(text) {
        Ok((live, unknown)) => {
            let again = serde_json::to_string(&live).expect("written");
            assert_eq!(parse_live(&again), Ok((live, Vec::new())), "{again}");
            assert!(unknown.iter().all(|key| !key.0.is_empty()));
        }
        Err(error) => check_explained(&error),
    }
}

/// A seed's password: fuzzing moves it about.
const PASSWORD: &str = "hunter2";

fn check_explained(Invalid(message): &Invalid) {
    let (place, reason) = message.split_once(": ").unwrap_or_default();
    let is_line = place.strip_prefix("line ").is_some_and(|line| line.parse::<u32>().is_ok());
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]*-/".contains(&byte);
    assert!(is_line || !place.is_empty() && place.bytes().all(named), "no place: {message:?}");
    assert!(!reason.is_empty(), "no reason: {message:?}");
    // Keys, the values of enumerations, origins and schemes are quoted, and what stands in fields that are never secret.
    let quotes = ["unknown ", "`", "is not an origin", "scheme"].iter().any(|it| reason.contains(it));
    let may_be_secret = is_line || place.starts_with("redis") || place.starts_with("database");
    assert!(quotes || !may_be_secret || !message.contains(PASSWORD), "it quotes the file: {message:?}");
}

/// A line with a pattern, and a name.
pub fn patterns(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, ""));
    policy::check_pattern(pattern, name);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_promises_hold_for_all_that_fuzzing_has_kept() {
        type Check = fn(&[u8]);
        let targets: [(&str, Check); 4] = [
            ("envelope", super::envelope),
            ("headers", super::headers),
            ("config", super::config),
            ("patterns", super::patterns),
        ];
        for (target, check) in targets {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
            let files = std::fs::read_dir(&folder).expect("a corpus").map(|file| file.expect("a file").path());
            let mut count = 0;
            for file in files {
                // Printed when it fails.
                println!("{}", file.display());
                check(&std::fs::read(&file).expect("read"));
                count += 1;
            }
            assert!(count > 5, "{} has {count} files", folder.display());
        }
    }
}
