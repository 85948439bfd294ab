//! Which package may depend on which. shm-core is at the bottom and knows none of the others.

use std::path::PathBuf;

use cargo_metadata::{DependencyKind, Package};

use super::{Finding, Outcome};

/// The allowed edges between library packages.
const LAYERS: [Layer; 5] = [
    Layer { package: "shm-core", on: &[], optionally_on: &[], in_tests_on: &[] },
    Layer { package: "shm-pool", on: &["shm-core"], optionally_on: &[], in_tests_on: &[] },
    Layer {
        package: "shm-cuda",
        on: &["shm-core"],
        optionally_on: &["shm-pool"],
        in_tests_on: &["shm-cuda-sim"],
    },
    Layer {
        package: "shm-triton",
        on: &["shm-core", "shm-pool"],
        optionally_on: &["shm-cuda"],
        in_tests_on: &[],
    },
    Layer {
        package: "shm-py",
        on: &["shm-core", "shm-pool", "shm-cuda", "shm-triton"],
        optionally_on: &[],
        in_tests_on: &[],
    },
];

/// Packages that stand above all libraries and on which no library may depend.
const ABOVE: [&str; 6] =
    ["shm-tests", "shm-triton-backend", "shm-zoo", "shm-benches", "shm-examples", "xtask"];

struct Layer {
    package: &'static str,
    on: &'static [&'static str],
    optionally_on: &'static [&'static str],
    /// Stand-ins for what a test machine may lack; nothing that is published needs them.
    in_tests_on: &'static [&'static str],
}

/// A package of the workspace.
pub struct Member {
    pub name: String,
    pub manifest: PathBuf,
}

/// One package of the workspace depends on another.
#[derive(Clone, Debug)]
pub struct Edge {
    pub from: String,
    pub to: String,
    pub optional: bool,
    /// A development dependency.
    pub in_tests: bool,
    pub manifest: PathBuf,
}

/// The packages by name.
pub fn members(packages: &[Package]) -> Vec<Member> {
    packages
        .iter()
        .map(|package| Member {
            name: package.name.to_string(),
            manifest: package.manifest_path.clone().into_std_path_buf(),
        })
        .collect()
}

/// The edges inside the workspace: normal, build and development dependencies.
pub fn edges(packages: &[Package]) -> Vec<Edge> {
    let is_member = |name: &str| packages.iter().any(|package| package.name.as_str() == name);
    packages
        .iter()
        .flat_map(|package| {
            package.dependencies.iter().filter(|dependency| is_member(&dependency.name)).map(
                |dependency| Edge {
                    from: package.name.to_string(),
                    to: dependency.name.clone(),
                    optional: dependency.optional,
                    in_tests: dependency.kind == DependencyKind::Development,
                    manifest: package.manifest_path.clone().into_std_path_buf(),
                },
            )
        })
        .collect()
}

pub fn check(members: &[Member], edges: &[Edge]) -> Outcome {
    let mut findings: Vec<Finding> = members
        .iter()
        .filter(|member| !is_known(&member.name))
        .map(|member| {
            Finding::fails(
                &member.manifest,
                None,
                format!(
                    "the package `{}` has no layer; add it to xtask/src/tidy/layers.rs",
                    member.name
                ),
            )
        })
        .collect();
    findings.extend(
        edges.iter().filter_map(|edge| {
            forbidden(edge).map(|why| Finding::fails(&edge.manifest, None, why))
        }),
    );
    Outcome { rule: "layers", looked_at: members.len(), unit: "packages", findings }
}

fn is_known(package: &str) -> bool {
    is_above(package) || LAYERS.iter().any(|layer| layer.package == package)
}

/// `tests` and `benches` may hold further packages, such as stand-ins for devices.
fn is_above(package: &str) -> bool {
    ABOVE.contains(&package) || package.ends_with("-sim")
}

fn forbidden(edge: &Edge) -> Option<String> {
    let layer = LAYERS.iter().find(|layer| layer.package == edge.from)?;
    let to = edge.to.as_str();
    // A package that names itself wants features of its own in its tests.
    if edge.in_tests && edge.from == edge.to {
        return None;
    }
    if layer.on.contains(&to) || (edge.in_tests && layer.in_tests_on.contains(&to)) {
        return None;
    }
    if layer.optionally_on.contains(&to) {
        return (!edge.optional).then(|| {
            format!(
                "`{}` may depend on `{}` only behind a feature; write `optional = true`",
                edge.from, edge.to
            )
        });
    }
    Some(format!(
        "`{}` depends on `{}`, which its layer must not know; allowed: {}",
        edge.from,
        edge.to,
        allowed(layer)
    ))
}

fn allowed(layer: &Layer) -> String {
    let names: Vec<String> = layer
        .on
        .iter()
        .map(|name| (*name).to_owned())
        .chain(layer.optionally_on.iter().map(|name| format!("{name} (optional)")))
        .chain(layer.in_tests_on.iter().map(|name| format!("{name} (in tests)")))
        .collect();
    if names.is_empty() { "no package of this workspace".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, optional: bool) -> Edge {
        Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            optional,
            in_tests: false,
            manifest: PathBuf::from("Cargo.toml"),
        }
    }

    fn findings(edges: &[Edge]) -> Vec<String> {
        check(&[], edges).findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn the_edges_of_the_layout_are_allowed() {
        let found = findings(&[
            edge("shm-pool", "shm-core", false),
            edge("shm-cuda", "shm-core", false),
            edge("shm-cuda", "shm-pool", true),
            edge("shm-triton", "shm-pool", false),
            edge("shm-triton", "shm-cuda", true),
            edge("shm-py", "shm-core", false),
            edge("shm-py", "shm-triton", false),
            edge("xtask", "shm-core", true),
            edge("shm-zoo", "shm-triton", false),
            edge("shm-benches", "shm-tests", false),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_stand_in_is_for_tests_only() {
        let needed = edge("shm-cuda", "shm-cuda-sim", false);
        let found = findings(&[
            Edge { in_tests: true, ..needed.clone() },
            Edge { in_tests: true, ..edge("shm-cuda", "shm-cuda", false) },
            needed,
            Edge { in_tests: true, ..edge("shm-core", "shm-cuda-sim", false) },
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("shm-cuda-sim (in tests)"), "{found:?}");
    }

    #[test]
    fn a_package_without_a_layer_fails() {
        let members = ["shm-core", "shm-cuda-sim", "shm-extras"].map(|name| Member {
            name: name.to_owned(),
            manifest: PathBuf::from(name).join("Cargo.toml"),
        });
        let outcome = check(&members, &[]);
        assert_eq!(outcome.looked_at, 3);
        assert_eq!(outcome.findings.len(), 1);
        let text = outcome.findings[0].to_string();
        assert!(text.contains("shm-extras") && text.contains("layers.rs"), "{text}");
    }

    #[test]
    fn core_may_know_nobody() {
        for above in ["shm-pool", "shm-tests", "shm-zoo", "xtask"] {
            let found = findings(&[edge("shm-core", above, true)]);
            assert_eq!(found.len(), 1, "{above}");
            assert!(found[0].contains("no package of this workspace"), "{found:?}");
        }
    }

    #[test]
    fn an_optional_edge_must_be_optional_and_none_may_point_up() {
        let found =
            findings(&[edge("shm-cuda", "shm-pool", false), edge("shm-pool", "shm-cuda", true)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("optional = true"), "{found:?}");
        assert!(found[1].contains("allowed: shm-core"), "{found:?}");
    }
}
