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

mod decode;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

pub use decode::decode;
pub(crate) use decode::{kind, shown};

use crate::error::Quoted;

/// A type whose fields are parameters or options.
pub trait Fields: JsonSchema {
    /// Its fields, in the order of their declaration.
    fn fields() -> &'static [Field];
}

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

/// One parameter or option.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    name: String,
    kind: Kind,
    required: bool,
    summary: String,
    details: String,
    form: Option<String>,
    allowed: Option<String>,
    default: Option<String>,
    json_default: Value,
    word: Option<String>,
    letter: Option<char>,
    former_name: Option<String>,
}

/// The kind of a field's values.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// True or false.
    Flag,
    /// A whole number.
    Number {
        /// SPDK's name for its type, such as `uint16`.
        type_name: String,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A string.
    Text,
    /// One of several words.
    Choice(Vec<Choice>),
    /// A list.
    List {
        /// Its elements are strings.
        of_texts: bool,
        /// Fewest elements.
        min: usize,
    },
    /// A value whose type checks it.
    Other,
}

/// One of the words that a [`Kind::Choice`] allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The word.
    pub word: String,
    /// Its meaning.
    pub meaning: String,
}

impl Field {
    /// Name in JSON.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind of its values.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// A request without it is refused.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// One sentence without its full stop: the line of a help text.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// Further paragraphs, in Markdown.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.details
    }

    /// Name in `--export`.
    #[must_use]
    pub fn word(&self) -> &str {
        self.word.as_deref().unwrap_or(&self.name)
    }

    /// Name as a command line's long flag and as a key of the settings file.
    #[must_use]
    pub fn long(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Short flag of `kvadd`.
    #[must_use]
    pub fn letter(&self) -> Option<char> {
        self.letter
    }

    /// Name in the release before.
    #[must_use]
    pub fn former_name(&self) -> Option<&str> {
        self.former_name.as_deref()
    }

    /// Placeholder for one value in help texts. `None` for a flag.
    #[must_use]
    pub fn form(&self) -> Option<String> {
        match &self.kind {
            Kind::Flag => None,
            Kind::Choice(choices) => Some(words(choices).join("|")),
            _ => Some(self.form.clone().unwrap_or_else(|| self.name.to_uppercase())),
        }
    }

    /// The option with its value, as `--export` takes it: `buffers=N`.
    #[must_use]
    pub fn text_form(&self) -> String {
        match (self.form(), &self.kind) {
            (None, _) => self.word().to_owned(),
            (Some(form), Kind::List { .. }) => format!("{}={form}[+{form}...]", self.word()),
            (Some(form), _) => format!("{}={form}", self.word()),
        }
    }

    /// What is allowed, to follow "it must be".
    #[must_use]
    pub fn allowed(&self) -> String {
        match (&self.allowed, &self.kind) {
            (Some(allowed), _) => allowed.clone(),
            (None, Kind::Flag) => "true or false".into(),
            (None, Kind::Number { min, max, .. }) => format!("a number from {min} to {max}"),
            (None, Kind::Choice(choices)) => listed(&words(choices)),
            (None, Kind::Text) => "a string".into(),
            (None, Kind::List { .. }) => "a list".into(),
            (None, Kind::Other) => "a value".into(),
        }
    }

    /// The value of an option that is not given, in words.
    #[must_use]
    pub fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// The same in JSON.
    #[must_use]
    pub fn json_default(&self) -> &Value {
        &self.json_default
    }

    /// SPDK's name for the type.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match &self.kind {
            Kind::Flag => "boolean",
            Kind::Number { type_name, .. } => type_name,
            // A port may be given as a string in any case.
            Kind::Text | Kind::Choice(_) | Kind::Other => "string",
            Kind::List { .. } => "array",
        }
    }

    /// Whether a JSON value is of the kind and in the range that the schema gives.
    fn accepts(&self, value: &Value) -> bool {
        match &self.kind {
            Kind::Flag => value.is_boolean(),
            Kind::Number { min, max, .. } => {
                value.as_u64().is_some_and(|number| (*min..=*max).contains(&number))
            }
            Kind::Text => value.is_string(),
            Kind::Choice(choices) => {
                value.as_str().is_some_and(|text| choices.iter().any(|choice| choice.word == text))
            }
            Kind::List { of_texts, min } => value
                .as_array()
                .is_some_and(|list| list.len() >= *min && (!of_texts || list.iter().all(Value::is_string))),
            Kind::Other => true,
        }
    }

    /// Refuses a JSON value of another kind or out of range.
    fn check(&self, value: &Value) -> Result<(), String> {
        if self.accepts(value) {
            return Ok(());
        }
        Err(format!("{} is {}: it must be {}", self.name, shown(value), self.allowed()))
    }

    /// Reads a value as a command line has it; a flag has none.
    ///
    /// # Errors
    /// A sentence naming the text and what is allowed. The type of the field may refuse a value later that is accepted
    /// here.
    pub fn read_text(&self, text: Option<&str>) -> Result<Value, String> {
        let text = match (text, &self.kind) {
            (None, Kind::Flag) => return Ok(Value::Bool(true)),
            (Some(text), Kind::Flag) => {
                return Err(format!("{} takes no value, and got {}", self.word(), Quoted(text)));
            }
            (None, _) => return Err(format!("{} lacks its value: write {}", self.word(), self.text_form())),
            (Some(text), _) => text,
        };
        let value = match &self.kind {
            Kind::Number { .. } => decimal(text).map_or_else(|| text.into(), Value::from),
            Kind::List { .. } => text.split('+').collect(),
            _ => text.into(),
        };
        if self.accepts(&value) {
            return Ok(value);
        }
        Err(format!("{} {} is not allowed: it is {}", self.name, Quoted(text), self.allowed()))
    }
}

/// Digits alone.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn words(choices: &[Choice]) -> Vec<&str> {
    choices.iter().map(|choice| choice.word.as_str()).collect()
}

/// `a, b or c`.
fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

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
    Field {
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
    }
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
