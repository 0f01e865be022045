//! Pictures that change each time they come up: the same for any number of ranks, again after a stop, and refused where
//! nothing can change.

use crate::train::{exclusive, losses, smoke};
use paella::data::augment::AugmentConfig;
use paella::data::scenes::ScenesConfig;
use paella::data::stream::{Rows, StreamConfig, Want};
use paella::data::{DataConfig, Dataset, Part, Source};
use paella::networks::Networks;
use paella::train::Feed;
use std::rc::Rc;
use tch::Device;

fn augment() -> AugmentConfig {
    AugmentConfig { flip: 0.5, shift: 3, jitter: 0.2, tags: 0.0 }
}

#[test]
fn a_batch_changes_with_its_place_in_the_run_and_not_with_the_ranks() {
    let _turn = exclusive();
    let config = smoke(1, 1);
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let data = Rc::new(Dataset::open(&config.data, Part::Train).unwrap());
    let feed = |augment: &AugmentConfig| {
        Feed::memory(data.clone(), 1).unwrap().augmented(augment).unwrap()
    };
    let rows = |first, count| Rows { first, count, of: 8 };
    let [mut whole, mut one, mut two] = [(); 3].map(|()| feed(&augment()));
    let mut plain = feed(&AugmentConfig::default());
    for _ in 0..3 {
        let all = whole.batch(&nets, rows(0, 8), true).unwrap();
        let [a, b] = [
            one.batch(&nets, rows(0, 4), true).unwrap(),
            two.batch(&nets, rows(4, 4), true).unwrap(),
        ];
        let images = all.images.unwrap();
        assert_eq!(images.narrow(0, 0, 4), a.images.unwrap());
        assert_eq!(images.narrow(0, 4, 4), b.images.unwrap());
        assert_eq!([&all.captions[..4], &all.captions[4..]], [&a.captions[..], &b.captions[..]]);
        assert_eq!(all.tokens, nets.encode(&images), "tokens are those of the changed pictures");
        let own = plain.batch(&nets, rows(0, 8), true).unwrap();
        assert_eq!((&own.captions, &own.ids), (&all.captions, &all.ids));
        assert_ne!(own.images.unwrap(), images);
    }
    // gone on from the same place
    let before = whole.position();
    let next = whole.images(rows(0, 8)).unwrap();
    let mut again = feed(&augment());
    again.go_to(before, "").unwrap();
    let (images, captions) = again.images(rows(0, 8)).unwrap();
    assert_eq!((images, captions), next);
}

#[test]
fn keywords_stand_for_names_in_captions() {
    let _turn = exclusive();
    let mut config = smoke(1, 1);
    let data = Rc::new(Dataset::open(&config.data, Part::Train).unwrap());
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let rows = |first, count| Rows { first, count, of: 64 };
    let feed = |tags| {
        let augment = AugmentConfig { tags, ..AugmentConfig::default() };
        Feed::memory(data.clone(), 1).unwrap().augmented(&augment).unwrap()
    };
    let [plain, all, half] =
        [0.0, 1.0, 0.5].map(|tags| feed(tags).batch(&nets, rows(0, 64), true).unwrap());
    let part = feed(0.5).batch(&nets, rows(16, 8), true).unwrap();
    assert_eq!(part.captions, half.captions[16..24], "on any number of ranks");
    for (batch, few, most) in [(&plain, 0, 0), (&all, 60, 64), (&half, 16, 48)] {
        let changed = |(caption, own): &(&String, &String)| {
            let record = data.records.iter().find(|it| it.caption == **own).unwrap();
            assert!(caption == own || record.others.contains(caption), "{own}: {caption}");
            caption != own
        };
        let count = batch.captions.iter().zip(&plain.captions).filter(changed).count();
        assert!((few..=most).contains(&count), "{count} of 64");
        assert_eq!(batch.ids, nets.config.text.batch(&batch.captions, Device::Cpu).0);
        assert_eq!((&batch.tokens, &batch.images), (&plain.tokens, &plain.images), "pictures stay");
    }
    // a stream of the same shards
    let shards = vec!["assets/emoji/emoji-train-00000.tar.gz".into()];
    config.data.stream = Some(StreamConfig { shards, ..StreamConfig::default() });
    config.data.augment.tags = 1.0;
    let nets = Networks::new(&config, Device::Cpu).unwrap();
    let mut stream = Feed::stream(&nets, 1, Want::Tokens).unwrap();
    let batch = stream.batch(&nets, rows(0, 64), false).unwrap();
    let everything = DataConfig { size: 32, ..DataConfig::default() };
    let everything = Dataset::open(&everything, Part::Train).unwrap();
    let other = |it: &&String| everything.records.iter().any(|record| record.others.contains(it));
    assert!(batch.captions.iter().filter(other).count() > 60);
    // nothing that would not be done
    let fashion = DataConfig { source: Source::Fashion, size: 32, ..DataConfig::default() };
    let fashion = Rc::new(Dataset::open(&fashion, Part::Train).unwrap());
    let error = Feed::memory(fashion, 1).unwrap().augmented(&config.data.augment).err().unwrap();
    assert!(error.to_string().contains("no picture has keywords"), "{error}");
}

#[test]
fn a_run_goes_on_exactly() {
    let _turn = exclusive();
    let mut config = smoke(4, 4);
    let folder = tempfile::tempdir().unwrap();
    let plain = losses(&config, &folder.path().join("plain"), None);
    config.data.augment = augment();
    let whole = losses(&config, &folder.path().join("whole"), None);
    let part = |_| losses(&config, &folder.path().join("parts"), Some(3));
    let parts: Vec<f64> = (0..3).flat_map(part).collect();
    assert_eq!(whole, parts, "every loss, bit for bit");
    assert_ne!(plain, whole, "the pictures change");
}

#[test]
fn scenes_and_impossible_values_are_faults() {
    let mut config = smoke(1, 1);
    config.data.augment = AugmentConfig { flip: 2.0, shift: 32, jitter: -1.0, tags: 1.5 };
    let places: Vec<String> = config.check().into_iter().map(|fault| fault.place).collect();
    let all = ["flip", "shift", "jitter", "tags"].map(|field| format!("data.augment.{field}"));
    assert_eq!(places, all);
    config.data.augment = augment();
    assert!(config.check().is_empty(), "{:?}", config.check());
    config.data.source = Source::Scenes(ScenesConfig::default());
    let faults = config.check();
    assert!(faults.len() == 1 && faults[0].what.contains("no step sees a picture"), "{faults:?}");
}
