//! Finds what a data config names and does not exist: files, folders, groups, styles.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ron_faults::{Checks, Fault};

use super::groups::Groups;
use super::parts::parts;
use super::paths::no_folder;
use super::scenes::{STYLES, SceneKind};
use super::stream::{Patience, ShardSource, StreamConfig, present};
use super::{DataConfig, Part, Record, Source, is_remote};
use crate::error::counted;
use crate::near;

/// Samples of a shard that are tried before it counts as one that gives none.
const TRIED: usize = 1000;
const FIRST: &str =
    "the first shard gives no sample: a picture with a .txt or .json of the same name";

impl DataConfig {
    /// A fault for everything that the config names and that does not exist. Looks at files and folders, reads the first
    /// sample, and the names of groups and styles. Decodes no picture, runs no command and asks no server.
    pub fn look(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        self.look_at_stream(&mut found);
        let parts = [(Part::Train, "train"), (Part::Val, "val")];
        let mut there = true;
        for (part, name) in parts {
            // shards for validation are optional until something needs them
            if matches!(&self.source, Source::Shards { val, .. } if val.is_empty() && part == Part::Val)
            {
                continue;
            }
            if let Err(e) = self.source.items(part)
                && there
            {
                there = false;
                let fault = &e.faults()[0];
                let what = format!("{name}: {}: {}", fault.place, fault.what);
                found.unless(false, "source", what, &fault.hint);
            }
        }
        if there {
            self.look_at_first(&mut found);
            self.look_at_filters(&mut found);
        }
        found.faults()
    }

    fn look_at_stream(&self, found: &mut Checks) {
        let Some(stream) = &self.stream else { return };
        if let Some(fault) = stream.look(false) {
            return found.unless(false, "stream.shards", fault.what, &fault.hint);
        }
        let shards = stream.sources().unwrap_or_default();
        if let Some(what) = shards.first().and_then(|shard| no_sample(shard, true)) {
            found.unless(false, "stream.shards", what, FIRST);
        }
    }

    /// Finds a source whose first shard, or whose folder, gives no sample.
    fn look_at_first(&self, found: &mut Checks) {
        match &self.source {
            Source::Shards { train, val } => {
                for (patterns, name) in [(train, "train"), (val, "val")] {
                    let shards = present(patterns, name).unwrap_or_default();
                    if let Some(what) = shards.first().and_then(|shard| no_sample(shard, false)) {
                        found.unless(false, "source", format!("{name}: {what}"), FIRST);
                    }
                }
            }
            Source::Folder(folder) => {
                let items =
                    || [Part::Train, Part::Val].into_iter().flat_map(|p| self.source.items(p));
                if items().flatten().all(|item| item.is_err()) {
                    let first = items().flatten().find_map(|item| item.err());
                    let why = first.map_or(String::new(), |broken| format!(", first {broken}"));
                    let what = format!("{}: no picture has a caption{why}", folder.display());
                    let hint = "a caption is a .txt of the same name beside its picture";
                    found.unless(false, "source", what, hint);
                }
            }
            Source::Emoji | Source::Fashion | Source::Idx(_) | Source::Scenes(_) => {}
        }
    }

    /// Finds groups and styles that no picture has.
    fn look_at_filters(&self, found: &mut Checks) {
        let all = [("groups", &self.groups), ("styles", &self.styles)];
        if all.iter().all(|(_, wanted)| wanted.is_empty()) || self.source.is_remote() {
            return;
        }
        for ((field, wanted), there) in all.into_iter().zip(self.source.groups_and_styles()) {
            let there: Vec<String> = there.into_iter().filter(|name| !name.is_empty()).collect();
            let hint = match there.is_empty() {
                true => format!("these pictures have no {field}: leave `{field}` out"),
                false => format!("there are: {}", there.join(", ")),
            };
            for name in wanted.iter().filter(|name| !there.contains(name)) {
                found.unless(false, field, format!("no picture is of `{name}`"), &hint);
            }
        }
    }
}

/// Why a shard that is a file gives no sample, of those that are read first. None if it gives one. `tokens`: precomputed
/// tokens will do in place of a picture.
fn no_sample(shard: &ShardSource, tokens: bool) -> Option<String> {
    // a command or a server is not asked, and what a fifo gives is gone
    let ShardSource::File(path) = shard else { return None };
    if !path.is_file() {
        return None;
    }
    let patience = Patience { retries: 0, silence: Duration::from_secs(1), stop: Arc::default() };
    let place = shard.to_string();
    let bytes = match shard.open(&patience) {
        Ok(bytes) => bytes,
        Err(e) => return Some(format!("{place}: {e}")),
    };
    let mut first = None;
    for group in Groups::new(bytes).take(TRIED) {
        let why = match group {
            Err(cut) => cut.to_string(),
            Ok(group) => match parts(group, tokens).and_then(|parts| parts.caption()) {
                Ok(_) => return None,
                Err(refusal) => refusal.reason,
            },
        };
        first.get_or_insert(why);
    }
    Some(format!("{place}: {}", first.unwrap_or_else(|| "nothing is in it".into())))
}

impl StreamConfig {
    /// The fault of shards that are files and do not exist, with `all` only if no other shard is left; or of a folder in
    /// place of a shard.
    pub fn look(&self, all: bool) -> Option<Fault> {
        let shards = self.sources().ok()?;
        let folder = |shard: &ShardSource| match shard {
            ShardSource::File(path) => no_folder(path).err(),
            _ => None,
        };
        if let Some(Fault { what, place, hint }) =
            shards.iter().find_map(folder).and_then(|error| error.faults().first().cloned())
        {
            return Some(Fault::new(format!("{place}: {what}"), "shards", hint));
        }
        let gone = |shard: &ShardSource| match shard {
            ShardSource::File(path) if !path.exists() => Some(path.clone()),
            _ => None,
        };
        let gone: Vec<_> = shards.iter().filter_map(gone).collect();
        let first = gone.first().filter(|_| !all || gone.len() == shards.len())?;
        let what = format!(
            "{} of {} {} not there, first {}",
            gone.len(),
            counted(shards.len(), "shard"),
            if gone.len() == 1 { "is" } else { "are" },
            first.display()
        );
        Some(Fault::new(what, "shards", near::missing(first)))
    }
}

impl Source {
    /// Whether commands or servers give some of the shards.
    fn is_remote(&self) -> bool {
        let remote = |name: &String| is_remote(name);
        matches!(self, Self::Shards { train, val } if train.iter().chain(val).any(remote))
    }

    /// The names of all groups and of all styles.
    fn groups_and_styles(&self) -> [BTreeSet<String>; 2] {
        let (mut groups, mut styles) = (BTreeSet::new(), BTreeSet::new());
        if let Self::Scenes(_) = self {
            groups.extend(SceneKind::ALL.map(|kind| kind.word().to_string()));
            styles.extend(STYLES.map(String::from));
        }
        for items in [Part::Train, Part::Val].into_iter().flat_map(|part| self.items(part)) {
            for Record { group, style, .. } in items.flatten().map(|item| item.record) {
                groups.insert(group);
                styles.insert(style);
            }
        }
        [groups, styles]
    }
}
