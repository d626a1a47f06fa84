//! Names with `*`. Nothing else is special in them: names of tools may hold any of the characters that globs know.

/// Several patterns, of which one must match.
#[derive(Debug)]
pub(crate) struct Patterns(Vec<Pattern>);

#[derive(Debug)]
enum Pattern {
    /// No `*`.
    Exact(String),
    /// What stands before the first `*`, between each two, and after the last.
    Parts { first: String, between: Vec<String>, last: String },
}

impl Patterns {
    pub(crate) fn new(patterns: &[String]) -> Self {
        Self(patterns.iter().map(|pattern| Pattern::new(pattern)).collect())
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// Every name matches.
    pub(super) fn match_all(&self) -> bool {
        self.matches("") && self.0.iter().any(Pattern::is_star)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Pattern {
    fn new(pattern: &str) -> Self {
        let Some((first, rest)) = pattern.split_once('*') else {
            return Self::Exact(pattern.to_owned());
        };
        let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let between = between.split('*').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Self::Parts { first: first.to_owned(), between, last: last.to_owned() }
    }

    /// Linear in the name but for the parts between: each is taken where it comes first, so nothing is tried twice.
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Parts { first, between, last } => {
                let rest = name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()));
                let Some(mut rest) = rest else { return false };
                between.iter().all(|part| match rest.split_once(part.as_str()) {
                    Some((_, after)) => {
                        rest = after;
                        true
                    }
                    None => false,
                })
            }
        }
    }

    fn is_star(&self) -> bool {
        matches!(self, Self::Parts { first, between, last } if first.is_empty() && between.is_empty() && last.is_empty())
    }
}

/// A name matches where the definition says so. Panics where it does not.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn check(pattern: &str, name: &str) {
    let patterns = Patterns::new(&[pattern.to_owned()]);
    let by_definition = definition(pattern.as_bytes(), name.as_bytes());
    assert_eq!(patterns.matches(name), by_definition, "{pattern:?} {name:?}");
    assert!(!patterns.match_all() || by_definition, "{pattern:?} matches all but {name:?}");
    assert!(patterns.match_all() || !pattern.bytes().all(|byte| byte == b'*') || pattern.is_empty(), "{pattern:?}");
}

/// Which beginnings of the name the beginning of the pattern matches, byte by byte of the pattern.
#[cfg(any(test, feature = "fuzzing"))]
fn definition(pattern: &[u8], name: &[u8]) -> bool {
    let mut matched = vec![false; name.len() + 1];
    matched[0] = true;
    for byte in pattern {
        matched = match byte {
            b'*' => matched
                .iter()
                .scan(false, |any, one| {
                    *any |= one;
                    Some(*any)
                })
                .collect(),
            byte => {
                std::iter::once(false).chain(name.iter().zip(&matched).map(|(own, one)| *one && own == byte)).collect()
            }
        };
    }
    matched[name.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).matches(name)
    }

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_is_special() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "anything"),
            ("delete_*", "delete_"),
            ("delete_*", "delete_all"),
            ("*_all", "delete_all"),
            ("a*b", "ab"),
            ("a*b", "axxb"),
            ("a*b*c", "a-b-b-c"),
            ("**", "x"),
            ("resources/*", "resources/templates/list"),
            ("[x]?{y}", "[x]?{y}"),
            ("ä*", "äö"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("a", "A"),
            ("delete_*", "undelete_x"),
            ("a*a", "a"),
            ("a*b*b", "ab"),
            ("[x]", "x"),
            ("?", "a"),
            ("*.read", "read"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn only_a_star_alone_matches_all() {
        let all = |patterns: &[&str]| {
            Patterns::new(&patterns.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()).match_all()
        };
        assert!(all(&["*"]) && all(&["a", "**"]));
        assert!(!all(&[]) && !all(&["a*"]) && !all(&["*a"]) && !all(&["*a*", ""]));
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_matches(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            check(&pattern, &name);
        }
    }
}
