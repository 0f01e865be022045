//! The commands: one table that the REPL, scripts, the help and the completion all read.

use super::Lab;
use super::args::Args;
use super::calls as run;
use super::view::View;
use super::watch::Watch;
use crate::error::{Error, Result};

/// What a command does with its arguments.
pub type Run = fn(&mut Lab, &Args, &mut dyn Watch) -> Result<View>;

pub struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    /// Name and arguments: `noise T`.
    pub synopsis: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// What it does, in a few lines.
    pub help: &'static str,
    pub example: &'static str,
    /// The keys of its `key=value`.
    pub keys: &'static [&'static str],
    /// What its words are, for completion.
    pub takes: Takes,
    /// Functions of this program that do the work, for `explain`.
    pub functions: &'static [&'static str],
    /// Whether `undo` has something to take back.
    pub changes: bool,
    pub run: Run,
}

/// What the words of a command name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Caption,
    Setting,
    Command,
    Model,
    File,
    Source,
    OneOf(&'static [&'static str]),
}

/// The keys of `sample` and `start`.
pub const SAMPLING: &[&str] = &["steps", "cfg", "temperature", "seed", "negative", "greedy"];
const SAMPLE: &[&str] = &["steps", "cfg", "temperature", "seed", "negative", "greedy", "count"];
pub const PLOTS: &[&str] = &["loss", "noise", "tokens", "schedule"];

impl Command {
    /// The command of this name or alias.
    ///
    /// Errors: no such command, with the nearest ones.
    pub fn find(name: &str) -> Result<&'static Command> {
        let lower = name.trim_start_matches(':').to_lowercase();
        let known = |c: &&Command| c.name == lower || c.aliases.contains(&lower.as_str());
        COMMANDS.iter().find(known).ok_or_else(|| {
            let near =
                COMMANDS.iter().filter(|c| close(c.name, &lower)).map(|c| format!("`{}`", c.name));
            let hint = match near.collect::<Vec<_>>().as_slice() {
                [] => "`help` lists all commands".to_string(),
                near => format!("did you mean {}?", near.join(" or ")),
            };
            Error::command(format!("unknown command `{name}`"), "", hint)
        })
    }

    pub fn usage(&self) -> String {
        format!("usage: {}", self.synopsis)
    }
}

/// One begins with the other, or they differ in at most two letters.
fn close(name: &str, word: &str) -> bool {
    let common = name.chars().zip(word.chars()).filter(|(a, b)| a == b).count();
    let longest = name.chars().count().max(word.chars().count());
    (word.len() >= 2 && name.starts_with(word))
        || (longest >= 4 && common + 2 >= longest)
        || swapped(name, word)
}

fn swapped(a: &str, b: &str) -> bool {
    let sorted = |s: &str| {
        let mut letters: Vec<char> = s.chars().collect();
        letters.sort_unstable();
        letters
    };
    a.len() > 2 && sorted(a) == sorted(b)
}

/// In the order of a first lesson: data, tokens, noise, prediction, sampling, training, the rest.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "data",
        aliases: &[],
        synopsis: "data [emoji|fashion|PATH] [group=NAME,..] [style=NAME,..] [size=PIXELS] [limit=N]",
        summary: "choose the data set, or tell what is in it",
        help: "Opens a data set: one that is shipped, a folder of pictures with .txt captions beside them, or a .tar \
               shard. Without arguments it tells how many pictures there are, by group and style.",
        example: "data emoji group=food-drink",
        keys: &["group", "style", "size", "limit"],
        takes: Takes::Source,
        functions: &["open_where"],
        changes: true,
        run: run::data,
    },
    Command {
        name: "show",
        aliases: &["picture"],
        synopsis: "show [N | CAPTION | FILE]",
        summary: "take a picture in hand: by number, caption or file",
        help: "Shows a picture of the data set and makes it the current one, which `encode`, `noise` and `predict` \
               work on. A file is cropped to a square and resized. Without arguments it shows the current picture again.",
        example: "show red apple",
        keys: &[],
        takes: Takes::Caption,
        functions: &["find", "fit"],
        changes: true,
        run: run::show,
    },
    Command {
        name: "caption",
        aliases: &["find"],
        synopsis: "caption [TEXT | N]",
        summary: "print the caption, or find pictures by a part of theirs",
        help: "With a number: the caption of that picture. With text: up to 20 pictures whose captions hold it. \
               Without: the caption of the current picture and the bytes that the text encoder sees.",
        example: "caption apple",
        keys: &[],
        takes: Takes::Caption,
        functions: &["byte_tokens"],
        changes: false,
        run: run::caption,
    },
    Command {
        name: "encode",
        aliases: &[],
        synopsis: "encode",
        summary: "turn the picture into tokens",
        help: "The tokenizer's encoder makes one vector per place; the nearest vector of the codebook gives the token. \
               Each number is shown on the mean colour that its code decodes to.",
        example: "encode",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["encode", "nearest"],
        changes: true,
        run: run::encode,
    },
    Command {
        name: "decode",
        aliases: &[],
        synopsis: "decode",
        summary: "turn the tokens back into a picture",
        help: "Decodes the current tokens and shows the result beside the original, with the error in decibels: what \
               is lost here no denoiser can bring back.",
        example: "decode",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["decode", "decode_indices"],
        changes: false,
        run: run::decode,
    },
    Command {
        name: "codebook",
        aliases: &["codes"],
        synopsis: "codebook",
        summary: "all codes as patches, and how often each is used",
        help: "Decodes every code of the codebook alone. The counts are taken over up to 256 pictures of the data set.",
        example: "codebook",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["lookup"],
        changes: false,
        run: run::codebook,
    },
    Command {
        name: "noise",
        aliases: &[],
        synopsis: "noise T",
        summary: "replace the share T of the tokens by random ones",
        help: "T is the noise ratio, 0 to 1. Each token is replaced with chance T by a code drawn at random. Shows the \
               noised picture and the mask, white where noise stands.",
        example: "noise 0.6",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["draw_mask", "add_noise"],
        changes: true,
        run: run::noise,
    },
    Command {
        name: "predict",
        aliases: &["guess"],
        synopsis: "predict [CAPTION]",
        summary: "one guess of the model from the noised picture",
        help: "The denoiser sees the noised tokens, T and the caption, and scores every code at every place. Shows the \
               best guess, its loss and accuracy, and where the model is least certain. Another caption may be given.",
        example: "predict",
        keys: &[],
        takes: Takes::Caption,
        functions: &["forward", "cross_entropy", "accuracy"],
        changes: false,
        run: run::predict,
    },
    Command {
        name: "loss",
        aliases: &[],
        synopsis: "loss [N]",
        summary: "loss and accuracy at T = 0.1 .. 0.9",
        help: "For the current picture, or for N pictures of the validation part: the more noise, the harder.",
        example: "loss 16",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["cross_entropy", "weighted_mean", "loss_weight"],
        changes: false,
        run: run::loss,
    },
    Command {
        name: "sample",
        aliases: &["draw"],
        synopsis: "sample TEXT [steps=12] [cfg=..] [temperature=..] [seed=..] [count=1] [negative=TEXT] [greedy=true]",
        summary: "make pictures from a text",
        help: "Starts from random tokens; each step guesses all of them, draws, and puts a little less noise back. \
               `cfg` and `temperature` take one number or two, first and last: temperature=0.7..0.3.",
        example: "sample \"red apple\" steps=8 count=4 seed=1",
        keys: SAMPLE,
        takes: Takes::Caption,
        functions: &["run", "denoise", "guess", "renoise"],
        changes: true,
        run: run::sample,
    },
    Command {
        name: "start",
        aliases: &[],
        synopsis: "start TEXT [steps=12] [cfg=..] [temperature=..] [seed=..] [negative=TEXT] [greedy=true]",
        summary: "begin a sampling run that goes one step at a time",
        help: "As `sample`, but stops before the first step: then `next`, `back` and `next` again.",
        example: "start \"red apple\" steps=6",
        keys: SAMPLING,
        takes: Takes::Caption,
        functions: &["plan", "random_tokens"],
        changes: true,
        run: run::start,
    },
    Command {
        name: "next",
        aliases: &["n"],
        synopsis: "next [N]",
        summary: "the next step of the sampling run",
        help: "Three pictures: the tokens before, the tokens drawn from the model's guess, and what is left of them \
               after noise is put back. With N: so many steps.",
        example: "next",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["denoise", "guess", "renoise"],
        changes: true,
        run: run::next,
    },
    Command {
        name: "back",
        aliases: &["b"],
        synopsis: "back [N]",
        summary: "one step back in the sampling run",
        help: "The same step taken again gives the same tokens: each step has its own seed.",
        example: "back",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["denoise"],
        changes: true,
        run: run::back,
    },
    Command {
        name: "step",
        aliases: &[],
        synopsis: "step [N]",
        summary: "N optimiser steps, each with its numbers",
        help: "Takes a batch of the training part, adds noise, computes the loss and its gradient, and moves the \
               weights once. N is 1 to 100; `train` goes further.",
        example: "step 3",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["step", "update"],
        changes: true,
        run: run::step,
    },
    Command {
        name: "train",
        aliases: &[],
        synopsis: "train N",
        summary: "train for N steps; Ctrl-C stops and keeps the model",
        help: "Many optimiser steps with one line of progress. `set train.. ` changes the learning rate and the like, \
               `plot loss` shows how it went, `undo` brings the old weights back.",
        example: "train 100",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["step", "lr_at"],
        changes: true,
        run: run::train,
    },
    Command {
        name: "plot",
        aliases: &[],
        synopsis: "plot loss|noise|tokens|schedule",
        summary: "a plot into the run folder, and a sketch here",
        help: "loss: all training steps of this session. noise: loss over T. tokens: how often each code is used. \
               schedule: noise ratio, temperature and guidance of each sampling step.",
        example: "plot schedule",
        keys: &[],
        takes: Takes::OneOf(PLOTS),
        functions: &["lines"],
        changes: false,
        run: run::plot,
    },
    Command {
        name: "set",
        aliases: &[],
        synopsis: "set PATH VALUE",
        summary: "change a setting",
        help: "PATH is a field as `config` prints it; VALUE is written as in a config file.",
        example: "set sample.steps 8",
        keys: &[],
        takes: Takes::Setting,
        functions: &["set"],
        changes: true,
        run: run::set,
    },
    Command {
        name: "config",
        aliases: &["settings"],
        synopsis: "config [diff | PATH]",
        summary: "print the settings",
        help: "All of them, one field or part, or with `diff` only what differs from the defaults.",
        example: "config sample",
        keys: &[],
        takes: Takes::Setting,
        functions: &["to_ron", "diff"],
        changes: false,
        run: run::config,
    },
    Command {
        name: "seed",
        aliases: &[],
        synopsis: "seed N",
        summary: "start chance anew from N",
        help: "The same commands after the same seed give the same pictures on the same machine.",
        example: "seed 1",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["seed"],
        changes: true,
        run: run::seed,
    },
    Command {
        name: "quick",
        aliases: &[],
        synopsis: "quick [on|off]",
        summary: "run the short forms of long lines",
        help: "A line may name a short form: `train 1000  # quick: train 20`. With `quick on`, and where PAELLA_QUICK=1 is \
               set, the short form runs. Lessons and notebooks then take seconds, and their pictures are poor.",
        example: "quick on",
        keys: &[],
        takes: Takes::OneOf(&["on", "off"]),
        functions: &["short"],
        changes: false,
        run: run::quick,
    },
    Command {
        name: "save",
        aliases: &[],
        synopsis: "save DIR",
        summary: "write the model into a folder",
        help: "config.ron and the weights; `load DIR` and `paella --model DIR` read them again.",
        example: "save runs/mine",
        keys: &[],
        takes: Takes::File,
        functions: &["save"],
        changes: false,
        run: run::save,
    },
    Command {
        name: "load",
        aliases: &["model"],
        synopsis: "load [NAME | DIR | CONFIG.ron]",
        summary: "take another model",
        help: "NAME is a shipped model, DIR a folder that `save` or `paella train` wrote. A config file gives an \
               untrained model. Without arguments it lists the shipped models.",
        example: "load fashion",
        keys: &[],
        takes: Takes::Model,
        functions: &["load"],
        changes: true,
        run: run::load,
    },
    Command {
        name: "export",
        aliases: &[],
        synopsis: "export FILE.ron",
        summary: "write the settings as a config for `paella train`",
        help: "The settings as they are now, data and changes included: only what differs from the defaults.",
        example: "export mine.ron",
        keys: &[],
        takes: Takes::File,
        functions: &["minimal_ron"],
        changes: false,
        run: run::export,
    },
    Command {
        name: "explain",
        aliases: &["source"],
        synopsis: "explain COMMAND",
        summary: "the lines of this program behind a command",
        help: "Prints the functions that do the work, with their formulas, and the shapes of the tensors in hand. \
               A function's own name works too.",
        example: "explain noise",
        keys: &[],
        takes: Takes::Command,
        functions: &["find_function"],
        changes: false,
        run: run::explain,
    },
    Command {
        name: "undo",
        aliases: &["u"],
        synopsis: "undo",
        summary: "take the last change back",
        help: "Pictures, tokens, noise, sampling, settings, data, model; the last training too.",
        example: "undo",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["undo"],
        changes: false,
        run: run::undo,
    },
    Command {
        name: "last_error",
        aliases: &[],
        synopsis: "last_error",
        summary: "the last error in full",
        help: "With what libtorch said beyond its first line, and where an internal error arose.",
        example: "last_error",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["last_error"],
        changes: false,
        run: run::last_error,
    },
    Command {
        name: "help",
        aliases: &["?", "h"],
        synopsis: "help [COMMAND]",
        summary: "this list, or more about one command",
        help: "`explain COMMAND` shows the code behind it.",
        example: "help sample",
        keys: &[],
        takes: Takes::Command,
        functions: &["help"],
        changes: false,
        run: run::help,
    },
    Command {
        name: "quit",
        aliases: &["exit", "q"],
        synopsis: "quit",
        summary: "leave; so does Ctrl-D",
        help: "Pictures stay in the run folder. A trained model that is not saved is lost.",
        example: "quit",
        keys: &[],
        takes: Takes::Nothing,
        functions: &["quit"],
        changes: false,
        run: run::quit,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_told_in_full() {
        let mut names = BTreeSet::new();
        for c in COMMANDS {
            assert!(c.synopsis.starts_with(c.name), "{}", c.name);
            assert!(!c.summary.is_empty() && !c.help.is_empty(), "{}", c.name);
            let (name, _) =
                super::super::args::parse(c.example).expect("parses").expect("a command");
            assert_eq!(name, c.name);
            for key in c.keys {
                assert!(c.synopsis.contains(&format!("{key}=")), "{}: {key}", c.name);
            }
            for name in c.aliases.iter().chain([&c.name]) {
                assert!(names.insert(*name), "`{name}` names two commands");
            }
        }
    }

    #[test]
    fn every_function_to_explain_exists() {
        for c in COMMANDS {
            for name in c.functions {
                assert!(super::super::explain::find_function(name).is_some(), "{}: {name}", c.name);
            }
        }
    }

    #[test]
    fn finds_commands_and_suggests() {
        assert_eq!(Command::find("?").map(|c| c.name), Ok("help"));
        assert_eq!(Command::find(":Show").map(|c| c.name), Ok("show"));
        let hint =
            |name| Command::find(name).map(|_| ()).expect_err("unknown").faults()[0].hint.clone();
        assert_eq!(hint("smaple"), "did you mean `sample`?");
        assert_eq!(hint("enc"), "did you mean `encode`?");
        assert_eq!(hint("xyzzy"), "`help` lists all commands");
    }
}
