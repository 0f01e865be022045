//! What is built once and used by every kernel: the library of the cells, the packages that lead to it, the standard
//! library's sources for rust-analyzer, a rehearsed start.
//!
//! Needed: [`library`], [`facade`], [`sources`], [`cells`]; [`stamp`] and [`intact`] tell whether it fits and is whole, [`lock`]
//! keeps out a second preparation. The other files hold one or two tricks each, which serve speed
//! alone: [`trick`] lists them. One more is in `kernel/notebook/src/prepare/`, since it is compiled into the cells' library.
//! A trick that fails is left out with a remark. If the first cells then do not compile, all are left out.

mod cells;
mod expand;
mod facade;
mod intact;
pub mod late;
mod library;
mod lock;
pub mod recall;
mod sources;
mod stamp;
mod stubs;
pub mod template;
pub mod trick;
mod trim;

use crate::files::{remove, write};
use crate::place::{Prepared, Tools};
use crate::trouble::{Result, Trouble};
use library::Built;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use trick::{Trick, Without};

/// Hears what is being done, one line at a time.
pub type Listener<'a> = &'a mut dyn FnMut(&str);

/// What a preparation says at the beginning of each of its steps, and at its end.
pub const STEPS: [&str; 4] = [
    "building the library of the cells (a minute or two the first time)",
    "writing the sources that completion reads",
    "compiling a first cell",
    "the kernel is prepared",
];

/// What is prepared for these tools and these sources; `None` if it is missing or outdated.
pub fn find(tools: &Tools) -> Option<Prepared> {
    let prepared = tools.prepared();
    let fits = prepared.stamp()? == stamp::of(tools).ok()?;
    (fits && intact::is(&prepared)).then_some(prepared)
}

/// Prepare what is missing, and all of it if the library's sources have changed.
///
/// Errors: a tool is missing or fails.
pub fn ensure(progress: Listener<'_>) -> Result<Prepared> {
    let tools = Tools::find()?;
    let (prepared, mut without, stamp) = (tools.prepared(), Without::asked()?, stamp::of(&tools)?);
    let folder = &prepared.folder;
    std::fs::create_dir_all(folder).map_err(|e| Trouble::file(&e, folder))?;
    let _alone = lock::take(folder, progress)?;
    progress(STEPS[0]);
    let fits = find(&tools).is_some();
    if fits && Without::kept(&prepared).has(Trick::Shared) {
        without.add(Trick::Shared); // it failed when this was prepared, and would again
    }
    let built = library(&tools, &mut without, progress)?;
    if fits && built.is_kept(&prepared) {
        progress(STEPS[3]);
        return Ok(prepared);
    }
    remove(&folder.join("stamp"))?;
    let own = &mut *progress;
    let mut work = Work { tools: &tools, prepared: &prepared, built, without, progress: own };
    work.all().or_else(|trouble| work.plainly(trouble))?;
    work.built.remember(&prepared)?;
    intact::remember(&prepared)?;
    write(&folder.join("stamp"), &stamp)?;
    progress(STEPS[3]);
    Ok(prepared)
}

/// The library of the cells; without its trick, if it does not compile with it.
fn library(tools: &Tools, without: &mut Without, progress: Listener<'_>) -> Result<Built> {
    if !without.has(Trick::Shared) {
        match library::build(tools, true) {
            Ok(built) => return Ok(built),
            Err(trouble) => progress(&remark(Trick::Shared, &trouble.to_string())),
        }
        without.add(Trick::Shared);
    }
    library::build(tools, false)
}

fn remark(trick: Trick, fault: &str) -> String {
    format!("remark: slower without trick `{}`, which failed: {fault}", trick.name())
}

/// One preparation at work.
struct Work<'a> {
    tools: &'a Tools,
    prepared: &'a Prepared,
    built: Built,
    /// Left out, on request or because it failed.
    without: Without,
    progress: Listener<'a>,
}

impl Work<'_> {
    fn all(&mut self) -> Result<()> {
        self.built.keep(self.prepared, self.tools)?;
        (self.progress)(STEPS[1]);
        self.sources()?;
        self.recall()?;
        let native = self.stubs();
        cells::prelude(self.prepared, &native, &self.without)?;
        self.without.keep(self.prepared)?;
        (self.progress)(STEPS[2]);
        let (tools, prepared) = (self.tools, self.prepared);
        template::rehearse(tools, prepared, |workspace| {
            if !self.soft(Trick::Template, || template::keep(workspace, prepared)) {
                recall::link(prepared, tools)?; // it goes with the template
            }
            self.without.keep(prepared)
        })
    }

    /// Once more, without any trick: what failed may be one of them.
    fn plainly(&mut self, trouble: Trouble) -> Result<()> {
        if self.without == Without::all() {
            return Err(trouble);
        }
        (self.progress)(&format!("error: {trouble}\nonce more, without what serves speed alone"));
        if !self.without.has(Trick::Shared) {
            self.built = library::build(self.tools, false)?;
        }
        self.without = Without::all();
        self.all()
    }

    /// Sources for rust-analyzer: of the standard library, of `paella` and `tch`.
    fn sources(&mut self) -> Result<()> {
        let (tools, prepared) = (self.tools, self.prepared);
        let tch = self.built.tch.clone();
        sources::nothing(prepared)?;
        let trimmed = self.soft(Trick::Trim, || {
            sources::copy(tools, prepared, true)?;
            facade::write(&prepared.folder.join("facade"), &tch, true)
        });
        if !trimmed {
            sources::copy(tools, prepared, false)?;
            facade::write(&prepared.folder.join("facade"), &tch, false)?;
        }
        if let Err(trouble) = sources::hashbrown(prepared) {
            (self.progress)(&format!("remark: no types of `HashMap`s: {trouble}"));
        }
        self.soft(Trick::Expand, || sources::expand(prepared, trimmed));
        Ok(())
    }

    fn recall(&mut self) -> Result<()> {
        let prepared = self.prepared;
        match self.soft(Trick::Recall, || recall::write(prepared)) {
            true => Ok(()),
            false => recall::link(prepared, self.tools),
        }
    }

    /// Folders of the libraries in libtorch's names.
    fn stubs(&mut self) -> Vec<PathBuf> {
        let (folder, native) = (self.prepared.folder.join("stubs"), self.built.native.clone());
        let made = self.soft(Trick::Stubs, || {
            fresh(&folder)?;
            stubs::write(&folder, native.iter())
        });
        if made { vec![folder] } else { native.into_iter().collect() }
    }

    /// Do the work of one trick: false if it is left out or fails.
    fn soft(&mut self, trick: Trick, work: impl FnOnce() -> Result<()>) -> bool {
        if self.without.has(trick) {
            return false;
        }
        let fault = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => return true,
            Ok(Err(trouble)) => trouble.to_string(),
            Err(_) => "it panicked, see above".into(),
        };
        (self.progress)(&remark(trick, &fault));
        self.without.add(trick);
        false
    }
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(folder); // there is none at first
    std::fs::create_dir_all(folder).map_err(|e| Trouble::file(&e, folder))
}
