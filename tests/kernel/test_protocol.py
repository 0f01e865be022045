"""Jupyter's own kernel test suite, with a sample for everything it knows."""

import unittest

import jupyter_kernel_test

import samples

jupyter_kernel_test.TIMEOUT = 60  # a busy machine compiles slowly


class PaellaKernelTests(samples.Rust, jupyter_kernel_test.KernelTests):
    kernel_name = "paella"
    language_name = "rust"
    completion_samples = [
        {"text": "%sho", "matches": {"show "}},
        {"text": "%noi", "matches": {"noise "}},
        {"text": "Tensor::zeros_li"},
    ]
    complete_code_samples = [*samples.Rust.complete_code_samples, "%train 10"]
    code_page_something = "%noise?"
    code_display_data = [
        {"code": "display(&Tensor::rand([3, 16, 16], (Kind::Float, Device::Cpu)));", "mime": "image/png"},
        {"code": "display(lab.settings());", "mime": "text/html"},
    ]
    code_inspect_sample = "Tensor::zeros"
    code_clear_output = "paella::clear_output(false);"


class PaellaWelcomeTests(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "paella"
    support_iopub_welcome = True


if __name__ == "__main__":
    unittest.main()
