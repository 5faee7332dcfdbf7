//! How much is logged: at the start by `--log-level` or `RUST_LOG`, then by `aoe_set_log_level` and the settings.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use control::log_directives::LogDirectives;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::launch_error::LaunchError;

/// Environment variable with `tracing` directives, such as `info,spdk=debug`, used without `--log-level`.
pub(crate) const FILTER_VARIABLE: &str = "RUST_LOG";

/// Replaces the filter.
type Replace = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static REPLACE: OnceLock<Replace> = OnceLock::new();

/// What is in force.
static NOW: Mutex<Now> = Mutex::new(Now { level: None, directives: String::new() });

struct Now {
    /// `--log-level`, or that of the settings.
    level: Option<LevelFilter>,
    directives: String,
}

fn now() -> MutexGuard<'static, Now> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

fn variable() -> Option<String> {
    std::env::var(FILTER_VARIABLE).ok()
}

/// The filter at the start.
pub(super) fn at_start(level: Option<LevelFilter>) -> Result<EnvFilter, LaunchError> {
    let variable = variable();
    let filter = filter(level, variable.as_deref())?;
    *now() = Now { level, directives: directives(level, variable.as_deref()) };
    Ok(filter)
}

/// Takes what replaces the filter. False if it was called before.
pub(super) fn install(replace: Replace) -> bool {
    REPLACE.set(replace).is_ok()
}

/// Changes the level to that of the settings.
///
/// # Errors
/// One sentence, as the start's.
pub(crate) fn set_level(level: Option<LevelFilter>) -> Result<(), LaunchError> {
    let variable = variable();
    let filter = filter(level, variable.as_deref())?;
    replace(filter).map_err(LaunchError::environment)?;
    *now() = Now { level, directives: directives(level, variable.as_deref()) };
    Ok(())
}

/// Changes the levels of modules; back to those of command line and settings without directives.
///
/// # Errors
/// One sentence.
pub(crate) fn set_directives(wanted: Option<&LogDirectives>) -> Result<(), String> {
    let Some(wanted) = wanted else {
        let level = now().level;
        return set_level(level).map_err(|error| error.to_string());
    };
    let text = wanted.to_string();
    let filter = EnvFilter::try_new(&text).map_err(|error| format!("{text}: {error}"))?;
    replace(filter)?;
    now().directives = text;
    Ok(())
}

/// What is in force, as [`set_directives`] takes it (`RUST_LOG` may have more).
pub(super) fn in_force() -> String {
    now().directives.clone()
}

fn replace(filter: EnvFilter) -> Result<(), String> {
    let replace = REPLACE.get().ok_or("logging was not started")?;
    replace(filter).map_err(|error| format!("the log's level stays: {error}"))
}

/// What [`filter`] lets pass, in words.
fn directives(level: Option<LevelFilter>, variable: Option<&str>) -> String {
    match (level, variable) {
        (Some(level), _) => level.to_string(),
        (None, Some(directives)) if !directives.trim().is_empty() => directives.trim().to_owned(),
        _ => LevelFilter::INFO.to_string(),
    }
}

pub(super) fn filter(level: Option<LevelFilter>, variable: Option<&str>) -> Result<EnvFilter, LaunchError> {
    match (level, variable) {
        (Some(level), _) => Ok(EnvFilter::default().add_directive(level.into())),
        (None, Some(directives)) if !directives.trim().is_empty() => {
            EnvFilter::try_new(directives).map_err(|error| {
                LaunchError::environment(format!(
                    "{FILTER_VARIABLE} is '{directives}', which cannot be read ({error}): write a level or \
                     TARGET=LEVEL, separated by commas, such as info,spdk=debug"
                ))
            })
        }
        _ => Ok(EnvFilter::default().add_directive(LevelFilter::INFO.into())),
    }
}
