//! Properties of the reader: printed text gives back the same config, and no text makes it panic.

use proptest::prelude::*;

use super::tests::{Run, Source, Train};
use super::*;

fn any_train() -> impl Strategy<Value = Train> {
    let lr = prop_oneof![any::<f64>(), Just(1e-3)];
    let made = |(lr, warmup, limit)| Train { lr, warmup, limit };
    (lr, any::<u32>(), any::<Option<usize>>()).prop_map(made)
}

fn any_source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Emoji),
        proptest::collection::vec(any::<String>(), 0..3)
            .prop_map(|v| Source::Shards { train: v.clone(), val: v }),
        any::<String>().prop_map(|s| Source::Idx(s.into())),
        (any::<f64>(), any_train()).prop_map(|(f, t)| Source::Mix(f, t)),
    ]
}

prop_compose! {
    fn any_run()(
        name in any::<String>(), seed: u64, train in any_train(), source in any_source(),
        model in proptest::option::of(any_train()), ratio: (f64, f64),
        levels in proptest::collection::vec(any::<i64>(), 0..4), flag: bool,
    ) -> Run {
        Run { name, seed, train, source, model, ratio, levels, flag }
    }
}

/// Inserts, removes, replaces or repeats characters at random places of a text.
fn mutated(text: &str, edits: &[(usize, u8, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for &(at, kind, c) in edits {
        let at = at % (chars.len() + 1);
        match kind % 4 {
            0 => chars.insert(at, c),
            1 if at < chars.len() => drop(chars.remove(at)),
            2 if at < chars.len() => chars[at] = c,
            _ => chars
                .splice(at..at, "([{,:\"'/*".chars().skip(usize::from(kind / 4) % 9).take(1))
                .for_each(drop),
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn text_gives_back_the_same_config(run in any_run()) {
        prop_assert_eq!(&parse::<Run>(&to_ron(&run), "").unwrap().0, &run);
        prop_assert_eq!(&parse::<Run>(&minimal_ron(&run), "").unwrap().0, &run);
        prop_assert!(diff(&run, &run).is_empty());
        let path = |p: &String| set(&Run::default(), p, &get(&run, p).unwrap());
        for p in ["name", "seed", "train", "train.lr", "source", "model", "ratio.0", "levels"] {
            prop_assert_eq!(get(&path(&p.to_string()).unwrap(), p).unwrap(), get(&run, p).unwrap());
        }
    }

    #[test]
    fn no_text_makes_it_panic(
        run in any_run(), edits in proptest::collection::vec((any::<usize>(), any::<u8>(), any::<char>()), 1..8),
        wild in "[-(){}\\[\\],:\"'/*a-zé0-9.# \n=r]{0,60}",
    ) {
        for text in [mutated(&to_ron(&run), &edits), mutated(&minimal_ron(&run), &edits), wild] {
            if let Err(error) = parse::<Run>(&text, "x.ron") {
                prop_assert!(!error.is_empty());
            }
            let _ = set(&run, "source", &text);
            let _ = set(&run, &text, "1");
        }
    }
}
