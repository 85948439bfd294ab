//! The endpoints of a server.

use super::super::endpoint::{Concurrency, Endpoint, Execution, KeyRule, Parameter, ParameterKind};
use super::super::failure::{Failure, FailureKind};
use super::super::key::Template;
use super::super::value::Value;
use super::JobId;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// All endpoints; a number stands for each.
#[derive(Debug, Default)]
pub(super) struct Offers {
    all: Vec<Offer>,
    by_name: HashMap<String, usize>,
}

/// One endpoint, and how far its calls are.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) endpoint: Arc<Endpoint>,
    /// Its key format, if it has one.
    pub(super) template: Option<Template>,
    /// Counts how often all of it was forgotten: what a build of an earlier epoch gives is not cached.
    pub(super) epoch: u64,
    /// Of a serialized one: the build that workers have, and those that wait for it, first come first served.
    pub(super) busy: Option<JobId>,
    pub(super) line: BTreeSet<JobId>,
}

impl Offers {
    pub(super) fn add(&mut self, endpoint: Endpoint) -> Result<(), Failure> {
        let name = &endpoint.name;
        let refuse = |message: String| {
            Err(Failure::new(FailureKind::Endpoint, message).with("endpoint", name))
        };
        if name.is_empty() || name.len() > NAME_LEN || name.chars().any(char::is_control) {
            return refuse(format!(
                "the name of an endpoint has 1 to {NAME_LEN} bytes and no control characters, found {name:?}"
            ));
        }
        if self.by_name.contains_key(name) {
            return refuse(format!("there is an endpoint `{name}` already; choose another name"));
        }
        check_parameters(name, endpoint.parameters.as_deref().unwrap_or_default())?;
        let template = match &endpoint.options.key {
            KeyRule::Format(format) => Some(Template::parse(name, format)?),
            KeyRule::AllArguments | KeyRule::Function(_) => None,
        };
        self.by_name.insert(name.clone(), self.all.len());
        self.all.push(Offer {
            endpoint: Arc::new(endpoint),
            template,
            epoch: 0,
            busy: None,
            line: BTreeSet::new(),
        });
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, Failure> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let mut known: Vec<&str> = self.all.iter().map(|one| &*one.endpoint.name).collect();
            known.truncate(20);
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("there is no endpoint `{name}`; known are: {known}");
            Failure::new(FailureKind::Endpoint, message)
                .with("endpoint", name)
                .with("expected", known)
        })
    }

    pub(super) fn get(&self, index: usize) -> &Offer {
        &self.all[index]
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut Offer {
        &mut self.all[index]
    }

    pub(super) fn name(&self, index: usize) -> &str {
        &self.all[index].endpoint.name
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|one| &*one.endpoint.name)
    }

    /// As clients are told of them.
    pub(super) fn list(&self) -> Value {
        Value::List(self.all.iter().map(|one| describe(&one.endpoint)).collect())
    }

    /// True if no build is known here.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.all.iter().all(|one| one.busy.is_none() && one.line.is_empty())
    }
}

/// Bytes of the name of an endpoint, at most.
const NAME_LEN: usize = 1024;

fn check_parameters(endpoint: &str, parameters: &[Parameter]) -> Result<(), Failure> {
    let refuse = |name: &str, what: &str| {
        let message = format!("parameter `{name}` of endpoint `{endpoint}` {what}");
        Err(Failure::new(FailureKind::Configuration, message)
            .with("endpoint", endpoint)
            .with("argument", name))
    };
    for (index, parameter) in parameters.iter().enumerate() {
        let name = parameter.name.as_str();
        let before = &parameters[..index];
        if before.iter().any(|other| other.name == name) {
            return refuse(name, "occurs twice; names of parameters are unique");
        }
        let gathers = matches!(parameter.kind, ParameterKind::Rest | ParameterKind::Others);
        if gathers && parameter.default.is_some() {
            return refuse(name, "takes all that is left and cannot have a default");
        }
        if gathers && before.iter().any(|other| other.kind == parameter.kind) {
            return refuse(name, "takes all that is left, as one before it does");
        }
    }
    Ok(())
}

fn describe(endpoint: &Endpoint) -> Value {
    let options = &endpoint.options;
    let text = |text: &str| Value::Str(text.to_owned());
    let key = match &options.key {
        KeyRule::AllArguments => "all arguments",
        KeyRule::Format(format) => format,
        KeyRule::Function(_) => "function",
    };
    let parameters = match &endpoint.parameters {
        Some(parameters) => Value::List(parameters.iter().map(describe_parameter).collect()),
        None => Value::Null,
    };
    let execution = match options.execution {
        Execution::Direct => "direct",
        Execution::Task => "task",
    };
    let concurrency = match options.concurrency {
        Concurrency::Parallel => "parallel",
        Concurrency::Serialized => "serialized",
    };
    let entries = [
        ("name", text(&endpoint.name)),
        ("execution", text(execution)),
        ("managed", Value::Bool(options.managed)),
        ("cache", Value::Bool(options.cache)),
        ("key", text(key)),
        ("singleflight", Value::Bool(options.singleflight)),
        ("concurrency", text(concurrency)),
        ("keep_unleased", Value::Bool(options.keep_unleased)),
        ("parameters", parameters),
    ];
    Value::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn describe_parameter(parameter: &Parameter) -> Value {
    let kind = match parameter.kind {
        ParameterKind::Either => "either",
        ParameterKind::Positional => "positional",
        ParameterKind::Named => "named",
        ParameterKind::Rest => "rest",
        ParameterKind::Others => "others",
    };
    let gathers = matches!(parameter.kind, ParameterKind::Rest | ParameterKind::Others);
    Value::Map(vec![
        ("name".to_owned(), Value::Str(parameter.name.clone())),
        ("kind".to_owned(), Value::Str(kind.to_owned())),
        ("required".to_owned(), Value::Bool(!gathers && parameter.default.is_none())),
    ])
}
