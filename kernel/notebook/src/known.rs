//! The types that show themselves in another way than `Debug` has it, alone and within others.

use crate::bundle::Bundle;
use crate::looks::Look;
use crate::session::Session;
use image::RgbImage;
use paella::config::{PriorStageConfig, RunConfig, TokenizerConfig, WeightsConfig};
use paella::data::{self, DataConfig, Dataset, stream::StreamConfig};
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
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use tch::{TchError, Tensor};

/// How a value shows itself, if it is one of these types or holds one.
pub fn look(value: &dyn Any) -> Option<Bundle> {
    macro_rules! first_of {
        ($($type:ty),* $(,)?) => { None$(.or_else(|| alone_or_within::<$type>(value)))* };
    }
    let of_torch = first_of!(
        (),
        Tensor,
        Vec<Tensor>,
        (Tensor, Tensor),
        (Tensor, Tensor, Tensor),
        RgbImage,
        Vec<RgbImage>,
        Vec<f64>,
        Vec<f32>,
        Vec<(f64, f64)>,
    );
    let of_session = || {
        first_of!(
            View,
            Reply,
            Bundle,
            Plot,
            TokenGrid,
            Session,
            workspace::Workspace,
            workspace::Picture,
            Noised,
            workspace::Sampling,
            Step,
            Vec<Step>,
            StepRecord,
            Vec<StepRecord>,
            Vec<LossAtRatio>,
            (Vec<LossAtRatio>, String),
            Networks,
            Dataset,
            data::Record,
            Vec<data::Record>,
            Batch,
            ProgressSheet,
        )
    };
    let of_config = || {
        first_of!(
            RunConfig,
            SampleConfig,
            DataConfig,
            StreamConfig,
            WeightsConfig,
            TokenizerConfig,
            PriorStageConfig,
            VqConfig,
            TextConfig,
            PaellaConfig,
            model::LevelConfig,
            model::clip::ClipConfig,
            model::prior::PriorConfig,
            model::prior::PriorSampleConfig,
            TrainConfig,
            recipe::TokenizerTrainConfig,
            recipe::PriorTrainConfig,
            recipe::Precision,
            recipe::LogConfig,
            recipe::EvalConfig,
            paella::checkpoint::SaveConfig,
            paella::dist::DistConfig,
            paella::optim::OptimConfig,
        )
    };
    of_torch.or_else(of_session).or_else(of_config)
}

/// The value as a `T`, or the one that it holds.
fn alone_or_within<T: Look + 'static>(value: &dyn Any) -> Option<Bundle> {
    macro_rules! within {
        ($($type:ty),* $(,)?) => { None$(.or_else(|| value.downcast_ref::<$type>().map(Look::look)))* };
    }
    within!(
        T,
        Rc<T>,
        Arc<T>,
        Box<T>,
        Option<T>,
        Option<Rc<T>>,
        Result<T, paella::Error>,
        Result<Rc<T>, paella::Error>,
        Result<Option<T>, paella::Error>,
        Result<T, TchError>,
        Result<T, Box<dyn Error>>,
        Result<T, String>,
    )
}
