//! The functions that `cust_raw` declares, read from its source.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use syn::{Attribute, Expr, ForeignItem, Item, Lit, Meta};

/// Their symbols. None, said aloud, where there is no cargo and so no source.
pub fn symbols() -> Option<BTreeSet<String>> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        println!("SKIPPED: not run by cargo, which knows where the source of cust_raw is");
        return None;
    };
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "cust_raw").unwrap();
    let manifest = std::path::Path::new(package["manifest_path"].as_str().unwrap());
    let source = std::fs::read_to_string(manifest.with_file_name("src").join("cuda.rs")).unwrap();
    let symbols: BTreeSet<String> =
        syn::parse_file(&source).unwrap().items.iter().flat_map(functions).collect();
    assert!(symbols.contains("cuInit") && symbols.contains("cuMemAlloc_v2"), "{symbols:?}");
    Some(symbols)
}

fn functions(item: &Item) -> Vec<String> {
    let Item::ForeignMod(block) = item else { return Vec::new() };
    let functions = block.items.iter().filter_map(|item| match item {
        ForeignItem::Fn(function) => Some(function),
        _ => None,
    });
    functions
        .map(|function| {
            link_name(&function.attrs).unwrap_or_else(|| function.sig.ident.to_string())
        })
        .collect()
}

fn link_name(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("link_name") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                // bindgen marks a name that the compiler must not change by a byte 1 in front.
                Lit::Str(name) => Some(name.value().trim_start_matches('\u{1}').to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}
