//! `paella plan`: cost of a run on given cards, before it starts.
#![allow(clippy::print_stdout)]

use super::common::{Common, count};
use super::terminal::Terminal;
use crate::config::RunConfig;
use crate::cost::{self, Budget, DEVICES, EstimateRequest, Gpu, share_of, usable};
use crate::error::{Error, Fault, Result, counted};
use crate::lab::view::View;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub struct Plan {
    /// The config of the run, such as configs/paella-v3-128xa100.ron; --device names the kind of card, such as a100-80gb
    config: PathBuf,
    /// Cards in all
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = count)]
    gpus: usize,
    /// Cards in a node [default: as the kind usually comes]
    #[arg(long, value_name = "N", value_parser = count)]
    nodes_of: Option<usize>,
    /// Share of the peak that matrix products reach [default: what is known of the card, else 0.35]
    #[arg(long, value_name = "U", value_parser = share)]
    utilisation: Option<f64>,
    /// Pictures that a card holds at once, in place of the config's
    #[arg(long, value_name = "N", value_parser = count)]
    micro_batch: Option<usize>,
    /// Bytes of a caption, where the config sets no length [default: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=768))]
    text_bytes: Option<i64>,
    /// Also print the utilisation with which the last stage takes D days
    #[arg(long, value_name = "D", value_parser = days)]
    days: Option<f64>,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let fits = |x: &f64| *x > 0.0 && *x <= 1.0;
    text.parse().ok().filter(fits).ok_or_else(|| "above 0, at most 1".into())
}

fn days(text: &str) -> std::result::Result<f64, String> {
    let fits = |x: &f64| *x > 0.0 && x.is_finite();
    text.parse().ok().filter(fits).ok_or_else(|| "more than 0 days".into())
}

/// Plans every stage of the config.
///
/// Errors: an unknown kind of card; a config that is invalid, does not divide or does not fit.
pub fn run(args: &Plan, common: &Common) -> Result<()> {
    let config = RunConfig::read(&args.config)?;
    if let (Some(n), Some(own)) = (args.text_bytes, config.text.length) {
        let what = format!("`--text-bytes {n}` would do nothing: `text.length` is {own}");
        return Err(Error::command(what, "paella plan", "leave one of them out"));
    }
    config.has_work()?;
    let gpu = kind(common.device.as_deref())?;
    let known = share_of(gpu);
    let request = EstimateRequest {
        gpu,
        gpus: args.gpus,
        per_node: args.nodes_of,
        utilisation: args.utilisation.unwrap_or(known.share),
        micro_batch: args.micro_batch,
        text_bytes: args.text_bytes,
    };
    let stages = config.to_train().into_iter();
    let budgets: Result<Vec<Budget>> =
        stages.map(|phase| cost::budget(&config, phase, &request)).collect();
    let defaults = config.sizes_left_out();
    let budgets = budgets.map_err(|error| error.map(|fault| with_hint(fault, defaults)))?;
    let mut view = View::new();
    for (i, budget) in budgets.iter().enumerate() {
        let days = args.days.filter(|_| i + 1 == budgets.len());
        view = tell(view, &config, budget, &request, days);
    }
    if let Some(defaults) = defaults {
        view = view.note(defaults);
    }
    match common.json {
        true => println!("{}", view.to_json()),
        false => Terminal::detect().show(&view),
    }
    Ok(())
}

fn with_hint(fault: Fault, more: Option<&str>) -> Fault {
    let more = more.map(|more| format!("; {more}")).unwrap_or_default();
    Fault { hint: fault.hint.clone() + &more, ..fault }
}

/// The kind of card with this name, else the kind in this machine.
fn kind(name: Option<&str>) -> Result<&'static Gpu> {
    let here = || (crate::device::gpus() > 0).then(|| cost::find_card(tch::Device::Cuda(0)));
    let known = || DEVICES.map(|gpu| gpu.name).join(", ");
    match name {
        Some(name) => cost::find(name).ok_or_else(|| {
            Error::device(format!("unknown kind of card `{name}`"), "--device", known())
        }),
        None => here().flatten().ok_or_else(|| {
            let hint = format!("`--device KIND`, one of {}", known());
            Error::device("there is no card here whose kind is known", "", hint)
        }),
    }
}

fn tell(
    view: View,
    config: &RunConfig,
    b: &Budget,
    request: &EstimateRequest,
    days: Option<f64>,
) -> View {
    let split = &b.split;
    let head = format!(
        "{}: {} on {} x {}, {} of {} ({} a card, in {} of {})",
        config.name,
        b.work.phase,
        b.gpus,
        b.gpu.name,
        counted(thousands(b.steps as i64), "step"),
        counted(thousands(b.batch as i64), "picture"),
        split.rows,
        counted(split.passes, "pass"),
        split.micro,
    );
    let view = view
        .text(head)
        .table(&["part", "parameters", "", "GFLOP forward"], parts(b))
        .text("")
        .table(&["a picture", "GFLOP"], operations(b))
        .text("")
        .table(&["memory of a card", "GiB"], memory(b))
        .text("")
        .table(&["time", ""], time(b, request.utilisation));
    let text = cost::text_bytes(config, request.text_bytes);
    let mut view = view.note(format!(
        "{}: products at {:.0} % of {:.0} TFLOP/s, captions of {text} bytes; docs/scaling.md says what else",
        if request.utilisation == share_of(b.gpu).share { share_of(b.gpu).source } else { "assumed" },
        100.0 * request.utilisation,
        b.gpu.peak_of(&b.work.precision) / 1e12
    ));
    if let Some(days) = days {
        let rate = b.images_per_s_in(days);
        view = view.note(format!(
            "in {days} days: {rate:.2} pictures/s a card, MFU {:.1} %",
            100.0 * b.mfu(rate)
        ));
    }
    view
}

fn parts(b: &Budget) -> Vec<Vec<String>> {
    let row = |part: &cost::NetworkCost| {
        let state = if part.trained { "trained" } else { "frozen" };
        vec![part.name.clone(), thousands(part.params), state.into(), giga(part.flops)]
    };
    let mut rows: Vec<_> = b.work.parts.iter().map(row).collect();
    let trained =
        |label: &str, n: i64| vec![label.into(), thousands(n), String::new(), String::new()];
    rows.push(trained("trained in all", b.work.trained()));
    rows.push(trained("frozen in all", b.work.frozen()));
    rows
}

fn operations(b: &Budget) -> Vec<Vec<String>> {
    let work = &b.work;
    [
        ("forward", work.forward()),
        ("backward", work.backward()),
        ("useful (MFU counts these)", work.useful()),
        ("computed again", work.recomputed),
    ]
    .map(|(name, flops)| vec![name.into(), giga(flops)])
    .into()
}

fn memory(b: &Budget) -> Vec<Vec<String>> {
    let m = &b.memory;
    [
        ("weights", m.weights),
        ("gradients", m.gradients),
        ("AdamW's moments", m.moments),
        ("average of the weights", m.average),
        ("frozen networks", m.encoders),
        ("weights in bf16", m.copies),
        ("activations", m.activations),
        ("passing", m.passing),
        ("in all", m.total()),
        ("there is", usable(b.gpu)),
    ]
    .map(|(name, bytes)| vec![name.into(), format!("{:.1}", bytes as f64 / (1u64 << 30) as f64)])
    .into()
}

fn time(b: &Budget, utilisation: f64) -> Vec<Vec<String>> {
    let ms = |seconds: f64| format!("{:.0} ms", 1e3 * seconds);
    let (x, rate) = (&b.exchange, b.images_per_s());
    [
        ("products of a step".to_string(), ms(b.compute)),
        ("optimiser and average".into(), ms(b.update)),
        (
            format!("gradients, {:.2} GB a card at {:.0} GB/s", x.sent / 1e9, x.link / 1e9),
            format!("{}, {} of them not hidden", ms(x.seconds), ms(x.exposed)),
        ),
        ("step".into(), ms(b.step())),
        (
            "pictures a second".into(),
            format!("{rate:.1} a card, {:.0} in all", rate * b.gpus as f64),
        ),
        (
            "MFU".into(),
            format!("{:.1} % (products alone {:.0} %)", 100.0 * b.mfu(rate), 100.0 * utilisation),
        ),
        ("run".into(), lasting(b.days())),
    ]
    .map(|(name, value)| vec![name, value])
    .into()
}

fn giga(flops: i64) -> String {
    format!("{:.1}", flops as f64 / 1e9)
}

/// Formats a duration: `6.7 days`, `3.2 hours` or `4 minutes`.
fn lasting(days: f64) -> String {
    match days {
        1.0.. => format!("{days:.1} days"),
        0.05.. => format!("{:.1} hours", 24.0 * days),
        _ => format!("{:.0} minutes", 24.0 * 60.0 * days),
    }
}

/// Inserts thousands separators: 1300000 -> 1,300,000.
fn thousands(n: i64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn large_numbers_are_grouped() {
        let text = [7, 1_000, 1_300_000].map(super::thousands);
        assert_eq!(text, ["7", "1,000", "1,300,000"]);
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        let text = [6.71, 0.5, 0.003].map(super::lasting);
        assert_eq!(text, ["6.7 days", "12.0 hours", "4 minutes"]);
    }
}
