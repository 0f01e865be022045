//! A small convolutional classifier, trained on the real pictures, that judges generated ones.

use crate::data::{Dataset, Record, order::Order};
use crate::error::{Error, Result};
use crate::model::init::{Init, VarBuilder};
use crate::model::layers::{Conv2d, Linear, Window};
use crate::optim::{AdamW, OptimConfig};
use tch::{Device, Kind, Reduction, Tensor, nn};

/// The classifier network and the names of its classes.
pub struct Classifier {
    classes: Vec<String>,
    convs: [Conv2d; 2],
    out: Linear,
    device: Device,
    _vars: nn::VarStore,
}

const EPOCHS: usize = 12;
const BATCH: usize = 64;
/// Maximum number of classes.
const MAX_CLASSES: usize = 100;

impl Classifier {
    /// Trains a classifier on the `name`s of a data set.
    ///
    /// Errors: fewer than 2 or more than 100 names.
    pub fn train(data: &Dataset, seed: u64, device: Device) -> Result<Self> {
        let mut classes: Vec<String> =
            data.records.iter().map(|record| record.name.clone()).collect();
        classes.sort();
        classes.dedup();
        if !(2..=MAX_CLASSES).contains(&classes.len()) {
            let what = format!("{} classes for a classifier", classes.len());
            return Err(Error::data(
                what,
                "`eval.classifier`",
                "2 to 100 names are needed; set it to false",
            ));
        }
        tch::manual_seed(seed as i64);
        let vars = nn::VarStore::new(device);
        let p = VarBuilder::root(&vars);
        let conv = |name, i, o| {
            Conv2d::new(
                &(&p / name),
                i,
                o,
                Window { padding: 1, ..Window::strided(3, 1, 1) },
                Init::Xavier(1.4),
            )
        };
        let model = Self {
            convs: [conv("conv1", 3, 32), conv("conv2", 32, 64)],
            out: Linear::new(&(&p / "out"), 64 * 16, classes.len() as i64, Init::Xavier(1.0)),
            classes,
            device,
            _vars: vars,
        };
        model.fit(data, seed)?;
        Ok(model)
    }

    fn fit(&self, data: &Dataset, seed: u64) -> Result<()> {
        let labels = self.labels(&data.records);
        let config =
            OptimConfig { lr: 1e-3, betas: (0.9, 0.99), max_norm: 0.0, ..OptimConfig::default() };
        let mut optimizer = AdamW::new(&[("", &self._vars)], &config);
        let mut order = Order::new(data.len(), seed)?;
        for _ in 0..(EPOCHS * data.len()).div_ceil(BATCH) {
            let picks = order.next(BATCH);
            let logits = self.logits(&data.images(&picks));
            let labels = labels.index_select(0, &Tensor::from_slice(&picks).to_device(self.device));
            let loss =
                logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0);
            loss.f_backward()?;
            optimizer.update(config.lr)?;
        }
        Ok(())
    }

    /// Index of each record's class. An unknown name counts as class 0.
    fn labels(&self, records: &[Record]) -> Tensor {
        let label = |record: &Record| self.classes.binary_search(&record.name).unwrap_or(0) as i64;
        Tensor::from_slice(&records.iter().map(label).collect::<Vec<_>>()).to_device(self.device)
    }

    /// images (B, 3, H, W) f32 in 0..=1 -> (B, classes).
    fn logits(&self, images: &Tensor) -> Tensor {
        let xs = self.convs.iter().fold(images.to_device(self.device) - 0.5, |xs, conv| {
            conv.forward(&xs).relu().max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
        });
        self.out.forward(&xs.adaptive_avg_pool2d([4, 4]).flatten(1, -1))
    }

    /// Fraction of pictures (N, 3, S, S) u8 that are classified as their records say.
    pub fn accuracy(&self, images: &Tensor, records: &[Record]) -> f64 {
        let _no_grad = tch::no_grad_guard();
        let guesses: Vec<Tensor> = images
            .split(256, 0)
            .iter()
            .map(|images| self.logits(&(images.to_kind(Kind::Float) / 255.0)).argmax(1, false))
            .collect();
        let right = Tensor::cat(&guesses, 0).eq_tensor(&self.labels(records)).to_kind(Kind::Float);
        right.mean(Kind::Float).double_value(&[])
    }

    /// One record of each class.
    pub fn examples(&self, data: &Dataset) -> Vec<Record> {
        let first =
            |name: &String| data.records.iter().find(|record| record.name == *name).cloned();
        self.classes.iter().filter_map(first).collect()
    }
}
