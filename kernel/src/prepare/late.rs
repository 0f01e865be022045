//! Tricks `late` and `warm`: when rust-analyzer reads the standard library.
//!
//! It reads it to find the types of variables, which takes as long as all the rest of a start. With `late` it does so when
//! the first `let` comes, or when nothing else is to do. With `warm` it then infers some types that cells often have: the
//! first inference of a tensor's type costs a second otherwise.
//!
//! The engine asks [`Types`] at its start, before each job and when it is idle. All that follows is decided here.

use crate::place::Prepared;
use crate::prepare::cells::level;
use crate::prepare::trick::{Trick, Without};
use crate::trouble::Trouble;
use crate::workplace::Workplace;
use evcxr::CommandContext;
use std::path::Path;
use std::time::Duration;

/// Code whose types are inferred while nothing else is to do.
const WARM: &str = "let xs = Tensor::randn([2, 2], (Kind::Float, Device::Cpu)); let ys = xs.matmul(&xs); let view = lab.encode(); ys.";

/// How long the engine has had nothing to do when it counts as idle.
const IDLE: Duration = Duration::from_millis(20);
/// Once there is nothing left to do while idle.
const LONG: Duration = Duration::from_secs(3600);

/// What rust-analyzer knows of the standard library.
pub struct Types {
    place: Workplace,
    without: Without,
    known: bool,
    /// Nothing is left to infer while idle.
    warm: bool,
}

impl Types {
    /// Nothing is known yet, unless `late` is left out.
    pub fn at_start(place: &Workplace) -> Self {
        let without = Without::kept(&place.prepared);
        let warm = without.has(Trick::Warm);
        let mut types = Self { place: place.clone(), without, known: false, warm };
        match types.without.has(Trick::Late) {
            true => types.know_from_start(),
            false => types.point(&sources(&types.place.prepared, "none")),
        }
        types
    }

    /// The first cell needs types: rust-analyzer, which has read nothing yet, is to read all.
    pub fn know_from_start(&mut self) {
        self.known = true;
        self.point(&sources(&self.place.prepared, "std"));
    }

    /// Let rust-analyzer read the standard library at its next look, if it has not.
    pub fn know(&mut self, context: &mut CommandContext) {
        if self.known {
            return;
        }
        self.know_from_start();
        self.read_again();
        // What `read_again` has written is then evcxr's own. This compiles nothing.
        let _ = context.execute(&format!(":opt {}", self.levels()[1]));
    }

    /// How long to wait for a job before [`Types::while_idle`] is called.
    pub fn patience(&self) -> Duration {
        if self.warm { LONG } else { IDLE }
    }

    /// Know and infer, so that the next cell need not wait.
    pub fn while_idle(&mut self, context: &mut CommandContext) {
        if self.warm {
            return;
        }
        self.warm = true;
        self.know(context);
        let _ = context.completions(WARM, WARM.len()); // only to have been there
    }

    /// The level of optimisation that evcxr begins with, and the same level in other letters.
    fn levels(&self) -> [String; 2] {
        let level = level(&self.without);
        [level.into(), format!("+{level}")]
    }

    /// rust-analyzer reads the workspace again when the text of `Cargo.toml` has changed. To cargo it stays the same.
    fn read_again(&self) {
        let file = self.place.workspace().join("Cargo.toml");
        let [before, after] = self.levels().map(|level| format!("opt-level = {level}\n"));
        let changed = std::fs::read_to_string(&file)
            .and_then(|text| std::fs::write(&file, text.replace(&before, &after)));
        if let Err(error) = changed {
            eprintln!("error: {}", Trouble::file(&error, &file));
        }
    }

    /// Where rust-analyzer finds the standard library.
    fn point(&self, to: &Path) {
        let link = self.place.sources();
        let _ = std::fs::remove_file(&link); // there is none at first
        if let Err(error) = std::os::unix::fs::symlink(to, &link) {
            eprintln!("error: {}", Trouble::file(&error, &link));
        }
    }
}

/// Whether a cell may declare variables. Their types have to be inferred.
pub fn declares(code: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "let")
}

/// `std` are the sources of the standard library, `none` is an empty one.
fn sources(prepared: &Prepared, which: &str) -> std::path::PathBuf {
    prepared.folder.join("rust-src").join(which)
}

#[cfg(test)]
mod tests {
    #[test]
    fn variables_are_seen() {
        assert!(
            super::declares("lab.show();\nlet a = 1;") && super::declares("if let Some(x) = y {}")
        );
        assert!(!super::declares("lab.outlet()") && !super::declares("1 + 1"));
    }
}
