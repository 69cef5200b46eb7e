//! The first document of a YAML text as a tree, with scalars read as etcd's YAML library reads them (YAML 1.1: `yes`,
//! `on` and `y` are true). JSON is YAML, too.
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::golang;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// Nested deeper than any configuration.
const DEPTH_MAX: usize = 50;
/// Values in all, aliases counted as what they stand for.
const NODES_MAX: usize = 100_000;

/// Reads the first document.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    loop {
        match reader.next()? {
            None | Some(Event::StreamEnd | Event::DocumentEnd) => return Ok(Node::Null),
            Some(Event::StreamStart | Event::DocumentStart(_) | Event::Nothing) => {}
            Some(event) => return reader.node(event, 0),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<Event<'a>>, String> {
        let text = |e: ScanError| format!("yaml: line {}: {}", e.marker().line(), e.info());
        self.parser.next().transpose().map(|next| next.map(|(event, _)| event)).map_err(text)
    }

    fn must(&mut self) -> Result<Event<'a>, String> {
        self.next()?.ok_or_else(|| "yaml: unexpected end".into())
    }

    fn node(&mut self, event: Event<'a>, depth: usize) -> Result<Node, String> {
        let before = self.nodes;
        self.count(1)?;
        if depth > DEPTH_MAX {
            return Err("yaml: exceeded max depth".into());
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none_or(|t| t.suffix != "str");
                (anchor, if plain { scalar(&text) } else { Node::Text(text.into_owned()) })
            }
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(anchor) => {
                let (node, nodes) = self.anchors.get(&anchor).cloned().ok_or("yaml: unknown anchor")?;
                self.count(nodes)?;
                return Ok(node);
            }
            _ => return Err("yaml: unexpected end".into()),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn count(&mut self, more: usize) -> Result<(), String> {
        self.nodes += more;
        if self.nodes > NODES_MAX {
            return Err("yaml: document contains excessive aliasing".into());
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Node, String> {
        let mut items = Vec::new();
        loop {
            match self.must()? {
                Event::SequenceEnd => return Ok(Node::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Node, String> {
        let mut entries = BTreeMap::new();
        let mut merged = Vec::new();
        loop {
            let key = match self.must()? {
                Event::MappingEnd => break,
                Event::Scalar(key, ScalarStyle::Plain, _, _) if key == "<<" => Cow::Borrowed(""),
                event => Cow::Owned(key(self.node(event, depth + 1)?)?),
            };
            let event = self.must()?;
            let value = self.node(event, depth + 1)?;
            match key {
                Cow::Borrowed(_) => merged.push(value),
                Cow::Owned(key) => {
                    entries.insert(key, value);
                }
            }
        }
        while let Some(more) = merged.pop() {
            match more {
                Node::Map(more) => more.into_iter().for_each(|(k, v)| {
                    entries.entry(k).or_insert(v);
                }),
                Node::List(all) => merged.extend(all.into_iter().rev()),
                _ => return Err("yaml: map merge requires map or sequence of maps as the value".into()),
            }
        }
        Ok(Node::Map(entries))
    }
}

/// A key as JSON writes it.
fn key(node: Node) -> Result<String, String> {
    match node {
        Node::Text(text) => Ok(text),
        Node::Bool(b) => Ok(b.to_string()),
        Node::Int(n) => Ok(n.to_string()),
        Node::Float(n) => Ok(n.to_string()),
        Node::Null => Ok("null".into()),
        Node::List(_) | Node::Map(_) => Err("yaml: invalid map key".into()),
    }
}

fn scalar(text: &str) -> Node {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            return Node::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Node::Bool(false);
        }
        _ => {}
    }
    let number = text.replace('_', "");
    let (sign, digits) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(&number)),
    };
    if let Ok(n) = golang::uint(digits) {
        return Node::Int(sign * i128::from(n));
    }
    match is_float(digits).then(|| number.parse::<f64>()) {
        Some(Ok(n)) if n.is_finite() => Node::Float(n),
        _ => Node::Text(text.into()),
    }
}

/// `1.5`, `.5`, `1.`, `1e3`
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.strip_prefix(['+', '-']).unwrap_or(e)),
        None => (digits, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    (!whole.is_empty() || !fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && !exponent.is_empty()
        && all_digits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(text: &str, key: &str) -> Node {
        match parse(text).unwrap() {
            Node::Map(map) => map[key].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_scalars_follow_yaml_1_1() {
        let rows = [
            ("on", Node::Bool(true)),
            ("n", Node::Bool(false)),
            ("~", Node::Null),
            ("010", Node::Int(8)),
            ("0x10", Node::Int(16)),
            ("-3", Node::Int(-3)),
            ("1_000", Node::Int(1000)),
            ("1e3", Node::Float(1000.0)),
            ("99999999999999999999", Node::Float(1e20)),
            ("2001-01-01", Node::Text("2001-01-01".into())),
            ("10m", Node::Text("10m".into())),
            ("!!str 5", Node::Text("5".into())),
            ("\"5\"", Node::Text("5".into())),
            ("http://a:1", Node::Text("http://a:1".into())),
        ];
        for (text, node) in rows {
            assert_eq!(get(&format!("k: {text}"), "k"), node, "{text}");
        }
    }

    #[test]
    fn the_last_of_two_equal_keys_wins_and_merged_keys_give_way() {
        assert_eq!(get("a: 1\na: 2", "a"), Node::Int(2));
        assert_eq!(get("a: 1\n<<: {a: 2, b: 3}", "a"), Node::Int(1));
        assert_eq!(get("x: &x {b: 3}\n<<: [*x]", "b"), Node::Int(3));
    }

    #[test]
    fn json_is_yaml() {
        assert_eq!(get(r#"{"a": ["b"], "c": null}"#, "a"), Node::List(vec![Node::Text("b".into())]));
    }

    #[test]
    fn only_the_first_document_counts_and_nothing_is_nothing() {
        assert_eq!(get("a: 1\n---\na: 2", "a"), Node::Int(1));
        assert_eq!(parse("").unwrap(), Node::Null);
        assert_eq!(parse("# only a comment\n").unwrap(), Node::Null);
    }

    #[test]
    fn foreign_texts_are_refused_without_harm() {
        assert!(parse("name: [\n").unwrap_err().starts_with("yaml: line "));
        assert!(parse(&"[".repeat(100_000)).is_err());
        let mut bomb = String::from("a0: &a0 [x]\n");
        for n in 1..40 {
            bomb += &format!("a{n}: &a{n} [*a{}, *a{}, *a{}]\n", n - 1, n - 1, n - 1);
        }
        assert!(parse(&bomb).unwrap_err().contains("excessive aliasing"));
    }
}
