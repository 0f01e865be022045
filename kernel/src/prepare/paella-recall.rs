//! Takes the place of `cargo`, `rustc` and `rustup` for evcxr and rust-analyzer. At every start of a kernel they ask the
//! same questions and compile the same first cells. This program repeats the answers that the real tools gave while the
//! kernel was prepared. It passes everything else on to the real tools, and so it does if anything fails.
//!
//! The environment says where things are. PAELLA_RECALL is the folder of the prepared kernel, with the kept `answers` and
//! with this program as `tools/bin/cargo` and so on. PAELLA_SYSROOT holds the real tools, EVCXR_TMPDIR the workspace of the
//! cells. With PAELLA_LEARN, new answers are kept.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

/// Replaces the path of the workspace in kept answers.
const HERE: &str = "@workspace@";
/// The crate that evcxr makes of a cell.
const CELL: &str = "ctx";
/// Where evcxr looks for the path of a compiled cell.
const RESULT: &str = "EVCXR_EXECUTION_SO_PATH";
/// File in which the compiler, called by cargo, keeps its call.
const RECIPE: &str = "PAELLA_RECIPE";

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    let tool = Path::new(&name).file_name().and_then(OsStr::to_str).unwrap_or_default().to_string();
    let call = Call { tool, args: args.collect() };
    call.answer().unwrap_or_else(|_| {
        let error = call.real().exec(); // whatever failed, the tool itself knows the answer
        let _ = writeln!(io::stderr(), "error: {}: {error}", call.tool); // no other place to say it
        ExitCode::FAILURE
    })
}

struct Call {
    tool: String,
    args: Vec<String>,
}

impl Call {
    fn answer(&self) -> io::Result<ExitCode> {
        match (
            self.tool.as_str(),
            self.args.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
        ) {
            ("rustup", ["which", tool @ ("cargo" | "rustc")]) => {
                return say(&format!("{}\n", folder("bin").join(tool).display()));
            }
            // rust-analyzer takes its tools from there; a build script wants the real one.
            ("rustc", ["--print", "sysroot"]) if std::env::var_os("CARGO_PKG_NAME").is_none() => {
                return say(&format!("{}\n", folder("").display()));
            }
            _ => {}
        }
        if let (true, Some(place)) = (self.compiles_a_cell(), std::env::var_os(RECIPE)) {
            Recipe { args: self.args.clone(), vars: cargo_vars() }.keep(Path::new(&place))?;
        }
        if !self.is_a_question() {
            return Err(self.real().exec());
        }
        let state = state();
        let recipe = answers().join(format!("recipe-{:016x}", state.finish()));
        let place = answers().join(self.key(state));
        if let Some(answer) = Answer::kept(&place) {
            return answer.give(self.result());
        }
        if std::env::var_os("PAELLA_LEARN").is_some() {
            let output = self.real().env(RECIPE, &recipe).output()?;
            let answer = Answer::of(output, self.result());
            answer.keep(&place)?;
            return answer.give(self.result());
        }
        match self.builds().then(|| Recipe::kept(&recipe)).flatten() {
            Some(recipe) => recipe.compile(),
            None => Err(self.real().exec()),
        }
    }

    fn has(&self, word: &str) -> bool {
        self.args.iter().any(|arg| arg == word)
    }

    fn builds(&self) -> bool {
        self.tool == "cargo" && self.args.first().is_some_and(|arg| arg == "build")
    }

    /// Where `cargo build --target T` puts a cell.
    fn result(&self) -> Option<PathBuf> {
        let target = self.args.iter().skip_while(|arg| *arg != "--target").nth(1)?;
        let folder = workspace().join("target").join(target).join("debug");
        self.builds().then(|| folder.join(format!("lib{CELL}.so")))
    }

    /// Whether the answer depends on the words and the workspace alone.
    fn is_a_question(&self) -> bool {
        let words: &[&str] = match self.tool.as_str() {
            "cargo" => &["locate-project", "config", "metadata", "--version", "--print"],
            "rustc" => &["--print", "-V", "-vV", "-Vv"],
            _ => &[],
        };
        self.builds() || words.iter().any(|word| self.has(word))
    }

    fn compiles_a_cell(&self) -> bool {
        let is_cell = |pair: &[String]| pair[0] == "--crate-name" && pair[1] == CELL;
        self.tool == "rustc" && self.args.windows(2).any(is_cell) && !self.has("--print")
    }

    /// A hash of everything that the answer depends on.
    fn key(&self, mut hasher: DefaultHasher) -> String {
        (&self.tool, self.args.iter().map(|arg| anywhere(arg)).collect::<Vec<_>>())
            .hash(&mut hasher);
        if self.builds() {
            sorted(&workspace().join("src/lib.rs"), |line| line.starts_with("use "))
                .hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }

    /// The tool itself, in an environment without this program.
    fn real(&self) -> Command {
        let sysroot = PathBuf::from(std::env::var_os("PAELLA_SYSROOT").unwrap_or_default());
        let own = folder("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let others = || std::env::split_paths(&path).filter(|part| *part != own);
        let programs = [sysroot.join("bin")].into_iter().chain(others());
        let program = programs.map(|part| part.join(&self.tool)).find(|file| file.is_file());
        let mut command = Command::new(program.unwrap_or_else(|| self.tool.clone().into()));
        command.args(&self.args);
        command.env("PATH", std::env::join_paths(others()).unwrap_or_default());
        if std::env::var_os("RUSTUP_TOOLCHAIN").is_some_and(|toolchain| toolchain == folder("")) {
            command.env("RUSTUP_TOOLCHAIN", &sysroot);
        }
        command
    }
}

/// Output of a tool, and the cell that it compiled.
struct Answer {
    code: i32,
    out: String,
    err: String,
    /// A compiled cell.
    cell: Option<Vec<u8>>,
}

impl Answer {
    fn of(output: Output, result: Option<PathBuf>) -> Self {
        let text = |bytes: &[u8]| anywhere(&String::from_utf8_lossy(bytes));
        let code = output.status.code().unwrap_or(1);
        // cargo's progress would be wrong the next time.
        let err = if code == 0 { String::new() } else { text(&output.stderr) };
        let cell = result.filter(|_| code == 0).and_then(|file| fs::read(file).ok());
        Self { code, out: text(&output.stdout), err, cell }
    }

    fn kept(place: &Path) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(place.join(name)).ok();
        let code = read("code")?.trim().parse().ok()?;
        Some(Self {
            code,
            out: read("out")?,
            err: read("err")?,
            cell: fs::read(place.join("cell")).ok(),
        })
    }

    fn keep(&self, place: &Path) -> io::Result<()> {
        let fresh = place.with_extension(std::process::id().to_string());
        fs::create_dir_all(&fresh)?;
        fs::write(fresh.join("code"), self.code.to_string())?;
        fs::write(fresh.join("out"), &self.out)?;
        fs::write(fresh.join("err"), &self.err)?;
        if let Some(cell) = &self.cell {
            fs::write(fresh.join("cell"), cell)?;
        }
        let _ = fs::rename(&fresh, place).or_else(|_| fs::remove_dir_all(&fresh)); // another one was first
        Ok(())
    }

    fn give(&self, result: Option<PathBuf>) -> io::Result<ExitCode> {
        if let (Some(cell), Some(file)) = (&self.cell, result) {
            fs::write(file, cell)?;
        }
        io::stderr().write_all(here(&self.err).as_bytes())?;
        io::stdout().write_all(here(&self.out).as_bytes())?;
        Ok(ExitCode::from(self.code as u8))
    }
}

/// cargo's call of the compiler for a cell of this workspace. The next cell needs the compiler alone.
struct Recipe {
    args: Vec<String>,
    vars: BTreeMap<String, String>,
}

impl Recipe {
    fn keep(&self, place: &Path) -> io::Result<()> {
        let vars = self.vars.iter().map(|(name, value)| format!("{name}={value}"));
        let lines = vars.chain([String::new()]).chain(self.args.iter().cloned());
        let text = anywhere(&lines.collect::<Vec<_>>().join("\0"));
        let fresh = place.with_extension(std::process::id().to_string());
        fs::create_dir_all(answers())?;
        fs::write(&fresh, text)?;
        fs::rename(&fresh, place)
    }

    fn kept(place: &Path) -> Option<Self> {
        let text = here(&fs::read_to_string(place).ok()?);
        let (vars, args) = text.split_once("\0\0")?;
        let pair = |line: &str| line.split_once('=').map(|(a, b)| (a.to_string(), b.to_string()));
        let args = args.split('\0').map(String::from).collect();
        Some(Self { args, vars: vars.split('\0').filter_map(pair).collect() })
    }

    /// Compile as `cargo build` would. evcxr reads rustc's messages from stderr too.
    fn compile(&self) -> io::Result<ExitCode> {
        let call = Call { tool: "rustc".into(), args: self.args.clone() };
        let status = call.real().envs(&self.vars).current_dir(workspace()).status()?;
        let folder = self.args.iter().skip_while(|arg| *arg != "--out-dir").nth(1);
        if let (true, Some(folder), Some(file)) =
            (status.success(), folder, std::env::var_os(RESULT))
        {
            fs::write(file, format!("{folder}/lib{CELL}.so"))?;
        }
        Ok(ExitCode::from(status.code().unwrap_or(1) as u8))
    }
}

/// The variables with which cargo describes the package to the compiler.
fn cargo_vars() -> BTreeMap<String, String> {
    let about = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    std::env::vars().filter(|(name, _)| about.iter().any(|part| name.starts_with(part))).collect()
}

/// The workspace without its cell, and the user's settings of cargo and rustc.
fn state() -> DefaultHasher {
    let mut hasher = DefaultHasher::new();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo")
    });
    sorted(&workspace().join("Cargo.toml"), |line| line.contains(" = {")).hash(&mut hasher);
    for file in
        [workspace().join(".cargo/config.toml"), home.join("config.toml"), home.join("config")]
    {
        fs::read(file).unwrap_or_default().hash(&mut hasher);
    }
    let parts = [
        "CARGO_BUILD_",
        "CARGO_ENCODED_",
        "CARGO_INCREMENTAL",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "RUSTC_",
        "RUSTFLAGS",
    ];
    let mut vars: Vec<(String, String)> = std::env::vars()
        .filter(|(name, _)| parts.iter().any(|part| name.starts_with(part)))
        .map(|(name, value)| (name, anywhere(&value)))
        .collect();
    vars.sort();
    vars.hash(&mut hasher);
    hasher
}

/// The lines of a file, those of one kind sorted: evcxr writes dependencies and imports in any order.
fn sorted(file: &Path, kind: impl Fn(&str) -> bool) -> (Vec<String>, Vec<String>) {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(String::from);
    let (mut some, others): (Vec<String>, Vec<String>) = lines.partition(|line| kind(line));
    some.sort();
    (some, others)
}

/// `part` of the folder that this program is in.
fn folder(part: &str) -> PathBuf {
    let tools = PathBuf::from(std::env::var_os("PAELLA_RECALL").unwrap_or_default()).join("tools");
    if part.is_empty() { tools } else { tools.join(part) }
}

fn answers() -> PathBuf {
    PathBuf::from(std::env::var_os("PAELLA_RECALL").unwrap_or_default()).join("answers")
}

fn workspace() -> PathBuf {
    PathBuf::from(std::env::var_os("EVCXR_TMPDIR").unwrap_or_default())
}

fn anywhere(text: &str) -> String {
    text.replace(&workspace().display().to_string(), HERE)
}

fn here(text: &str) -> String {
    text.replace(HERE, &workspace().display().to_string())
}

fn say(text: &str) -> io::Result<ExitCode> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
