//! Values as Go prints them, and `Sprintf`.

use std::fmt::Write;

use serde_json::Value;

use super::value::{Datum, empty};

/// A value that an action prints.
pub(super) fn action(datum: &Datum) -> String {
    match (&datum.json, empty(datum.shape)) {
        (Value::Null, None) => "<no value>".into(),
        _ => value(datum),
    }
}

/// A value by `%v`: a struct's values in the order of its type, a map's with their names in order.
pub(super) fn value(datum: &Datum) -> String {
    each(datum, &|scalar| match scalar {
        Value::String(text) => text.clone(),
        Value::Number(number) => plain_number(number),
        other => other.to_string(),
    })
}

/// A value whose parts, however deep, are printed by `scalar`.
fn each(datum: &Datum, scalar: &dyn Fn(&Value) -> String) -> String {
    if let Some(fields) = datum.fields() {
        let fields: Vec<String> = fields.iter().map(|field| each(field, scalar)).collect();
        return format!("{{{}}}", fields.join(" "));
    }
    match &datum.json {
        Value::Null => empty(datum.shape).unwrap_or("<nil>").into(),
        Value::Array(_) | Value::Object(_) => {
            let is_list = datum.json.is_array();
            let items = datum.clone().items().unwrap_or_default().into_iter().map(|(key, item)| match is_list {
                true => each(&item, scalar),
                false => format!("{}:{}", scalar(&key.json), each(&item, scalar)),
            });
            let items = items.collect::<Vec<_>>().join(" ");
            if is_list { format!("[{items}]") } else { format!("map[{items}]") }
        }
        other => scalar(other),
    }
}

fn plain_number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => general(float, None, 'e'),
        _ => number.to_string(),
    }
}

/// Go's `Sprint`: spaces between what is no text.
pub(super) fn sprint(values: &[Datum]) -> String {
    let mut out = String::new();
    for (at, datum) in values.iter().enumerate() {
        let texts = |at: usize| values[at].json.is_string();
        if at > 0 && !texts(at) && !texts(at - 1) {
            out.push(' ');
        }
        out.push_str(&value(datum));
    }
    out
}

/// How one value is to be placed.
#[derive(Clone, Copy, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The widest field, so that no pattern fills the memory.
const WIDEST: usize = 1 << 16;

/// Go's `Sprintf`.
pub(super) fn sprintf(pattern: &str, arguments: &[Datum]) -> String {
    let mut out = String::new();
    let mut reader = Reader { rest: pattern, arguments, at: 0, reordered: false };
    while let Some((before, after)) = reader.rest.split_once('%') {
        out.push_str(before);
        reader.rest = after;
        reader.verb(&mut out);
    }
    out.push_str(reader.rest);
    if !reader.reordered && reader.at < arguments.len() {
        let extra = arguments[reader.at..].iter().map(|datum| match datum.json {
            Value::Null => "<nil>".to_owned(),
            _ => format!("{}={}", datum.kind(), value(datum)),
        });
        let _ = write!(out, "%!(EXTRA {})", extra.collect::<Vec<_>>().join(", "));
    }
    out
}

struct Reader<'t> {
    rest: &'t str,
    arguments: &'t [Datum],
    at: usize,
    reordered: bool,
}

impl Reader<'_> {
    /// Reads what follows a `%`, and writes what it asks for.
    fn verb(&mut self, out: &mut String) {
        let mut spec = Spec::default();
        while let Some(flag) = self.rest.chars().next() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        self.number(&mut spec, |spec, number| match usize::try_from(number) {
            Ok(width) => spec.width = Some(width),
            Err(_) => (spec.minus, spec.width) = (true, usize::try_from(number.unsigned_abs()).ok()),
        });
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            spec.precision = Some(0);
            self.number(&mut spec, |spec, number| spec.precision = usize::try_from(number).ok());
        }
        let known = self.position();
        let Some(verb) = self.rest.chars().next() else { return out.push_str("%!(NOVERB)") };
        self.rest = &self.rest[verb.len_utf8()..];
        match (verb, self.arguments.get(self.at)) {
            ('%', _) => out.push('%'),
            _ if known.is_err() => _ = write!(out, "%!{verb}(BADINDEX)"),
            (verb, None) => _ = write!(out, "%!{verb}(MISSING)"),
            (verb, Some(datum)) => {
                self.at += 1;
                out.push_str(&placed(&spec, verb, datum));
            }
        }
    }

    /// A number, or `*`: the next argument.
    fn number(&mut self, spec: &mut Spec, set: fn(&mut Spec, i64)) {
        let _ = self.position();
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            let number = self.arguments.get(self.at).and_then(|datum| datum.json.as_i64());
            self.at += 1;
            if let Some(number) = number {
                set(spec, number);
            }
            return;
        }
        let end = self.rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(self.rest.len());
        if let Ok(number) = self.rest[..end].parse() {
            set(spec, number);
        }
        self.rest = &self.rest[end..];
    }

    /// `[2]`: which argument is next.
    fn position(&mut self) -> Result<(), ()> {
        let Some((number, rest)) = self.rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
            return Ok(());
        };
        self.rest = rest;
        self.reordered = true;
        let number = number.parse::<usize>().ok().filter(|number| (1..=self.arguments.len()).contains(number));
        self.at = number.ok_or(())? - 1;
        Ok(())
    }
}

/// One value by its verb, in its width.
fn placed(spec: &Spec, verb: char, datum: &Datum) -> String {
    match (verb, &datum.json) {
        ('T', _) => return padded(spec, datum.kind(), false),
        ('v', Value::Null) => return padded(spec, value(datum), false),
        (_, Value::Null) => return format!("%!{verb}({})", value(datum)),
        _ => {}
    }
    // With `%v` these ask for what a value is in Go: `+` for no sign, `#` for quotes.
    let plain = &Spec { plus: false, sharp: false, ..*spec };
    match (verb, &datum.json) {
        ('v', Value::String(_)) if spec.sharp => each(datum, &|part| scalar(plain, 'q', part)),
        ('v', _) => each(datum, &|part| scalar(plain, 'v', part)),
        _ => each(datum, &|part| scalar(spec, verb, part)),
    }
}

/// A number, text or flag by its verb.
fn scalar(spec: &Spec, verb: char, part: &Value) -> String {
    let shown = match part {
        Value::Bool(flag) if matches!(verb, 't' | 'v') => Some(flag.to_string()),
        Value::String(text) => string(spec, verb, text),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => integer(spec, verb, whole.into()),
            (_, Some(whole), _) => integer(spec, verb, whole.into()),
            (.., Some(float)) => real(spec, verb, float),
            _ => None,
        },
        _ => None,
    };
    match shown {
        Some(text) => padded(spec, text, part.is_number()),
        None => {
            let datum = Datum::from(part.clone());
            let text = padded(spec, value(&datum), part.is_number());
            format!("%!{verb}({}={text})", datum.kind())
        }
    }
}

fn string(spec: &Spec, verb: char, text: &str) -> Option<String> {
    let cut = |text: &str| match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    };
    Some(match verb {
        's' | 'v' => cut(text),
        'q' => quoted(spec, &cut(text)),
        'x' | 'X' => {
            let bytes = text.bytes().take(spec.precision.unwrap_or(usize::MAX));
            let digits: Vec<String> =
                bytes.map(|byte| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") }).collect();
            let digits = digits.join(if spec.space { " " } else { "" });
            if spec.sharp && !digits.is_empty() { format!("0{verb}{digits}") } else { digits }
        }
        _ => return None,
    })
}

fn quoted(spec: &Spec, text: &str) -> String {
    if spec.sharp && !text.contains('`') && !text.chars().any(char::is_control) {
        return format!("`{text}`");
    }
    let mut out = String::from('"');
    for char in text.chars() {
        out.push_str(&escaped(char, '"', spec.plus));
    }
    out + "\""
}

/// One character within Go's quotes.
fn escaped(char: char, quote: char, ascii: bool) -> String {
    match char {
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        '\r' => "\\r".into(),
        '\u{7}' => "\\a".into(),
        '\u{8}' => "\\b".into(),
        '\u{b}' => "\\v".into(),
        '\u{c}' => "\\f".into(),
        '\\' => "\\\\".into(),
        _ if char == quote => format!("\\{char}"),
        _ if char.is_ascii_control() => format!("\\x{:02x}", u32::from(char)),
        _ if char.is_control() || (ascii && !char.is_ascii()) => match u32::from(char) {
            code @ 0..=0xffff => format!("\\u{code:04x}"),
            code => format!("\\U{code:08x}"),
        },
        _ => char.into(),
    }
}

fn integer(spec: &Spec, verb: char, number: i128) -> Option<String> {
    let size = number.unsigned_abs();
    let digits = match verb {
        'd' | 'v' => size.to_string(),
        'b' => format!("{}{size:b}", if spec.sharp { "0b" } else { "" }),
        'o' => format!("{}{size:o}", if spec.sharp { "0" } else { "" }),
        'O' => format!("0o{size:o}"),
        'x' => format!("{}{size:x}", if spec.sharp { "0x" } else { "" }),
        'X' => format!("{}{size:X}", if spec.sharp { "0X" } else { "" }),
        'c' | 'q' | 'U' => return character(spec, verb, u32::try_from(number).unwrap_or(0xfffd)),
        _ => return None,
    };
    let digits = match spec.precision {
        Some(least) => "0".repeat(least.min(WIDEST).saturating_sub(digits.len())) + &digits,
        None => digits,
    };
    Some(sign(spec, number < 0) + &digits)
}

fn character(spec: &Spec, verb: char, code: u32) -> Option<String> {
    let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    Some(match verb {
        'c' => char.into(),
        'q' => format!("'{}'", escaped(char, '\'', spec.plus)),
        _ if spec.sharp => format!("U+{code:04X} '{char}'"),
        _ => format!("U+{code:04X}"),
    })
}

fn real(spec: &Spec, verb: char, number: f64) -> Option<String> {
    let size = number.abs();
    let precision = spec.precision.map(|most| most.min(WIDEST));
    let digits = match verb {
        'f' | 'F' => format!("{size:.*}", precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{size:.*e}", precision.unwrap_or(6)), verb),
        'g' | 'v' => general(size, precision, 'e'),
        'G' => general(size, precision, 'E'),
        _ => return None,
    };
    Some(sign(spec, number.is_sign_negative()) + &digits)
}

fn sign(spec: &Spec, negative: bool) -> String {
    match negative {
        true => "-",
        false if spec.plus => "+",
        false if spec.space => " ",
        false => "",
    }
    .into()
}

/// `%g`: with an exponent where the number is very small, or has more digits than are asked for (six).
fn general(number: f64, precision: Option<usize>, letter: char) -> String {
    let digits = precision.map(|most| most.max(1) - 1);
    let scientific = match digits {
        Some(digits) => format!("{number:.digits$e}"),
        None => format!("{number:e}"),
    };
    let Some((mantissa, power)) = scientific.split_once('e') else { return scientific };
    let trimmed = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    let power: i32 = power.parse().unwrap_or(0);
    let shown = trimmed.bytes().filter(u8::is_ascii_digit).count();
    let limit = precision.map_or(6, |most| most.max(1));
    if power < -4 || power >= i32::try_from(limit).unwrap_or(i32::MAX) {
        return exponent(&format!("{trimmed}e{power}"), letter);
    }
    let decimals = i32::try_from(shown).unwrap_or(0) - 1 - power;
    format!("{number:.*}", usize::try_from(decimals).unwrap_or(0))
}

/// Rust's `1.5e7` as Go's `1.5e+07`.
fn exponent(scientific: &str, letter: char) -> String {
    let Some((mantissa, power)) = scientific.split_once('e') else { return scientific.to_owned() };
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{mantissa}{letter}{sign}{power:0>2}")
}

/// A text in its width; zeros go behind the sign.
fn padded(spec: &Spec, text: String, number: bool) -> String {
    let fill = spec.width.unwrap_or(0).min(WIDEST).saturating_sub(text.chars().count());
    if fill == 0 {
        return text;
    }
    match (spec.minus, spec.zero && !(number && spec.precision.is_some() && !text.contains('.'))) {
        (true, _) => text + &" ".repeat(fill),
        (false, false) => " ".repeat(fill) + &text,
        (false, true) => {
            let signs = usize::from(number && text.starts_with(['-', '+', ' ']));
            format!("{}{}{}", &text[..signs], "0".repeat(fill), &text[signs..])
        }
    }
}
