//! Places of data and weights that a config names: one spelling for each, and new ones for those that have moved.

use super::run::RunConfig;
use crate::data::{Source, home, is_remote, is_there};
use std::path::{Path, PathBuf};

impl RunConfig {
    /// A copy with every path, pattern of shards, command and address replaced by what `change` makes of it.
    pub fn with_places(&self, mut change: impl FnMut(&str) -> String) -> Self {
        let mut config = self.clone();
        let mut path = |place: &mut PathBuf| *place = change(&place.to_string_lossy()).into();
        let weights = &mut config.weights;
        for file in [
            &mut weights.tokenizer,
            &mut weights.text,
            &mut weights.clip,
            &mut weights.prior,
            &mut weights.denoiser,
            &mut weights.vgg,
            &mut weights.lpips,
        ] {
            file.iter_mut().for_each(&mut path);
        }
        let mut shards: Vec<&mut String> = Vec::new();
        match &mut config.data.source {
            Source::Idx(folder) | Source::Folder(folder) => path(folder),
            Source::Shards { train, val } => shards.extend(train.iter_mut().chain(val)),
            Source::Emoji | Source::Fashion | Source::Scenes(_) => {}
        }
        shards.extend(config.data.stream.iter_mut().flat_map(|stream| &mut stream.shards));
        shards.into_iter().for_each(|shard| *shard = change(shard));
        config
    }

    /// All places that the config names, in a fixed order.
    pub fn places(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.with_places(|place| {
            all.push(place.to_string());
            place.to_string()
        });
        all
    }

    /// The first place that is not there: of a pattern its folder.
    pub fn gone(&self) -> Option<String> {
        let place = self.places().into_iter().find(|place| !is_there(place))?;
        let names_one = |path: &&Path| !path.to_string_lossy().contains(['*', '{']);
        Some(Path::new(&place).ancestors().find(names_one)?.display().to_string())
    }

    /// A copy in which the places below the first of each pair lie below the second.
    pub fn moved(&self, moves: &[(String, String)]) -> Self {
        self.with_places(|place| moved(place, moves).unwrap_or_else(|| place.into()))
    }
}

/// The two places of `FROM=TO`. If a `=` is part of one of them: FROM is a place of `config`, or TO is there.
pub fn move_of(text: &str, config: &RunConfig) -> Option<(String, String)> {
    let pair = |(at, _): (usize, &str)| {
        let (from, to) = (text[..at].trim(), text[at + 1..].trim());
        (!from.is_empty() && !to.is_empty()).then(|| (from.to_string(), to.to_string()))
    };
    let pairs: Vec<(String, String)> = text.match_indices('=').filter_map(pair).collect();
    let places = config.places();
    let concerns = |pair: &&(String, String)| {
        places.iter().any(|place| moved(place, std::slice::from_ref(*pair)).is_some())
    };
    let arrives = |pair: &&(String, String)| is_there(&pair.1);
    let found = pairs.iter().find(concerns).or_else(|| pairs.iter().find(arrives));
    found.or(pairs.first()).cloned()
}

/// The new place of something that lies at or below the first of a pair. None if it has not moved.
pub fn moved(place: &str, moves: &[(String, String)]) -> Option<String> {
    moves.iter().find_map(|(from, to)| {
        if place == from {
            return Some(to.clone());
        }
        let (place, from) = (full_place(place), full_place(from));
        let below = Path::new(&place).strip_prefix(&from).ok()?;
        let whole = below.as_os_str().is_empty();
        Some(if whole { to.clone() } else { Path::new(to).join(below).display().to_string() })
    })
}

/// The one spelling of a place: from the root, with links resolved. Commands and addresses stay as they are.
pub fn full_place(place: &str) -> String {
    if is_remote(place) {
        return place.into();
    }
    let given = home(Path::new(place));
    let path = std::path::absolute(&given).unwrap_or(given);
    // the part that exists is resolved; the rest, such as a pattern of shards, stays
    let real = path.ancestors().find_map(|above| {
        let below = path.strip_prefix(above).ok()?;
        let real = above.canonicalize().ok()?;
        Some(if below.as_os_str().is_empty() { real } else { real.join(below) })
    });
    real.unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_spelling() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        std::fs::create_dir(root.join("pictures")).expect("made");
        std::os::unix::fs::symlink(root.join("pictures"), root.join("link")).expect("linked");
        let at = |name: &str| root.join(name).display().to_string();
        for spelled in ["pictures", "pictures/", "./pictures", "link", "pictures/../pictures"] {
            assert_eq!(full_place(&at(spelled)), at("pictures"), "{spelled}");
        }
        assert_eq!(full_place(&at("link/x-{000..003}.tar")), at("pictures/x-{000..003}.tar"));
        assert_eq!(full_place("src/"), full_place(&format!("{}/src", env!("CARGO_MANIFEST_DIR"))));
        for other in ["pipe:cat ./x.tar", "https://host/./x.tar"] {
            assert_eq!(full_place(other), other);
        }
    }

    #[test]
    fn a_move_is_split_where_its_places_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let named = |path: String| RunConfig {
            data: crate::data::DataConfig {
                source: Source::Folder(path.into()),
                ..Default::default()
            },
            ..RunConfig::default()
        };
        let split = |text: &str, config: &RunConfig| move_of(text, config);
        let both = |from: &str, to: &str| Some((from.to_string(), to.to_string()));
        // the first part is a place of the run
        let config = named(at("a=b/x"));
        assert_eq!(
            split(&format!("{}={}", at("a=b"), at("c=d")), &config),
            both(&at("a=b"), &at("c=d"))
        );
        assert_eq!(config.gone(), Some(at("a=b/x")));
        // the second part is there
        std::fs::create_dir(at("c=d")).expect("made");
        let config = named(at("c=d"));
        assert_eq!(split(&format!("/o=ld={}", at("c=d")), &config), both("/o=ld", &at("c=d")));
        assert_eq!(config.gone(), None);
        assert_eq!(split("a=b=c", &config), both("a", "b=c"));
        for odd in ["", "=", "a=", "=b", "ab"] {
            assert_eq!(split(odd, &config), None, "{odd}");
        }
    }

    #[test]
    fn what_lies_below_moves_along() {
        let moves = [("/old".to_string(), "/new/place".to_string())];
        let config = RunConfig {
            weights: super::super::WeightsConfig {
                text: Some("/old/text.safetensors".into()),
                clip: Some("/older/clip.safetensors".into()),
                ..Default::default()
            },
            ..RunConfig::default()
        };
        let config = config.moved(&moves);
        assert_eq!(config.places(), ["/new/place/text.safetensors", "/older/clip.safetensors"]);
        assert_eq!(moved("/old", &moves).as_deref(), Some("/new/place"));
        assert_eq!(moved("pipe:cat /old/x.tar", &moves), None);
    }
}
