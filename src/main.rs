//! The program `paella`: see `face::cli`.

fn main() -> std::process::ExitCode {
    paella::device::let_threads_sleep();
    paella::torch::keep_memory();
    paella::face::cli::main()
}
