//! Single environment variables: absent, of the right form, or an error that names them.
//!
//! Which variables there are is the matter of `settings`.

use std::fmt;

/// One environment variable whose value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The variable.
    pub variable: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.problem)
    }
}

/// Reads variables and remembers what is wrong with them.
pub(crate) struct Reader<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    errors: Vec<SettingError>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            environment,
            errors: Vec::new(),
        }
    }

    /// `settings`, unless a variable was wrong.
    pub(crate) fn finish<T>(self, settings: T) -> Result<T, Vec<SettingError>> {
        if self.errors.is_empty() {
            Ok(settings)
        } else {
            Err(self.errors)
        }
    }

    /// The specification has an empty variable count as one that is not set.
    pub(crate) fn text(&self, variable: &str) -> Option<String> {
        (self.environment)(variable).filter(|value| !value.trim().is_empty())
    }

    pub(crate) fn reject(&mut self, variable: &str, problem: String) {
        self.errors.push(SettingError {
            variable: variable.to_owned(),
            problem,
        });
    }

    pub(crate) fn choice<T: Copy>(&mut self, variable: &str, known: &[(&str, T)], default: T) -> T {
        let Some(value) = self.text(variable) else {
            return default;
        };
        if let Some((_, choice)) = known
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&value))
        {
            return *choice;
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let problem = format!("`{value}` is not known; known are {}", names.join(", "));
        self.reject(variable, problem);
        default
    }

    pub(crate) fn boolean(&mut self, variable: &str) -> bool {
        self.choice(variable, &[("true", true), ("false", false)], false)
    }

    pub(crate) fn number(&mut self, variable: &str, least: u64) -> Option<u64> {
        let value = self.text(variable)?;
        match value.parse::<u32>().map(u64::from) {
            Ok(number) if number >= least => Some(number),
            _ => {
                let most = u32::MAX;
                let problem = format!("`{value}` is not a whole number from {least} to {most}");
                self.reject(variable, problem);
                None
            }
        }
    }
}
