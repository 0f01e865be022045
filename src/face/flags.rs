//! The options that every command takes, and the commands on which each of them acts. An option that would do nothing is
//! refused, and `--help` leaves it out.

use super::common::Common;
use crate::data::home;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use std::any::TypeId;
use std::path::PathBuf;

/// The options of [`Common`] that act on each way to call the program: a subcommand, and arguments that change what it
/// reads. The first row is the prompt at a terminal.
const ACTING: [(&str, &[&str]); 23] = [
    ("", &["model", "device", "seed", "runs"]),
    ("--script", &["model", "device", "seed", "runs", "json"]),
    ("--rust", &["model", "device", "seed", "runs"]),
    ("train", &["device", "seed", "json"]),
    ("plan", &["device", "json"]),
    ("bench", &["device", "json"]),
    ("bench --serve", &["device"]), // it always answers in JSON
    ("precompute", &["device", "json"]),
    ("sample", &["model", "device", "seed", "runs", "json"]),
    ("sample --out", &["model", "device", "seed", "json"]), // nothing goes into the run folder
    ("grid", &["model", "device", "seed", "runs", "json"]),
    ("grid --out", &["model", "device", "seed", "json"]),
    ("eval", &["model", "device", "json"]),
    ("show", &["model", "device", "runs", "json"]),
    ("config", &["json"]),
    ("lesson", &["json"]), // the list
    ("lesson N", &["model", "device", "seed", "runs"]),
    ("lessons", &[]),
    ("convert", &["json"]),
    ("pull", &["json"]),
    ("doctor", &["json"]),
    ("kernel", &[]),
    ("completions", &[]),
];

/// The row of [`ACTING`] for a command line. `pipe`: the commands of a call without a subcommand come in through a pipe.
fn way(matches: &ArgMatches, pipe: bool) -> &'static str {
    let given = |of: &ArgMatches, option: &str| {
        let known = of.try_contains_id(option).is_ok();
        known && of.value_source(option) == Some(ValueSource::CommandLine)
    };
    match matches.subcommand() {
        None if given(matches, "rust") => "--rust",
        None if pipe || given(matches, "script") => "--script",
        None => "",
        Some(("bench", own)) if given(own, "serve") => "bench --serve",
        Some(("sample", own)) if given(own, "out") || given(own, "sheet") => "sample --out",
        Some(("grid", own)) if given(own, "out") => "grid --out",
        Some(("lesson", own)) if given(own, "which") => "lesson N",
        Some((name, _)) => ACTING.iter().find(|(way, _)| *way == name).map_or("", |(way, _)| way),
    }
}

/// The options that act on a way to call the program.
fn acting(way: &str) -> &'static [&'static str] {
    ACTING.iter().find(|(known, _)| *known == way).map_or(&[], |(_, acting)| acting)
}

/// Whether an option acts on some way to call this subcommand.
fn acts_somehow(subcommand: &str, option: &str) -> bool {
    let own = |way: &str| way.split(' ').next() == Some(subcommand);
    ACTING.iter().any(|(way, acting)| own(way) && acting.contains(&option))
}

/// What `paella --help` says about environment variables.
pub const VARIABLES: &str = "\
Environment:
  PAELLA_HOME       folder with assets and libraries, for a program away from its source
  PAELLA_ASSETS     folder of the shipped data and models
  PAELLA_CUDA       the library for GPUs, libpaella_cuda.so
  PAELLA_PICTURES   kitty, iterm, sixel, blocks or files: how pictures are shown
  PAELLA_QUICK      1: lines with a short form behind `# quick:` run that one
  PAELLA_MODEL, PAELLA_DEVICE, PAELLA_SEED, PAELLA_RUNS
                    the options of these names, for the notebook kernel and `--rust`
  NO_COLOR          no colours
  SSL_CERT_FILE     certificates to trust for https:// shards and the hub
  HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE, HF_HUB_OFFLINE
                    the Hugging Face hub for `pull`, as Python reads them
  OMP_NUM_THREADS   threads of the CPU
  RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
                    one process of a distributed `train`; torchrun sets them, srun the SLURM_ ones";

/// A path below `~` is one of the home folder wherever it stands: a shell that is not asked to expand it (`--out=~/x`, or in
/// quotes) passes it on as it is.
fn at_home(command: Command) -> Command {
    let below_home = PathBufValueParser::new().map(|path| home(&path));
    let command =
        command.mut_args(|arg| match arg.get_value_parser().type_id() == TypeId::of::<PathBuf>() {
            true => arg.value_parser(below_home.clone()),
            false => arg,
        });
    command.mut_subcommands(at_home)
}

/// The command line, in which each subcommand's help lists the options that act on it.
pub fn fitted(command: Command) -> Command {
    let command = at_home(command);
    let common: Vec<Arg> =
        command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_string()).collect();
    names.iter().fold(command, |command, name| {
        let idle = common.iter().filter(|arg| !acts_somehow(name, arg.get_id().as_str()));
        let hidden: Vec<Arg> = idle.map(|arg| arg.clone().hide(true)).collect();
        command.mut_subcommand(name, |subcommand| subcommand.args(hidden))
    })
}

/// Checks that every option of [`Common`] that was given acts on this way to call the program.
///
/// Errors: one that does nothing.
pub fn check(command: &mut Command, matches: &ArgMatches, pipe: bool) -> Result<(), clap::Error> {
    let way = way(matches, pipe);
    let acting = acting(way);
    let given = |option: &&str| matches.value_source(option) == Some(ValueSource::CommandLine);
    let Some(idle) = Common::OPTIONS
        .iter()
        .filter(|option| !acting.contains(option))
        .find(|option| given(option))
    else {
        return Ok(());
    };
    let takes = match acting {
        [] => "it takes none of these options".to_string(),
        some => format!("of these options it takes --{}", some.join(", --")),
    };
    let called = if way.is_empty() { "the prompt".into() } else { format!("`paella {way}`") };
    let what = format!("`--{idle}` does nothing for {called}: {takes}");
    Err(command.error(ErrorKind::ArgumentConflict, what))
}

#[cfg(test)]
mod tests {
    use super::super::cli::command;
    use super::*;

    fn parse(line: &str) -> Result<(), String> {
        let matches = command().try_get_matches_from(line.split_whitespace());
        let checked = matches.and_then(|matches| check(&mut command(), &matches, false));
        checked.map_err(|e| e.to_string())
    }

    /// One call for each command, and for each argument that changes what a command reads, with the options that act on it.
    const CALLS: [(&str, &[&str]); 29] = [
        ("", &["model", "device", "seed", "runs"]),
        ("--script x", &["model", "device", "seed", "runs", "json"]),
        ("--rust", &["model", "device", "seed", "runs"]),
        ("train x", &["device", "seed", "json"]),
        ("plan x", &["device", "json"]),
        ("bench x", &["device", "json"]),
        ("bench x --serve", &["device"]),
        ("precompute x --out y", &["device", "json"]),
        ("sample x", &["model", "device", "seed", "runs", "json"]),
        ("sample x --gif y.gif", &["model", "device", "seed", "runs", "json"]),
        ("sample x --out y.png", &["model", "device", "seed", "json"]),
        ("sample x --sheet y.png", &["model", "device", "seed", "json"]),
        ("grid x --steps 4,8", &["model", "device", "seed", "runs", "json"]),
        ("grid x --steps 4,8 --out y.png", &["model", "device", "seed", "json"]),
        ("eval x", &["model", "device", "json"]),
        ("show x", &["model", "device", "runs", "json"]),
        ("config check x", &["json"]),
        ("config show x", &["json"]),
        ("config diff x", &["json"]),
        ("lesson", &["json"]),
        ("lesson 1", &["model", "device", "seed", "runs"]),
        ("lessons build", &[]),
        ("convert x y", &["json"]),
        ("pull paella-v3", &["json"]),
        ("doctor", &["json"]),
        ("doctor --weights x", &["json"]),
        ("kernel install", &[]),
        ("kernel uninstall", &[]),
        ("completions bash", &[]),
    ];

    #[test]
    fn every_option_is_taken_by_the_commands_that_read_it_and_refused_by_all_others() {
        let value = |option| match option {
            "json" => "",
            "seed" => " 3",
            _ => " y",
        };
        for (call, acting) in CALLS {
            assert_eq!(parse(&format!("paella {call}")), Ok(()), "{call}");
            for option in Common::OPTIONS {
                let flag = format!("--{option}{}", value(option));
                for line in [format!("paella {call} {flag}"), format!("paella {flag} {call}")] {
                    match parse(&line) {
                        Ok(()) => assert!(acting.contains(&option), "{line} is taken"),
                        // clap's own rule, see `Cli::rust`
                        Err(e) if line.contains("--rust") => {
                            assert!(option == "json" && e.contains("cannot be used"), "{e}");
                        }
                        Err(e) => {
                            assert!(!acting.contains(&option), "{line} is refused: {e}");
                            assert!(e.contains("does nothing for"), "{line}: {e}");
                        }
                    }
                }
            }
        }
        // a new command has to say what it reads
        let mut all = command();
        all.build();
        let mut called = 0;
        for sub in all.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let below = sub.get_subcommands().filter(|sub| sub.get_name() != "help");
            let below: Vec<&str> = below.map(Command::get_name).collect();
            let paths = match below[..] {
                [] => vec![sub.get_name().to_string()],
                _ => below.iter().map(|name| format!("{} {name}", sub.get_name())).collect(),
            };
            for path in paths {
                let is = |call: &str| call == path || call.starts_with(&format!("{path} "));
                assert!(CALLS.iter().any(|(call, _)| is(call)), "{path} is not among the calls");
                called += 1;
            }
        }
        assert!(called > 15, "{called}");
    }

    #[test]
    fn a_pipe_reads_json_and_the_prompt_does_not() {
        let matches = |line: &str| command().try_get_matches_from(line.split_whitespace());
        let matches = matches("paella --json").expect("parsed");
        assert!(check(&mut command(), &matches, true).is_ok());
        let error = check(&mut command(), &matches, false).expect_err("refused").to_string();
        assert!(error.contains("`--json` does nothing for the prompt"), "{error}");
    }

    #[test]
    fn a_path_below_the_home_folder_is_there_in_every_option() {
        let below = home(std::path::Path::new("~/x.safetensors"));
        let matches =
            command().try_get_matches_from(["paella", "convert", "~/a.pt", "~/x.safetensors"]);
        let matches = matches.expect("parsed");
        let (_, own) = matches.subcommand().expect("convert");
        assert_eq!(own.get_one::<PathBuf>("to"), Some(&below));
        let matches =
            command().try_get_matches_from(["paella", "sample", "x", "--out=~/x.safetensors"]);
        let matches = matches.expect("parsed");
        let (_, own) = matches.subcommand().expect("sample");
        assert_eq!(own.get_one::<PathBuf>("out"), Some(&below));
    }

    #[test]
    fn an_own_option_that_would_do_nothing_is_refused() {
        for line in [
            "paella lesson --again",
            "paella bench x --serve --times 3",
            "paella bench x --serve --train 3",
            "paella eval x --chart y.png",
            "paella eval x --over steps --inception y.pth",
            "paella eval x --over steps --weights text=2",
            "paella eval x --over steps --clip y.bin",
            "paella sample x --by 8",
            "paella sample x --text-weight 2",
            "paella sample x --keep-pixels",
            "paella sample x --area left",
            "paella kernel install --user --prefix x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_lists_the_options_that_act() {
        let mut all = command();
        all.build();
        for name in all.get_subcommands().map(|sub| sub.get_name().to_string()).collect::<Vec<_>>()
        {
            if name == "help" {
                continue;
            }
            let help =
                all.find_subcommand_mut(&name).expect("there").render_long_help().to_string();
            for option in Common::OPTIONS {
                let listed = help.contains(&format!("--{option} "))
                    || help.contains(&format!("--{option}\n"));
                assert_eq!(listed, acts_somehow(&name, option), "{name} --{option}:\n{help}");
            }
        }
    }

    #[test]
    fn every_variable_of_this_program_is_listed() {
        let help = command().render_long_help().to_string();
        let mut found = 0;
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder)
                .expect("a folder")
                .map(|entry| entry.expect("there").path())
            {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("text");
                let named = |c: char| c.is_ascii_uppercase() || c == '_';
                for (at, _) in text.match_indices("\"PAELLA_") {
                    let name: String = text[at + 1..].chars().take_while(|c| named(*c)).collect();
                    found += 1;
                    assert!(name.len() < 8 || help.contains(&name), "{name} of {}", path.display());
                }
            }
        }
        assert!(found > 8, "{found}");
    }
}
