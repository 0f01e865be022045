//! Values with named fields as tables: one of them field by field, many of them row by row.

use crate::bundle::Bundle;
use crate::html;
use paella::config;
use paella::face::terminal::Terminal;
use serde::Serialize;
use serde_json::{Map, Value};

/// Rows shown of a long table: half from its beginning, half from its end.
const ROWS: usize = 20;

/// Paths and values, and RON as text.
pub fn settings<T: Serialize>(config: &T) -> Bundle {
    let row = |path: String| {
        let value = config::get(config, &path).unwrap_or_default();
        vec![path, value]
    };
    let rows: Vec<Vec<String>> = config::paths(config).into_iter().map(row).collect();
    let headers = ["setting", "value"].map(String::from);
    Bundle::new().text(config::to_ron(config)).html(html::table(&headers, &rows))
}

/// One row per field.
pub fn fields<T: Serialize>(value: &T) -> Bundle {
    let row = |(name, value): (String, Value)| vec![name, cell(&value)];
    let rows: Vec<Vec<String>> = object(value).into_iter().map(row).collect();
    table(&["field", "value"], &rows)
}

/// One row per value, one column per field of the shown values. The middle of a long list is left out.
pub fn rows<T: Serialize>(values: &[T]) -> Bundle {
    let head = if values.len() > ROWS { ROWS / 2 } else { values.len() };
    let shown =
        values[..head].iter().chain(&values[values.len() - (values.len() - head).min(ROWS / 2)..]);
    let objects: Vec<Map<String, Value>> = shown.map(object).collect();
    let mut names: Vec<&str> = Vec::new();
    for name in objects.iter().flat_map(Map::keys) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let row = |object: &Map<String, Value>| -> Vec<String> {
        names.iter().map(|name| object.get(*name).map(cell).unwrap_or_default()).collect()
    };
    let mut rows: Vec<Vec<String>> = objects.iter().map(row).collect();
    if values.len() > ROWS {
        rows.insert(head, names.iter().map(|_| "…".to_string()).collect());
    }
    table(&names, &rows)
}

pub fn table(headers: &[&str], rows: &[Vec<String>]) -> Bundle {
    let headers: Vec<String> = headers.iter().map(|header| header.to_string()).collect();
    Bundle::new().text(Terminal::plain().table(&headers, rows)).html(html::table(&headers, rows))
}

fn object<T: Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The content of a field.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => short(number.as_f64().unwrap_or(f64::NAN)),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Four significant digits.
pub fn short(x: f64) -> String {
    match x.abs() {
        _ if x == x.trunc() && x.abs() < 1e9 => format!("{x}"),
        size if (1e-3..1e5).contains(&size) => format!("{x:.4}"),
        _ => format!("{x:.3e}"),
    }
}
