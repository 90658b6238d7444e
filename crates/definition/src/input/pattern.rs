//! The work of matching a regular expression.

/// Returns the work of matching a pattern, for each byte of the text, in 64ths of a check.
///
/// The engine runs in time linear in the text, times the size of the compiled pattern in the worst case. Counted
/// repetitions multiply that size.
pub(super) fn work_per_byte(pattern: &str) -> u64 {
    size(pattern).saturating_mul(2).saturating_add(2)
}

/// Returns the number of states of a pattern whose counted repetitions are written out.
fn size(pattern: &str) -> u64 {
    // The sizes of the enclosing groups, and of the group that is being read.
    let mut outer: Vec<u64> = Vec::new();
    let mut group: u64 = 0;
    let mut last: u64 = 0;
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let (_, after) = rest.split_at(next.len_utf8());
        rest = after;
        match next {
            '(' => {
                outer.push(std::mem::take(&mut group));
                last = 0;
            }
            ')' => {
                last = group;
                group = outer.pop().unwrap_or(0).saturating_add(last);
            }
            '[' => {
                rest = after_class(rest);
                last = 2;
                group = group.saturating_add(last);
            }
            '\\' => {
                // A class of Unicode has several states.
                last = if rest.starts_with(['p', 'P', 'w', 'W']) { 4 } else { 1 };
                rest = rest.chars().next().map_or("", |c| rest.split_at(c.len_utf8()).1);
                group = group.saturating_add(last);
            }
            '{' => {
                let Some((times, after)) = repetition(rest) else { continue };
                rest = after;
                let repeated = last.saturating_mul(times.max(1));
                group = group.saturating_sub(last).saturating_add(repeated);
                last = repeated;
            }
            _ => {
                last = 1;
                group = group.saturating_add(1);
            }
        }
    }
    outer.into_iter().fold(group, u64::saturating_add)
}

/// Returns the text after a class in brackets, of which the opening one was read.
fn after_class(text: &str) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ']' => return text.split_at(at + 1).1,
            _ => {}
        }
    }
    ""
}

/// Reads `n}`, `n,}` or `n,m}`. Returns the largest number and the text after it.
fn repetition(text: &str) -> Option<(u64, &str)> {
    let (inside, after) = text.split_once('}')?;
    let (from, to) = inside.split_once(',').unwrap_or((inside, inside));
    let from: u64 = from.trim().parse().ok()?;
    let to = if to.trim().is_empty() { from } else { to.trim().parse().ok()? };
    Some((from.max(to), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_multiplies_the_size() {
        for (pattern, expected) in [
            ("", 0),
            ("abc", 3),
            ("^[a-z]{1,64}$", 2 + 128),
            ("(ab){10}", 20),
            ("((a{10}){10}){10}", 1000),
            ("a{2,}b", 3),
            ("[]{}]a{3}", 5),
            (r"\w{5}\{3}", 20 + 1 + 2),
            ("a{x}", 3),
            ("((((", 0),
        ] {
            assert_eq!(size(pattern), expected, "{pattern}");
        }
        assert_eq!(size(&"(a{999999999}){999999999}{999999999}".repeat(3)), u64::MAX);
    }
}
