//! What a config of data names and what is there: files, folders, groups, styles.

use std::collections::BTreeSet;

use ron_faults::{Checks, Fault};

use super::stream::ShardSource;
use super::{DataConfig, Part, Record, Source};

impl DataConfig {
    /// Everything that the config names and that is not there. Looks at files and folders and reads the names of groups
    /// and styles, but decodes no picture; commands are not run and servers not asked.
    pub fn look(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        self.look_at_stream(&mut found);
        let parts = [(Part::Train, "train"), (Part::Val, "val")];
        let mut there = true;
        for (part, name) in parts {
            // without shards for validation, whatever asks for them says so
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
        let Some(Ok(shards)) = self.stream.as_ref().map(|stream| stream.sources()) else { return };
        let gone =
            |shard: &&ShardSource| matches!(shard, ShardSource::File(path) if !path.is_file());
        let count = shards.iter().filter(gone).count();
        if let Some(first) = shards.iter().find(gone) {
            let what = format!("{count} of {} shards are not there, first {first}", shards.len());
            found.unless(false, "stream.shards", what, "paths start at the current folder");
        }
    }

    /// Groups and styles that no picture has.
    fn look_at_filters(&self, found: &mut Checks) {
        let all = [("groups", &self.groups), ("styles", &self.styles)];
        if all.iter().all(|(_, wanted)| wanted.is_empty()) {
            return;
        }
        let (mut groups, mut styles) = (BTreeSet::new(), BTreeSet::new());
        for part in [Part::Train, Part::Val] {
            let Ok(items) = self.source.items(part) else { continue };
            for Record { group, style, .. } in items.flatten().map(|item| item.record) {
                groups.insert(group);
                styles.insert(style);
            }
        }
        for ((field, wanted), there) in all.into_iter().zip([groups, styles]) {
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
