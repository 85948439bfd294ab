//! Which argument belongs to which parameter.

use super::super::endpoint::{Parameter, ParameterKind};
use super::super::failure::{Failure, FailureKind};
use super::super::value::{Arguments, Value};

/// Arguments by name, borrowed, and those that have none.
pub(in super::super) struct Bound<'a> {
    pub(super) named: Vec<(&'a str, Slot<'a>)>,
    pub(super) rest: &'a [Value],
}

/// What a parameter was given.
pub(super) enum Slot<'a> {
    /// One value.
    One(&'a Value),
    /// All further positions.
    Rest(&'a [Value]),
    /// All further names.
    Others(Vec<(&'a str, &'a Value)>),
}

impl<'a> Bound<'a> {
    /// By Python's rules of calls.
    pub(in super::super) fn of(
        endpoint: &str,
        parameters: &'a [Parameter],
        arguments: &'a Arguments,
    ) -> Result<Bound<'a>, Failure> {
        let mut slots: Vec<Option<Slot<'a>>> = Vec::with_capacity(parameters.len());
        slots.resize_with(parameters.len(), || None);
        give_positions(endpoint, parameters, &arguments.positional, &mut slots)?;
        give_names(endpoint, parameters, &arguments.named, &mut slots)?;
        let mut named = Vec::with_capacity(parameters.len());
        let mut missing = Vec::new();
        for (parameter, slot) in parameters.iter().zip(slots) {
            let slot = slot.or_else(|| match parameter.kind {
                ParameterKind::Rest => Some(Slot::Rest(&[])),
                ParameterKind::Others => Some(Slot::Others(Vec::new())),
                _ => parameter.default.as_ref().map(Slot::One),
            });
            match slot {
                Some(slot) => named.push((parameter.name.as_str(), slot)),
                None => missing.push(parameter.name.as_str()),
            }
        }
        let Some(first) = missing.first() else { return Ok(Bound { named, rest: &[] }) };
        let names: Vec<String> = missing.iter().map(|name| format!("'{name}'")).collect();
        let (count, plural) = (missing.len(), if missing.len() == 1 { "" } else { "s" });
        let message = format!("missing {count} required argument{plural}: {}", names.join(", "));
        Err(refusal(endpoint, first, &message))
    }

    /// Positions and names as they are, for parameters that are not known.
    pub(in super::super) fn loose(rest: &'a [Value], named: &'a [(String, Value)]) -> Bound<'a> {
        let named = named.iter().map(|(name, value)| (name.as_str(), Slot::One(value))).collect();
        Bound { named, rest }
    }

    /// The same, owned.
    pub(in super::super) fn to_arguments(&self) -> Arguments {
        let owned = |(name, slot): &(&str, Slot<'_>)| ((*name).to_owned(), slot.to_value());
        Arguments { positional: self.rest.to_vec(), named: self.named.iter().map(owned).collect() }
    }
}

impl Slot<'_> {
    pub(super) fn to_value(&self) -> Value {
        match self {
            Slot::One(value) => (*value).clone(),
            Slot::Rest(values) => Value::Tuple(values.to_vec()),
            Slot::Others(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).clone()))
                    .collect(),
            ),
        }
    }
}

fn give_positions<'a>(
    endpoint: &str,
    parameters: &'a [Parameter],
    positional: &'a [Value],
    slots: &mut [Option<Slot<'a>>],
) -> Result<(), Failure> {
    let mut left = positional;
    for (parameter, slot) in parameters.iter().zip(slots) {
        match parameter.kind {
            ParameterKind::Positional | ParameterKind::Either => {
                let Some((first, others)) = left.split_first() else { continue };
                *slot = Some(Slot::One(first));
                left = others;
            }
            ParameterKind::Rest => *slot = Some(Slot::Rest(std::mem::take(&mut left))),
            ParameterKind::Named | ParameterKind::Others => {}
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let given = positional.len();
    let takes = given - left.len();
    let plural = if takes == 1 { "" } else { "s" };
    let were = if given == 1 { "was" } else { "were" };
    let message = format!("takes {takes} positional argument{plural} but {given} {were} given");
    Err(refusal(endpoint, &takes.to_string(), &message))
}

fn give_names<'a>(
    endpoint: &str,
    parameters: &'a [Parameter],
    named: &'a [(String, Value)],
    slots: &mut [Option<Slot<'a>>],
) -> Result<(), Failure> {
    let others = parameters.iter().position(|parameter| parameter.kind == ParameterKind::Others);
    for (name, value) in named {
        let by_name = |parameter: &Parameter| {
            parameter.name == *name
                && matches!(parameter.kind, ParameterKind::Either | ParameterKind::Named)
        };
        if let Some(index) = parameters.iter().position(by_name) {
            if slots[index].is_some() {
                let message = format!("got multiple values for argument '{name}'");
                return Err(refusal(endpoint, name, &message));
            }
            slots[index] = Some(Slot::One(value));
        } else if let Some(index) = others {
            let slot = slots[index].get_or_insert_with(|| Slot::Others(Vec::new()));
            let Slot::Others(entries) = slot else { continue };
            if entries.iter().any(|(known, _)| known == name) {
                let message = format!("got multiple values for keyword argument '{name}'");
                return Err(refusal(endpoint, name, &message));
            }
            entries.push((name, value));
        } else {
            let positional = |parameter: &Parameter| {
                parameter.name == *name && parameter.kind == ParameterKind::Positional
            };
            let message = if parameters.iter().any(positional) {
                format!("got a positional-only argument passed as keyword argument: '{name}'")
            } else {
                format!("got an unexpected keyword argument '{name}'")
            };
            return Err(refusal(endpoint, name, &message));
        }
    }
    Ok(())
}

fn refusal(endpoint: &str, argument: &str, message: &str) -> Failure {
    Failure::new(FailureKind::Configuration, format!("{endpoint}() {message}"))
        .of_type("TypeError")
        .with("endpoint", endpoint)
        .with("argument", argument)
}
