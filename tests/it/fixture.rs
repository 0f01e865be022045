//! Reads a fixture. Configuration and tolerances come from the file's metadata, not from its name.

use paella::weights::fit::Rules;
use paella::weights::{self, Named};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tch::{Device, Kind, Tensor, nn};

/// The folder of fixtures: `PAELLA_FIXTURES`, else the repository's.
pub fn folder() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::env::var_os("PAELLA_FIXTURES").map_or_else(own, PathBuf::from)
}

/// Where the networks under test compute: `PAELLA_TEST_DEVICE`, such as `cuda`, else the CPU. Products are in full f32.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        let name = std::env::var("PAELLA_TEST_DEVICE").unwrap_or_else(|_| "cpu".into());
        let choice: paella::device::DeviceChoice = name.parse().unwrap();
        let device = choice.open().unwrap_or_else(|e| panic!("{e}"));
        paella::torch::precision::tf32(false).unwrap();
        device
    })
}

/// Tolerances are those of a CPU, which orders the sums of a product as the reference did. A GPU has its own order and, in
/// convolutions, its own algorithms: outputs of networks that convolve may be off by ten times as much.
fn slack(class: &str) -> f64 {
    let convolves = ["Paella", "VQModel", "Discriminator", "CLIP", "checkpoints"].contains(&class);
    if device().is_cuda() && convolves { 10.0 } else { 1.0 }
}

pub struct Fixture {
    pub path: PathBuf,
    tensors: Named,
    pub init: Value,
    pub call: Value,
    pub config: Value,
    pub class: String,
    tolerance: Value,
    pub metadata: Value,
}

/// The result of a case: the outputs compared, and the differences found.
#[derive(Default)]
pub struct Outcome {
    pub compared: Vec<String>,
    /// The largest error as a share of its tolerance on the CPU.
    pub worst: f64,
    pub faults: Vec<String>,
}

impl Fixture {
    pub fn read(path: &Path) -> Self {
        let (tensors, metadata) = weights::read_with_metadata(path).unwrap();
        let json = |key: &str| -> Value {
            metadata
                .get(key)
                .map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or(Value::Null))
        };
        let config = json("config");
        Self {
            path: path.to_path_buf(),
            tensors,
            init: config["init"].clone(),
            call: config["call"].clone(),
            class: config["cls"].as_str().unwrap_or_default().to_string(),
            tolerance: json("tolerance"),
            metadata: serde_json::json!({
                "grad_norms": json("grad_norms"),
                "order": metadata.get("order"),
            }),
            config,
        }
    }

    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).map(|xs| xs.to_device(device()))
    }

    pub fn input(&self, name: &str) -> Tensor {
        let name = format!("in.{name}");
        self.get(&name).unwrap_or_else(|| panic!("{}: no `{name}`", self.path.display()))
    }

    pub fn output(&self, name: &str) -> Tensor {
        let name = format!("out.{name}");
        self.get(&name).unwrap_or_else(|| panic!("{}: no `{name}`", self.path.display()))
    }

    /// Names of the expected outputs, without the prefix `out.`.
    pub fn outputs(&self) -> Vec<String> {
        self.tensors.keys().filter_map(|name| name.strip_prefix("out.").map(String::from)).collect()
    }

    /// The tensors `in.NAME`, or `in.NAME.0`, `in.NAME.1`, ... for a list.
    pub fn list(&self, name: &str) -> Vec<Tensor> {
        let numbered = (0..).map_while(|i| self.get(&format!("in.{name}.{i}")));
        self.get(&format!("in.{name}")).into_iter().chain(numbered).collect()
    }

    /// Fills a network strictly by name.
    pub fn fill(&self, vars: &nn::VarStore) {
        let own: Named = self
            .tensors
            .iter()
            .filter_map(|(name, xs)| {
                Some((name.strip_prefix("w.")?.to_string(), xs.shallow_clone()))
            })
            .collect();
        weights::fill(vars, &own, &Rules::default(), &self.path.display().to_string()).unwrap();
    }

    /// Compares one output at the file's tolerance.
    pub fn check(&self, outcome: &mut Outcome, name: &str, got: &Tensor) {
        let bound = &self.tolerance[name];
        self.check_within(outcome, name, got, bound, None);
    }

    /// As `check`, at a tolerance stored under another key of this output.
    pub fn check_at(&self, outcome: &mut Outcome, name: &str, got: &Tensor, key: &str) {
        if let Some(atol) = self.tolerance[name][key].as_f64() {
            self.check_within(outcome, name, got, &Value::Null, Some(atol));
        }
    }

    fn check_within(
        &self,
        outcome: &mut Outcome,
        name: &str,
        got: &Tensor,
        bound: &Value,
        atol: Option<f64>,
    ) {
        let expected = self.output(name);
        outcome.compared.push(name.to_string());
        if got.numel() != expected.numel() {
            return outcome.faults.push(format!(
                "`{name}`: expected {:?}, got {:?}",
                expected.size(),
                got.size()
            ));
        }
        let (got, expected) =
            (got.detach().to_device(Device::Cpu), expected.to_device(Device::Cpu));
        let got = got.reshape(expected.size());
        if bound["exact"] == Value::Bool(true) || expected.kind() == Kind::Int64 {
            let wrong =
                got.to_kind(Kind::Int64).ne_tensor(&expected).sum(Kind::Int64).int64_value(&[]);
            if wrong > 0 {
                outcome
                    .faults
                    .push(format!("`{name}`: {wrong} of {} numbers differ", expected.numel()));
            }
            return;
        }
        let error = (got.to_kind(Kind::Double) - expected.to_kind(Kind::Double)).abs();
        if let Some(mean) = bound["mean_atol"].as_f64() {
            self.hold(
                outcome,
                &format!("{name} (mean)"),
                error.mean(Kind::Double).double_value(&[]),
                mean,
            );
        }
        // a separate tolerance for every entry of the first dimension, or one for all
        let each =
            ["atol_per_sample", "atol_per_step"].iter().find_map(|key| bound[*key].as_array());
        match (atol, each) {
            (None, Some(each)) => {
                for (i, atol) in each.iter().enumerate() {
                    let worst = error.get(i as i64).max().double_value(&[]);
                    self.hold(outcome, &format!("{name}[{i}]"), worst, atol.as_f64().unwrap());
                }
            }
            _ => {
                let atol = atol.or(bound["atol"].as_f64());
                let atol = atol.unwrap_or_else(|| {
                    panic!("{}: `{name}` has no tolerance", self.path.display())
                });
                self.hold(outcome, name, error.max().double_value(&[]), atol);
            }
        }
    }

    fn hold(&self, outcome: &mut Outcome, name: &str, error: f64, atol: f64) {
        let allowed = atol * slack(&self.class);
        outcome.worst = outcome.worst.max(error / atol);
        if error.is_nan() || error > allowed {
            outcome.faults.push(format!("`{name}`: off by {error:.2e}, allowed {allowed:.0e}"));
        }
    }
}
