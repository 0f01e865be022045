//! The nearest pictures of the training: distances, what counts as recited, the command and the scores.

use paella::data::{Dataset, Record, Skipped};
use paella::eval::PictureIndex;
use paella::lab::view::{View, ViewBlock};
use paella::lab::{Lab, Origin};
use tch::{Device, Kind, Tensor};

use crate::lab::run;
use crate::train::exclusive;

/// Pictures of 8 x 8 pixels, each of one grey: bytes.
fn greys(all: &[i64]) -> Dataset {
    let flat = |grey: &i64| Tensor::full([3, 8, 8], *grey, (Kind::Uint8, Device::Cpu));
    let images = Tensor::stack(&all.iter().map(flat).collect::<Vec<_>>(), 0);
    let record = |grey: &i64| Record { caption: format!("grey {grey}"), ..Record::default() };
    Dataset { images, records: all.iter().map(record).collect(), skipped: Skipped::default() }
}

#[test]
fn distances_are_root_mean_squares_of_cells() {
    let _turn = exclusive();
    let index = PictureIndex::new(&[&greys(&[0, 51]), &greys(&[255])], 4);
    let white = Tensor::ones([3, 12, 16], (Kind::Float, Device::Cpu)); // of any size
    let near = |got: f64, want: f64| assert!((got - want).abs() < 1e-6, "{got}, {want}");
    let distances = index.distances(&white);
    [1.0, 0.8, 0.0].into_iter().zip(distances).for_each(|(want, got)| near(got, want));
    let found = index.closest(&white, 2, Some(2)); // without the white one
    assert_eq!(found.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(index.closest(&white, 9, None).len(), 3);
    // a cell is an average: what happens within it does not count
    let half = Tensor::zeros([3, 8, 8], (Kind::Float, Device::Cpu));
    let _ = half.slice(2, 0, 8, 2).fill_(1.0);
    near(index.distances(&half)[0], 0.5);
}

#[test]
fn recited_is_nearer_than_the_pictures_are_to_each_other() {
    let _turn = exclusive();
    // neighbours 5 apart, but the first two: 1
    let mut all: Vec<i64> = vec![0, 1];
    all.extend((1..41).map(|i| 1 + 5 * i));
    let index = PictureIndex::new(&[&greys(&all)], 2);
    let below = index.recital().unwrap();
    assert!((below * 255.0 - 5.0).abs() < 0.01, "{}", below * 255.0);
    assert!(PictureIndex::new(&[&greys(&[7])], 2).recital().is_none());
    let grey = |x: f64| Tensor::full([1, 3, 8, 8], x / 255.0, (Kind::Float, Device::Cpu));
    let made = Tensor::cat(&[grey(103.0), grey(230.0), grey(252.0)], 0); // 2, 29 and 51 from the nearest
    let score = index.score("generated", &made).unwrap();
    assert_eq!((score.pictures, score.below), (3, below));
    assert!((score.recited - 1.0 / 3.0).abs() < 1e-9, "{score:?}");
    assert!((score.median * 255.0 - 29.0).abs() < 0.01, "{score:?}");
    assert!(index.score("none", &made.narrow(0, 0, 0)).is_none());
}

/// Rows of the first table.
fn rows(view: &View) -> &[Vec<String>] {
    let tables = view.blocks.iter().filter_map(|block| match block {
        ViewBlock::Table { rows, .. } => Some(rows),
        _ => None,
    });
    tables.into_iter().next().unwrap()
}

#[test]
fn a_recited_picture_is_told_from_a_new_one() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new(Origin::find("emoji-64").unwrap(), Device::Cpu).unwrap();
    lab.runs_in(folder.path());
    run(&mut lab, "sample \"red apple, 3d emoji\" seed=1");
    let view = run(&mut lab, "nearest 5");
    assert_eq!(rows(&view).len(), 5);
    assert_eq!(rows(&view)[0][0], "red apple, 3d emoji");
    assert!(format!("{view:?}").contains("the picture is recited"), "{view:?}");
    // the number leads there, and a picture of the data is not its own neighbour
    run(&mut lab, &format!("show {}", rows(&view)[0][2]));
    let own = run(&mut lab, "nearest");
    assert!(rows(&own).iter().all(|row| row[0] != "red apple, 3d emoji"), "{:?}", rows(&own));
    assert!(format!("{own:?}").contains("the picture is one of them"), "{own:?}");
    // noise is near nothing
    let file = folder.path().join("noise.png");
    let noise = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * y * 37 % 251) as u8; 3]));
    noise.save(&file).unwrap();
    run(&mut lab, &format!("show {}", file.display()));
    let view = run(&mut lab, "nearest 1");
    assert!(format!("{view:?}").contains("the picture is none of them"), "{view:?}");
    run(&mut lab, "data fashion");
    run(&mut lab, "show 0");
    let view = run(&mut lab, "nearest 1");
    assert!(format!("{view:?}").contains("the model learned from other data"), "{view:?}");
}
