//! Documents made from the definitions of methods and options: pages in Markdown, and a schema in SPDK's form.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::options::ExportOptions;
use crate::request::{MethodInfo, methods};
use crate::schema::{Field, Fields, Kind};

/// Marks a page as generated. `document` is the word after `--generate`.
#[must_use]
pub fn generated_by(document: &str) -> String {
    format!(
        "<!-- Generated: kvblade-dpdk --generate {document}. Change the definition in crates/control and generate it anew. -->\n"
    )
}

/// The methods in the form of SPDK's `schema/schema.json`: `objects`, of which there are none, and `methods`, each with
/// its `params` and, beyond that form, its `description`.
#[must_use]
pub fn schema() -> String {
    let methods: Vec<Value> = methods()
        .iter()
        .map(|method| {
            json!({
                "name": method.name,
                "description": method.description,
                "params": method.fields.iter().map(param).collect::<Value>(),
            })
        })
        .collect();
    let schema = json!({ "objects": [], "methods": methods });
    format!("{schema:#}\n")
}

fn param(field: &Field) -> Value {
    let mut param = Map::new();
    param.insert("name".into(), field.name().into());
    param.insert("type".into(), field.type_name().into());
    if field.is_required() {
        param.insert("required".into(), true.into());
    }
    let mut description = format!("{} ({})", field.summary(), field.allowed());
    if let Some(default) = field.default() {
        // Writing into a String does not fail.
        write!(description, ". Default: {default}").expect("a String takes any text");
    }
    param.insert("description".into(), description.into());
    Value::Object(param)
}

/// The page on the RPC methods.
#[must_use]
pub fn rpc_page() -> String {
    let mut page = generated_by("rpc");
    page.push_str(
        "# RPC methods\n\nThe methods on the JSON-RPC socket (`--rpc-socket`) beside SPDK's own. A parameter that is left out, or `null`, has its \
         default. An unknown parameter, a value of another type and a value out of range are refused with the name, \
         the value and what is allowed. `schema.json` has the same in the form of SPDK's `schema/schema.json`; the \
         package installs it as `/usr/share/kvblade-dpdk/schema.json`.\n",
    );
    for method in methods() {
        describe(&mut page, &method);
    }
    page
}

fn describe(page: &mut String, method: &MethodInfo) {
    write!(page, "\n## `{}`\n\n{}\n", method.name, method.description).expect("a String takes any text");
    if let Some(former) = method.former_name {
        write!(page, "\nIts former name, `{former}`, is accepted in this release.\n")
            .expect("a String takes any text");
    }
    if method.fields.is_empty() {
        page.push_str("\nIt takes no parameters.\n");
        return;
    }
    page.push_str("\n| Parameter | Type | Allowed | Default | Meaning |\n| --- | --- | --- | --- | --- |\n");
    for field in method.fields {
        let default = match (field.is_required(), field.default()) {
            (true, _) => "**required**".to_owned(),
            (false, Some(default)) => default.to_owned(),
            (false, None) if *field.kind() == Kind::Flag => "false".to_owned(),
            (false, None) => "none".to_owned(),
        };
        let former = field
            .former_name()
            .map_or_else(String::new, |former| format!(" (formerly `{former}`, accepted in this release)"));
        writeln!(
            page,
            "| `{}` | {} | {} | {default} | {}{former} |",
            field.name(),
            field.type_name(),
            field.allowed(),
            field.summary()
        )
        .expect("a String takes any text");
    }
}

/// The section on the options of an export.
#[must_use]
pub fn export_options() -> String {
    let mut page = String::from(
        "## Options of an export\n\nEach option has four spellings: in `--export SHELF.SLOT=BDEV,option,...`, as a parameter of `aoe_create_export`, as \
         a key of an `[[export]]` in the settings file, and as a flag of `kvadd`. All four take the same values and \
         refuse the same.\n",
    );
    for option in ExportOptions::fields() {
        write!(page, "\n### `{}`\n\n{}.\n", option.name(), option.summary())
            .expect("a String takes any text");
        if !option.details().is_empty() {
            write!(page, "\n{}\n", option.details()).expect("a String takes any text");
        }
        let (rpc, settings) = match option.kind() {
            Kind::Flag => ("true".to_owned(), "true".to_owned()),
            Kind::Number { .. } => (placeholder(option), placeholder(option)),
            Kind::List { .. } => {
                let list = format!("[\"{}\", ...]", placeholder(option));
                (list.clone(), list)
            }
            _ => (format!("\"{}\"", placeholder(option)), format!("\"{}\"", placeholder(option))),
        };
        let letter = option.letter().map_or_else(String::new, |letter| format!("-{letter}, "));
        let value = option.form().map_or_else(String::new, |form| format!(" {}", cell(&form)));
        write!(
            page,
            "\n| `--export` | RPC | Settings file | `kvadd` |\n| --- | --- | --- | --- |\n| `{}` | `\"{}\": {}` | `{} = {}` | `{letter}--{}{value}` |\n",
            cell(&option.text_form()),
            option.name(),
            cell(&rpc),
            option.long(),
            cell(&settings),
            option.long(),
        ).expect("a String takes any text");
        let default = option.default().unwrap_or(if *option.kind() == Kind::Flag { "false" } else { "none" });
        write!(page, "\nAllowed: {}. Default: {default}.\n", option.allowed())
            .expect("a String takes any text");
        if let Kind::Choice(choices) = option.kind() {
            page.push('\n');
            for choice in choices {
                writeln!(page, "- `{}`: {}", choice.word, choice.meaning).expect("a String takes any text");
            }
        }
    }
    page
}

fn placeholder(option: &Field) -> String {
    option.form().unwrap_or_default()
}

/// A `|` would end the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is committed, by a path from the repository's root.
    fn committed(path: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn committed_documents_are_those_of_the_definitions() {
        for (path, document, generated) in
            [("docs/reference/rpc.md", "rpc", rpc_page()), ("docs/reference/schema.json", "schema", schema())]
        {
            assert!(
                committed(path) == generated,
                "{path} is stale: run cargo run -p kvblade-dpdk -- --generate {document} >{path}"
            );
        }
        let options = committed("docs/reference/options.md");
        assert!(
            options.contains(&export_options()),
            "docs/reference/options.md is stale: run cargo run -p kvblade-dpdk -- --generate options >docs/reference/options.md"
        );
    }

    #[test]
    fn the_schema_has_spdks_form() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        let methods = schema["methods"].as_array().unwrap();
        assert_eq!(methods.len(), crate::request::NAMES.len());
        let create = methods.iter().find(|method| method["name"] == "aoe_create_export").unwrap();
        let params = create["params"].as_array().unwrap();
        assert_eq!(params[0]["name"], "shelf");
        assert_eq!((&params[0]["type"], &params[0]["required"]), (&json!("uint16"), &json!(true)));
        let types = ["boolean", "string", "array", "uint8", "uint16", "uint32", "uint64"];
        for param in methods.iter().flat_map(|method| method["params"].as_array().unwrap()) {
            assert!(types.iter().any(|one| param["type"] == *one), "{param}");
            assert!(
                !param["description"].as_str().unwrap().starts_with(" ("),
                "{param} has no documentation"
            );
        }
    }
}
