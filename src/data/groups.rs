//! Groups the members of a shard by sample, in any order of the files.
//!
//! A key is the path up to the first dot of the file name. A file with a further dot belongs to the same sample if
//! `KEY.png` or `KEY.txt` exists (`a.png`, `a.seg.png`, `a.txt`). If not, its name up to the last dot is a key
//! (`img.0001.png`, `img.0001.txt`). A sample without a picture or without a caption waits for the rest of its files.
//! Up to `WAITING` bytes of such samples are kept, so memory does not grow with the shard.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use super::json::{Json, parse};
use super::members::{Bytes, Cut, Found, Members};
use super::text::tidy;
use super::{OTHER_PICTURES, PICTURES};

/// Limit on the bytes of incomplete samples: 64 MiB.
const WAITING: usize = 64 << 20;
/// Limits on the names under one first-dot key, and on the files under one name.
const NAMES: usize = 16;
const FILES: usize = 256;
/// File ending of precomputed outputs of the frozen networks.
pub(super) const KNOWN: &str = "safetensors";

pub(super) const UNSORTED: &str =
    "files of a sample that lie apart; `tar --sort=name` puts them together";
const MANY: &str = "too many files under one key";
const NO_ENDING: &str = "a file whose name has no ending";
const LONG_NAME: &str = "a file with a name of more than 4,096 bytes";
const SECOND: &str = "a second caption of a sample";
const BESIDE: &str = "a picture of a kind without a decoder beside one that is read";
pub(super) const HIDDEN: &str = "a hidden file with a picture's ending";

/// All files under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MemberGroup {
    /// Path inside the shard up to a dot of the file name.
    pub key: String,
    /// (ending in lower case, bytes), in the order of the shard. Files that no sample needs have no bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// A reason to leave the sample out, whatever its files are.
    pub fault: Option<&'static str>,
    /// Whether bytes were freed before all files were read.
    pub dropped: bool,
}

/// The samples of a shard, with at most one `Err`, at the end. Damage ends the shard; earlier samples are kept.
pub(super) struct Groups {
    members: Members,
    /// The groups of one first-dot key, one for each name up to its last dot.
    current: Vec<MemberGroup>,
    ready: VecDeque<MemberGroup>,
    waiting: Waiting,
    cut: Option<Cut>,
    ended: bool,
}

/// Incomplete groups, in the order of the shard.
#[derive(Default)]
struct Waiting {
    groups: BTreeMap<u64, MemberGroup>,
    numbers: HashMap<String, u64>,
    /// Number of the last group, and of the first one whose bytes are kept.
    count: u64,
    first: u64,
    bytes: usize,
    /// Hashes of the keys of complete samples, and whether each had a `.txt`.
    done: HashMap<u64, bool>,
}

impl Groups {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            members: Members::new(bytes),
            current: Vec::new(),
            ready: VecDeque::new(),
            waiting: Waiting::default(),
            cut: None,
            ended: false,
        }
    }

    /// Reads one member.
    fn advance(&mut self) {
        match self.members.next(|path| Name::of(path).is_some_and(|name| is_of_use(name.ending))) {
            Ok(Some(Found::Member(path, data))) => self.add(&path, data),
            Ok(Some(Found::LongName)) => self.refuse("", LONG_NAME),
            Ok(Some(Found::Joint)) => self.finish(), // the next archive has samples of its own
            Ok(None) => self.end(None),
            Err(cut) => self.end(Some(cut)),
        }
    }

    fn add(&mut self, path: &str, data: Result<Vec<u8>, &'static str>) {
        let Some(name) = Name::of(path) else {
            return match file_name(path) {
                name if is_hidden_picture(name) => self.refuse(path, HIDDEN),
                // other hidden files are not counted: systems leave them everywhere
                name if !name.is_empty() && !name.contains('.') => self.refuse(path, NO_ENDING),
                _ => {}
            };
        };
        let same_key = |group: &MemberGroup| name.is_under(&group.key);
        if self.current.first().is_some_and(|group| !same_key(group)) {
            self.close();
        }
        let ending = name.ending.to_ascii_lowercase();
        let twice = |group: &MemberGroup| {
            group.key == name.stem && group.is_complete() && group.has(&ending)
        };
        if self.current.iter().any(twice) {
            self.close(); // a file of a whole sample again begins another one of this name
        }
        if !self.current.iter().any(|group| group.key == name.stem) {
            self.make_room(name.key);
            self.current.push(MemberGroup { key: name.stem.into(), ..MemberGroup::default() });
        }
        let Some(group) = self.current.iter_mut().find(|group| group.key == name.stem) else {
            return;
        };
        match data {
            _ if group.files.len() == FILES => group.fault = Some(MANY),
            Ok(data) => group.files.push((ending, data)),
            Err(fault) => {
                let fault = is_of_use(&ending).then_some(fault);
                group.fault = group.fault.or(fault);
                group.files.push((ending, Vec::new()));
            }
        }
    }

    /// Counts a file that belongs to no sample.
    fn refuse(&mut self, path: &str, fault: &'static str) {
        let fault = Some(fault);
        self.ready.push_back(MemberGroup { key: path.into(), fault, ..MemberGroup::default() });
    }

    /// Passes on the first name with a further dot if there are many.
    fn make_room(&mut self, key: &str) {
        let dotted = self.current.iter().position(|group| group.key != key);
        if let Some(first) = dotted.filter(|_| self.current.len() >= NAMES) {
            let group = self.current.remove(first);
            self.accept(group);
        }
    }

    /// Ends the current first-dot key.
    fn close(&mut self) {
        let groups = std::mem::take(&mut self.current);
        let key = groups.first().map(|group| Name::key_of(&group.key).to_string());
        let plain = groups.iter().any(|group| Some(&group.key) == key.as_ref());
        let Some(key) = key.filter(|_| plain) else {
            return groups.into_iter().for_each(|group| self.accept(group));
        };
        let mut sample = MemberGroup { key, ..MemberGroup::default() };
        for group in groups {
            if group.key != sample.key && group.is_own() {
                self.accept(group);
                continue;
            }
            let more = group.key[sample.key.len()..].trim_start_matches('.').to_ascii_lowercase();
            let named = |ending| if more.is_empty() { ending } else { format!("{more}.{ending}") };
            sample
                .files
                .extend(group.files.into_iter().map(|(ending, data)| (named(ending), data)));
            sample.fault = sample.fault.or(group.fault.filter(|_| more.is_empty()));
        }
        self.accept(sample);
    }

    fn accept(&mut self, group: MemberGroup) {
        if let Some(group) = self.waiting.take(group) {
            self.pass(group);
        }
    }

    /// Passes a group on, and counts the pictures that it is read without.
    fn pass(&mut self, mut group: MemberGroup) {
        let beside = group.drop_beside();
        (0..beside).for_each(|_| self.refuse(&group.key, BESIDE));
        self.ready.push_back(group);
    }

    /// Ends an archive: what still waits is incomplete.
    fn finish(&mut self) {
        self.close();
        self.waiting.rest().into_iter().for_each(|group| self.pass(group));
    }

    fn end(&mut self, cut: Option<Cut>) {
        self.finish();
        (self.ended, self.cut) = (true, cut);
    }
}

impl Waiting {
    /// Returns the group, joined with what waited under its key, if it is complete. If not, it waits.
    fn take(&mut self, mut group: MemberGroup) -> Option<MemberGroup> {
        let complete = |group: &MemberGroup| group.fault.is_some() || group.is_complete();
        if !complete(&group)
            && let Some(number) = self.numbers.remove(&group.key)
            && let Some(before) = self.groups.remove(&number)
        {
            self.bytes -= before.bytes();
            let files = before.files.into_iter().chain(group.files).collect();
            group = MemberGroup { files, dropped: before.dropped, ..group };
            group.fault = (group.dropped && group.is_complete()).then_some(UNSORTED);
            if group.files.len() >= FILES {
                group.fault = Some(MANY); // each further file would copy all the others
            }
        }
        if complete(&group) {
            self.done.insert(hash(&group.key), group.has("txt"));
            return Some(group);
        }
        self.bytes += group.bytes();
        self.count += 1;
        self.numbers.insert(group.key.clone(), self.count);
        self.groups.insert(self.count, group);
        self.drop_some();
        None
    }

    /// Frees the oldest bytes above the limit. The names are kept, for the reason.
    fn drop_some(&mut self) {
        for (&number, group) in self.groups.range_mut(self.first..) {
            if self.bytes <= WAITING {
                return;
            }
            self.bytes -= group.bytes();
            self.first = number + 1;
            group.dropped = true;
            group.files.iter_mut().for_each(|(_, data)| *data = Vec::new());
        }
    }

    /// The groups that are incomplete at the end of the shard.
    fn rest(&mut self) -> Vec<MemberGroup> {
        let Self { groups, done, .. } = std::mem::take(self);
        let judged = |mut group: MemberGroup| {
            let before = done.get(&hash(&group.key));
            let yielded = before.is_some();
            if yielded && !group.files.iter().any(|(ending, _)| is_of_use(ending)) {
                return None; // files for other trainers, of a sample that was yielded
            }
            // the caption of a sample that was yielded without it
            let late = yielded && !group.has_picture();
            let why = if before == Some(&true) && group.has("txt") { SECOND } else { UNSORTED };
            group.fault = group.fault.or(late.then_some(why));
            Some(group)
        };
        groups.into_values().filter_map(judged).collect()
    }
}

impl MemberGroup {
    fn has(&self, ending: &str) -> bool {
        self.files.iter().any(|(own, _)| own == ending)
    }

    fn has_picture(&self) -> bool {
        self.files.iter().any(|(ending, _)| is_picture(ending))
    }

    fn is_complete(&self) -> bool {
        (self.has_picture() || self.has(KNOWN)) && (self.has("txt") || self.has("json"))
    }

    /// Whether it is a sample without the files of a shorter key.
    fn is_own(&self) -> bool {
        let captioned = |data: &[u8]| {
            matches!(parse(data), Some(Json::Object(about))
                if matches!(about.get("caption"), Some(Json::Text(text)) if !tidy(text).is_empty()))
        };
        (self.has_picture() || self.has(KNOWN))
            && (self.has("txt")
                || self.files.iter().any(|(ending, data)| ending == "json" && captioned(data)))
    }

    /// Drops the pictures of kinds that have no decoder if there is one that has. Returns their number.
    fn drop_beside(&mut self) -> usize {
        let read = |ending: &str| PICTURES.contains(&ending);
        if self.fault.is_some() || !self.files.iter().any(|(ending, _)| read(ending)) {
            return 0;
        }
        let before = self.files.len();
        self.files.retain(|(ending, _)| read(ending) || !is_picture(ending));
        before - self.files.len()
    }

    fn bytes(&self) -> usize {
        self.files.iter().map(|(_, data)| data.len()).sum()
    }
}

impl Iterator for Groups {
    type Item = Result<MemberGroup, Cut>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.ended {
            self.advance();
        }
        self.ready.pop_front().map(Ok).or_else(|| self.cut.take().map(Err))
    }
}

/// The parts of a path inside a shard: `dir/a.b.PNG` has the key `dir/a`, the stem `dir/a.b` and the ending `PNG`.
struct Name<'a> {
    key: &'a str,
    stem: &'a str,
    ending: &'a str,
}

impl<'a> Name<'a> {
    /// None for hidden files and names without a dot.
    fn of(path: &'a str) -> Option<Self> {
        let path = path.trim_start_matches("./");
        let (stem, ending) = path.rsplit_once('.').filter(|(_, ending)| !ending.contains('/'))?;
        let key = Self::key_of(stem);
        (!key.is_empty() && !key.ends_with('/')).then_some(Self { key, stem, ending })
    }

    /// Up to the first dot of the file name.
    fn key_of(stem: &str) -> &str {
        let start = stem.rfind('/').map_or(0, |slash| slash + 1);
        stem[start..].find('.').map_or(stem, |dot| &stem[..start + dot])
    }

    fn is_under(&self, stem: &str) -> bool {
        Self::key_of(stem) == self.key
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether the name of a file is hidden and has a picture's ending. macOS leaves `._a.png` beside every `a.png`: notes, no
/// picture.
pub(super) fn is_hidden_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let hidden = name.starts_with('.') && !name.starts_with("._");
    hidden && is_picture(&ending.to_ascii_lowercase())
}

pub(super) fn is_picture(ending: &str) -> bool {
    PICTURES.contains(&ending) || OTHER_PICTURES.contains(&ending)
}

/// Whether a file with this ending can be part of a sample.
fn is_of_use(ending: &str) -> bool {
    let ending = ending.to_ascii_lowercase();
    is_picture(&ending) || ["txt", "json", KNOWN].contains(&ending.as_str())
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use tar::Header;

    fn tar(names: &[&str]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = Header::new_gnu();
            header.set_size(name.len() as u64);
            builder.append_data(&mut header, name, name.as_bytes()).expect("memory takes it");
        }
        builder.into_inner().expect("memory takes it")
    }

    fn groups(bytes: &[u8]) -> Vec<Result<MemberGroup, Cut>> {
        Groups::new(Box::new(Cursor::new(bytes.to_vec()))).collect()
    }

    #[test]
    fn keys_end_at_the_first_dot_of_the_file_name() {
        let split = |path| Name::of(path).map(|n| format!("{}|{}|{}", n.key, n.stem, n.ending));
        assert_eq!(split("./a.b/c.seg.PNG").as_deref(), Some("a.b/c|a.b/c.seg|PNG"));
        assert_eq!(split("1f34e_3d.webp").as_deref(), Some("1f34e_3d|1f34e_3d|webp"));
        for name in ["a/._c.png", ".hidden", "README", "a.b/c", ""] {
            assert_eq!(split(name), None, "{name}");
        }
    }

    #[test]
    fn files_of_a_key_are_grouped_also_with_long_names() {
        let long = format!("{}/b.JPG", "d".repeat(150));
        let all = groups(&tar(&["a.jpg", "a.txt", "README", &long, "c.txt"]));
        let shown: Vec<String> = all
            .iter()
            .map(|group| {
                let group = group.as_ref().expect("sound");
                let endings: Vec<_> = group.files.iter().map(|(ending, _)| &**ending).collect();
                format!("{}: {}", &group.key[group.key.len() - 1..], endings.join(" "))
            })
            .collect();
        // README belongs to no sample and is counted
        assert_eq!(shown, ["E: ", "a: jpg txt", "b: jpg", "c: txt"]);
        assert_eq!(all[0].as_ref().expect("sound").fault, Some(NO_ENDING));
        assert_eq!(all[2].as_ref().expect("sound").files[0].1, long.as_bytes());
    }

    #[test]
    fn of_thousands_of_names_under_one_first_dot_only_a_few_are_held() {
        let names: Vec<String> =
            (0..1000).flat_map(|i| ["png", "txt"].map(|e| format!("img.{i:04}.{e}"))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut all = Groups::new(Box::new(Cursor::new(tar(&names))));
        let (mut held, mut given) = (0, 0);
        while all.next().is_some() {
            held = held.max(all.current.len() + all.ready.len() + all.waiting.groups.len());
            given += 1;
        }
        assert_eq!(given, 1000);
        assert!((2..=NAMES + 1).contains(&held), "{held}");
    }

    #[test]
    fn no_cut_or_flipped_byte_makes_it_panic_or_lose_what_came_before() {
        let whole = tar(&["a.jpg", "a.txt", "b.jpg"]);
        for end in (0..whole.len()).step_by(64) {
            let all = groups(&whole[..end]);
            let sound = all.iter().filter(|group| group.is_ok()).count();
            assert!(sound >= end / 2048, "{end}: {sound}");
            let broken = all.len() - sound;
            // behind the third file only the end mark is missing; one block of it is enough
            assert_eq!(broken, usize::from(end < 3 * 1024 + 512), "{end}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5a;
            assert!(groups(&bytes).len() <= 4);
        }
    }
}
