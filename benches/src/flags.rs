//! The command line of a suite.

use std::path::PathBuf;

use clap::Parser;

/// Measurements side by side with their limits.
#[derive(Clone, Debug, Parser)]
pub struct Flags {
    /// Measure only the groups whose name contains this
    pub only: Option<String>,
    /// Few and short measurements: shows that the suite works, not how fast anything is
    #[arg(long)]
    pub quick: bool,
    /// Also write the rows to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Given by `cargo bench` to every bench target
    #[arg(long, hide = true)]
    pub bench: bool,
    /// Play this role for the process that measures
    #[arg(long, hide = true, requires = "orders")]
    pub child: Option<String>,
    /// What to do in that role
    #[arg(long, hide = true)]
    pub orders: Option<String>,
}

impl Flags {
    /// Whether a group is to be measured.
    pub fn wants(&self, group: &str) -> bool {
        self.only.as_deref().is_none_or(|only| group.contains(only))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_and_a_person_write_is_understood() {
        let flags = Flags::parse_from(["stream", "--quick", "--json", "rows.json", "--bench"]);
        assert!(flags.quick && flags.wants("any") && flags.child.is_none());
        assert_eq!(flags.json.unwrap().to_str(), Some("rows.json"));
        let flags = Flags::parse_from(["stream", "one", "--bench"]);
        assert!(flags.wants("oneway") && !flags.wants("wake"));
    }

    #[test]
    fn a_child_needs_orders() {
        assert!(Flags::try_parse_from(["stream", "--child", "echo"]).is_err());
    }
}
