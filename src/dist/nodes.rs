//! Parses Slurm's shorthand for lists of hosts.

/// The first host of a list such as `node[003-007,9],login1`: `node003`. None if the list is empty.
pub fn first_host(list: &str) -> Option<String> {
    let list = list.trim();
    let end = top_level_comma(list);
    let mut text = &list[..end];
    let mut host = String::new();
    while let Some((before, after)) = text.split_once('[') {
        let (inside, behind) = after.split_once(']')?;
        host += before;
        host += inside.split([',', '-']).next()?;
        text = behind;
    }
    host += text;
    (!host.is_empty()).then_some(host)
}

/// Position of the first comma outside brackets, or the end.
fn top_level_comma(text: &str) -> usize {
    let mut depth = 0i32;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_of_every_form_slurm_writes() {
        for (list, first) in [
            ("a100-01", "a100-01"),
            ("node[003-007,9],login1", "node003"),
            ("node[3,9]", "node3"),
            ("r[1-2]n[05-08].cluster", "r1n05.cluster"),
            ("gpu7,gpu[8-9]", "gpu7"),
        ] {
            assert_eq!(first_host(list).as_deref(), Some(first), "{list}");
        }
        assert_eq!(first_host(" "), None);
        assert_eq!(first_host("node[1"), None);
    }
}
