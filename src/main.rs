//! The program `paella`: see `face::cli`.

fn main() -> std::process::ExitCode {
    paella::device::let_threads_sleep();
    paella::device::keep_freed_memory();
    paella::face::cli::main()
}
