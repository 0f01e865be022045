//! The options that every command takes, and the commands on which each of them acts. An option that would do nothing is
//! refused, and `--help` leaves it out.

use super::common::Common;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// The options of [`Common`] that act on each subcommand. Without a subcommand all of them do.
const ACTING: [(&str, &[&str]); 14] = [
    ("train", &["device", "seed", "json"]),
    ("plan", &["device", "json"]),
    ("bench", &["device", "json"]),
    ("precompute", &["device", "json"]),
    ("sample", &["model", "device", "seed", "runs", "json"]),
    ("grid", &["model", "device", "seed", "runs", "json"]),
    ("eval", &["model", "device", "json"]),
    ("show", &["model", "device", "runs", "json"]),
    ("config", &["json"]),
    ("lesson", &["model", "device", "seed", "runs", "json"]),
    ("lessons", &[]),
    ("doctor", &["json"]),
    ("kernel", &[]),
    ("completions", &[]),
];

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
  SSL_CERT_FILE     certificates to trust for https:// shards
  OMP_NUM_THREADS   threads of the CPU
  RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
                    one process of a distributed `train`; torchrun sets them, srun the SLURM_ ones";

/// The command line, in which each subcommand's help lists the options that act on it.
pub fn fitted(command: Command) -> Command {
    let common: Vec<Arg> =
        command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    ACTING.iter().fold(command, |command, (name, acting)| {
        let idle = common.iter().filter(|arg| !acting.contains(&arg.get_id().as_str()));
        let hidden: Vec<Arg> = idle.map(|arg| arg.clone().hide(true)).collect();
        command.mut_subcommand(name, |subcommand| subcommand.args(hidden))
    })
}

/// Checks that every option of [`Common`] that was given acts on the subcommand.
///
/// Errors: one that does nothing.
pub fn check(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some((name, _)) = matches.subcommand() else { return Ok(()) };
    let acting =
        ACTING.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, acting)| acting);
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
    let what = format!("`--{idle}` does nothing for `paella {name}`: {takes}");
    Err(command.error(ErrorKind::ArgumentConflict, what))
}

#[cfg(test)]
mod tests {
    use super::super::cli::command;
    use super::*;

    fn parse(line: &str) -> Result<(), String> {
        let matches = command().try_get_matches_from(line.split_whitespace());
        let checked = matches.and_then(|matches| check(&mut command(), &matches));
        checked.map_err(|e| e.to_string())
    }

    #[test]
    fn an_option_that_does_nothing_is_refused() {
        for line in [
            "paella train x.ron --model y",
            "paella --model y train x.ron",
            "paella train x.ron --runs y",
            "paella plan x.ron --seed 3",
            "paella config check x.ron --device cpu",
            "paella doctor --seed 1",
            "paella completions bash --json",
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains("does nothing for `paella"), "{line}: {error}");
        }
        for line in [
            "paella train x.ron --device cpu --seed 3 --json",
            "paella --device cpu train x.ron",
            "paella --model y show 0",
            "paella show 0 --model y",
            "paella config check x.ron --json",
            "paella --model y --seed 3 --runs z",
        ] {
            assert_eq!(parse(line), Ok(()), "{line}");
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
            let (_, acting) =
                ACTING.iter().find(|(known, _)| *known == name).expect("in the table");
            let help =
                all.find_subcommand_mut(&name).expect("there").render_long_help().to_string();
            for option in Common::OPTIONS {
                let listed = help.contains(&format!("--{option} "))
                    || help.contains(&format!("--{option}\n"));
                assert_eq!(listed, acting.contains(&option), "{name} --{option}:\n{help}");
            }
        }
        assert_eq!(ACTING.len(), command().get_subcommands().count());
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
