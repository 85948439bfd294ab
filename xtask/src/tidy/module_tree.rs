//! Every Rust file is reached from a target. Cargo and rustc pass over a stray file without a
//! word, so a test in one would be green for ever.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::Package;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta, MetaNameValue, Token};

use super::sources::Sources;
use super::{Finding, Outcome, tokens};

/// One thing that cargo builds.
pub struct Target {
    /// The file that its module tree begins with.
    pub root: PathBuf,
}

/// The targets of all member packages: libraries, programs, tests, benches, examples and build
/// scripts.
pub fn targets(packages: &[Package]) -> Vec<Target> {
    packages
        .iter()
        .flat_map(|package| &package.targets)
        .map(|target| Target { root: target.src_path.clone().into_std_path_buf() })
        .collect()
}

pub fn check(sources: &Sources, targets: &[Target]) -> Outcome {
    let mut reached = BTreeSet::new();
    let mut findings = Vec::new();
    for target in targets {
        if let Ok(path) = target.root.strip_prefix(&sources.root) {
            follow(sources, path, true, &mut reached, &mut findings);
        }
    }
    for (path, _) in sources.rust() {
        if !reached.contains(path) {
            findings.push(Finding::fails(
                path,
                None,
                "no target reaches this file, so it is never compiled; name it in a `mod`, in a \
                 [[test]], [[bench]] or [[bin]] of its package, or remove it"
                    .to_owned(),
            ));
        }
    }
    Outcome { rule: "module-tree", looked_at: reached.len(), unit: "files", findings }
}

/// Adds `path` and every file below it in the module tree.
fn follow(
    sources: &Sources,
    path: &Path,
    owns_folder: bool,
    reached: &mut BTreeSet<PathBuf>,
    findings: &mut Vec<Finding>,
) {
    let Some(text) = sources.files.get(path) else {
        return;
    };
    if !reached.insert(path.to_path_buf()) {
        return;
    }
    let here = path.parent().unwrap_or(Path::new(""));
    match syn::parse_file(text) {
        Ok(file) => {
            let children = if owns_folder { here.to_path_buf() } else { path.with_extension("") };
            let place = Place { here, children, inline: false };
            for (child, owns_folder) in declared(&file.items, &place) {
                follow(sources, &child, owns_folder, reached, findings);
            }
        }
        // A fragment for `include!` need not be a whole file of items.
        Err(error) if text.parse::<proc_macro2::TokenStream>().is_err() => {
            findings.push(Finding::fails(
                path,
                error.span().start().line,
                format!("does not read as Rust: {error}"),
            ));
        }
        Err(_) => {}
    }
    for name in tokens::included_files(text).unwrap_or_default() {
        follow(sources, &flatten(&here.join(name)), true, reached, findings);
    }
}

/// Where modules declared at some point of a file are looked for.
struct Place<'a> {
    /// The folder of the file.
    here: &'a Path,
    /// The folder of its child modules.
    children: PathBuf,
    /// Inside a module with a body.
    inline: bool,
}

/// The files that the items may name, and whether each owns the folder it lies in.
fn declared(items: &[Item], place: &Place<'_>) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    for item in items {
        let Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        match &module.content {
            Some((_, inside)) => {
                let inner =
                    Place { here: place.here, children: place.children.join(name), inline: true };
                files.extend(declared(inside, &inner));
            }
            None => {
                // With `cfg_attr` either path may be the one, so both count.
                for path in explicit_paths(module) {
                    let base = if place.inline { place.children.as_path() } else { place.here };
                    files.push((flatten(&base.join(path)), true));
                }
                files.push((place.children.join(format!("{name}.rs")), false));
                files.push((place.children.join(name).join("mod.rs"), true));
            }
        }
    }
    files
}

fn explicit_paths(module: &ItemMod) -> Vec<String> {
    module.attrs.iter().flat_map(paths_of_attribute).collect()
}

fn paths_of_attribute(attribute: &Attribute) -> Vec<String> {
    let metas: Vec<Meta> = match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg_attr") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .map(|metas| metas.into_iter().collect())
            .unwrap_or_default(),
        meta => vec![meta.clone()],
    };
    metas.iter().filter_map(path_of_meta).collect()
}

fn path_of_meta(meta: &Meta) -> Option<String> {
    let Meta::NameValue(MetaNameValue { path, value, .. }) = meta else {
        return None;
    };
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = value else {
        return None;
    };
    path.is_ident("path").then(|| text.value())
}

/// Takes `..` out of a path without asking the file system.
fn flatten(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                flat.pop();
            }
            std::path::Component::CurDir => {}
            other => flat.push(other),
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::sources::fixture;

    fn strays(files: &[(&str, &str)], roots: &[&str]) -> Vec<String> {
        let (folder, sources) = fixture::tree(files);
        let targets: Vec<Target> =
            roots.iter().map(|root| Target { root: folder.path().join(root) }).collect();
        check(&sources, &targets)
            .findings
            .iter()
            .map(|finding| finding.place.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_way_to_name_a_module_is_followed() {
        let found = strays(
            &[
                (
                    "a/src/lib.rs",
                    "mod flat;\nmod folder;\nmod inline { mod deep; }\n\
                     #[path = \"../odd/place.rs\"] mod moved;\n\
                     #[cfg_attr(unix, path = \"unix.rs\")] #[cfg_attr(windows, path = \"windows.rs\")] mod os;\n\
                     const TABLE: [u8; 1] = include!(\"table.rs\");",
                ),
                ("a/src/flat.rs", "mod child;"),
                ("a/src/flat/child.rs", ""),
                ("a/src/folder/mod.rs", "pub mod r#type;"),
                ("a/src/folder/type.rs", ""),
                ("a/src/inline/deep.rs", ""),
                ("a/odd/place.rs", "mod beside;"),
                ("a/odd/beside.rs", ""),
                ("a/src/unix.rs", ""),
                ("a/src/windows.rs", ""),
                ("a/src/table.rs", "[1]"),
            ],
            &["a/src/lib.rs"],
        );
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn stray_files_fail_in_sources_tests_and_benches() {
        let found = strays(
            &[
                ("a/src/lib.rs", "// mod orphan;\nmod inner;"),
                ("a/src/inner.rs", ""),
                ("a/src/orphan.rs", "mod below;"),
                ("a/src/below.rs", ""),
                ("tests/it/main.rs", ""),
                ("tests/it/forgotten.rs", "#[test] fn never_runs() {}"),
                ("benches/stray.rs", ""),
            ],
            &["a/src/lib.rs", "tests/it/main.rs"],
        );
        assert_eq!(
            found,
            ["a/src/below.rs", "a/src/orphan.rs", "benches/stray.rs", "tests/it/forgotten.rs"]
        );
    }
}
