//! Functions on texts: case, trimming, splitting, searching, formatting.

use crate::{
    arguments::{float_at, int_at, list_at, text_at},
    error::Fault,
    format::sprintf,
    function::{Pure, Signature},
    limits::Budget,
    shown::shown,
    text::Text,
    value::{Type, Value},
};

const TEXT: Type = Type::Text;
const TEXTS: Type = Type::List(&Type::Text);

pub(super) fn all() -> Vec<(Signature, Pure)> {
    let one = |name| Signature::new(name, &[TEXT], TEXT);
    let two = |name| Signature::new(name, &[TEXT, TEXT], TEXT);
    vec![
        (one("Upper"), upper as Pure),
        (one("Lower"), lower),
        (one("TrimSpace"), trim_space),
        (two("Trim"), trim),
        (two("TrimLeft"), trim_left),
        (two("TrimRight"), trim_right),
        (two("TrimPrefix"), trim_prefix),
        (two("TrimSuffix"), trim_suffix),
        (Signature::new("Split", &[TEXT, TEXT], TEXTS), split),
        (Signature::new("SplitN", &[TEXT, TEXT, Type::Int], TEXTS), split),
        (Signature::new("SplitAfter", &[TEXT, TEXT], TEXTS), split_after),
        (Signature::new("SplitAfterN", &[TEXT, TEXT, Type::Int], TEXTS), split_after),
        (Signature::new("Fields", &[TEXT], TEXTS), fields),
        (Signature::new("Join", &[Type::List(&Type::Any), TEXT], TEXT), join),
        (Signature::new("Replace", &[TEXT, TEXT, TEXT, Type::Int], TEXT), replace),
        (Signature::new("ReplaceAll", &[TEXT, TEXT, TEXT], TEXT), replace),
        (Signature::new("Index", &[TEXT, TEXT], Type::Int), index),
        (Signature::new("IndexAny", &[TEXT, TEXT], Type::Int), index_any),
        (Signature::new("Match", &[TEXT, TEXT], Type::Bool), matches),
        (Signature::new("ToString", &[Type::Any], TEXT), to_string),
        (Signature::new("Atof", &[TEXT], Type::Float), atof),
        (Signature::new("FloatApproxEqual", &[Type::Float, Type::Float], Type::Bool), nearly),
        (Signature::new("Sprintf", &[TEXT, Type::Any], TEXT).any_number(), formatted),
    ]
}

pub(crate) fn upper<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    budget.make(text.len())?;
    Ok(Value::owned_text(text.to_uppercase()))
}

pub(crate) fn lower<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    budget.make(text.len())?;
    Ok(Value::owned_text(text.to_lowercase()))
}

/// `text` trimmed to a part of it.
fn cut<'v>(
    args: &[Value<'v>],
    budget: &mut Budget,
    pick: impl for<'t> Fn(&'t str, &str) -> &'t str,
) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    budget.read(text.len())?;
    let by = if args.len() > 1 { &**text_at(args, 1)? } else { "" };
    // Each character of the text is searched for in the set.
    budget.read(by.len().saturating_mul(8))?;
    Ok(Value::Text(text.within(pick(text, by))))
}

pub(crate) fn trim_space<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    cut(args, budget, |text, _| text.trim())
}

pub(crate) fn trim<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    cut(args, budget, |text, set| text.trim_matches(|c| set.contains(c)))
}

fn trim_left<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    cut(args, budget, |text, set| text.trim_start_matches(|c| set.contains(c)))
}

fn trim_right<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    cut(args, budget, |text, set| text.trim_end_matches(|c| set.contains(c)))
}

pub(crate) fn trim_prefix<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    cut(args, budget, |text, prefix| text.strip_prefix(prefix).unwrap_or(text))
}

pub(crate) fn trim_suffix<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    cut(args, budget, |text, suffix| text.strip_suffix(suffix).unwrap_or(text))
}

pub(crate) fn split<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    parted(args, budget, false)
}

pub(crate) fn split_after<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    parted(args, budget, true)
}

/// Go's `Split` and its variants: at most that many parts, all if negative, none if zero; an empty separator splits
/// into characters.
fn parted<'v>(args: &[Value<'v>], budget: &mut Budget, keep: bool) -> Result<Value<'v>, Fault> {
    let (text, separator) = (text_at(args, 0)?, text_at(args, 1)?);
    let most = if args.len() > 2 { int_at(args, 2)? } else { -1 };
    budget.read(text.len())?;
    if most == 0 {
        return Ok(Value::Nil);
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest: &str = text;
    while parts.len() + 1 < most {
        budget.spend(1)?;
        let found = if separator.is_empty() {
            rest.chars().next().map(char::len_utf8).filter(|first| *first < rest.len())
        } else {
            rest.find(&**separator)
        };
        let Some(place) = found else { break };
        let end = if keep { place + separator.len() } else { place };
        parts.push(Value::Text(text.within(&rest[..end])));
        rest = &rest[place + separator.len()..];
    }
    if !(separator.is_empty() && rest.is_empty()) {
        parts.push(Value::Text(text.within(rest)));
    }
    Ok(Value::list(parts))
}

fn fields<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let text = text_at(args, 0)?;
    budget.read(text.len().saturating_mul(16))?;
    Ok(Value::list(text.split_whitespace().map(|part| Value::Text(text.within(part))).collect()))
}

pub(crate) fn join<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let list = list_at(args, 0)?;
    let glue = if args.len() > 1 { &**text_at(args, 1)? } else { "" };
    budget.spend(list.len())?;
    let mut joined = String::new();
    for (index, part) in list.iter().enumerate() {
        let Value::Text(part) = part else {
            return Err(Fault(format!("expected a list of strings and found {} in it", part.kind())));
        };
        budget.make(joined.len() + glue.len() + part.len())?;
        if index > 0 {
            joined.push_str(glue);
        }
        joined.push_str(&part);
    }
    Ok(Value::from(joined))
}

pub(crate) fn replace<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let (text, old, new) = (text_at(args, 0)?, text_at(args, 1)?, text_at(args, 2)?);
    let most = if args.len() > 3 { int_at(args, 3)? } else { -1 };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    budget.read(text.len())?;
    let count = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&**old).count() };
    budget.make(text.len().saturating_add(count.min(most).saturating_mul(new.len())))?;
    Ok(Value::from(text.replacen(&**old, new, most)))
}

fn place(place: Option<usize>) -> Value<'static> {
    Value::Int(place.map_or(-1, |place| place as i64))
}

pub(crate) fn index<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let (text, part) = (text_at(args, 0)?, text_at(args, 1)?);
    budget.read(text.len())?;
    Ok(place(text.find(&**part)))
}

fn index_any<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let (text, set) = (text_at(args, 0)?, text_at(args, 1)?);
    budget.read(text.len().saturating_mul(1 + set.len()))?;
    Ok(place(text.find(|c| set.contains(c))))
}

/// `*` matches any text, `?` one character.
fn matches<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let (pattern, text) = (text_at(args, 0)?, text_at(args, 1)?);
    budget.spend(text.len().saturating_mul(1 + pattern.len()) / 16)?;
    Ok(Value::Bool(glob(pattern, text)))
}

fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to backtrack to: after the last star, one character further.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|rest| *rest == '*')
}

/// A text unchanged; anything else becomes empty.
fn to_string<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(match args.first() {
        Some(Value::Text(text)) => Value::Text(text.clone()),
        _ => Value::Text(Text::Borrowed("")),
    })
}

/// The number in a text, 0 if there is none.
fn atof<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(Value::Float(text_at(args, 0)?.parse().unwrap_or(0.0)))
}

fn nearly<'v>(args: &[Value<'v>], _: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(Value::Bool((float_at(args, 0)? - float_at(args, 1)?).abs() < 1e-6))
}

fn formatted<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    let format = text_at(args, 0)?;
    let text = sprintf(format, &args[1..], budget)?;
    Ok(Value::from(text))
}

/// Any value as text, in Go's `%v` form.
pub(crate) fn as_text<'v>(args: &[Value<'v>], budget: &mut Budget) -> Result<Value<'v>, Fault> {
    Ok(match args.first() {
        Some(Value::Text(text)) => Value::Text(text.clone()),
        Some(value) => {
            let text = shown(value);
            budget.make(text.len())?;
            Value::from(text)
        }
        None => Value::Nil,
    })
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*ssh*", "crowdsecurity/ssh-bf", true),
            ("a*b*c", "aXbYcZ", false),
            ("", "", true),
            ("", "a", false),
            ("**a", "bba", true),
            ("é?", "éx", true),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
