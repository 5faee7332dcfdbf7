//! The definition of each parameter and option, read from the JSON Schema that its type derives.
//!
//! A request is one struct, an option one field of [`crate::ExportOptions`]: the name, the documentation, the type and
//! the range stand there and nowhere else. This module turns that schema into [`Field`]s, by which values are read
//! from JSON and from text, refused in words, listed in help texts and described in documents.
//!
//! What JSON Schema has no keyword for stands in extensions:
//!
//! | Extension | Means |
//! | --- | --- |
//! | `x-form` | placeholder for a value in help texts, such as `SECTORS` |
//! | `x-allowed` | what is allowed, for error texts: "it must be ..." |
//! | `x-default` | the value of an option that is not given, where JSON's `default` does not say it |
//! | `x-word` | name in `--export`, where it is not the field's |
//! | `x-letter` | short flag of `kvadd` |
//! | `x-formerly` | name in the release before, still accepted |
//! | `x-size` | a number of bytes, in text also with K, M, G or T for powers of 1024 |

mod decode;
mod field;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

pub use decode::decode;
pub use field::{Choice, Field, Fields, Kind};

use field::FieldParts;

/// Implements [`Fields`]: the schema is generated once.
macro_rules! impl_fields {
    ($type:ty) => {
        impl $crate::schema::Fields for $type {
            fn fields() -> &'static [$crate::schema::Field] {
                static FIELDS: std::sync::LazyLock<Vec<$crate::schema::Field>> =
                    std::sync::LazyLock::new($crate::schema::read::<$type>);
                &FIELDS
            }
        }
    };
}
pub(crate) use impl_fields;

/// Reads the fields of a type from its schema.
pub(crate) fn read<T: JsonSchema>() -> Vec<Field> {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    properties
        .map(|(name, property)| {
            let required = required.iter().any(|one| one == name);
            read_field(name, property, required)
        })
        .collect()
}

/// The documentation of a type, its paragraphs in one line each.
#[must_use]
pub fn description<T: JsonSchema>() -> String {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>();
    paragraphs(schema.get("description").and_then(Value::as_str).unwrap_or_default()).join("\n\n")
}

fn read_field(name: &str, property: &Value, required: bool) -> Field {
    let text = |key: &str| property.get(key).and_then(Value::as_str).map(str::to_owned);
    let documented = paragraphs(property.get("description").and_then(Value::as_str).unwrap_or_default());
    let summary = documented.first().map_or("", |first| first.trim_end_matches('.')).to_owned();
    let json_default = property.get("default").cloned().unwrap_or(Value::Null);
    let default = text("x-default").or_else(|| match &json_default {
        Value::String(word) => Some(word.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    Field::from(FieldParts {
        name: name.to_owned(),
        kind: kind_of(property),
        required,
        summary,
        details: documented.get(1..).unwrap_or_default().join("\n\n"),
        form: text("x-form"),
        allowed: text("x-allowed"),
        default,
        json_default,
        word: text("x-word"),
        letter: text("x-letter").and_then(|letter| letter.chars().next()),
        former_name: text("x-formerly"),
        is_size: property.get("x-size").is_some_and(|size| *size == true),
    })
}

/// Paragraphs of a doc comment, each in one line.
fn paragraphs(text: &str) -> Vec<String> {
    text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn kind_of(property: &Value) -> Kind {
    let choices = choices_of(property);
    if !choices.is_empty() {
        return Kind::Choice(choices);
    }
    // An optional value is of its own type or null.
    let types = match property.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => Vec::new(),
    };
    let number = |key: &str| property.get(key).and_then(Value::as_u64);
    match types.into_iter().find(|name| *name != "null") {
        Some("boolean") => Kind::Flag,
        Some("integer") => Kind::Number {
            type_name: property.get("format").and_then(Value::as_str).unwrap_or("uint64").to_owned(),
            min: number("minimum").unwrap_or(0),
            max: number("maximum").unwrap_or(u64::MAX),
        },
        Some("string") => Kind::Text,
        Some("array") => Kind::List {
            of_texts: property["items"]["type"] == "string",
            min: number("minItems").and_then(|min| usize::try_from(min).ok()).unwrap_or(0),
        },
        _ => Kind::Other,
    }
}

/// The words of an enumeration: `enum`, or `oneOf` where each word has a documentation of its own.
fn choices_of(property: &Value) -> Vec<Choice> {
    let meaning =
        |of: &Value| paragraphs(of.get("description").and_then(Value::as_str).unwrap_or_default()).join(" ");
    let documented = property.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let documented = documented.filter_map(|one| Some((one.get("const")?.as_str()?, meaning(one))));
    let plain = property.get("enum").and_then(Value::as_array).into_iter().flatten();
    let plain = plain.filter_map(|word| Some((word.as_str()?, String::new())));
    plain.chain(documented).map(|(word, meaning)| Choice { word: word.to_owned(), meaning }).collect()
}
