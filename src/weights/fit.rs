//! Which tensor of a file each variable of a network takes: names without what wrappers added, shapes, and what is
//! left.

use super::Named;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use tch::{Tensor, nn};

/// What weights may have and lack for a network that is filled from them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// Beginnings of names that may be unused.
    pub ignore: &'a [&'a str],
    /// Layers that may be lacking, each as a whole.
    pub may_lack: &'a [&'a str],
    /// Take the moving averages that lie beside the weights of the last step. Else they are taken only if there is
    /// nothing else.
    pub averaged: bool,
    /// What names begin with in a file that holds several networks, such as `denoiser`. Empty: nothing.
    pub inside: &'a str,
}

/// A tensor of another shape than the variable of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    pub name: String,
    pub expected: Vec<i64>,
    pub found: Vec<i64>,
}

impl fmt::Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "`{}`: expected {:?}, got {:?}", self.name, self.expected, self.found)
    }
}

/// What fits, and what does not. Names are those of the network, without what wrappers added.
#[derive(Clone, Debug, Default)]
pub struct Fit {
    /// Variable -> the tensor of the file that it takes. Two names of one variable take the same.
    pub taken: BTreeMap<String, String>,
    pub missing: Vec<String>,
    pub misshapen: Vec<Misshapen>,
    /// Tensors that are not of this network.
    pub surplus: Vec<String>,
    /// Tensors that are not of this network and are known to be of no use here.
    pub ignored: Vec<String>,
    /// Layers that are lacking, as they may.
    pub lacking: Vec<String>,
    /// What lies beside the weights, such as an optimiser's state: beginning of the names -> number of tensors.
    pub beside: BTreeMap<String, usize>,
}

impl Fit {
    /// Nothing is missing, misshapen or surplus.
    pub fn is_exact(&self) -> bool {
        self.is_whole() && self.surplus.is_empty()
    }

    /// The network can be filled: nothing is missing or misshapen.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty()
    }

    /// Number of tensors whose name in the file is another one.
    pub fn renamed(&self) -> usize {
        self.taken.iter().filter(|(name, old)| name != old).count()
    }

    /// What does not fit, a text for each tensor.
    pub fn faults(&self) -> Vec<String> {
        let misshapen = self.misshapen.iter().map(Misshapen::to_string);
        let missing = self.missing.iter().map(|name| format!("`{name}` is missing"));
        let surplus = self.surplus.iter().map(|name| format!("`{name}` is not of this network"));
        misshapen.chain(missing).chain(surplus).collect()
    }
}

/// Finds the tensor of each variable, under the names that fit best: as they are, else without up to three prefixes
/// that wrappers and training scripts add. Names that fit equally well: those with fewer prefixes off.
pub fn fit(vars: &nn::VarStore, tensors: &Named, rules: &Rules) -> Fit {
    let variables = vars.variables();
    let plain = tensors.keys().map(|name| (name.clone(), name.clone())).collect();
    let own = fit_under(&variables, tensors, &plain, rules);
    if own.is_exact() && !rules.averaged {
        return own;
    }
    let averages = |way: &Naming| way.values().next().is_some_and(|name| is_average(name));
    let (averages, last): (Vec<Naming>, Vec<Naming>) =
        unwrapped(&plain, rules).into_iter().partition(averages);
    let value = |fit: &Fit| (fit.is_exact(), fit.is_whole(), fit.taken.len());
    let best = |start: Fit, ways: &[Naming]| {
        let all = ways.iter().map(|way| fit_under(&variables, tensors, way, rules));
        all.fold(start, |best, next| if value(&next) > value(&best) { next } else { best })
    };
    let mut missing: Vec<String> = variables.keys().cloned().collect();
    missing.sort();
    let none = Fit { missing, ..Fit::default() };
    if rules.averaged {
        return best(none, &averages);
    }
    // a file may hold nothing but averages
    let found = best(own, &last);
    if found.taken.is_empty() { best(found, &averages) } else { found }
}

/// Name of the network -> name in the file.
type Naming = BTreeMap<String, String>;

fn fit_under(
    variables: &HashMap<String, Tensor>,
    tensors: &Named,
    naming: &Naming,
    rules: &Rules,
) -> Fit {
    let of = |name: &str, layer: &str| {
        name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'))
    };
    let lacks = |layer: &&str| {
        variables.keys().any(|name| of(name, layer)) && !naming.keys().any(|name| of(name, layer))
    };
    let lacking: Vec<&str> = rules.may_lack.iter().copied().filter(lacks).collect();
    let mut fit =
        Fit { lacking: lacking.iter().map(|layer| layer.to_string()).collect(), ..Fit::default() };
    // one variable may have two names, of which a file need have one
    let given: HashMap<usize, &String> = naming
        .iter()
        .filter_map(|(name, old)| Some((variables.get(name)?.data_ptr() as usize, old)))
        .collect();
    for (name, variable) in variables.iter().collect::<BTreeMap<_, _>>() {
        let old = naming.get(name).or_else(|| given.get(&(variable.data_ptr() as usize)).copied());
        match old {
            None if lacking.iter().any(|layer| of(name, layer)) => {}
            None => fit.missing.push(name.clone()),
            Some(old) if tensors[old].size() != variable.size() => fit.misshapen.push(Misshapen {
                name: name.clone(),
                expected: variable.size(),
                found: tensors[old].size(),
            }),
            Some(old) => {
                fit.taken.insert(name.clone(), old.clone());
            }
        }
    }
    for (name, old) in naming.iter().filter(|(name, _)| !variables.contains_key(*name)) {
        // whole numbers are counters and notes of other programs, never weights
        let known = rules.ignore.iter().any(|prefix| name.starts_with(prefix));
        match known || !tensors[old].is_floating_point() {
            true => fit.ignored.push(name.clone()),
            false => fit.surplus.push(name.clone()),
        }
    }
    let used: BTreeSet<&String> = naming.values().collect();
    for name in tensors.keys().filter(|name| !used.contains(name)) {
        let group = name.split('.').next().unwrap_or_default();
        *fit.beside.entry(group.to_string()).or_default() += 1;
    }
    fit
}

/// What wrappers and training scripts put before a name. Averages are those of timm, lucidrains' packages, diffusers
/// and of checkpoints of this program.
const WRAPPERS: [&str; 4] = ["module.", "model.", "state_dict.", "model_state_dict."];
const AVERAGES: [&str; 6] =
    ["ema_state_dict.", "state_dict_ema.", "ema_model.", "model_ema.", "ema.", "shadow_params."];

fn is_average(name: &str) -> bool {
    AVERAGES.iter().any(|prefix| name.starts_with(prefix))
}

/// The tensors under shorter names, without up to three prefixes. Tensors without the prefix are left out.
fn unwrapped(plain: &Naming, rules: &Rules) -> Vec<Naming> {
    let renamed = |naming: &Naming, rename: &dyn Fn(&str) -> Option<String>| -> Naming {
        naming.iter().filter_map(|(name, old)| Some((rename(name)?, old.clone()))).collect()
    };
    let inside = format!("{}.", rules.inside);
    let own = (!rules.inside.is_empty()).then_some(inside.as_str());
    let prefixes: Vec<&str> = WRAPPERS.into_iter().chain(AVERAGES).chain(own).collect();
    let once = |naming: &Naming| -> Vec<Naming> {
        // compiled parts of a network have it inside of their names
        let mut ways = vec![renamed(naming, &|name| Some(name.replace("_orig_mod.", "")))];
        for prefix in &prefixes {
            ways.push(renamed(naming, &|name| Some(name.strip_prefix(prefix)?.to_string())));
        }
        ways.retain(|way| !way.is_empty() && way.keys().ne(naming.keys()));
        ways
    };
    let first = once(plain);
    let second: Vec<Naming> = first.iter().flat_map(&once).collect();
    let third: Vec<Naming> = second.iter().flat_map(&once).collect();
    [first, second, third].concat()
}
