//! Compiles the C++ shim against the libtorch that torch-sys found, and turns the Rust cells of the research notebooks
//! into functions that the tests call.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=src/shim");
    println!("cargo:rerun-if-changed=build.rs");
    let lib =
        PathBuf::from(env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is"));
    let include = lib.parent().expect("libtorch/lib has a parent").join("include");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .warnings(false)
        .std("c++17")
        .opt_level(2)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .include("src/shim")
        .include(include.join("torch/csrc/api/include"))
        .include(include);
    at_level("-O1", || build.clone().file("src/shim/all.cpp").compile("paella_shim"));
    at_level("-O3", loops);
    let cuda = at_level("-O1", || cuda(&build, &lib)).unwrap_or_default();
    println!("cargo:rustc-env=PAELLA_CUDA={cuda}");
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=torch_cpu");
    println!("cargo:rustc-link-lib=c10");
    for name in ["research-schedule", "research-sampler"] {
        research(name);
    }
}

/// Compiles under another level than libtorch's bindings: the flags of the environment come last.
fn at_level<T>(level: &str, compile: impl FnOnce() -> T) -> T {
    let given = env::var("CXXFLAGS").unwrap_or_default();
    // SAFETY: one thread, before and after.
    unsafe { env::set_var("CXXFLAGS", format!("{given} {level}")) };
    let compiled = compile();
    // SAFETY: as above.
    unsafe { env::set_var("CXXFLAGS", given) };
    compiled
}

/// Compiles the loops that the compiler turns into vector instructions. It may: nobody looks at floating point traps or errno.
fn loops() {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").file("src/shim/kernels.cpp");
    for flag in ["-fno-math-errno", "-fno-trapping-math", "-mprefer-vector-width=512"] {
        build.flag_if_supported(flag);
    }
    build.compile("paella_kernels");
}

/// Writes the `rust` blocks of `tutorials/NAME.md`, in order, as a function in `OUT_DIR/NAME.rs`.
fn research(name: &str) {
    let source = format!("tutorials/{name}.md");
    println!("cargo:rerun-if-changed={source}");
    let text = std::fs::read_to_string(&source).expect("the source of a research notebook");
    let cells =
        text.split("\n```rust\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or(rest));
    // A notebook shows the value of a cell; here it is dropped.
    let statement = |cell: &str| match cell {
        block if block.starts_with('{') => format!("let _ = {block};\n"),
        value if !value.ends_with([';', '}']) => format!("let _ = {{\n{value}\n}};\n"),
        items => format!("{items}\n"),
    };
    let body: String = cells.map(statement).collect();
    let code = format!("pub fn run(quick: bool) -> paella::Result<()> {{\n{body}Ok(())\n}}\n");
    let folder = PathBuf::from(env::var("OUT_DIR").expect("cargo names a folder for what is made"));
    std::fs::write(folder.join(format!("{name}.rs")), code).expect("the folder can be written");
}

/// Builds the library that forms GPU groups and records CUDA graphs, if the headers of CUDA and NCCL are beside libtorch.
/// None otherwise: the program then supports Gloo only, and launches kernels one by one.
fn cuda(build: &cc::Build, lib: &Path) -> Option<String> {
    let nvidia = lib.parent()?.parent()?.join("nvidia");
    let includes = [nvidia.join("cu13/include"), nvidia.join("nccl/include")];
    let there = lib.join("libtorch_cuda.so").exists()
        && includes[0].join("cuda_runtime_api.h").exists()
        && includes[1].join("nccl.h").exists();
    if !there {
        return None;
    }
    let library = PathBuf::from(env::var("OUT_DIR").ok()?).join("libpaella_cuda.so");
    let mut compile = build.clone().includes(&includes).get_compiler().to_command();
    compile
        .args(["-shared", "-fPIC", "src/shim/nccl.cpp", "src/shim/graph.cpp", "-Wl,--no-as-needed"])
        .args(["-ltorch_cuda", "-ltorch_cpu", "-lc10_cuda", "-lc10"])
        .args([format!("-L{}", lib.display()), format!("-Wl,-rpath,{}", lib.display())])
        .arg("-o")
        .arg(&library);
    let output = compile.output().ok()?;
    if output.status.success() {
        return Some(library.display().to_string());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = text.lines().find(|line| line.contains("error")).unwrap_or("no reason given");
    println!("cargo:warning=built without NCCL and CUDA graphs: {first}");
    None
}
