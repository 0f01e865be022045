//! The types with a look of their own, and what it is. All other types show their `Debug` text.

use crate::bundle::Bundle;
use crate::look::{Look, alone_or_within};
use crate::session::Session;
use crate::views::{picture, view};
use crate::{tables, tensor, values};
use image::RgbImage;
use paella::config::{
    ClipStageConfig, PriorStageConfig, RunConfig, TokenizerConfig, WeightsConfig,
};
use paella::data::{self, DataConfig, Dataset, stream::StreamConfig};
use paella::error::counted;
use paella::lab::plot::Plot;
use paella::lab::view::{TokenGrid, View};
use paella::lab::workspace;
use paella::lab::{LossAtRatio, Reply};
use paella::metrics::StepRecord;
use paella::model::{self, PaellaConfig};
use paella::networks::Networks;
use paella::noise::Noised;
use paella::recipe::{self, TrainConfig};
use paella::sample::{SampleConfig, Step};
use paella::tokens::{text::TextConfig, vqgan::VqConfig};
use paella::train::{feed::Batch, gallery::ProgressSheet};
use std::any::Any;
use tch::Tensor;

/// Gives each type its look, and `look` the list of all.
macro_rules! looks {
    ($($type:ty => |$value:ident| $look:expr;)*) => {
        $( impl Look for $type { fn look(&self) -> Bundle { let $value = self; $look } } )*

        /// How a value shows itself, if it is one of these types or holds one.
        pub fn look(value: &dyn Any) -> Option<Bundle> {
            None$(.or_else(|| alone_or_within::<$type>(value)))*
        }
    };
}

looks! {
    () => |_nothing| Bundle::new();
    Bundle => |bundle| bundle.clone();
    Tensor => |tensor| tensor::bundle(tensor);
    Vec<Tensor> => |tensors| values::stack(tensors);
    (Tensor, Tensor) => |pair| Bundle::stacked(&[pair.0.look(), pair.1.look()]);
    (Tensor, Tensor, Tensor) => |three| Bundle::stacked(&[three.0.look(), three.1.look(), three.2.look()]);
    RgbImage => |image| picture(image, "");
    Vec<RgbImage> => |images| values::sheet(images, &counted(images.len(), "picture"));
    View => |answer| view(answer);
    Reply => |reply| view(&reply.view);
    TokenGrid => |grid| view(&View::new().tokens(grid.clone()));
    Plot => |plot| Bundle::new().plot(plot, "").text(format!("plot: {}", plot.title()));
    Step => |step| tables::fields(step);
    Vec<Step> => |schedule| tables::rows(schedule);
    StepRecord => |record| tables::fields(record);
    Vec<StepRecord> => |records| values::log(records);
    Vec<LossAtRatio> => |levels| tables::rows(levels);
    (Vec<LossAtRatio>, String) => |both| Bundle::stacked(&[tables::rows(&both.0), Bundle::new().text(&both.1)]);
    data::Record => |record| tables::fields(record);
    Vec<data::Record> => |records| tables::rows(records);
    Dataset => |data| values::dataset(data);
    ProgressSheet => |gallery| picture(&gallery.sheet, &gallery.captions.join(", "));
    Batch => |batch| values::batch_of(batch);
    Networks => |nets| values::parameters(nets);
    Session => |lab| values::session(lab);
    workspace::Workspace => |workspace| values::shapes(&workspace.shapes());
    workspace::Picture => |one| Bundle::stacked(&[one.images.look(), Bundle::new().text(&one.caption)]);
    Noised => |noised| values::noised(noised);
    workspace::Sampling => |run| values::sampling(run);
    Vec<f64> => |ys| values::numbers(ys, ys);
    Vec<f32> => |ys| values::numbers(ys, &ys.iter().map(|&y| f64::from(y)).collect::<Vec<_>>());
    Vec<(f64, f64)> => |points| values::curve(points, points);
    paella::checkpoint::SaveConfig => |config| tables::settings(config);
    ClipStageConfig => |config| tables::settings(config);
    PriorStageConfig => |config| tables::settings(config);
    RunConfig => |config| tables::settings(config);
    TokenizerConfig => |config| tables::settings(config);
    WeightsConfig => |config| tables::settings(config);
    DataConfig => |config| tables::settings(config);
    StreamConfig => |config| tables::settings(config);
    paella::dist::DistConfig => |config| tables::settings(config);
    model::LevelConfig => |config| tables::settings(config);
    PaellaConfig => |config| tables::settings(config);
    model::clip::ClipConfig => |config| tables::settings(config);
    model::prior::PriorConfig => |config| tables::settings(config);
    model::prior::PriorSampleConfig => |config| tables::settings(config);
    paella::optim::OptimConfig => |config| tables::settings(config);
    SampleConfig => |config| tables::settings(config);
    recipe::EvalConfig => |config| tables::settings(config);
    recipe::LogConfig => |config| tables::settings(config);
    recipe::Precision => |config| tables::settings(config);
    recipe::ClipTrainConfig => |config| tables::settings(config);
    recipe::PriorTrainConfig => |config| tables::settings(config);
    recipe::TokenizerTrainConfig => |config| tables::settings(config);
    TrainConfig => |config| tables::settings(config);
    TextConfig => |config| tables::settings(config);
    VqConfig => |config| tables::settings(config);
}
