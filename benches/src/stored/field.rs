//! A field of a file, which knows its place: what is wrong with it is told with that.

use anyhow::{Error, Result, anyhow};
use serde_json::Value;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    file: &'a str,
    place: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    /// The whole of a file.
    pub fn whole(file: &'a str, value: &'a Value) -> Field<'a> {
        Field { file, place: String::new(), value }
    }

    /// A field that has to be there.
    pub fn get(&self, name: &str) -> Result<Field<'a>> {
        match self.value.get(name) {
            Some(value) => Ok(self.below(name, value)),
            None => Err(self.wrong(&format!("expected a field `{name}`"))),
        }
    }

    /// A field that may be missing or null.
    pub fn maybe(&self, name: &str) -> Option<Field<'a>> {
        let value = self.value.get(name).filter(|value| !value.is_null())?;
        Some(self.below(name, value))
    }

    /// Text.
    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("expected text"))
    }

    /// A number.
    pub fn number(&self) -> Result<f64> {
        self.value.as_f64().ok_or_else(|| self.wrong("expected a number"))
    }

    /// True or false.
    pub fn truth(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("expected true or false"))
    }

    /// Text of a field that may be missing or null.
    pub fn maybe_text(&self, name: &str) -> Result<Option<&'a str>> {
        self.maybe(name).map(|field| field.text()).transpose()
    }

    /// The number of a field that may be missing or null.
    pub fn maybe_number(&self, name: &str) -> Result<Option<f64>> {
        self.maybe(name).map(|field| field.number()).transpose()
    }

    /// The elements of a list.
    pub fn elements(&self) -> Result<Vec<Field<'a>>> {
        let elements = self.value.as_array().ok_or_else(|| self.wrong("expected a list"))?;
        let place = |index| format!("{}[{index}]", self.place);
        let each = elements.iter().enumerate();
        Ok(each
            .map(|(index, value)| Field { file: self.file, place: place(index), value })
            .collect())
    }

    /// The names and the fields of an object.
    pub fn fields(&self) -> Result<Vec<(&'a str, Field<'a>)>> {
        let fields = self.value.as_object().ok_or_else(|| self.wrong("expected an object"))?;
        Ok(fields.iter().map(|(name, value)| (name.as_str(), self.below(name, value))).collect())
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// An error about this field.
    pub fn wrong(&self, expected: &str) -> Error {
        let place = if self.place.is_empty() { "the whole file" } else { &self.place };
        let shown: String = self.value.to_string().chars().take(60).collect();
        anyhow!(
            "{}: {place}: {expected}, found `{shown}`; name a file that `cargo xtask bench` wrote",
            self.file
        )
    }

    fn below(&self, name: &str, value: &'a Value) -> Field<'a> {
        let dot = if self.place.is_empty() { "" } else { "." };
        Field { file: self.file, place: format!("{}{dot}{name}", self.place), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_told_with_file_and_place() {
        let value = json!({"rows": [{"value": "fast", "note": null}]});
        let whole = Field::whole("a.json", &value);
        let row = &whole.get("rows").unwrap().elements().unwrap()[0];
        let error = row.get("value").unwrap().number().unwrap_err().to_string();
        for part in ["a.json", "rows[0].value", "expected a number", "\"fast\"", "cargo xtask"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        let error = whole.get("header").unwrap_err().to_string();
        assert!(error.contains("the whole file") && error.contains("`header`"), "{error}");
        assert!(row.maybe("note").is_none() && row.maybe("p99").is_none());
    }
}
