"""What Jupyter's own kernel test suite is told about a kernel for Rust, ours or evcxr's."""


class Rust:
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("oops");'
    complete_code_samples = ["1", 'println!("hello");', "let a = 2;"]
    incomplete_code_samples = ["fn f() {", 'println!("hello', "let a ="]
    invalid_code_samples = ["}", "fn f() ]"]
    code_generate_error = 'panic!("no");'
    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": "let a = 1;\na + 1", "result": "2"},
        {"code": "let name = \"x\".to_string();\nname", "result": '"x"'},
    ]
    code_history_pattern = "6 ?*7"
    supported_history_operations = ("tail", "range", "search")
