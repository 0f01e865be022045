//! Hints of the prompt as a shell has them: `cfg=3` is `--cfg 3`.

use crate::error::{Error, shell_path, shell_word};
use crate::lab::args::parse;
use crate::lab::view::{View, ViewBlock};
use crate::model::weigh::PartWeights;

/// Settings of the prompt that are options of `sample` and `grid`.
const OPTIONS: [&str; 9] =
    ["out", "steps", "cfg", "temperature", "seed", "size", "weights", "negative", "prior"];

/// A view with the notes of the shell.
pub fn in_shell(mut view: View) -> View {
    for block in &mut view.blocks {
        if let ViewBlock::Note(text) = block {
            *text = flags(text);
        }
    }
    view
}

/// Weights of parts, with the hint of the shell.
pub fn part_weights(text: &str) -> Result<PartWeights, String> {
    text.parse().map_err(|error: Error| flags(&error.to_string()))
}

/// A text with the settings between its backticks as options.
pub fn flags(text: &str) -> String {
    let mut parts = text.split('`');
    let mut all = parts.next().unwrap_or_default().to_string();
    while let Some(inside) = parts.next() {
        let Some(after) = parts.next() else { return all + "`" + inside };
        all += &of_shell(inside).unwrap_or_else(|| format!("`{inside}`"));
        all += after;
    }
    all
}

/// The remark for a setting of the prompt within a text, such as `steps=4`, or for a file at its end.
pub fn mistaken_option(text: &str) -> Option<String> {
    let is_setting =
        |word: &&str| word.split_once('=').is_some_and(|(key, _)| OPTIONS.contains(&key));
    let is_file = |word: &&str| [".png", ".webp", ".gif"].iter().any(|end| word.ends_with(end));
    if let Some(file) = text.split_whitespace().next_back().filter(is_file) {
        let option = format!("`--out {}`", shell_path(file));
        return Some(format!("\"{file}\" is part of the text; {option} writes there"));
    }
    let typed = text.split_whitespace().find(is_setting)?;
    let option = of_shell(typed)?;
    Some(format!("\"{typed}\" is part of the text; {option} sets it"))
}

/// Settings or a `set` of the prompt as the shell has them. None for other text.
fn of_shell(inside: &str) -> Option<String> {
    let (name, args) = parse(&format!("of {inside}")).ok()??;
    debug_assert_eq!(name, "of");
    let option = |key: &str, value: &str| format!("--{key} {}", shell_word(value));
    match args.words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {}
        ["load", model] => return Some(format!("`--model {}`", shell_path(model))),
        ["list", file] => return Some(format!("`--from {}`", shell_path(file))),
        ["show", what] => return Some(format!("`paella show {}`", shell_path(what))),
        ["caption", ..] => return Some(format!("`{inside}` at the prompt")),
        ["set", path, value] => {
            let last = path.rsplit('.').next().filter(|last| OPTIONS.contains(last));
            return Some(match last {
                Some(key) => format!("`{}`", option(key, value)),
                None => format!("`{path}` {value} in the model's config.ron"),
            });
        }
        _ => return None,
    }
    let known = args.pairs.iter().all(|(key, _)| OPTIONS.contains(&key.as_str()));
    if !known || args.pairs.is_empty() {
        return None;
    }
    let all: Vec<_> = args.pairs.iter().map(|(key, value)| option(key, value)).collect();
    Some(format!("`{}`", all.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_options_and_other_text_stays() {
        for (prompt, shell) in [
            ("; `cfg=3` gives it one", "; `--cfg 3` gives it one"),
            ("two: `steps=4,8,12 cfg=1,3,8`", "two: `--steps 4,8,12 --cfg 1,3,8`"),
            ("`weights=\"text=1.2 clip_text=1\"`, or", "`--weights 'text=1.2 clip_text=1'`, or"),
            ("`set sample.steps 12`", "`--steps 12`"),
            (
                "`set sample.guided_steps 12` and `cfg=3`",
                "`sample.guided_steps` 12 in the model's config.ron and `--cfg 3`",
            ),
        ] {
            assert_eq!(flags(prompt), shell);
        }
        assert_eq!(flags("`load emoji-64` has one"), "`--model emoji-64` has one");
        assert_eq!(flags("`show \"a b.png\"`"), "`paella show 'a b.png'`");
        assert_eq!(flags("`caption fox` searches"), "`caption fox` at the prompt searches");
        let remark = "\"cfg=2\" is part of the text; `--cfg 2` sets it";
        assert_eq!(mistaken_option("fox cfg=2 x").as_deref(), Some(remark));
        let remark = "\"a.png\" is part of the text; `--out a.png` writes there";
        assert_eq!(mistaken_option("fox a.png").as_deref(), Some(remark));
        assert_eq!(mistaken_option("e=mc2 steps"), None);
        for text in ["cfg=3", "`a cfg=3`", "`x=1`", "an open ` cfg=3", "`train a.ron`", "", "``"] {
            assert_eq!(flags(text), text);
        }
    }
}
