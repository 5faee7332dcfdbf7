//! `kvadd`, `kv add` and `kv set`: flags for the options of an export, made from their definition in [`control::options`].

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use control::ExportOptions;
use control::schema::{Field, Fields, Kind};
use serde_json::{Map, Value};

use rpc_client::command::CommandError;

/// The options of an export that a command line gives, with their values in text.
#[derive(Debug, Clone, Default)]
pub struct OptionArgs(Vec<(&'static Field, Option<String>)>);

impl OptionArgs {
    /// The options.
    ///
    /// # Errors
    /// [`CommandError::Usage`] naming a value that is wrong together with others, such as an address given twice.
    pub fn into_options(self) -> Result<ExportOptions, CommandError> {
        let mut options = ExportOptions::default();
        for (option, text) in &self.0 {
            options.set(option, text.as_deref()).map_err(CommandError::Usage)?;
        }
        Ok(options)
    }

    /// The options as parameters of a call: those that were given, and no others.
    ///
    /// # Errors
    /// As [`Self::into_options`].
    pub fn into_changes(self) -> Result<Map<String, Value>, CommandError> {
        let value =
            |(option, text): &(&'static Field, Option<String>)| -> Result<(String, Value), CommandError> {
                let value = option.read_text(text.as_deref()).map_err(CommandError::Usage)?;
                Ok((option.name().to_owned(), value))
            };
        let changes = self.0.iter().map(value).collect::<Result<_, CommandError>>()?;
        self.into_options()?;
        Ok(changes)
    }
}

impl Args for OptionArgs {
    fn augment_args(command: Command) -> Command {
        command.args(ExportOptions::fields().iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The flag of one option.
fn argument(option: &'static Field) -> Arg {
    let default = option.default().map_or_else(String::new, |default| format!(" [default: {default}]"));
    let repeated = if matches!(option.kind(), Kind::List { .. }) {
        "; may be given several times, or with '+' between"
    } else {
        ""
    };
    let mut argument = Arg::new(option.name())
        .long(option.long())
        .help(format!("{}{repeated}{default}", option.summary()))
        .action(match option.kind() {
            Kind::Flag => ArgAction::SetTrue,
            Kind::List { .. } => ArgAction::Append,
            _ => ArgAction::Set,
        });
    if let Some(form) = option.form() {
        argument = argument.value_name(form).value_parser(ValueParser::new(move |text: &str| {
            ExportOptions::default().set(option, Some(text)).map(|()| text.to_owned())
        }));
    }
    match option.letter() {
        Some(letter) => argument.short(letter),
        None => argument,
    }
}

impl FromArgMatches for OptionArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for option in ExportOptions::fields() {
            if *option.kind() == Kind::Flag {
                self.0.extend(matches.get_flag(option.name()).then_some((option, None)));
            } else if let Some(texts) = matches.get_many::<String>(option.name()) {
                let texts: Vec<&str> = texts.map(String::as_str).collect();
                self.0.push((option, Some(texts.join("+"))));
            }
        }
        Ok(())
    }
}
