//! `nearest`: the pictures to train on that are nearest to the one in hand.

use super::Lab;
use super::picture::{first_image, source_name};
use super::view::View;
use crate::data::{DataConfig, Part};
use crate::error::{Result, counted};
use crate::eval::PictureIndex;
use crate::image;
use tch::Device;

impl Lab {
    /// The current picture beside the `count` nearest ones of the data to train on, and whether it is as near to one of them as
    /// they are to each other. A picture of the data itself is not compared with itself.
    ///
    /// Errors: there is no picture; those of the data; a size of the averages that is out of range.
    pub fn nearest(&mut self, count: usize) -> Result<View> {
        let picture = self.state.workspace.picture()?;
        let data = self.data(Part::Train)?;
        let settings = &self.state.settings;
        if let Some(fault) = settings.eval.check(settings.data.size).into_iter().next() {
            return Err(Self::fault(format!("`eval.{}`: {}", fault.place, fault.what), fault.hint));
        }
        let index = PictureIndex::new(&[&data], settings.eval.feature_size);
        // the data may be others than at the time of `show`
        let itself = picture.index.map(|i| i as usize);
        let itself =
            itself.filter(|i| data.records.get(*i).is_some_and(|r| r.caption == picture.caption));
        let found = index.closest(&picture.images.get(0).to_device(Device::Cpu), count, itself);
        let mut pictures = vec![first_image(&picture.images)];
        pictures.extend(found.iter().map(|(i, _)| first_image(&data.images(&[*i as i64]))));
        let from = counted(data.len(), "picture");
        let caption = format!("\"{}\", then the nearest of {from} to train on", picture.caption);
        let rows = found.iter().map(|(i, distance)| {
            vec![data.records[*i].caption.clone(), format!("{distance:.3}"), i.to_string()]
        });
        let mut view = View::new()
            .picture(image::grid(&pictures, pictures.len(), 2), caption)
            .table(&["nearest", "distance", "`show` takes it by"], rows.collect());
        // of an endless world there are always pictures nearby
        let recital = index.recital().filter(|_| !settings.data.is_endless());
        if let (Some(below), Some((_, nearest))) = (recital, found.first()) {
            let verdict = match (itself, nearest < &below) {
                (Some(_), _) => "the picture is one of them",
                (None, true) => "the picture is recited",
                (None, false) => "the picture is none of them",
            };
            view = view.note(format!(
                "{verdict}: 19 of 20 of them are farther than {below:.3} from their nearest other"
            ));
        }
        Ok(view.notes(self.learned_from()?))
    }

    /// A remark where the pictures in hand are not those that the model learned from.
    fn learned_from(&self) -> Result<Option<String>> {
        let model = self.model()?;
        let model = model.borrow();
        let (learned, now) = (&model.nets().config.data, &self.state.settings.data);
        let which = |data: &DataConfig| {
            (data.source.clone(), data.groups.clone(), data.styles.clone(), data.limit)
        };
        Ok(if !model.is_trained() {
            None
        } else if learned.stream.is_some() {
            Some("the model learned from a stream of shards, which these pictures are not".into())
        } else if learned.has_scenes() {
            Some(
                "training on scenes sees new ones at every step: these are examples of them".into(),
            )
        } else if which(learned) != which(now) {
            let (own, now) = (source_name(&learned.source), source_name(&now.source));
            let same = if own == now { ", another part of it" } else { "" };
            Some(format!("the model learned from other data ({own}; now in hand: {now}{same})"))
        } else {
            None
        })
    }
}
