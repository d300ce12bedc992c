//! What counts as code in a Rust file: its text without comments and literals, its tokens, its items and its tests.
//!
//! A lexer of a hundred lines instead of a parser crate: the rules of the house ask only for paths, braces and names.

/// One file, its text, and the same text with every comment, literal and lifetime blanked out.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
}

/// A word, a `::` or a single sign, and the line it stands on (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// A function with a body: what it is called and how many lines it takes, signature and braces included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let code = blank(&text);
        Self { path: path.to_owned(), text, code }
    }

    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.code)
    }

    /// The crate's folder name and the module the file is, for a file below `crates/NAME/src`.
    pub(crate) fn module(&self) -> Option<(&str, Vec<String>)> {
        let (name, inside) = self.path.strip_prefix("crates/")?.split_once('/')?;
        let inside = inside.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("lib" | "main" | "mod")) {
            module.pop();
        }
        Some((name, module))
    }

    /// Functions with a body, outermost first.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let tokens = self.tokens();
        let mut found = Vec::new();
        for (at, pair) in tokens.windows(2).enumerate() {
            if pair[0].text != "fn" || !is_word(pair[1].text) {
                continue;
            }
            let Some(open) = body(&tokens, at) else { continue };
            let close = closing(&tokens, open);
            let lines = tokens[close].line - pair[0].line + 1;
            found.push(Function { name: pair[1].text.to_owned(), line: pair[0].line, lines });
        }
        found
    }

    /// The tests of the file, each with the inline modules it lies in.
    pub(crate) fn tests(&self) -> Vec<Vec<String>> {
        let tokens = self.tokens();
        let mut walk = Modules::default();
        let mut found = Vec::new();
        let mut marked = false;
        for at in 0..tokens.len() {
            walk.step(&tokens, at);
            match tokens[at].text {
                "test" if in_attribute(&tokens, at) => marked = true,
                "fn" if marked => {
                    marked = false;
                    let name = tokens.get(at + 1).map_or("", |t| t.text);
                    found.push(walk.path().chain([name.to_owned()]).collect());
                }
                _ => {}
            }
        }
        found
    }

    /// Whether the file declares `item`: a bare name, or `Type::name` for what lies inside a type or its `impl`.
    pub(crate) fn declares(&self, item: &str) -> bool {
        let tokens = self.tokens();
        match item.split_once("::") {
            None => declared(&tokens, item),
            Some((owner, name)) => bodies(&tokens, owner).iter().any(|inside| match inside {
                Body::Impl(tokens) => declared(tokens, name),
                Body::Fields(tokens) => tokens.iter().any(|t| t.text == name),
            }),
        }
    }
}

/// The inline modules around a token, kept while walking over a file's tokens one by one.
#[derive(Default)]
pub(crate) struct Modules {
    depth: usize,
    open: Vec<(String, usize)>,
}

impl Modules {
    /// Takes in the token at `at`; to be called for each, in order.
    pub(crate) fn step(&mut self, tokens: &[Token<'_>], at: usize) {
        match tokens[at].text {
            "{" => {
                if at >= 2 && tokens[at - 2].text == "mod" {
                    self.open.push((tokens[at - 1].text.to_owned(), self.depth));
                }
                self.depth += 1;
            }
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.open.pop_if(|(_, depth)| *depth == self.depth);
            }
            _ => {}
        }
    }

    pub(crate) fn path(&self) -> impl Iterator<Item = String> {
        self.open.iter().map(|(name, _)| name.clone())
    }
}

pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

enum Body<'t, 'a> {
    Impl(&'t [Token<'a>]),
    Fields(&'t [Token<'a>]),
}

/// What stands between the braces of `owner`'s declaration and of each of its `impl`s.
fn bodies<'t, 'a>(tokens: &'t [Token<'a>], owner: &str) -> Vec<Body<'t, 'a>> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let is_impl = matches!(tokens[at].text, "impl" | "trait");
        let is_type = matches!(tokens[at].text, "struct" | "enum" | "union");
        if !is_impl && !is_type {
            continue;
        }
        let Some(open) = body(tokens, at) else { continue };
        let header = &tokens[at + 1..open];
        let named = if is_impl { header.iter().any(|t| t.text == owner) } else { header[0].text == owner };
        if named {
            let inside = &tokens[open + 1..closing(tokens, open)];
            found.push(if is_impl { Body::Impl(inside) } else { Body::Fields(inside) });
        }
    }
    found
}

fn declared(tokens: &[Token<'_>], name: &str) -> bool {
    tokens.windows(2).any(|pair| {
        let keyword = matches!(
            pair[0].text,
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "mod" | "impl"
        );
        keyword && pair[1].text == name
    })
}

/// The opening brace of the item that begins at `at`; none where it ends with a semicolon.
fn body(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let mut nested = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "(" | "[" => nested += 1,
            ")" | "]" => nested = nested.checked_sub(1)?,
            ";" | "}" if nested == 0 => return None,
            "{" if nested == 0 => return Some(index),
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`; the last token where none does.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" => depth += 1,
            "}" if depth == 1 => return index,
            "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len() - 1
}

/// Whether the word at `at` is the attribute itself: `#[test]`, `#[tokio::test(…)]`, but not `#[cfg(test)]`.
fn in_attribute(tokens: &[Token<'_>], at: usize) -> bool {
    let mut start = at;
    while start >= 2 && tokens[start - 1].text == "::" {
        start -= 2;
    }
    start >= 2 && tokens[start - 1].text == "[" && tokens[start - 2].text == "#"
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        if first == '\n' {
            line += 1;
        } else if !first.is_whitespace() {
            found.push(Token { text, line });
        }
        rest = after;
    }
    found
}

/// The text with comments, strings, characters and lifetimes turned to spaces; lines stay where they were.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = literal(rest, before);
        let taken = if length == 0 { first.len_utf8() } else { length };
        let (piece, after) = rest.split_at(taken);
        if length == 0 {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        before = if length == 0 { first } else { ' ' };
        rest = after;
    }
    code
}

/// How many bytes at the head of `rest` are a comment, a literal or a lifetime; 0 where code begins.
fn literal(rest: &str, before: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, 0);
    }
    if rest.starts_with('\'') {
        return tick(rest);
    }
    if before.is_alphanumeric() || before == '_' {
        return 0;
    }
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r')).unwrap_or(rest.len());
    match rest[prefix..].chars().next() {
        Some('"') if (1..=2).contains(&prefix) && !rest[..prefix].contains('r') => quoted(rest, prefix),
        Some('"' | '#') if (1..=2).contains(&prefix) && rest[..prefix].ends_with('r') => raw(rest, prefix),
        Some('\'') if prefix == 1 && rest.starts_with('b') => prefix + tick(&rest[prefix..]),
        _ => 0,
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A string whose opening quote stands at `open`.
fn quoted(rest: &str, open: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest[open + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return open + 1 + at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A raw string after its prefix; 0 for a raw identifier.
fn raw(rest: &str, prefix: usize) -> usize {
    let hashes = rest[prefix..].chars().take_while(|c| *c == '#').count();
    if !rest[prefix + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = prefix + hashes + 1;
    rest[inside..].find(&end).map_or(rest.len(), |at| inside + at + end.len())
}

/// A character or a lifetime: both begin with a tick.
fn tick(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => chars.find(|(_, c)| *c == '\'').map_or(rest.len(), |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1 + rest[1..].find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/kodikon-core/src/ground/id.rs", text.to_owned())
    }

    #[test]
    fn only_code_is_left_of_a_text() {
        let table = [
            ("a // crate::b\nc", vec!["a", "c"]),
            ("a /* x /* y */ z */ c", vec!["a", "c"]),
            (r#"a("crate::b \" d") c"#, vec!["a", "(", ")", "c"]),
            (r##"a(r#"x " y"#) c"##, vec!["a", "(", ")", "c"]),
            (r#"b"x" c"y" br"z" d"#, vec!["d"]),
            ("'x' '\\'' '\\u{1f600}' b'\\n' c", vec!["c"]),
            ("f::<'a, 'static>('é')", vec!["f", "::", "<", ",", ">", "(", ")"]),
            ("r#type.rb crab", vec!["r", "#", "type", ".", "rb", "crab"]),
        ];
        for (text, expected) in table {
            let source = source(text);
            assert_eq!(source.tokens().iter().map(|t| t.text).collect::<Vec<_>>(), expected, "of {text}");
            assert_eq!(source.code.lines().count(), text.lines().count(), "lines of {text}");
        }
    }

    #[test]
    fn a_function_is_measured_from_its_signature_to_its_last_brace() {
        let text = "fn short() {}\ntrait T { fn none(x: [u8; 4]); }\nconst fn long(\n  x: fn(u8),\n) -> u8 {\n  if x { 1 }\n}\n";
        let found: Vec<_> = source(text).functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("short".to_owned(), 1, 1), ("long".to_owned(), 3, 5)]);
    }

    #[test]
    fn a_test_is_known_by_its_attribute_and_the_modules_around_it() {
        let text = "#[cfg(test)] mod tests { fn helper() {} #[test]\n#[should_panic] fn one() {} mod deep { #[tokio::test(flavor = \"x\")]\nasync fn two() {} } fn three() {} }";
        let found: Vec<_> = source(text).tests().iter().map(|path| path.join("::")).collect();
        assert_eq!(found, ["tests::one", "tests::deep::two"]);
    }

    #[test]
    fn an_item_is_found_where_it_is_declared_and_not_where_it_is_used() {
        let text = "use a::Used; pub struct Table { rows: u8 } impl fmt::Debug for Table { fn fmt() { called() } }\nenum Verdict { Alive, Dead { why: u8 } } const LIMIT: u8 = 1; fn free() {}";
        let source = source(text);
        for item in ["Table", "Table::fmt", "Table::rows", "Verdict", "Verdict::Dead", "LIMIT", "free"] {
            assert!(source.declares(item), "{item} is declared");
        }
        for item in ["Used", "called", "Table::free", "Verdict::Lost", "Table::called", "Missing"] {
            assert!(!source.declares(item), "{item} is not declared");
        }
    }

    #[test]
    fn a_file_knows_its_module() {
        let table = [
            ("crates/kodikon-core/src/lib.rs", Some(("kodikon-core", vec![]))),
            ("crates/kodikon-core/src/node/outbound.rs", Some(("kodikon-core", vec!["node", "outbound"]))),
            ("crates/kodikon-core/tests/house/main.rs", None),
            ("fuzz/fuzz_targets/frame.rs", None),
        ];
        for (path, expected) in table {
            let source = Source::new(path, String::new());
            let found = source.module();
            let found = found.as_ref().map(|(name, module)| (*name, module.iter().map(String::as_str).collect()));
            assert_eq!(found, expected, "of {path}");
        }
    }
}
