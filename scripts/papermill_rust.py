#!/usr/bin/env python3
"""papermill for notebooks of the kernel "Paella (Rust)": it does not know how to write parameters in Rust, this does.

  python scripts/papermill_rust.py notebooks/04-train.ipynb done.ipynb -p quick true

Everything behind the script's name is papermill's own. Each parameter becomes `let NAME = VALUE;` in a cell behind the one
that is tagged `parameters`. `true` and `false` are Rust's own words. `quick` is also told to the session, `%quick on`: one
word for lessons and research notebooks.
"""

import re

from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
WORDS = ("true", "false")  # papermill's own command line reads only True and False
LET = re.compile(r"^let (?:mut )?(\w+)(?:\s*:\s*([^=]+?))?\s*=\s*(.+?);\s*(?://\s*(.*))?$")
QUICK = re.compile(r"^%quick\b(?:\s+(on|off))?\s*(?:#\s*(.*))?$")


class Rust(Translator):
    @classmethod
    def translate_str(cls, val):
        return val if val in WORDS else super().translate_str(val)

    @classmethod
    def translate_escaped_str(cls, str_val):
        return 'String::from("%s")' % "".join(ESCAPES.get(c, c) for c in str(str_val))

    @classmethod
    def translate_int(cls, val):
        return str(val) if abs(val) < 2**31 else "%d_i64" % val

    @classmethod
    def translate_float(cls, val):
        special = {"inf": "f64::INFINITY", "-inf": "f64::NEG_INFINITY", "nan": "f64::NAN"}
        return special.get(repr(val), repr(val))

    @classmethod
    def translate_none(cls, val):
        raise NotImplementedError("a parameter without a value has no type in Rust")

    @classmethod
    def translate_list(cls, val):
        return "vec![%s]" % ", ".join(cls.translate(one) for one in val)

    @classmethod
    def comment(cls, cmt_str):
        return "// " + cmt_str

    @classmethod
    def assign(cls, name, str_val):
        line = "let %s = %s;" % (name, str_val)
        if name == "quick":
            if str_val not in WORDS:
                raise ValueError("the parameter `quick` is true or false, not %s" % str_val)
            line += "\n%quick " + ("on" if str_val == "true" else "off")
        return line

    @classmethod
    def inspect(cls, parameters_cell):
        found = []
        for line in parameters_cell["source"].splitlines():
            let, quick = LET.match(line), QUICK.match(line)
            if let:
                name, kind, default, help_text = let.groups()
                found.append(Parameter(name, kind or "None", default, help_text or ""))
            elif quick:
                found.append(Parameter("quick", "bool", quick.group(1) or "off", quick.group(2) or ""))
        return found


papermill_translators.register("rust", Rust)

if __name__ == "__main__":
    from papermill.cli import papermill

    papermill()
