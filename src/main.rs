//! The program `paella`: see `face::cli`.

fn main() -> std::process::ExitCode {
    paella::device::let_threads_sleep();
    paella::device::keep_freed_memory();
    paella::face::cli::main()
}

/// The restart of `let_threads_sleep` before libtorch is set up, which takes a third of a second each time.
///
/// The C library calls what stands in this section before the constructors of all libraries. Where it does not, or where this
/// fails, `main` restarts the program.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod early {
    use std::ffi::{CStr, c_char, c_int};
    use std::ptr::null;

    #[used]
    #[unsafe(link_section = ".preinit_array")]
    static BEFORE_LIBRARIES: unsafe extern "C" fn(c_int, List, List) = restart;

    /// Pointers to C strings, with a null pointer behind the last.
    type List = *const *const c_char;

    /// Only system calls and memory on the stack: the C library itself is not set up yet.
    unsafe extern "C" fn restart(_: c_int, args: List, env: List) {
        const NAME: &[u8] = b"OMP_WAIT_POLICY=";
        const MOST: usize = 1024; // variables; with more of them `main` restarts the program
        let mut longer = [null(); MOST + 2];
        longer[0] = c"OMP_WAIT_POLICY=PASSIVE".as_ptr();
        for i in 0..MOST {
            // SAFETY: `i` is at most the place of the null pointer, where the loop ends.
            let variable = unsafe { *env.add(i) };
            if variable.is_null() {
                let mut program = [0; 4096];
                // SAFETY: the last byte stays 0 and ends the path; both lists end with a null pointer.
                unsafe {
                    libc::readlink(
                        c"/proc/self/exe".as_ptr(),
                        program.as_mut_ptr(),
                        program.len() - 1,
                    );
                    libc::execve(program.as_ptr(), args, longer.as_ptr()); // returns only on failure
                }
                return;
            }
            // SAFETY: variables are C strings.
            if unsafe { CStr::from_ptr(variable) }.to_bytes().starts_with(NAME) {
                return;
            }
            longer[i + 1] = variable;
        }
    }
}
