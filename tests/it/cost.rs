//! The planner's counts, compared with the variables of real networks, with counts by hand, and with the published run.

use crate::configs::shipped;
use paella::checkpoint::Phase;
use paella::config::{ClipStageConfig, RunConfig};
use paella::cost::{self, EstimateRequest};
use paella::model::clip::ClipConfig;
use paella::model::init::VarBuilder;
use paella::model::prior::PriorConfig;
use paella::model::{Block, Paella, PaellaConfig};
use paella::tokens::text::{TextConfig, TextEncoder};
use paella::tokens::vqgan::{VqConfig, VqModel};
use tch::{Device, Tensor, nn};

/// Trained variables by name, in uninitialised memory.
fn variables(build: impl FnOnce(&VarBuilder)) -> Vec<(String, Tensor)> {
    let vars = nn::VarStore::new(Device::Cpu);
    build(&VarBuilder::skeleton(&vars));
    let mut all: Vec<_> =
        vars.variables().into_iter().filter(|(_, xs)| xs.requires_grad()).collect();
    let mut seen = std::collections::HashSet::new();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.retain(|(name, _)| name != "encoder.embed_tokens.weight" && seen.insert(name.clone()));
    all
}

fn numel<'a>(all: impl IntoIterator<Item = &'a (String, Tensor)>) -> i64 {
    all.into_iter().map(|(_, xs)| xs.numel() as i64).sum()
}

/// Configs that differ in every setting that sizes depend on.
fn configs() -> Vec<RunConfig> {
    let small = shipped().into_iter().filter_map(|path| RunConfig::read(&path).ok());
    let mut all: Vec<_> = small.filter(|config| config.model.c_in < 100).collect();
    let mut odd = all[0].clone();
    odd.tokenizer.model = VqConfig { levels: 3, bottleneck_blocks: 2, ..odd.tokenizer.model };
    odd.model.clip_embd = 24;
    odd.model.kernel_size = 5;
    odd.model.self_attn = false;
    odd.model.levels.push(odd.model.levels[0].clone());
    odd.model.levels[1].blocks = 3;
    odd.model.levels[1].self_attn = Some(true);
    odd.model.levels[1].layout = vec![Block::F, Block::C, Block::A, Block::T];
    all.push(odd);
    all
}

#[test]
fn parameters_are_those_of_the_networks() {
    for config in configs() {
        let RunConfig { tokenizer, text, model, name, .. } = &config;
        let images = cost::tokenizer(&tokenizer.model, config.data.size);
        let vq = variables(|p| drop(VqModel::new(p, &tokenizer.model)));
        assert_eq!(images.total().params, numel(&vq), "{name}: tokenizer");
        let words = variables(|p| drop(TextEncoder::new(p, text)));
        assert_eq!(cost::text(text, 10).params, numel(&words), "{name}: text");
        let net = cost::denoiser(model, (16, 16), 10);
        let vars = variables(|p| drop(Paella::new(p, model)));
        assert_eq!(net.total().params, numel(&vars), "{name}: denoiser");
        for (i, level) in net.levels.iter().enumerate() {
            let deepest = model.levels.len() - 1;
            let places = [format!("down_blocks.{i}."), format!("up_blocks.{}.", deepest - i)];
            let own = vars.iter().filter(|(name, _)| places.iter().any(|p| name.starts_with(p)));
            assert_eq!(level.total().params, numel(own), "{name}: level {i}");
        }
    }
}

/// `tests/it/parity/files.rs` checks the networks against the same numbers.
#[test]
fn the_published_networks_have_their_published_sizes() {
    let net = cost::denoiser(&PaellaConfig::default(), (64, 64), 128);
    assert_eq!(net.total().params, 1_008_350_592);
    assert_eq!(cost::tokenizer(&VqConfig::default(), 256).total().params, 18_406_894);
    assert_eq!(cost::text(&TextConfig::default(), 128).params, 2_614_091_264);
    assert_eq!(cost::prior(&PriorConfig::default()).params, 899_770_624);
    let clip = cost::clip(&ClipConfig::default());
    assert_eq!((clip.text + clip.vision).params, 986_109_441);
    // 24 layers: 12 x 1024^2 weights at 77 positions, attention 4 x 1024 x 77^2; then the projection
    assert_eq!(
        clip.text.flops,
        24 * (24 * 1024 * 1024 * 77 + 4 * 1024 * 77 * 77) + 2 * 1024 * 1024
    );
}

/// Every weight with at least two dimensions is multiplied once at every position it is used at. Attention multiplies
/// queries by keys, and scores by values.
#[test]
fn work_is_what_the_weights_multiply() {
    for RunConfig { model, name, .. } in configs() {
        let (tokens, s) = (32 * 32, 11);
        let places = tokens / (model.patch_size * model.patch_size);
        let deepest = model.levels.len() - 1;
        let mut by_hand = 0;
        for (var, xs) in variables(|p| drop(Paella::new(p, &model))) {
            let parts: Vec<&str> = var.split('.').collect();
            let level = |part: &str| part.parse::<usize>().unwrap();
            let i = match parts[0] {
                "down_blocks" => level(parts[1]),
                "up_blocks" => deepest - level(parts[1]),
                _ => 0,
            };
            let n = match parts[0] {
                "down_blocks" | "up_blocks" => places >> (2 * i),
                "embedding" | "clf" => places,
                "out_mapper" => tokens,
                "byt5_mapper" => s,
                _ => 0, // a table, or a mapper of CLIP vectors, which are not fed
            };
            let keys = if model.self_attn_at(i) { n + s } else { s };
            let c = xs.size()[0] / 3;
            by_hand += match parts[parts.len() - 2..] {
                ["attn", "in_proj_weight"] => 2 * c * c * (n + 2 * keys) + 4 * c * n * keys,
                ["1", "weight"] if var.contains("kv_mapper") => 2 * xs.numel() as i64 * s,
                ["mapper", "weight"] => 2 * xs.numel() as i64,
                [_, "weight"] => 2 * xs.numel() as i64 * n,
                _ => 0,
            };
        }
        assert_eq!(cost::denoiser(&model, (32, 32), s).total().flops, by_hand, "{name}");
    }
}

/// One layer of the text encoder: 4 projections, 3 matrices of the feed-forward part, scores and values.
#[test]
fn the_text_encoders_work_is_that_of_a_count_by_hand() {
    let config = TextConfig { num_layers: 1, ..TextConfig::default() };
    let (s, d, inner, ff) = (100, 2560, 2048, 6720);
    let by_hand = 2 * s * d * (4 * inner + 3 * ff) + 4 * inner * s * s;
    assert_eq!(cost::text(&config, s).flops, by_hand);
}

/// Doubling the side of pictures gives four times the work and memory of everything that is computed per position.
#[test]
fn the_tokenizers_work_grows_with_the_pictures_area() {
    let at = |size| cost::tokenizer(&VqConfig::default(), size);
    assert_eq!(at(512).total().flops, 4 * at(256).total().flops);
    assert_eq!(at(512).total().kept.full, 4 * at(256).total().kept.full);
    // the first convolution of the encoder, counted by hand: 192 channels to 384, 4 x 4, at 64 x 64 positions
    let first = 2 * 192 * 384 * 16 * 64 * 64;
    assert!(at(256).encode.flops > first && at(256).encode.flops < 4 * first);
}

fn request(device: &str, gpus: usize) -> EstimateRequest {
    EstimateRequest {
        gpu: cost::find(device).unwrap(),
        gpus,
        per_node: None,
        utilisation: 0.35,
        micro_batch: None,
        text_bytes: None,
    }
}

fn published() -> RunConfig {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    RunConfig::read(&root.join("configs/paella-v3-128xa100.ron")).unwrap()
}

#[test]
fn the_published_run_reached_a_twelfth_of_the_peak() {
    let plan = cost::budget(&published(), Phase::Denoiser, &request("a100-80gb", 128)).unwrap();
    let rate = plan.images_per_s_in(21.0);
    assert!((rate - 11.46).abs() < 0.01, "{rate} pictures a second and card");
    let share = plan.mfu(rate);
    // 2.323e12 operations per picture x 11.46 / 312e12
    assert!((share - 0.0854).abs() < 0.0005, "{share}");
}

#[test]
fn what_does_not_fit_names_the_knobs_that_make_it_fit() {
    let mut config = published();
    config.train.micro_batch = None;
    config.train.precision.bf16 = false;
    let text = |config: &RunConfig, device, gpus| {
        cost::budget(config, Phase::Denoiser, &request(device, gpus)).unwrap_err().to_string()
    };
    let error = text(&config, "a100-80gb", 8);
    for knob in ["`train.micro_batch: ", "`train.precision.bf16: true`", "recompute: [0, 1, 2]`"] {
        assert!(error.contains(knob), "{knob} is not in\n{error}");
    }
    // the values in the message are the largest that fit
    let micro = cost::largest(&config, &request("a100-80gb", 8)).unwrap();
    for (micro, fits) in [(micro, true), (2 * micro, false)] {
        config.train.micro_batch = Some(micro);
        assert_eq!(cost::budget(&config, Phase::Denoiser, &request("a100-80gb", 8)).is_ok(), fits);
    }
    let error = text(&config, "l4", 8);
    assert!(error.contains("larger cards: ") && error.contains("h200"), "{error}");
    config.train.micro_batch = Some(3);
    assert!(text(&config, "h200", 8).contains("is not a multiple of `micro_batch` 3 x 8 ranks"));
}

#[test]
fn a_prior_is_planned_with_its_average_and_its_passes() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = RunConfig::read(&root.join("configs/prior-v1.ron")).unwrap();
    let plan = |config: &RunConfig, micro| {
        let request = EstimateRequest { micro_batch: micro, ..request("a100-80gb", 8) };
        cost::budget(config, Phase::Prior, &request)
    };
    let (whole, parts) = (plan(&config, None).unwrap(), plan(&config, Some(32)).unwrap());
    assert_eq!(whole.memory.average, 4 * 899_770_624);
    assert_eq!((parts.split.rows, parts.split.micro, parts.split.passes), (256, 32, 8));
    assert!(parts.memory.activations < whole.memory.activations);
    assert!(parts.memory.passing <= whole.memory.passing);
    let train = &mut config.prior.as_mut().unwrap().train;
    (train.batch, train.micro_batch) = (1 << 20, None);
    let error = plan(&config, None).unwrap_err().to_string();
    assert!(error.contains("the prior needs") && error.contains("`prior.train.micro_batch: "));
    config.prior.as_mut().unwrap().train.micro_batch = Some(3);
    let error = plan(&config, None).unwrap_err().to_string();
    assert!(error.contains("`batch` 1048576 is not a multiple of `micro_batch` 3 x 8 ranks"));
}

#[test]
fn a_clip_in_training_is_planned_with_both_towers() {
    let mut config = published();
    config.stages = vec![Phase::Clip];
    config.clip = Some(ClipStageConfig::default());
    config.weights.clip = None;
    let plan = cost::budget(&config, Phase::Clip, &request("a100-80gb", 4096)).unwrap();
    assert_eq!(plan.work.trained(), 986_109_441);
    assert_eq!((plan.memory.moments, plan.split.rows), (8 * 986_109_441, 8));
    let error = cost::budget(&config, Phase::Clip, &request("a100-80gb", 8)).unwrap_err();
    assert!(error.to_string().contains("the clip needs"), "{error}");
    assert!(error.to_string().contains("`clip.train.batch: "), "{error}");
    let error = cost::budget(&config, Phase::Clip, &request("a100-80gb", 6)).unwrap_err();
    assert!(error.to_string().contains("`clip.train.batch`"), "{error}");
}

#[test]
fn the_features_of_lpips_are_planned() {
    let features = cost::lpips(224);
    // the convolutions of VGG-16: 14,714,688 weights and 15,346,630,656 multiplications at 224 pixels
    assert_eq!((features.params, features.flops), (14_714_688, 2 * 15_346_630_656));
    let mut config = RunConfig::default();
    let plain = cost::work(&config, Phase::Tokenizer, 1);
    config.tokenizer.train.perceptual = 1.0;
    let with = cost::work(&config, Phase::Tokenizer, 1);
    let own = cost::lpips(config.data.size);
    assert_eq!(with.forward() - plain.forward(), 3 * own.flops, "two pictures, one gradient");
    assert_eq!(with.trained(), plain.trained(), "nothing of it is trained");
    assert!(with.kept > plain.kept);
}

#[test]
fn a_ring_sends_nearly_twice_the_gradients_over_its_slowest_link() {
    let gpu = cost::find("a100-80gb").unwrap();
    let solo = cost::exchange(1_000_000_000, 1, 8, gpu, 1.0);
    assert_eq!((solo.sent, solo.exposed), (0.0, 0.0));
    let node = cost::exchange(1_000_000_000, 8, 8, gpu, 1.0);
    assert_eq!((node.sent, node.link), (7e9, gpu.link));
    let many = cost::exchange(1_000_000_000, 128, 8, gpu, 0.1);
    assert_eq!((many.sent, many.link), (2.0 * 127.0 / 128.0 * 4e9, gpu.network));
    assert!((many.exposed - (many.seconds - 0.1)).abs() < 1e-12, "the rest is hidden");
    let hidden = cost::exchange(1_000_000_000, 128, 8, gpu, 1.0);
    assert!((hidden.exposed - many.seconds * cost::BUCKET / 4e9).abs() < 1e-12, "the last bucket");
}

#[test]
fn computing_again_trades_work_for_memory() {
    let net = cost::denoiser(&PaellaConfig::default(), (64, 64), 128);
    let kept: Vec<i64> = [&[][..], &[0], &[0, 1], &[0, 1, 2]].map(|l| net.kept(l, true)).into();
    assert!(kept.windows(2).all(|pair| pair[1] < pair[0]), "{kept:?}");
    let all = net.recomputed(&[0, 1, 2]);
    assert!(all < net.total().flops && all > net.total().flops / 2);
    assert_eq!(net.recomputed(&[1, 1]), net.levels[1].blocks.flops);
}

fn plan(args: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_paella"))
        .arg("plan")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Uses the command line in the config's head comment, if it has one. So the config divides and fits on the cards named
/// there.
#[test]
fn the_command_plans_every_shipped_config() {
    for path in shipped() {
        let text = std::fs::read_to_string(&path).unwrap();
        let own = text.lines().find_map(|line| line.strip_prefix("//   paella plan "));
        let file = format!("configs/{}", path.file_name().unwrap().to_str().unwrap());
        let line = own.map_or_else(|| format!("{file} --device h200"), String::from);
        let args: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(args[0], file, "the line is that of its file");
        let (fine, text) = plan(&args);
        if RunConfig::read(&path).unwrap().to_train().is_empty() {
            assert!(!fine && text.contains("makes pictures and trains nothing"), "{line}: {text}");
            continue;
        }
        assert!(fine && text.contains("pictures a second"), "{line}: {text}");
    }
}

#[test]
fn the_command_refuses_what_makes_no_sense() {
    let v3 = "configs/paella-v3-128xa100.ron";
    for (args, says) in [
        (&[v3, "--device", "h2000", "--gpus", "8"][..], "unknown kind of card `h2000`"),
        (&[v3, "--device", "l4", "--gpus", "128"], "larger cards: a100-80gb"),
        (&[v3, "--device", "h200", "--gpus", "96"], "is not a multiple of `micro_batch` 16 x 96"),
        (&[v3, "--device", "h200", "--gpus", "0"], "a number from 1"),
        (&[v3, "--device", "h200", "--utilisation", "1.5"], "above 0, at most 1"),
        (&["none.ron", "--device", "h200"], "there is no file `none.ron`"),
    ] {
        let (fine, text) = plan(args);
        assert!(!fine && text.contains(says), "{args:?}: {text}");
    }
    let (fine, text) = plan(&[v3, "--device", "a100-80gb", "--gpus", "128", "--days", "21"]);
    assert!(fine && text.contains("in 21 days: 11.46 pictures/s a card, MFU 8.5 %"), "{text}");
}
