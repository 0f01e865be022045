//! A picture for each caption of a list, into a folder that a later call goes on with.
//!
//! Letters: K codes, h x w tokens.

use super::args::quoted;
use super::grid::{PassesOfAll, add_new};
use super::picture::first_image;
use super::view::View;
use super::watch::Watch;
use super::workspace::Sampling;
use super::{Lab, SampleRequest, edit};
use crate::data::tidy;
use crate::device::free_memory;
use crate::error::{Error, Fault, Result, counted};
use crate::files;
use crate::image::{self, film};
use crate::near::{no_folder, there};
use ::image::RgbImage;
use ron_faults::utf8;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// The file in the folder with a line of JSON for each picture: its [`ListedPicture`].
pub const LIST_FILE: &str = "samples.jsonl";

/// Captions from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptionList {
    pub captions: Vec<String>,
    /// Empty lines, and lines that begin with `#`.
    pub skipped: usize,
}

/// A picture of a list, as `samples.jsonl` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedPicture {
    /// Number of the caption, from 1.
    pub number: usize,
    pub caption: String,
    /// Makes the picture again alone.
    pub seed: u64,
    /// In the folder of `samples.jsonl`.
    pub file: String,
    /// What the model cannot read or know of the caption.
    pub notes: Vec<String>,
    /// What the picture depends on besides.
    pub settings: Map<String, Value>,
}

/// Maximum length of a file of captions: 64 MiB.
const LONGEST: u64 = 64 << 20;

impl CaptionList {
    /// Reads a file with a caption on each line.
    ///
    /// Errors: no such file, no UTF-8, no caption in it.
    pub fn read(path: &Path) -> Result<Self> {
        there(path, "list FILE out=DIR")?;
        let place = path.display().to_string();
        let bytes = files::read_up_to(path, LONGEST)
            .map_err(|e| Error::command(format!("the captions cannot be read: {e}"), &place, ""))?;
        let refused = |Fault { what, hint, .. }| Error::command(what, &place, hint);
        let text = utf8(bytes, &place).map_err(refused)?;
        let lines = text.lines();
        let is_caption = |line: &&str| !line.trim().is_empty() && !is_comment(line);
        let captions: Vec<String> =
            lines.clone().filter(is_caption).map(|line| line.trim().into()).collect();
        if captions.is_empty() {
            let hint = "one a line; empty lines and comments, `# ..`, are skipped";
            return Err(Error::command("there is no caption in this file", place, hint));
        }
        let skipped = lines.count() - captions.len();
        Ok(Self { captions, skipped })
    }
}

/// Whether a line is a comment: a `#` alone, or with a blank or another `#` behind it. `#1 dad` is a caption.
fn is_comment(line: &str) -> bool {
    line.strip_prefix('#')
        .is_some_and(|rest| rest.chars().next().is_none_or(|c| c == '#' || c.is_whitespace()))
}

impl Lab {
    /// Makes a picture for each caption of a list, and a line of `samples.jsonl` in the folder. Captions whose pictures are
    /// there are left out. The caption with number k has the seed of the first plus k - 1. `films`: beside each new picture a
    /// GIF of how it emerged. `on_picture` is given each new picture.
    ///
    /// Errors: the folder holds pictures of other settings or captions, or cannot be written.
    pub fn sample_list(
        &mut self,
        list: &CaptionList,
        folder: &Path,
        request: &SampleRequest,
        films: bool,
        watch: &mut dyn Watch,
        on_picture: &mut dyn FnMut(&ListedPicture),
    ) -> Result<View> {
        let (settings, mut most) = (self.settings_of(request)?, self.most_at_once(request)?);
        let (mut rows, log) = (earlier(folder)?, folder.join(LIST_FILE));
        let first = first_seed(&rows, list, &settings, request.seed, folder)?;
        let first = first.unwrap_or_else(|| self.draw_seed());
        rows.retain(|row| folder.join(&row.file).is_file());
        let mut todo = self.missing(list, &rows, first, &settings);
        if let Some(row) = todo.first() {
            self.begin(&batch(std::slice::from_ref(row), request))?; // what is refused leaves no folder
        }
        fs::create_dir_all(folder).map_err(|e| unwritable(folder, &e))?;
        let files = todo.iter().map(|row| folder.join(&row.file));
        let is_there = |file: PathBuf| {
            usize::from(file.exists()) + usize::from(films && film_of(&file).exists())
        };
        let replaced: usize = files.map(is_there).sum();
        let whole: String = rows.iter().map(line).collect(); // without a torn line
        files::write(&log, whole.as_bytes()).map_err(|e| unwritable(&log, &e))?;
        let opened = OpenOptions::new().append(true).open(&log);
        let mut lines = opened.map_err(|e| unwritable(&log, &e))?;
        let (mut made, mut remarks) = (0, Vec::<String>::new());
        let steps = request.config(&self.state.settings.sample).steps as usize;
        while made < todo.len() && !watch.stop() {
            let rest = &mut todo[made..];
            let n = self.alike(rest)?.min(most);
            let (before, total) = (made * steps, (made + rest.len()) * steps);
            let mut passes = PassesOfAll { watch, before, at_once: n, total };
            let outcome = match n {
                1 => Some(self.at_once(&rest[..n], request, &mut passes)),
                n => unless_full(|| self.at_once(&rest[..n], request, &mut passes)),
            };
            let Some(outcome) = outcome else {
                most = n / 2;
                watch
                    .note(&format!("no memory for a batch of {n}: batches of {most} from here on"));
                continue;
            };
            let Some(run) = outcome? else { break };
            for (k, row) in rest[..n].iter_mut().enumerate() {
                let file = folder.join(&row.file);
                image::save(&self.decoded(&run.path[steps], k)?, &file)?;
                row.notes = self.notes_of(&row.caption)?;
                // in one write, so that a kill cannot come between a line and its end
                lines.write_all(line(row).as_bytes()).map_err(|e| unwritable(&log, &e))?;
                on_picture(row);
                if films {
                    let frames = run.path.iter().map(|tokens| self.decoded(tokens, k));
                    film::write(frames, &film_of(&file))?;
                }
            }
            made += n;
            add_new(&mut remarks, &run.remarks);
        }
        remarks.extend(self.notes_of(&request.negative)?);
        let replaced = (replaced > 0).then(|| {
            format!("{} without a line in {LIST_FILE} replaced", counted(replaced, "file"))
        });
        let bare = |row: &&ListedPicture| !film_of(&folder.join(&row.file)).is_file();
        let bare = if films { rows.iter().filter(bare).count() } else { 0 };
        let bare = (bare > 0).then(|| {
            format!(
                "no film of {} made before: without its .png each is made again",
                counted(bare, "picture")
            )
        });
        Ok(summary(list, folder, &todo, made, rows.len())
            .notes(replaced)
            .notes(bare)
            .notes(remarks))
    }

    /// What a picture of a list depends on besides its caption and its seed.
    fn settings_of(&self, request: &SampleRequest) -> Result<Map<String, Value>> {
        let model = self.state.model.borrow();
        let path = model.origin.path();
        let path = path.canonicalize().unwrap_or_else(|_| path.into());
        let mut all = json!({
            "model": path,
            "negative": request.negative,
            "size": request.size,
            "weights": request.weights.as_ref().map(ToString::to_string),
            "prior": request.prior,
        });
        let sample = json!(request.config(&self.state.settings.sample));
        let all = all.as_object_mut().map(std::mem::take).unwrap_or_default();
        let sample = sample.as_object().cloned().unwrap_or_default();
        Ok(all.into_iter().chain(sample).collect())
    }

    /// The pictures that are not made yet. Captions of one length follow each other where the length counts.
    fn missing(
        &self,
        list: &CaptionList,
        rows: &[ListedPicture],
        first: u64,
        settings: &Map<String, Value>,
    ) -> Vec<ListedPicture> {
        let done: BTreeSet<usize> = rows.iter().map(|row| row.number).collect();
        let row = |(k, caption): (usize, &String)| ListedPicture {
            number: k + 1,
            caption: caption.clone(),
            seed: first.wrapping_add(k as u64),
            file: format!("{:05}.png", k + 1),
            notes: Vec::new(),
            settings: settings.clone(),
        };
        let all = list.captions.iter().enumerate().map(row);
        let mut todo: Vec<_> = all.filter(|row| !done.contains(&row.number)).collect();
        if self.state.model.borrow().config.text.length.is_none() {
            todo.sort_by_key(|row| tidy(&row.caption).len());
        }
        todo
    }

    /// How many pictures from the first on can be made at once: a text is read as long as the longest beside it, which
    /// would change a picture.
    fn alike(&mut self, rows: &[ListedPicture]) -> Result<usize> {
        if self.state.model.borrow().config.text.length.is_some() {
            return Ok(rows.len());
        }
        let text = self.state.model.borrow().config.text.clone();
        let mut length = |row: &ListedPicture| -> Result<usize> {
            Ok(text.ids(&self.as_caption(&row.caption)?).len().min(text.room() + 1)) // the end token is one of them
        };
        let (first, mut n) = (length(&rows[0])?, 1);
        while n < rows.len() && length(&rows[n])? == first {
            n += 1;
        }
        Ok(n)
    }

    /// A bound for the pictures made at once, from the scores of one pass, (B, K, h, w) f32. A pass holds about ten times as much:
    /// both guesses, their mixture, its softmax. On a CPU that may be a quarter of the free memory.
    fn most_at_once(&self, request: &SampleRequest) -> Result<usize> {
        let model = self.model()?;
        let model = model.borrow();
        let nets = model.nets();
        let side = self.state.settings.data.size;
        let (h, w) = edit::grid(nets, request.size.unwrap_or((side, side)))?;
        let scores = (nets.config.model.num_labels * h * w * 4) as usize;
        let (room, most) = match nets.device.is_cuda() {
            true => (2 << 30, 64), // halved where the card has less
            false => (free_memory().map_or(1 << 28, |bytes| bytes / 40), 16),
        };
        Ok((room / scores).clamp(1, most))
    }

    /// The run of these pictures in one batch. None if a stop is asked for.
    fn at_once(
        &mut self,
        rows: &[ListedPicture],
        request: &SampleRequest,
        watch: &mut dyn Watch,
    ) -> Result<Option<Sampling>> {
        let run = self.walk(&batch(rows, request), watch)?;
        Ok((run.path.len() > run.schedule.len()).then_some(run))
    }

    /// Picture `k` of tokens (B, h, w), decoded alone: the others change nothing in it.
    fn decoded(&self, tokens: &Tensor, k: usize) -> Result<RgbImage> {
        self.networks(|nets| first_image(&nets.decode(&tokens.narrow(0, k as i64, 1))))
    }

    /// What the model cannot read or know of a caption.
    fn notes_of(&mut self, caption: &str) -> Result<Vec<String>> {
        let text = self.as_caption(caption)?;
        let blocks = self.note_texts(View::new(), &[&text])?.blocks.into_iter();
        Ok(blocks.filter_map(|block| block.into_note()).collect())
    }
}

/// The film of a picture of a list.
fn film_of(file: &Path) -> PathBuf {
    file.with_extension("gif")
}

/// The request for these pictures in one batch.
fn batch(rows: &[ListedPicture], request: &SampleRequest) -> SampleRequest {
    let each = rows.iter().map(|row| (row.caption.clone(), row.seed)).collect();
    SampleRequest { each, ..request.clone() }
}

/// What was done, and what is left.
fn summary(
    list: &CaptionList,
    folder: &Path,
    todo: &[ListedPicture],
    made: usize,
    there: usize,
) -> View {
    let mut text = format!(
        "{} in {}: {made} made, {there} there before",
        counted(made + there, "picture"),
        folder.display()
    );
    if list.skipped > 0 {
        text += &format!("; {} skipped, empty or a comment", counted(list.skipped, "line"));
    }
    let noted = todo[..made].iter().filter(|row| !row.notes.is_empty()).count();
    let noted = (noted > 0).then(|| {
        format!(
            "{} with `notes` in {}",
            counted(noted, "caption"),
            folder.join(LIST_FILE).display()
        )
    });
    let left = todo.len() - made;
    let left = (left > 0)
        .then(|| format!("stopped with {} left: the same line goes on", counted(left, "caption")));
    View::new().text(text).notes(noted).notes(left)
}

/// The pictures that an earlier call made. A torn last line is left out.
///
/// Errors: the folder is a file, or its `samples.jsonl` has other lines.
fn earlier(folder: &Path) -> Result<Vec<ListedPicture>> {
    if folder.is_file() {
        return Err(no_folder(folder));
    }
    let path = folder.join(LIST_FILE);
    let refused =
        |what: String, hint: &str| Err(Error::data(what, path.display().to_string(), hint));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return refused(format!("the list of earlier pictures cannot be read: {e}"), ""),
    };
    let mut rows = Vec::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        if !line.ends_with('\n') {
            break; // torn
        }
        match serde_json::from_str(line) {
            Ok(row) => rows.push(row),
            Err(e) => {
                let what = format!("line {} is no picture of a list: {e}", i + 1);
                return refused(what, "another folder: `out=NAME`");
            }
        }
    }
    Ok(rows)
}

/// The seed of the first caption, if earlier pictures tell it, else the one that is asked for.
///
/// Errors: the earlier pictures have other captions, settings or seeds.
fn first_seed(
    rows: &[ListedPicture],
    list: &CaptionList,
    settings: &Map<String, Value>,
    asked: Option<u64>,
    folder: &Path,
) -> Result<Option<u64>> {
    let refused = |what: String| {
        let other = files::free(folder);
        let hint = format!(
            "the same again goes on; anything else goes into another folder: `out={}`",
            quoted(&other.display().to_string(), None)
        );
        Err(Error::command(what, folder.display().to_string(), hint))
    };
    let Some(row) = rows.first() else { return Ok(asked) };
    let first = row.seed.wrapping_sub((row.number as u64).wrapping_sub(1));
    if let Some(asked) = asked.filter(|asked| *asked != first) {
        return refused(format!("its pictures begin with seed {first}, not {asked}"));
    }
    for row in rows {
        match list.captions.get(row.number.wrapping_sub(1)) {
            Some(caption) if *caption == row.caption => {}
            Some(caption) => {
                let (n, old) = (row.number, &row.caption);
                return refused(format!(
                    "caption {n} was `{old}`, and is `{caption}`: new ones go at the end"
                ));
            }
            None => {
                return refused(format!(
                    "caption {}, `{}`, is no longer in the list",
                    row.number, row.caption
                ));
            }
        }
        let changed = changed(&row.settings, settings);
        if !changed.is_empty() {
            return refused(format!("its pictures were made with {}", changed.join(", ")));
        }
    }
    Ok(Some(first))
}

/// The settings that differ: "`steps` 4, now 8".
fn changed(before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let differs = |name: &&String| before.get(*name) != now.get(*name);
    let value = |all: &Map<String, Value>, name: &str| all.get(name).cloned().unwrap_or_default();
    let said =
        |name: &String| format!("`{name}` {}, now {}", value(before, name), value(now, name));
    names.into_iter().filter(differs).map(said).collect()
}

fn line(row: &ListedPicture) -> String {
    serde_json::to_string(row).unwrap_or_default() + "\n"
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    let hint = "is there room, and may this folder be written?";
    Error::data(format!("could not write: {error}"), path.display().to_string(), hint)
}

/// The result of `work`. None if the memory was too small for it.
fn unless_full<T>(work: impl FnOnce() -> Result<T>) -> Option<Result<T>> {
    let full = |text: &str| Error::of_full_memory(text, "").is_some();
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Err(error)) if full(&error.to_string()) => None,
        Ok(result) => Some(result),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            if text.is_some_and(full) { None } else { resume_unwind(panic) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_memory_makes_batches_smaller() {
        let panics = |text: &'static str| catch_unwind(|| unless_full::<()>(|| panic!("{text}")));
        assert!(
            panics("CUDA out of memory. Tried to allocate 2 GiB").is_ok_and(|done| done.is_none())
        );
        assert!(panics("index out of bounds").is_err());
        let refused = |what: &str| unless_full::<()>(|| Err(Error::data(what, "", "")));
        assert!(refused("can't allocate memory").is_none());
        assert!(refused("there is no file").is_some_and(|result| result.is_err()));
        assert!(unless_full(|| Ok(3)).is_some_and(|result| result == Ok(3)));
    }

    #[test]
    fn empty_lines_and_comments_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("captions.txt");
        let read = |text: &[u8]| {
            fs::write(&file, text).expect("written");
            CaptionList::read(&file)
        };
        let list = read("\u{feff}# mine\r\na fox\r\n\n  red  apple \n # 1 dad\n#\n".as_bytes())
            .expect("read");
        assert_eq!(list.captions, ["a fox", "red  apple", "# 1 dad"]);
        assert_eq!(list.skipped, 3);
        assert!(read(b"#\n\n").expect_err("none").to_string().contains("no caption"));
        assert!(read(b"caf\xe9").expect_err("latin 1").to_string().contains("UTF-8"));
    }
}
