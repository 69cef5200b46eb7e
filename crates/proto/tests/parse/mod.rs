//! Just enough of the proto language to list what a file declares.

/// One thing declared.
pub enum Row {
    Method { service: String, name: String, kind: &'static str, request: String, response: String },
    Field { message: String, name: String, number: String, kind: String, label: String },
    Value { of: String, name: String, number: String },
    Message { name: String },
}

/// Where a statement stands.
#[derive(Clone)]
enum Scope {
    Message(String),
    Oneof(String),
    Enum(String),
    Service(String),
    /// Options of a method and the like.
    Other,
}

/// Lists what the file declares.
pub fn file(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut package = String::new();
    let mut scopes: Vec<Scope> = Vec::new();
    for (statement, end) in statements(text) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match (words.as_slice(), end) {
            ([], '}') => {
                scopes.pop();
            }
            (["package", name], ';') => package = (*name).into(),
            (["message", name], '{') => {
                let name = qualified(&package, &scopes, name);
                rows.push(Row::Message { name: name.clone() });
                scopes.push(Scope::Message(name));
            }
            (["enum", name], '{') => scopes.push(Scope::Enum(qualified(&package, &scopes, name))),
            (["service", name], '{') => scopes.push(Scope::Service(format!("{package}.{name}"))),
            (["oneof", name], '{') => scopes.push(Scope::Oneof((*name).into())),
            (["rpc", ..], end) => {
                if let Some(Scope::Service(service)) = scopes.last() {
                    rows.push(method(service, &statement));
                }
                if end == '{' {
                    scopes.push(Scope::Other);
                }
            }
            (_, '{') => scopes.push(Scope::Other),
            ([], _) | (["syntax" | "import" | "option", ..], _) => {}
            (words, _) => rows.extend(member(&scopes, words)),
        }
    }
    assert!(scopes.is_empty(), "unbalanced braces");
    rows
}

fn qualified(package: &str, scopes: &[Scope], name: &str) -> String {
    match scopes.last() {
        Some(Scope::Message(outer)) => format!("{outer}.{name}"),
        _ => format!("{package}.{name}"),
    }
}

/// Splits at `;`, `{` and `}`, without comments and options in brackets.
fn statements(text: &str) -> Vec<(String, char)> {
    let code: String =
        text.lines().map(|l| l.split("//").next().unwrap_or_default().to_string() + "\n").collect();
    let mut all = Vec::new();
    let mut current = String::new();
    let mut brackets = 0;
    for c in code.chars() {
        match c {
            '[' => brackets += 1,
            ']' => brackets -= 1,
            ';' | '{' | '}' if brackets == 0 => all.push((std::mem::take(&mut current), c)),
            c if brackets == 0 => current.push(c),
            _ => {}
        }
    }
    all
}

/// `rpc Name(stream? A) returns (stream? B)`
fn method(service: &str, statement: &str) -> Row {
    let spaced = statement.replace(['(', ')'], " ");
    let mut words: Vec<&str> = spaced.split_whitespace().collect();
    let returns = words.iter().position(|w| *w == "returns").expect("an rpc returns something");
    let response = words.split_off(returns + 1);
    let request = &words[2..returns];
    let kind = match (request[0] == "stream", response[0] == "stream") {
        (false, false) => "unary",
        (false, true) => "server-stream",
        (true, false) => "client-stream",
        (true, true) => "bidi",
    };
    let last = |words: &[&str]| words.last().expect("a type").to_string();
    Row::Method {
        service: service.into(),
        name: words[1].into(),
        kind,
        request: last(request),
        response: last(&response),
    }
}

fn member(scopes: &[Scope], words: &[&str]) -> Option<Row> {
    let message = || {
        scopes.iter().rev().find_map(|s| match s {
            Scope::Message(name) => Some(name.clone()),
            _ => None,
        })
    };
    match (scopes.last()?, words) {
        (Scope::Enum(of), [name, "=", number]) => {
            Some(Row::Value { of: of.clone(), name: (*name).into(), number: (*number).into() })
        }
        (Scope::Message(_), ["reserved", ..]) => None,
        (Scope::Message(_), [label @ ("repeated" | "optional" | "required"), kind, name, "=", number]) => {
            Some(field(message()?, label, kind, name, number))
        }
        (Scope::Message(_), [kind, name, "=", number]) => Some(field(message()?, "", kind, name, number)),
        (Scope::Oneof(oneof), [kind, name, "=", number]) => {
            Some(field(message()?, &format!("oneof {oneof}"), kind, name, number))
        }
        (Scope::Other, _) => None,
        (_, words) => panic!("not understood: {words:?}"),
    }
}

fn field(message: String, label: &str, kind: &str, name: &str, number: &str) -> Row {
    Row::Field { message, name: name.into(), number: number.into(), kind: kind.into(), label: label.into() }
}
