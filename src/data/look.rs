//! Finds what a data config names and does not exist: files, folders, groups, styles.

use std::collections::BTreeSet;

use ron_faults::{Checks, Fault};

use super::scenes::{STYLES, SceneKind};
use super::stream::{ShardSource, StreamConfig};
use super::{DataConfig, Part, Record, Source, is_remote};
use crate::error::counted;
use crate::near;

impl DataConfig {
    /// A fault for everything that the config names and that does not exist. Looks at files and folders, and reads the
    /// names of groups and styles. Decodes no picture, runs no command and asks no server.
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
            self.look_at_filters(&mut found);
        }
        found.faults()
    }

    fn look_at_stream(&self, found: &mut Checks) {
        if let Some(fault) = self.stream.as_ref().and_then(|stream| stream.look(false)) {
            found.unless(false, "stream.shards", fault.what, &fault.hint);
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

impl StreamConfig {
    /// The fault of shards that are files and do not exist. With `all`, only if no other shard is left.
    pub fn look(&self, all: bool) -> Option<Fault> {
        let shards = self.sources().ok()?;
        let gone = |shard: &ShardSource| match shard {
            ShardSource::File(path) if !path.is_file() => Some(path.clone()),
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
