//! The networks of a model: tokenizer, text encoder and denoiser, and optionally CLIP and prior. Made, loaded, saved
//! and applied together.
//!
//! Letters: B pictures of S x S pixels, h x w tokens, L bytes of text, D width of a text vector.

pub mod captions;
mod network;
mod turn;

pub use network::Network;

use crate::config::{self, RunConfig};
use crate::error::{Error, Result, shell_path};
use crate::files;
use crate::model::init::VarBuilder;
use crate::model::prior::{Fresh, PriorConfig, PriorModel, PriorSampler, Schedule, Seeded};
use crate::model::replay::{Replay, Replayed};
use crate::model::{Cond, Denoiser, Paella};
use crate::recipe::Precision;
use crate::tokens::clip::ClipEncoder;
use crate::tokens::text::TextEncoder;
use crate::tokens::vqgan::VqModel;
use crate::torch;
use crate::weights;
use crate::weights::fit::Rules;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor, nn};

/// Tokenizer, text encoder and denoiser, with their variables and their config.
#[derive(Debug)]
pub struct Networks {
    pub config: RunConfig,
    pub device: Device,
    pub tokenizer: VqModel,
    pub text: TextEncoder,
    pub denoiser: Paella,
    /// Present if the config has a CLIP.
    pub clip: Option<ClipEncoder>,
    /// Present if the config has a prior.
    pub prior: Option<PriorNet>,
    pub tokenizer_vars: nn::VarStore,
    pub text_vars: nn::VarStore,
    pub denoiser_vars: nn::VarStore,
    /// Layers of the denoiser that begin fresh, since the weights it was given do not have them.
    pub begun_fresh: Vec<String>,
    /// Passes that were recorded for sampling, where the config has `replay`.
    replay: Replay,
    /// The denoiser's weights wait until the conditions are there, see [`Networks::end_reading`].
    in_turn: bool,
    /// Their file.
    waiting: Option<PathBuf>,
}

/// The prior and its variables.
#[derive(Debug)]
pub struct PriorNet {
    pub model: PriorModel,
    pub vars: nn::VarStore,
}

impl PriorNet {
    /// Makes the prior. With `skeleton`, the weights are allocated but not initialised, because they are loaded next.
    fn new(config: &PriorConfig, device: Device, skeleton: bool) -> Self {
        let vars = nn::VarStore::new(device);
        let p = if skeleton { VarBuilder::skeleton(&vars) } else { VarBuilder::root(&vars) };
        let model = PriorModel::new(&p, config);
        model.store_in_bf16(&vars);
        Self { model, vars }
    }
}

impl Networks {
    /// Makes networks with fresh weights drawn from the config's seed. Files named under `weights` replace them.
    ///
    /// Weights of a denoiser may lack the mappers of CLIP's vectors, which then begin fresh: see `begun_fresh`.
    ///
    /// Errors: a config with faults; weights that cannot be read.
    pub fn new(config: &RunConfig, device: Device) -> Result<Self> {
        Self::made(config, device, false)
    }

    /// As [`Networks::new`]. `in_turn`: on a CPU the denoiser's weights, if they are given, are read by
    /// [`Networks::end_reading`].
    pub fn made(config: &RunConfig, device: Device, in_turn: bool) -> Result<Self> {
        // where all weights are given nothing is drawn first: a billion draws take a minute, and their memory
        let given = |network: &Network| network.given(config).is_some();
        Self::with_weights(config, device, Network::of(config).iter().all(given), in_turn)
    }

    /// The networks with the weights that the config names. `all_given`: there are no others.
    fn with_weights(
        config: &RunConfig,
        device: Device,
        all_given: bool,
        in_turn: bool,
    ) -> Result<Self> {
        tch::manual_seed(config.seed as i64);
        let mut nets = Self::build(config, device, all_given)?;
        nets.in_turn = in_turn && !device.is_cuda();
        if config.text.local_heads {
            nets.text.init_local_head_bias();
        }
        for network in Network::of(config) {
            let Some(path) = network.given(config) else { continue };
            let lacking = nets.fill_one(network, path, &network.rules())?;
            if all_given && !lacking.is_empty() {
                return Self::with_weights(config, device, false, in_turn); // its lacking layers have to be drawn
            }
            nets.begun_fresh.extend(lacking);
        }
        if nets.waiting.is_none() {
            nets.denoiser.store_in_bf16(&nets.denoiser_vars);
        }
        nets.set_precision(&config.train.precision)?;
        Ok(nets)
    }

    /// Sets the precision of training passes. The values of the weights do not change, only their memory layout.
    pub fn set_precision(&mut self, precision: &Precision) -> Result<()> {
        self.replay = Replay::default(); // recorded passes read the weights where they were
        self.denoiser.recompute(&precision.recompute, &self.denoiser_vars);
        if precision.channels_last {
            torch::precision::channels_last(&self.denoiser_vars);
            torch::precision::channels_last(&self.tokenizer_vars);
        }
        torch::precision::tf32(precision.tf32)
    }

    /// Loads a model folder: `config.ron` and the `.safetensors` files.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        Self::loaded(folder, device, false)
    }

    /// As [`Networks::load`]. `in_turn`: as in [`Networks::made`].
    pub fn loaded(folder: &Path, device: Device, in_turn: bool) -> Result<Self> {
        let path = folder.join("config.ron");
        if !path.is_file() {
            let hint = "a model folder holds config.ron, tokenizer.safetensors, text.safetensors, denoiser.safetensors";
            return Err(Error::checkpoint(
                "not a model folder",
                folder.display().to_string(),
                hint,
            ));
        }
        let has = |file: &str| folder.join(file).is_file();
        if !has("tokenizer.safetensors") || has("progress.ron") {
            other_folder(folder)?;
        }
        let mut nets = Self::build(&RunConfig::read(&path)?, device, true)?;
        nets.in_turn = in_turn && !device.is_cuda();
        nets.fill(folder)?;
        Ok(nets)
    }

    /// Replaces all weights by those of a model folder. It holds them by the names of the networks, and [`captions`] if they
    /// are of own pictures.
    pub fn fill(&mut self, folder: &Path) -> Result<()> {
        for network in Network::of(&self.config) {
            let file = folder.join(format!("{network}.safetensors"));
            // a folder of this program has exactly its layers; a CLIP may be open_clip's as it is
            let rules = if network == Network::Clip { network.rules() } else { Rules::default() };
            self.fill_one(network, &file, &rules)?;
        }
        Ok(())
    }

    /// Fills one network from a file. Returns the layers that its weights lack, as they may.
    fn fill_one(&mut self, network: Network, path: &Path, rules: &Rules) -> Result<Vec<String>> {
        if let (Network::Clip, Some(clip)) = (network, &mut self.clip) {
            let place = path.display().to_string();
            clip.fill(&weights::map(path)?, rules, &place)?;
            return weights::finite(clip.vars(), &place).map(|()| Vec::new());
        }
        if network == Network::Denoiser && self.in_turn && self.can_wait(path, rules)? {
            self.waiting = Some(path.into());
            return Ok(Vec::new());
        }
        if network == Network::Denoiser {
            self.denoiser.store_in_bf16(&self.denoiser_vars); // not before: what waits touches no memory
        }
        match self.vars(network) {
            Some(vars) => Ok(weights::load(vars, path, rules)?.lacking),
            None => Ok(Vec::new()),
        }
    }

    /// The files of a model folder that [`Networks::save`] writes.
    pub fn files(&self) -> Vec<String> {
        let weights = self.all_vars().into_iter().map(|(name, _)| format!("{name}.safetensors"));
        weights.chain(["config.ron".to_string()]).collect()
    }

    /// Writes a model folder. `half` stores 16 bits per weight. Each file appears complete or not at all.
    pub fn save(&self, folder: &Path, half: bool) -> Result<()> {
        for (name, vars) in self.all_vars() {
            weights::write(
                &folder.join(format!("{name}.safetensors")),
                &weights::named(vars, half),
            )?;
        }
        let path = folder.join("config.ron");
        files::write(&path, config::to_ron(&self.config).as_bytes()).map_err(|e| {
            Error::checkpoint(e.to_string(), path.display().to_string(), "is the folder writable?")
        })
    }

    /// Makes the networks. With `skeleton`, the weights are allocated but not initialised, because they are loaded
    /// next.
    fn build(config: &RunConfig, device: Device, skeleton: bool) -> Result<Self> {
        let faults = config.check();
        if !faults.is_empty() {
            return Err(Error::Config(faults));
        }
        let [tokenizer_vars, text_vars, denoiser_vars] =
            [(); 3].map(|()| nn::VarStore::new(device));
        let [p, q, r] = [&tokenizer_vars, &text_vars, &denoiser_vars]
            .map(|vars| if skeleton { VarBuilder::skeleton(vars) } else { VarBuilder::root(vars) });
        // in this order: it is that of the draws
        let tokenizer = VqModel::new(&p, &config.tokenizer.model);
        let text = TextEncoder::new(&q, &config.text);
        text.store_in_bf16(&text_vars);
        Ok(Self {
            tokenizer,
            text,
            denoiser: Paella::new(&r, &config.model),
            clip: config.clip.as_ref().map(|clip| ClipEncoder::new(&clip.model, device, skeleton)),
            prior: config.prior.as_ref().map(|prior| PriorNet::new(&prior.model, device, skeleton)),
            config: config.clone(),
            device,
            tokenizer_vars,
            text_vars,
            denoiser_vars,
            begun_fresh: Vec::new(),
            replay: Replay::default(),
            in_turn: false,
            waiting: None,
        })
    }

    /// What to say about layers that begin fresh. None if there are none.
    pub fn said_fresh(&self) -> Option<String> {
        let path =
            self.config.weights.denoiser.as_ref().filter(|_| !self.begun_fresh.is_empty())?;
        let layers: Vec<String> = self.begun_fresh.iter().map(|name| format!("`{name}`")).collect();
        Some(format!("{} has no {}: fresh weights there", path.display(), layers.join(" and no ")))
    }

    /// The denoiser as it samples: on a GPU with `precision: (replay: true)` in bf16 from recorded passes.
    pub fn sampling_denoiser(&self) -> Box<dyn Denoiser + '_> {
        match self.config.train.precision.replay && self.device.is_cuda() {
            true => Box::new(Replayed { model: &self.denoiser, replay: Some(&self.replay) }),
            false => Box::new(&self.denoiser),
        }
    }

    /// The variables of a network. None if the model has no such network.
    pub fn vars(&self, network: Network) -> Option<&nn::VarStore> {
        match network {
            Network::Tokenizer => Some(&self.tokenizer_vars),
            Network::Text => Some(&self.text_vars),
            Network::Denoiser => Some(&self.denoiser_vars),
            Network::Clip => self.clip.as_ref().map(ClipEncoder::vars),
            Network::Prior => self.prior.as_ref().map(|prior| &prior.vars),
        }
    }

    /// The variables of all networks of this model, by file stem.
    pub fn all_vars(&self) -> Vec<(&'static str, &nn::VarStore)> {
        let own = |network: Network| Some((network.name(), self.vars(network)?));
        Network::ALL.into_iter().filter_map(own).collect()
    }

    /// The variables that denoiser training updates, each with its prefix in a checkpoint.
    pub fn trained_vars(&self) -> Vec<(&'static str, &nn::VarStore)> {
        let mut trained = vec![("denoiser", &self.denoiser_vars)];
        if self.config.train.train_text {
            trained.push(("text", &self.text_vars));
        }
        trained
    }

    /// Tokens along one side of a picture.
    pub fn grid(&self) -> i64 {
        self.config.data.size / self.config.tokenizer.model.factor()
    }

    /// images (B, 3, S, S) f32 in 0..=1 -> tokens (B, h, w) i64.
    pub fn encode(&self, images: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        self.tokenizer.encode(&images.to_device(self.device), false).tokens
    }

    /// tokens (B, h, w) i64 -> images (B, 3, S, S) f32 in 0..=1.
    pub fn decode(&self, tokens: &Tensor) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        self.tokenizer.decode_indices(&tokens.to_device(self.device)).clamp(0.0, 1.0)
    }

    /// Conditions for prediction and sampling: vectors of B texts, and the prior's image embeddings if the model has a
    /// prior.
    pub fn condition(&self, texts: &[String]) -> Cond {
        let text = self.encode_text(texts);
        let clip_image = text.clip.iter().filter_map(|clip| self.image_embedding(clip)).collect();
        Cond { clip_image, ..text }
    }

    /// The prior's CLIP image embeddings (B, e) for CLIP text embeddings (B, e). None without a prior. Its initial
    /// noise depends on the config's seed only.
    fn image_embedding(&self, texts: &Tensor) -> Option<Tensor> {
        let (net, config) = (self.prior.as_ref()?, self.config.prior.as_ref()?);
        let (fresh, null) = (Seeded::new(self.config.seed), texts.zeros_like());
        let sampler = PriorSampler {
            model: &net.model,
            schedule: Schedule::default(),
            cond: texts,
            null: &null,
            fresh: &fresh,
        };
        sampler.run(&fresh.normal(texts), &config.sample).pop()
    }

    /// B texts -> their vectors (B, L, D), and their CLIP embeddings if the model has a CLIP.
    pub fn encode_text(&self, texts: &[String]) -> Cond {
        let _no_grad = tch::no_grad_guard();
        let clip = self.clip.as_ref().map(|clip| clip.texts(texts));
        Cond { clip, ..Cond::text(self.text.encode(texts, self.device)) }
    }

    /// Conditions of the empty text for `count` pictures. Guidance leads away from them.
    pub fn null(&self, count: usize) -> Cond {
        self.encode_text(&vec![String::new(); count])
    }

    /// Number of weights of each network, by name.
    pub fn parameters(&self) -> Vec<(&'static str, i64)> {
        let count = |(name, vars): (&'static str, &nn::VarStore)| {
            let mut seen = std::collections::HashSet::new();
            let distinct = vars
                .trainable_variables()
                .into_iter()
                .filter(|xs| seen.insert(xs.data_ptr() as usize));
            (name, distinct.map(|xs| xs.numel() as i64).sum())
        };
        self.all_vars().into_iter().map(count).collect()
    }

    /// Tokens of many pictures, encoded in chunks: (N, 3, S, S) u8 on the CPU -> (N, h, w) i64.
    pub fn encode_all(&self, images: &Tensor) -> Tensor {
        let chunks = images.split(256, 0);
        let encode = |chunk: &Tensor| {
            self.encode(&(chunk.to_device(self.device).to_kind(Kind::Float) / 255.0))
        };
        Tensor::cat(&chunks.iter().map(encode).collect::<Vec<_>>(), 0)
    }
}

/// Tells the folder of a run, and that of a checkpoint, from the folder of a model.
///
/// Errors: it is one of these.
fn other_folder(folder: &Path) -> Result<()> {
    let place = folder.display().to_string();
    let model = folder.join("model");
    if model.join("config.ron").is_file() {
        let hint = format!("its model is `{}`", model.display());
        return Err(Error::checkpoint("this is the folder of a run, not of a model", place, hint));
    }
    let goes_on = |run: &Path| {
        let [config, run] = [run.join("config.ron"), run.to_path_buf()].map(shell_path);
        format!(
            "`paella train {config} --resume --out {run}` goes on, and saves a model at its end"
        )
    };
    if folder.join("checkpoints").is_dir() {
        let hint = format!("it has no model yet: {}", goes_on(folder));
        return Err(Error::checkpoint("this is the folder of a run, not of a model", place, hint));
    }
    if folder.join("progress.ron").is_file() {
        // RUN/checkpoints/PHASE-STEP
        let hint = goes_on(folder.ancestors().nth(2).unwrap_or(folder));
        return Err(Error::checkpoint("this is a checkpoint of a run, not a model", place, hint));
    }
    Ok(())
}
