//! The program `paella`: see `face::cli`.

fn main() -> std::process::ExitCode {
    paella::device::let_threads_sleep();
    paella::face::cli::main()
}
