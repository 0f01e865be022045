//! Previews during training: the current weights applied to a few fixed pictures and captions.
//!
//! Letters: n subjects, pictures of S x S pixels, h x w tokens.

use super::seed_torch;
use super::watch::Preview;
use super::workspace::Workspace;
use crate::data::Dataset;
use crate::error::Result;
use crate::generate::generate_with;
use crate::image;
use crate::metrics::StepRecord;
use crate::networks::Networks;
use crate::sample::SampleConfig;
use crate::torch::chance::KeptChance;
use ::image::RgbImage;
use tch::Tensor;

/// Number of pictures and captions in a preview.
const COUNT: usize = 4;

/// The pictures and captions of all previews of one training, so that previews can be compared.
pub struct Subjects {
    /// (n, 3, S, S) f32 in 0..=1, CPU.
    images: Tensor,
    captions: Vec<String>,
}

impl Subjects {
    /// Takes the current picture (only its text if it was sampled), then pictures spread over the data.
    pub fn new(workspace: &Workspace, data: &Dataset) -> Self {
        let size = data.images.size()[3];
        let mut picks: Vec<i64> = (0..COUNT).map(|i| (i * data.len() / COUNT) as i64).collect();
        picks.dedup();
        let mut captions = data.captions(&picks);
        let mut images = data.images(&picks);
        if let Some(picture) = &workspace.picture {
            captions.retain(|caption| *caption != picture.caption);
            captions.insert(0, picture.caption.clone());
            if picture.index.is_some_and(|i| !picks.contains(&i))
                && picture.images.size()[3] == size
            {
                images = Tensor::cat(&[&picture.images, &images], 0);
            }
        }
        captions.truncate(COUNT);
        Self { images: images.slice(0, 0, COUNT as i64, 1), captions }
    }

    /// The preview after the step of this record. None if `stop` returns true before it is done. Libtorch's generators
    /// are restored afterwards.
    ///
    /// Errors: those of libtorch.
    pub fn preview(
        &self,
        nets: &Networks,
        sample: &SampleConfig,
        record: &StepRecord,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Preview>> {
        let _no_grad = tch::no_grad_guard();
        let _chance = KeptChance::new(nets.device)?;
        let step = record.step;
        if record.phase == "tokenizer" {
            let quantized = step > nets.config.tokenizer.train.quantize_after;
            let images = [self.images.shallow_clone(), self.rebuilt(nets, quantized)];
            let (image, n) = (sheet(&Tensor::cat(&images, 0), self.images.size()[0]), step);
            return Ok(Some(Preview {
                image,
                caption: format!("originals, and rebuilt after step {n}"),
            }));
        }
        let Some(tokens) = self.sampled(nets, sample, stop) else { return Ok(None) };
        let image = sheet(&nets.decode(&tokens), self.captions.len() as i64);
        let texts: Vec<String> = self.captions.iter().map(|text| format!("\"{text}\"")).collect();
        let caption = format!("sampled after step {step}: {}", texts.join(", "));
        Ok(Some(Preview { image, caption }))
    }

    /// Encodes and decodes the pictures (n, 3, S, S), without quantisation while training does not quantise.
    fn rebuilt(&self, nets: &Networks, quantized: bool) -> Tensor {
        let images = self.images.to_device(nets.device);
        let rebuilt = if quantized {
            nets.decode(&nets.encode(&images))
        } else {
            nets.tokenizer.decode_unscaled(&nets.tokenizer.latents(&images, false))
        };
        rebuilt.clamp(0.0, 1.0).to_device(tch::Device::Cpu)
    }

    /// Samples tokens (n, h, w) for the captions, always from the same noise.
    fn sampled(
        &self,
        nets: &Networks,
        sample: &SampleConfig,
        stop: &dyn Fn() -> bool,
    ) -> Option<Tensor> {
        let (cond, null) = (nets.condition(&self.captions), nets.null(self.captions.len()));
        seed_torch(nets.config.seed);
        generate_with(nets, &cond, &null, sample, |mut tokens, passes| {
            loop {
                if stop() {
                    return None;
                }
                let Some(pass) = passes.next() else { return Some(tokens) };
                tokens = pass.after;
            }
        })
    }
}

/// Arranges (n, 3, S, S) f32 in 0..=1 as one picture with `columns` per row.
fn sheet(images: &Tensor, columns: i64) -> RgbImage {
    image::grid(&image::all_from_tensor(images), columns as usize, 2)
}
