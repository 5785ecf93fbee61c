//! Formats and parses times with Go's layouts, which are written as a reference time: `2006-01-02T15:04:05Z07:00`.

use jiff::{
    Zoned, civil,
    tz::{Offset, TimeZone},
};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The layouts that `date` tries.
pub const USUAL: [&str; 7] = [
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
];

/// The name of a day, Sunday is 0.
pub fn weekday_name(day: u8) -> &'static str {
    DAYS.get(usize::from(day)).unwrap_or(&"")
}

/// The name of a month, January is 1.
pub fn month_name(month: u8) -> &'static str {
    MONTHS.get(usize::from(month).wrapping_sub(1)).unwrap_or(&"")
}

/// A time as Go prints it: `2026-07-01 10:00:00 +0000 UTC`.
pub fn go_text(time: &Zoned) -> String {
    format(time, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// An element of a layout.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part<'l> {
    Plain(&'l str),
    Year,
    ShortYear,
    Month,
    PlainMonth,
    MonthName,
    ShortMonthName,
    Day,
    PlainDay,
    SpacedDay,
    YearDay,
    WeekdayName,
    ShortWeekdayName,
    Hour,
    Hour12,
    PlainHour12,
    Minute,
    PlainMinute,
    Second,
    PlainSecond,
    /// Number of digits, and whether trailing zeros are omitted.
    Fraction(usize, bool),
    Noon(bool),
    Zone,
    /// With a colon, with minutes, and `Z` for zero.
    Offset {
        colon: bool,
        minutes: bool,
        z: bool,
    },
}

/// The elements by their spelling; longer ones come first.
const PARTS: [(&str, Part<'static>); 28] = [
    ("January", Part::MonthName),
    ("Monday", Part::WeekdayName),
    ("Z07:00", Part::Offset { colon: true, minutes: true, z: true }),
    ("-07:00", Part::Offset { colon: true, minutes: true, z: false }),
    ("Z0700", Part::Offset { colon: false, minutes: true, z: true }),
    ("-0700", Part::Offset { colon: false, minutes: true, z: false }),
    ("2006", Part::Year),
    ("Jan", Part::ShortMonthName),
    ("Mon", Part::ShortWeekdayName),
    ("MST", Part::Zone),
    ("Z07", Part::Offset { colon: false, minutes: false, z: true }),
    ("-07", Part::Offset { colon: false, minutes: false, z: false }),
    ("002", Part::YearDay),
    ("01", Part::Month),
    ("02", Part::Day),
    ("03", Part::Hour12),
    ("04", Part::Minute),
    ("05", Part::Second),
    ("06", Part::ShortYear),
    ("15", Part::Hour),
    ("PM", Part::Noon(true)),
    ("pm", Part::Noon(false)),
    ("_2", Part::SpacedDay),
    ("1", Part::PlainMonth),
    ("2", Part::PlainDay),
    ("3", Part::PlainHour12),
    ("4", Part::PlainMinute),
    ("5", Part::PlainSecond),
];

fn parts(layout: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut plain, mut at) = (0, 0);
    while at < layout.len() {
        let rest = &layout[at..];
        let found = fraction(rest).or_else(|| {
            PARTS.iter().find(|(text, _)| rest.starts_with(text)).map(|(text, part)| (text.len(), *part))
        });
        match found {
            Some((length, part)) => {
                if plain < at {
                    parts.push(Part::Plain(&layout[plain..at]));
                }
                parts.push(part);
                at += length;
                plain = at;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    if plain < layout.len() {
        parts.push(Part::Plain(&layout[plain..]));
    }
    parts
}

/// `.000`, `,999` and the like, not followed by a digit.
fn fraction(rest: &str) -> Option<(usize, Part<'static>)> {
    let body = rest.strip_prefix(['.', ','])?;
    let digit = body.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let count = body.len() - body.trim_start_matches(digit).len();
    if body[count..].starts_with(|next: char| next.is_ascii_digit()) {
        return None;
    }
    Some((count + 1, Part::Fraction(count.min(9), digit == '9')))
}

/// Formats a time.
pub fn format(time: &Zoned, layout: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(layout.len() + 8);
    let twelve = |hour: i8| if hour % 12 == 0 { 12 } else { hour % 12 };
    for part in parts(layout) {
        _ = match part {
            Part::Plain(text) => write!(out, "{text}"),
            Part::Year => write!(out, "{:04}", time.year()),
            Part::ShortYear => write!(out, "{:02}", time.year().rem_euclid(100)),
            Part::Month => write!(out, "{:02}", time.month()),
            Part::PlainMonth => write!(out, "{}", time.month()),
            Part::MonthName => write!(out, "{}", month_name(time.month().unsigned_abs())),
            Part::ShortMonthName => write!(out, "{}", &month_name(time.month().unsigned_abs())[..3]),
            Part::Day => write!(out, "{:02}", time.day()),
            Part::PlainDay => write!(out, "{}", time.day()),
            Part::SpacedDay => write!(out, "{:2}", time.day()),
            Part::YearDay => write!(out, "{:03}", time.day_of_year()),
            Part::WeekdayName => {
                write!(out, "{}", weekday_name(time.weekday().to_sunday_zero_offset().unsigned_abs()))
            }
            Part::ShortWeekdayName => {
                write!(out, "{}", &weekday_name(time.weekday().to_sunday_zero_offset().unsigned_abs())[..3])
            }
            Part::Hour => write!(out, "{:02}", time.hour()),
            Part::Hour12 => write!(out, "{:02}", twelve(time.hour())),
            Part::PlainHour12 => write!(out, "{}", twelve(time.hour())),
            Part::Minute => write!(out, "{:02}", time.minute()),
            Part::PlainMinute => write!(out, "{}", time.minute()),
            Part::Second => write!(out, "{:02}", time.second()),
            Part::PlainSecond => write!(out, "{}", time.second()),
            Part::Fraction(digits, trimmed) => {
                let all = format!("{:09}", time.subsec_nanosecond());
                let shown = &all[..digits];
                let shown = if trimmed { shown.trim_end_matches('0') } else { shown };
                if shown.is_empty() { Ok(()) } else { write!(out, ".{shown}") }
            }
            Part::Noon(upper) => {
                let text = if time.hour() >= 12 { "PM" } else { "AM" };
                if upper { write!(out, "{text}") } else { write!(out, "{}", text.to_lowercase()) }
            }
            Part::Zone => write!(out, "{}", time.strftime("%Z")),
            Part::Offset { colon, minutes, z } => {
                let seconds = time.offset().seconds();
                if z && seconds == 0 {
                    write!(out, "Z")
                } else {
                    let sign = if seconds < 0 { '-' } else { '+' };
                    let total = seconds.abs() / 60;
                    match (colon, minutes) {
                        (true, _) => write!(out, "{sign}{:02}:{:02}", total / 60, total % 60),
                        (false, true) => write!(out, "{sign}{:02}{:02}", total / 60, total % 60),
                        (false, false) => write!(out, "{sign}{:02}", total / 60),
                    }
                }
            }
        };
    }
    out
}

/// The fields parsed so far.
struct Fields {
    year: i16,
    month: i8,
    day: i8,
    year_day: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    afternoon: Option<bool>,
    offset: Option<i32>,
}

/// Parses a time. Without an offset in the text it is in `zone`.
pub fn parse(text: &str, layout: &str, zone: &TimeZone) -> Option<Zoned> {
    // Go's zero time supplies the fields that a layout omits.
    let mut fields = Fields {
        year: 0,
        month: 1,
        day: 1,
        year_day: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        afternoon: None,
        offset: None,
    };
    let mut rest = text;
    let parts = parts(layout);
    for (index, part) in parts.iter().enumerate() {
        rest = field(*part, rest, &mut fields)?;
        let seconds = matches!(part, Part::Second | Part::PlainSecond);
        if seconds && !matches!(parts.get(index + 1), Some(Part::Fraction(..))) {
            // A fraction may follow the seconds even if the layout has none.
            let follows = rest
                .strip_prefix(['.', ','])
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            if follows {
                rest = field(Part::Fraction(9, true), rest, &mut fields)?;
            }
        }
    }
    if !rest.is_empty() {
        return None;
    }
    let hour = match fields.afternoon {
        Some(true) if fields.hour < 12 => fields.hour + 12,
        Some(false) if fields.hour == 12 => 0,
        _ => fields.hour,
    };
    let date = match fields.year_day {
        Some(day) => civil::Date::new(fields.year, 1, 1).ok()?.with().day_of_year(day).build().ok()?,
        None => civil::Date::new(fields.year, fields.month, fields.day).ok()?,
    };
    let time = civil::Time::new(hour, fields.minute, fields.second, fields.nanos).ok()?;
    let zone = match fields.offset {
        Some(0) => TimeZone::UTC,
        Some(seconds) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
        None => zone.clone(),
    };
    date.to_datetime(time).to_zoned(zone).ok()
}

fn field<'t>(part: Part<'_>, rest: &'t str, fields: &mut Fields) -> Option<&'t str> {
    match part {
        Part::Plain(text) => return rest.strip_prefix(text),
        Part::Year => return number(rest, 4, 4).map(|(year, rest)| (fields.year = year, rest).1),
        Part::ShortYear => {
            let (year, rest) = number(rest, 2, 2)?;
            fields.year = if year >= 69 { 1900 + year } else { 2000 + year };
            return Some(rest);
        }
        Part::MonthName | Part::ShortMonthName => {
            let short = part == Part::ShortMonthName;
            let (index, rest) = name(rest, &MONTHS, short)?;
            fields.month = i8::try_from(index + 1).ok()?;
            return Some(rest);
        }
        Part::WeekdayName | Part::ShortWeekdayName => {
            return name(rest, &DAYS, part == Part::ShortWeekdayName).map(|(_, rest)| rest);
        }
        Part::YearDay => {
            let (day, rest) = number(rest, 3, 3)?;
            fields.year_day = Some(day);
            return Some(rest);
        }
        Part::Fraction(..) => {
            let body = rest.strip_prefix(['.', ','])?;
            let count = body.bytes().take_while(u8::is_ascii_digit).count();
            let digits: String = body[..count].chars().chain("000000000".chars()).take(9).collect();
            fields.nanos = digits.parse().ok()?;
            return Some(&body[count..]);
        }
        Part::Noon(_) => {
            fields.afternoon = Some(rest.get(..2)?.eq_ignore_ascii_case("pm"));
            let known = rest[..2].eq_ignore_ascii_case("am") || rest[..2].eq_ignore_ascii_case("pm");
            return known.then(|| &rest[2..]);
        }
        Part::Zone => {
            let count = rest.bytes().take_while(u8::is_ascii_uppercase).count();
            if count < 3 {
                return None;
            }
            // Go has no offset for other names either.
            if matches!(&rest[..count], "UTC" | "GMT") {
                fields.offset = Some(0);
            }
            return Some(&rest[count..]);
        }
        Part::Offset { colon, minutes, z } => {
            if z && let Some(rest) = rest.strip_prefix('Z') {
                fields.offset = Some(0);
                return Some(rest);
            }
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let (hours, mut rest) = number(rest.strip_prefix(['+', '-'])?, 2, 2)?;
            let mut total = i32::from(hours) * 60;
            if minutes {
                let (more, after) = number(if colon { rest.strip_prefix(':')? } else { rest }, 2, 2)?;
                total += i32::from(more);
                rest = after;
            }
            fields.offset = Some(sign * total * 60);
            return Some(rest);
        }
        _ => {}
    }
    let (least, most) = match part {
        Part::Month | Part::Day | Part::Hour | Part::Hour12 | Part::Minute | Part::Second => (2, 2),
        _ => (1, 2),
    };
    let rest = if part == Part::SpacedDay { rest.trim_start_matches(' ') } else { rest };
    // Go also accepts an hour of one digit.
    let least = if part == Part::Hour { 1 } else { least };
    let (value, rest) = number(rest, least, most)?;
    let value = i8::try_from(value).ok()?;
    match part {
        Part::Month | Part::PlainMonth => fields.month = value,
        Part::Day | Part::PlainDay | Part::SpacedDay => fields.day = value,
        Part::Hour | Part::Hour12 | Part::PlainHour12 => fields.hour = value,
        Part::Minute | Part::PlainMinute => fields.minute = value,
        _ => fields.second = value,
    }
    Some(rest)
}

fn number(rest: &str, least: usize, most: usize) -> Option<(i16, &str)> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    Some((rest[..count].parse().ok()?, &rest[count..]))
}

fn name<'t>(rest: &'t str, names: &[&str], short: bool) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if short { &name[..3] } else { name };
        let found = rest.get(..name.len())?.eq_ignore_ascii_case(name);
        found.then(|| (index, &rest[name.len()..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_read_and_write() {
        for (layout, text, again) in [
            ("2006-01-02", "2026-07-01", "2026-07-01"),
            ("2006-01-02T15:04:05Z07:00", "2026-07-01T10:00:00Z", "2026-07-01T10:00:00Z"),
            ("2006-01-02T15:04:05Z07:00", "2026-07-01T10:00:00.25+02:00", "2026-07-01T10:00:00+02:00"),
            ("02/Jan/2006:15:04:05 -0700", "01/Jul/2026:10:00:00 -0330", "01/Jul/2026:10:00:00 -0330"),
            ("Jan _2 15:04:05", "Jul  1 10:00:00", "Jul  1 10:00:00"),
            (
                "Mon, 02 Jan 2006 15:04:05 MST",
                "Wed, 01 Jul 2026 10:00:00 UTC",
                "Wed, 01 Jul 2026 10:00:00 UTC",
            ),
            ("3:04PM", "11:05PM", "11:05PM"),
            ("15:04:05.000", "10:00:00.120", "10:00:00.120"),
            ("06-1-2", "26-7-1", "26-7-1"),
        ] {
            let time = parse(text, layout, &TimeZone::UTC).unwrap_or_else(|| panic!("{text} as {layout}"));
            assert_eq!(format(&time, layout), again, "{layout}");
        }
        for (layout, text) in [
            ("2006-01-02", "2026-13-01"),
            ("2006-01-02", "2026-07-01x"),
            ("15:04", "25:00"),
            ("Jan 2", "Foo 2"),
            ("2006-01-02", ""),
            ("2006-01-02T15:04:05Z07:00", "é"),
        ] {
            assert!(parse(text, layout, &TimeZone::UTC).is_none(), "{text} as {layout}");
        }
    }

    #[test]
    fn a_moment_prints_as_go_prints_it() {
        let time = parse("2026-07-01T10:00:00Z", USUAL[3], &TimeZone::UTC).unwrap();
        assert_eq!(go_text(&time), "2026-07-01 10:00:00 +0000 UTC");
    }

    proptest::proptest! {
        #[test]
        fn any_layout_is_answered(text in "\\PC{0,30}", layout in "(2006|Jan|02|_2|15|04|05|\\.000|MST|-0700|Z07:00|PM|é|[ :/-]){0,8}") {
            let zone = TimeZone::UTC;
            if let Some(time) = parse(&text, &layout, &zone) {
                format(&time, &layout);
            }
            format(&jiff::Timestamp::UNIX_EPOCH.to_zoned(zone), &text);
        }
    }
}
