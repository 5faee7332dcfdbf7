//! One parameter or option: its names, its values, and the words for them.

use schemars::JsonSchema;
use serde_json::Value;

use crate::error::{Quoted, shown};
use crate::value::{self, decimal};

/// A type whose fields are parameters or options.
pub trait Fields: JsonSchema {
    /// Its fields, in the order of their declaration.
    fn fields() -> &'static [Field];
}

/// One parameter or option.
#[derive(Debug, Clone, PartialEq)]
pub struct Field(FieldParts);

/// The parts of a [`Field`], as they are read from a schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FieldParts {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) summary: String,
    pub(super) details: String,
    pub(super) form: Option<String>,
    pub(super) allowed: Option<String>,
    pub(super) default: Option<String>,
    pub(super) json_default: Value,
    pub(super) word: Option<String>,
    pub(super) letter: Option<char>,
    pub(super) former_name: Option<String>,
    pub(super) is_size: bool,
}

impl From<FieldParts> for Field {
    fn from(parts: FieldParts) -> Self {
        Self(parts)
    }
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
        &self.0.name
    }

    /// Kind of its values.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// A request without it is refused.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.0.required
    }

    /// One sentence without its full stop: the line of a help text.
    #[must_use]
    pub fn summary(&self) -> &str {
        &self.0.summary
    }

    /// Further paragraphs, in Markdown.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.0.details
    }

    /// Name in `--export`.
    #[must_use]
    pub fn word(&self) -> &str {
        self.0.word.as_deref().unwrap_or(&self.0.name)
    }

    /// Name as a command line's long flag and as a key of the settings file.
    #[must_use]
    pub fn long(&self) -> String {
        self.0.name.replace('_', "-")
    }

    /// Short flag of `kvadd`.
    #[must_use]
    pub fn letter(&self) -> Option<char> {
        self.0.letter
    }

    /// Name in the release before.
    #[must_use]
    pub fn former_name(&self) -> Option<&str> {
        self.0.former_name.as_deref()
    }

    /// Placeholder for one value in help texts. `None` for a flag.
    #[must_use]
    pub fn form(&self) -> Option<String> {
        match &self.0.kind {
            Kind::Flag => None,
            Kind::Choice(choices) => Some(words(choices).join("|")),
            _ => Some(self.0.form.clone().unwrap_or_else(|| self.0.name.to_uppercase())),
        }
    }

    /// The option with its value, as `--export` takes it: `buffers=N`.
    #[must_use]
    pub fn text_form(&self) -> String {
        match (self.form(), &self.0.kind) {
            (None, _) => self.word().to_owned(),
            (Some(form), Kind::List { .. }) => format!("{}={form}[+{form}...]", self.word()),
            (Some(form), _) => format!("{}={form}", self.word()),
        }
    }

    /// What is allowed, to follow "it must be".
    #[must_use]
    pub fn allowed(&self) -> String {
        match (&self.0.allowed, &self.0.kind) {
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
        self.0.default.as_deref()
    }

    /// The same in JSON.
    #[must_use]
    pub fn json_default(&self) -> &Value {
        &self.0.json_default
    }

    /// SPDK's name for the type.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match &self.0.kind {
            Kind::Flag => "boolean",
            Kind::Number { type_name, .. } => type_name,
            // A port may be given as a string in any case.
            Kind::Text | Kind::Choice(_) | Kind::Other => "string",
            Kind::List { .. } => "array",
        }
    }

    /// Whether a JSON value is of the kind and in the range that the schema gives.
    fn accepts(&self, value: &Value) -> bool {
        match &self.0.kind {
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
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        if self.accepts(value) {
            return Ok(());
        }
        Err(format!("{} is {}: it must be {}", self.0.name, shown(value), self.allowed()))
    }

    /// Reads a value as a command line has it; a flag has none.
    ///
    /// # Errors
    /// A sentence naming the text and what is allowed. The type of the field may refuse a value later that is accepted
    /// here.
    pub fn read_text(&self, text: Option<&str>) -> Result<Value, String> {
        let text = match (text, &self.0.kind) {
            (None, Kind::Flag) => return Ok(Value::Bool(true)),
            (Some(text), Kind::Flag) => {
                return Err(format!("{} takes no value, and got {}", self.word(), Quoted(text)));
            }
            (None, _) => return Err(format!("{} lacks its value: write {}", self.word(), self.text_form())),
            (Some(text), _) => text,
        };
        let value = match &self.0.kind {
            Kind::Number { .. } => {
                let number = if self.0.is_size { value::bytes_of(text) } else { decimal(text) };
                number.map_or_else(|| text.into(), Value::from)
            }
            Kind::List { .. } => text.split('+').collect(),
            _ => text.into(),
        };
        if self.accepts(&value) {
            return Ok(value);
        }
        Err(format!("{} {} is not allowed: it is {}", self.0.name, Quoted(text), self.allowed()))
    }
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
