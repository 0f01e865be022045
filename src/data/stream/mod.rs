//! A stream of captioned pictures from any number of WebDataset shards. Only the samples in progress are in memory.
//!
//! | file | what it does |
//! | --- | --- |
//! | `source`, `http`, `pipe` | patterns -> shards -> bytes, reconnecting after a failure |
//! | `sample`, `known` | files -> filtered, kept encoded -> pixels, or precomputed tokens |
//! | `deal` | which shard each lane reads next; all random draws |
//! | `lane` | shards in order -> shuffle buffer -> samples; exact resume |
//! | `rows` | lanes -> rows of a global batch, for any number of ranks |
//! | `once` | all shards in sequence, without lanes |
//! | `workers`, `wait` | threads that keep a batch ready; waiting for them, unless asked to stop |
//!
//! The samples of a run depend on the seed, the shards, `lanes` and `shuffle`, but not on threads, ranks or
//! interruptions. Exception: a shard that cannot be read in spite of all retries is left out, so two runs may then
//! differ.

mod deal;
pub mod http;
mod known;
mod lane;
mod once;
mod pipe;
mod rows;
mod sample;
mod source;
mod wait;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

use super::laion::LaionFilter;
use super::members::Bytes;
use crate::error::{Error, Result, counted};
use deal::{Purpose, draw};
use lane::LaneState;
use rows::RowSchedule;
use sample::{Packed, Reason};
use workers::Workers;

pub use deal::Mode;
pub use known::{ENDING as KNOWN_ENDING, Known, pack};
pub use once::Once;
pub use rows::Rows;
pub use sample::{Crop, Decoded, ShardSample, Want};
pub(super) use source::{Patience, ShardSource, present};
pub use wait::{StopAsked, stopped};

/// Reason -> number of samples or shards left out.
pub type Counts = BTreeMap<String, u64>;

const PATIENCE: &str = "above 0, at most 86400 seconds";

/// Settings of a stream of shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// Files, `pipe:COMMAND` (run by `sh -c`, its output is the shard), `http://` and `https://` addresses.
    /// `{000..127}` and `{a,b}` expand to several names; paths of files may also contain `*`, and `~` for the home
    /// folder. Tar, plain or gzipped.
    pub shards: Vec<String>,
    pub mode: Mode,
    /// Samples in the shuffle buffer of each lane. 0: no shuffling.
    pub shuffle: usize,
    /// Number of independent sample sequences that batches are made of. The order of samples depends on it. It must be
    /// a multiple of the number of ranks that divides `train.global_batch`, or a multiple of that batch.
    pub lanes: usize,
    /// Threads per rank that read and decode. At most one thread per lane is used.
    pub threads: usize,
    /// None: all samples that have a picture and a caption.
    pub filter: Option<LaionFilter>,
    pub crop: Crop,
    /// Seconds without a sample after which the run ends.
    pub max_idle_s: f64,
    /// Further attempts to open or continue a shard, after 0.1 s, 0.2 s and so on up to 10 s.
    pub retries: u32,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            mode: Mode::Epochs,
            shuffle: 1000,
            lanes: 8,
            threads: 4,
            filter: None,
            crop: Crop::Random,
            max_idle_s: 60.0,
            retries: 5,
        }
    }
}

impl StreamConfig {
    /// Checks the values for batches of `batch` rows. Returns all faults.
    pub fn check(&self, batch: usize) -> Vec<Fault> {
        let mut found = Checks::default();
        if let Err(e) = self.sources() {
            let fault = &e.faults()[0];
            let what = format!("{}: {}", fault.place, fault.what);
            found.unless(false, "shards", what, &fault.hint);
        }
        found.count("threads", self.threads as u64, 1, 1 << 10);
        found.count("lanes", self.lanes as u64, 1, 1 << 16);
        found.count("shuffle", self.shuffle as u64, 0, 1 << 24);
        found.count("retries", self.retries.into(), 0, 1 << 10);
        let what = format!("{:?} seconds", self.max_idle_s);
        found.unless(self.is_patient(), "max_idle_s", what, PATIENCE);
        let all = Rows { first: 0, count: batch.max(1), of: batch.max(1) };
        if let Err(e) = RowSchedule::new(all, self.lanes, 0) {
            let fault = &e.faults()[0];
            found.unless(false, "lanes", &fault.what, &fault.hint);
        }
        found.faults()
    }

    fn is_patient(&self) -> bool {
        self.max_idle_s > 0.0 && self.max_idle_s <= 86_400.0
    }

    pub(super) fn sources(&self) -> Result<Vec<ShardSource>> {
        let sources = source::expand(&self.shards)?;
        if sources.is_empty() {
            return Err(Error::data(
                "no shards",
                "`data.stream.shards`",
                "such as x-{000..127}.tar",
            ));
        }
        Ok(sources)
    }
}

/// Data shared by all lanes.
struct Setup {
    config: StreamConfig,
    shards: Vec<ShardSource>,
    seed: u64,
    /// Side of a picture in pixels.
    size: u32,
    want: Want,
    /// The last shard that failed, and the reason, for a later error message.
    fault: Mutex<Option<String>>,
}

impl Setup {
    /// Checks the config and expands the shards.
    ///
    /// Errors: a config that does not pass its check; a size out of range.
    fn new(config: &StreamConfig, seed: u64, size: i64, want: Want) -> Result<Self> {
        let size = u32::try_from(size).ok().filter(|size| (1..=4096).contains(size));
        let size = size.ok_or_else(|| Error::data("a size out of range", "`data.size`", ""))?;
        let (config, shards) = (config.clone(), config.sources()?);
        if !config.is_patient() {
            return Err(Error::data("time to wait", "`data.stream.max_idle_s`", PATIENCE));
        }
        Ok(Self { config, shards, seed, size, want, fault: Mutex::default() })
    }

    /// Decodes draw number `n` of a lane.
    fn unpack(
        &self,
        lane: usize,
        n: u64,
        packed: Packed,
    ) -> std::result::Result<ShardSample, Reason> {
        let share = |purpose| draw(self.seed, lane, purpose, n, 1 << 32) as f64 / 4_294_967_296.0;
        let place = (share(Purpose::CropX), share(Purpose::CropY));
        packed.unpack(self.size, self.config.crop, place)
    }

    /// Records why a shard could not be read.
    fn note(&self, shard: usize, why: &str) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        *fault = Some(format!("{}: {why}", self.shards[shard]));
    }

    /// Retry settings for new readers.
    fn patience(&self) -> Patience {
        let silence = Duration::from_secs_f64(self.config.max_idle_s / 2.0);
        Patience { retries: self.config.retries, silence, stop: Arc::default() }
    }
}

/// One line of a saved position: one lane, and the values that must not change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    lanes: usize,
    shards: usize,
    state: LaneState,
}

/// The rows of one rank, batch by batch.
pub struct Stream {
    setup: Arc<Setup>,
    /// Rows of the run so far, over all ranks.
    position: u64,
    /// States between two batches of the lanes that have yielded samples.
    states: BTreeMap<usize, LaneState>,
    /// The worker threads, and the rows they work for.
    running: Option<(Rows, Workers)>,
    asked: StopAsked,
}

impl Stream {
    /// Opens a stream. Nothing is read before the first batch is requested.
    ///
    /// Errors: a config that does not pass its check; a size out of range.
    pub fn open(config: &StreamConfig, seed: u64, size: i64, want: Want) -> Result<Self> {
        let setup = Arc::new(Setup::new(config, seed, size, want)?);
        Ok(Self { setup, position: 0, states: BTreeMap::new(), running: None, asked: None })
    }

    /// Makes a wait for samples end with the error [`stopped`] once `asked` says so.
    pub fn until(&mut self, asked: StopAsked) {
        self.asked = asked;
    }

    /// The rank's rows of the next batch. After an error the stream stands where it stood before.
    ///
    /// Errors: `lanes` does not fit the rows; no sample comes; a request to stop; the position does not belong to the
    ///         states.
    pub fn next(&mut self, rows: Rows) -> Result<Vec<ShardSample>> {
        if self.running.as_ref().is_none_or(|(before, _)| *before != rows) {
            let schedule = RowSchedule::new(rows, self.setup.config.lanes, self.position)?;
            let workers = Workers::start(&self.setup, schedule, &self.states, rows.count);
            self.running = Some((rows, workers));
        }
        let (mut samples, mut states) = (Vec::with_capacity(rows.count), Vec::new());
        while let Some((_, workers)) = self.running.as_mut().filter(|_| samples.len() < rows.count)
        {
            let given = workers.next(self.asked);
            let (sample, state) = given.inspect_err(|_| self.running = None)?; // they are ahead of the states
            states.push((state.lane, state));
            samples.push(sample);
        }
        self.states.extend(states);
        self.position += rows.of as u64;
        Ok(samples)
    }

    /// Rows of the run so far, over all ranks.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Samples and shards left out by this rank's lanes so far.
    pub fn skipped(&self) -> Counts {
        let mut all = Counts::new();
        for (why, n) in self.states.values().flat_map(|state| &state.skipped) {
            *all.entry(why.clone()).or_default() += n;
        }
        all
    }

    /// The lanes' states, one per line. Concatenating the texts of all ranks, in any order, gives the text of the whole
    /// run.
    pub fn text(&self) -> String {
        let (lanes, shards) = (self.setup.config.lanes, self.setup.shards.len());
        let line = |state: &LaneState| {
            serde_json::to_string(&Line { lanes, shards, state: state.clone() }).unwrap_or_default()
        };
        self.states.values().map(|state| line(state) + "\n").collect()
    }

    /// Resumes where `text` was taken, `position` rows into the run, with any number of ranks.
    ///
    /// Errors: a text that is damaged, incomplete, or from other shards or lanes.
    pub fn restore(&mut self, text: &str, position: u64) -> Result<()> {
        let refuse = |what: String| {
            let hint = "resume with the shards and `lanes` of the run, or start a new one";
            Err(Error::checkpoint(what, "the position of the stream", hint))
        };
        let mut states = BTreeMap::new();
        for line in text.lines() {
            let line: Line = match serde_json::from_str(line) {
                Ok(line) => line,
                Err(e) => return refuse(format!("not readable: {e}")),
            };
            let is = (self.setup.config.lanes, self.setup.shards.len());
            if (line.lanes, line.shards) != is {
                let (lanes, shards) = (line.lanes, line.shards);
                let (now_lanes, now_shards) = is;
                return refuse(format!(
                    "it was {} of {}, now {now_lanes} of {now_shards}",
                    counted(lanes, "lane"),
                    counted(shards, "shard")
                ));
            }
            states.insert(line.state.lane, line.state);
        }
        let given: u64 = states.values().map(|state: &LaneState| state.given).sum();
        if given != position {
            return refuse(format!("it accounts for {given} of {}", counted(position, "sample")));
        }
        self.running = None;
        (self.states, self.position) = (states, position);
        Ok(())
    }
}
