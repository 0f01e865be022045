//! Spoiled messages between the processes of a notebook: read in full, or refused.

use super::{MESSAGES, fuzz};
use paella_wire::{Event, Media, Request, decode, encode};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// One message of each kind, from the kernel and to it.
fn messages() -> (Vec<Request>, Vec<Event>) {
    let text = || "é \"quoted\"\n\u{1b}[1m".to_string();
    let data = || Media::from_iter([("text/plain".into(), "a\nb".into()), ("n".into(), 1.into())]);
    let words = || vec!["a b".to_string(), text()];
    let requests = vec![
        Request::Begin,
        Request::Command { line: "sample \"a fox\" steps=2".into() },
        Request::Config { text: "(seed: 1)".into(), file: String::new() },
        Request::Complete { line: text() },
        Request::Help { name: "train".into() },
        Request::Sync,
        Request::Answer { text: text() },
        Request::NoAnswer { stopped: true },
        Request::Prompt,
        Request::RustRan { error: Some(text()) },
        Request::Whole { whole: false },
        Request::Words { start: 3, words: words() },
    ];
    let events = vec![
        Event::Hello { pid: 17 },
        Event::Exit { text: text() },
        Event::Ready,
        Event::Stdout { text: text() },
        Event::Stderr { text: text() },
        Event::Running,
        Event::Panic { text: text(), file: "cell".into(), line: 7 },
        Event::Failed,
        Event::Result { data: data() },
        Event::Display { id: Some("é".into()), data: data() },
        Event::Update { id: "1".into(), data: data() },
        Event::Clear { wait: true },
        Event::Input { prompt: text() },
        Event::Done { error: None },
        Event::Completions { start: 3, words: words(), files: true },
        Event::Help { text: Some(text()) },
        Event::Synced,
        Event::RunRust { code: text() },
        Event::AskWhole { code: text() },
        Event::CompleteRust { code: text(), at: 2 },
        Event::Left,
        Event::Refused { text: text() },
    ];
    (requests, events)
}

/// Spoils a message by whole letters, since a line that is no text is refused before.
fn spoiled_message<T>(rng: &mut ChaCha8Rng, message: &T) -> bool
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let mut letters: Vec<char> = encode(message).trim_end().chars().collect();
    for _ in 0..rng.random_range(1..3) {
        let at = rng.random_range(0..letters.len());
        let odd = ['"', '\\', '{', '}', ',', ':', '\0', '9', 'é', 'x'];
        let letter = odd[rng.random_range(0..odd.len())];
        match rng.random_range(0..4) {
            0 => letters.truncate(at + 1),
            1 => letters.insert(at, letter),
            _ => letters[at] = letter,
        }
    }
    let line: String = letters.into_iter().collect();
    match decode::<T>(&line) {
        Ok(read) => {
            // nothing of the line is dropped: what was read is all that it says
            let said: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(without_nulls(serde_json::to_value(&read).unwrap()), without_nulls(said));
            assert_eq!(decode::<T>(&encode(&read)).as_ref(), Ok(&read), "{line}");
            true
        }
        Err(error) => {
            assert!(error.contains("\n  hint: "), "{line}: {error}");
            false
        }
    }
}

/// A field that is null is the same as one that is not there.
fn without_nulls(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

#[test]
fn fuzz_messages_of_a_notebook_are_read_in_full_or_refused() {
    fuzz(MESSAGES, |seeds| {
        let (requests, events) = messages();
        let (mut taken, mut refused) = (0, 0);
        for seed in seeds {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let which = rng.random_range(0..requests.len() + events.len());
            let is_taken = match requests.get(which) {
                Some(request) => spoiled_message(&mut rng, request),
                None => spoiled_message(&mut rng, &events[which - requests.len()]),
            };
            *(if is_taken { &mut taken } else { &mut refused }) += 1;
        }
        assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
    });
}
