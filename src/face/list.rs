//! `paella sample --from`: a picture for each caption of a list.
#![allow(clippy::print_stdout)]

use super::common::{Common, lab_by_chance};
use super::progress::ProgressLine;
use super::sample::SampleArgs;
use super::terminal::printable;
use super::work::show_view;
use crate::error::{Error, Result};
use crate::image;
use crate::lab::list::{CaptionList, ListedPicture};

/// Says each picture with its seed, as a line or in JSON, and what was done in the end.
pub(super) fn sample_list(args: &SampleArgs, common: &Common) -> Result<()> {
    let (Some(file), Some(folder)) = (&args.from, &args.out) else {
        unreachable!("`--from` requires `--out`")
    };
    if image::format_of(folder).is_ok() {
        let what = "the pictures of a list go into a folder";
        return Err(Error::command(what, folder.display().to_string(), "--out pictures"));
    }
    let (list, request) = (CaptionList::read(file)?, args.request(common)?);
    let mut lab = lab_by_chance(common)?;
    let mut on_picture = |row: &ListedPicture| match common.json {
        true => println!("{}", serde_json::json!(row)),
        false => println!("{}: seed {}, {}", row.file, row.seed, printable(&row.caption)),
    };
    // the lines are the progress: no bar moves between them
    let mut quiet = ProgressLine::new(true);
    let view = lab.sample_list(&list, folder, &request, args.films, &mut quiet, &mut on_picture)?;
    show_view(view, common)
}
