"""Jupyter's own kernel test suite, with a sample for everything it knows."""

import unittest

import jupyter_kernel_test

jupyter_kernel_test.TIMEOUT = 60  # a busy machine compiles slowly


class PaellaKernelTests(jupyter_kernel_test.KernelTests):
    kernel_name = "paella"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("oops");'
    completion_samples = [
        {"text": "%sho", "matches": {"show "}},
        {"text": "%noi", "matches": {"noise "}},
        {"text": "Tensor::zeros_li"},
    ]
    complete_code_samples = ["1", 'println!("hello");', "%train 10", "let a = 2;"]
    incomplete_code_samples = ["fn f() {", 'println!("hello', "let a ="]
    invalid_code_samples = ["}", "fn f() ]"]
    code_page_something = "%noise?"
    code_generate_error = 'panic!("no");'
    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": "let a = 1;\na + 1", "result": "2"},
        {"code": "let name = \"x\".to_string();\nname", "result": '"x"'},
    ]
    code_display_data = [
        {"code": "display(&Tensor::rand([3, 16, 16], (Kind::Float, Device::Cpu)));", "mime": "image/png"},
        {"code": "display(lab.settings());", "mime": "text/html"},
    ]
    code_history_pattern = "6 ?*7"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "Tensor::zeros"
    code_clear_output = "paella::clear_output(false);"


class PaellaWelcomeTests(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "paella"
    support_iopub_welcome = True


if __name__ == "__main__":
    unittest.main()
