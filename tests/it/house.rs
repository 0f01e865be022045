//! The house rules that a test can hold us to.

use std::path::{Path, PathBuf};

/// A module uses only modules that stand above it here.
const ORDER: &[&str] = &[
    "error",
    "files",
    "torch",
    "device",
    "dist",
    "image",
    "sheet",
    "data",
    "pickle",
    "weights",
    "model",
    "tokens",
    "noise",
    "loss",
    "optim",
    "checkpoint",
    "sample",
    "metrics",
    "recipe",
    "config",
    "cost",
    "networks",
    "precompute",
    "generate",
    "train",
    "eval",
    "lab",
    "course",
    "face",
    "main",
];

/// Below the stage it belongs to: building blocks named here may be used by any network.
const SHARED: [&str; 2] = ["crate::model::init", "crate::model::layers"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// Code above the tests, without comments and blank lines.
fn code(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let above = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    above.lines().filter(is_code).map(String::from).collect()
}

#[test]
fn imports_go_one_way() {
    let src = root().join("src");
    let rank = |module: &str| ORDER.iter().position(|known| *known == module);
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(own) = rank(module) else {
            assert_eq!(module, "lib", "{} is not in the order of modules", inside.display());
            continue;
        };
        for line in
            code(&path).iter().filter(|line| !SHARED.iter().any(|shared| line.contains(shared)))
        {
            for used in line.match_indices("crate::").map(|(at, found)| &line[at + found.len()..]) {
                let name: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(other) = rank(&name) else { continue };
                assert!(other <= own, "{}: `{module}` uses `{name}`: {line}", inside.display());
            }
        }
    }
}

/// Lines of a function of `src/`, from its signature to its closing brace.
fn function(file: &str, signature: &str) -> usize {
    let text = std::fs::read_to_string(root().join("src").join(file)).unwrap();
    let start = text.find(signature).unwrap_or_else(|| panic!("{file} has no `{signature}`"));
    let end = text[start..].find("\n    }\n").unwrap();
    text[start..start + end].lines().count()
}

#[test]
fn the_method_is_short() {
    let lines = |file: &str| code(&root().join("src").join(file)).len();
    let files = ["noise.rs", "loss.rs", "sample/mod.rs", "model/blocks.rs"];
    let functions = [
        ("train/denoiser.rs", "pub fn step("),
        ("model/mod.rs", "pub fn forward("),
        ("model/mod.rs", "pub fn forward_embedded("),
        ("model/mod.rs", "fn embed_tokens("),
        ("model/mod.rs", "fn read_out("),
        ("model/mod.rs", "pub fn embed_cond("),
    ];
    let total = files.map(lines).iter().sum::<usize>()
        + functions.map(|(file, signature)| function(file, signature)).iter().sum::<usize>();
    assert!(total < 500, "{total} lines of noise, loss, sampler, step, forward and blocks");
    let step = function("train/denoiser.rs", "pub fn step(");
    assert!(step <= 25, "{step} lines of one training step");
}

/// What `explain sample` prints is what runs: nobody else draws tokens or puts noise back.
#[test]
fn only_the_sampler_samples() {
    let src = root().join("src");
    let mut users = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let text = code(&path).join("\n");
        if inside.starts_with("sample") {
            continue;
        }
        for own in [".renoise(", ".draw(&", ".guess(tokens", ".denoise("] {
            assert!(!text.contains(own), "{}: `{own}` outside of the sampler", inside.display());
        }
        if text.contains("sampler.passes(") {
            users.push(inside.display().to_string());
        }
    }
    users.sort();
    assert_eq!(users, ["generate.rs", "lab/sampling.rs"]);
}

#[test]
fn tracked_files_stay_small() {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    if !output.status.success() {
        return eprintln!("not a git checkout: nothing to weigh");
    }
    let names = String::from_utf8(output.stdout).unwrap();
    let files = names.split('\0').filter(|name| !name.is_empty());
    let total: u64 = files
        .filter_map(|name| std::fs::metadata(root().join(name)).ok())
        .map(|data| data.len())
        .sum();
    assert!(total < 45_000_000, "{total} bytes");
}
