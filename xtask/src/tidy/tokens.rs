//! Looking for words in the code of a file, and not in its comments and texts.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The lines on which the identifier `word` stands.
pub fn lines_of(text: &str, word: &str) -> Result<Vec<usize>, String> {
    let mut lines = Vec::new();
    visit(parse(text)?, &mut |tokens, at| {
        if let TokenTree::Ident(ident) = &tokens[at]
            && ident == word
        {
            lines.push(ident.span().start().line);
        }
    });
    Ok(lines)
}

/// The lines on which the macro `name` is called.
pub fn lines_of_macro(text: &str, name: &str) -> Result<Vec<usize>, String> {
    let mut lines = Vec::new();
    visit(parse(text)?, &mut |tokens, at| {
        if is_call(tokens, at, name) {
            lines.push(tokens[at].span().start().line);
        }
    });
    Ok(lines)
}

/// The files that `include!("...")` names.
pub fn included_files(text: &str) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    visit(parse(text)?, &mut |tokens, at| {
        if is_call(tokens, at, "include")
            && let Some(TokenTree::Group(group)) = tokens.get(at + 2)
            && group.delimiter() != Delimiter::None
            && let Ok(name) = syn::parse2::<syn::LitStr>(group.stream())
        {
            files.push(name.value());
        }
    });
    Ok(files)
}

fn parse(text: &str) -> Result<TokenStream, String> {
    text.parse::<TokenStream>().map_err(|error| format!("does not read as Rust: {error}"))
}

fn is_call(tokens: &[TokenTree], at: usize, name: &str) -> bool {
    let TokenTree::Ident(ident) = &tokens[at] else {
        return false;
    };
    let Some(TokenTree::Punct(bang)) = tokens.get(at + 1) else {
        return false;
    };
    // `todo != 1` has the same first two tokens, but no group after them.
    ident == name
        && bang.as_char() == '!'
        && matches!(tokens.get(at + 2), Some(TokenTree::Group(_)))
}

fn visit(stream: TokenStream, look: &mut impl FnMut(&[TokenTree], usize)) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        look(&tokens, at);
        if let TokenTree::Group(group) = token {
            visit(group.stream(), look);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_do_not_count() {
        let text =
            "// unsafe\n/// unsafe\nfn a() { \"unsafe\"; }\nmacro_rules! m { () => { unsafe {} } }";
        assert_eq!(lines_of(text, "unsafe").unwrap(), [4]);
    }

    #[test]
    fn a_macro_call_needs_its_bang_and_its_group() {
        let text = "fn todo() {}\nfn b() { todo!() }\nfn c() { let _ = todo != 1; }";
        assert_eq!(lines_of_macro(text, "todo").unwrap(), [2]);
    }

    #[test]
    fn included_files_are_named() {
        let text = "const A: u8 = include!(\"a.rs\"); include!(concat!(\"b\", \".rs\"));";
        assert_eq!(included_files(text).unwrap(), ["a.rs"]);
    }

    #[test]
    fn what_is_no_rust_is_an_error() {
        assert!(lines_of("fn (", "unsafe").is_err());
    }
}
