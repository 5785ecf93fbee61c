//! Lines with a mistake: `palisade` prints one line with the correct form, `cscli` as the stock command does.

use crate::world::World;

/// The line, the error that `cscli` prints, and what `palisade` adds.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "decisions add 192.0.2.7",
        "decisions add: accepts 0 arg(s), received 1",
        "type `palisade decisions add --ip 192.0.2.7`",
    ),
    (
        "decisions add -d 4h 192.0.2.0/24 -t captcha",
        "decisions add: accepts 0 arg(s), received 1",
        "type `palisade decisions add -d 4h --range 192.0.2.0/24 -t captcha`",
    ),
    (
        "decisions add FR",
        "decisions add: accepts 0 arg(s), received 1",
        "type `palisade decisions add --scope country --value FR`",
    ),
    (
        "decisions delete 2001:db8::7",
        "decisions delete: accepts 0 arg(s), received 1",
        "type `palisade decisions delete --ip 2001:db8::7`",
    ),
    (
        "decisions delete 5",
        "decisions delete: accepts 0 arg(s), received 1",
        "type `palisade decisions delete --id 5`",
    ),
    (
        "decisions import list.csv",
        "decisions import: accepts 0 arg(s), received 1",
        "type `palisade decisions import --input list.csv`",
    ),
    (
        "alerts list 192.0.2.7",
        "alerts list: accepts 0 arg(s), received 1",
        "type `palisade alerts list --ip 192.0.2.7`",
    ),
    (
        "decisions 192.0.2.7",
        "unknown command \"192.0.2.7\" for \"PROGRAM decisions\"",
        "type `palisade decisions list --ip 192.0.2.7`",
    ),
    (
        "decisions add --ip 192.0.2.0/24",
        "decisions add: 192.0.2.0/24 is not a valid ip",
        "it is a range: type `--range 192.0.2.0/24`",
    ),
    (
        "decisions delete --range 192.0.2.7",
        "decisions delete: 192.0.2.7 is not a valid range",
        "it is one address: type `--ip 192.0.2.7`",
    ),
    (
        "decisions list --ip example.org",
        "decisions list: example.org is not a valid ip",
        "an address is written like 192.0.2.7 or 2001:db8::7; for anything else type `--scope SCOPE --value example.org`",
    ),
    (
        "decisions add --ip 192.0.2.7 --duration 4hours",
        "decisions add: invalid argument \"4hours\" for \"-d, --duration\" flag: time: unknown unit \"hours\" in duration \
         \"4hours\"",
        "write it as 4h",
    ),
    (
        "decisions add -i 192.0.2.7 -d 90",
        "decisions add: invalid argument \"90\" for \"-d, --duration\" flag: time: missing unit in duration \"90\"",
        "add a unit: 90s, 90m, 90h or 90d",
    ),
    (
        "decisions add -i 192.0.2.7 --durations 4h",
        "decisions add: unknown flag: --durations",
        "type `palisade decisions add -i 192.0.2.7 --duration 4h`",
    ),
    (
        "decisions list --json",
        "decisions list: unknown flag: --json",
        "type `palisade decisions list --output json`",
    ),
    ("decisions list --quux", "decisions list: unknown flag: --quux", "see `palisade decisions list --help`"),
    (
        "decisions list -Z",
        "decisions list: unknown shorthand flag: 'Z' in -Z",
        "see `palisade decisions list --help`",
    ),
    (
        "decisions add -ip 192.0.2.7",
        "decisions add: accepts 0 arg(s), received 1",
        "type `palisade decisions add --ip 192.0.2.7`",
    ),
    (
        "decisions add -ip=192.0.2.7",
        "decisions add: p=192.0.2.7 is not a valid ip",
        "type `palisade decisions add --ip=192.0.2.7`",
    ),
    ("decisions add --ip", "decisions add: flag needs an argument: --ip", "type `--ip 192.0.2.7`"),
    (
        "decisions add",
        "decisions add: missing arguments, a value is required (--ip, --range or --scope and --value)",
        "type for example `palisade decisions add --ip 192.0.2.7 --duration 4h`",
    ),
    (
        "decisions delete",
        "decisions delete: at least one filter or --all must be specified",
        "type for example `palisade decisions delete --ip 192.0.2.7`",
    ),
    (
        "decisions import",
        "decisions import: required flag(s) \"input\" not set",
        "type `palisade decisions import --input FILE`",
    ),
    ("bouncers add", "bouncers add: accepts 1 arg(s), received 0", "type `palisade bouncers add NAME`"),
    (
        "bouncers add my door",
        "bouncers add: accepts 1 arg(s), received 2",
        "put a name with blanks in quotes, and give one at a time",
    ),
    (
        "machines validate",
        "machines validate: accepts 1 arg(s), received 0",
        "type `palisade machines validate NAME`",
    ),
    (
        "machines delete",
        "machines delete: requires at least 1 arg(s), only received 0",
        "type `palisade machines delete NAME`",
    ),
    (
        "allowlists add office",
        "allowlists add: requires at least 2 arg(s), only received 1",
        "type `palisade allowlists add office VALUE`",
    ),
    (
        "allowlists create office",
        "allowlists create: required flag(s) \"description\" not set",
        "type `palisade allowlists create office --description DESCRIPTION`",
    ),
    ("bouncers lst", "unknown command \"lst\" for \"PROGRAM bouncers\"", "type `palisade bouncers list`"),
    (
        "bouncers rm door",
        "unknown command \"rm\" for \"PROGRAM bouncers\"",
        "type `palisade bouncers delete door`",
    ),
    (
        "decision ban -i 192.0.2.7",
        "unknown command \"ban\" for \"PROGRAM decisions\"",
        "type `palisade decision add -i 192.0.2.7`",
    ),
    (
        "machines xyz",
        "unknown command \"xyz\" for \"PROGRAM machines\"",
        "the commands of `palisade machines` are list, add, delete, prune, validate, inspect",
    ),
    ("bouncer-list", "unknown command \"bouncer-list\" for \"PROGRAM\"", "type `palisade bouncers`"),
    ("unban", "unknown command \"unban\" for \"PROGRAM\"", "type `palisade decisions delete`"),
    ("metrics show foo", "metrics show: unknown metrics type: foo", "`palisade metrics list` lists them"),
    (
        "alerts inspect abc",
        "alerts inspect: bad alert id abc",
        "it is a number: `palisade alerts list` shows them",
    ),
];

#[test]
fn a_mistake_is_answered_with_what_to_type() {
    let world = World::with_lapi("http://127.0.0.1:1/");
    for (line, error, advice) in MISTAKES {
        let stock = error.replace("PROGRAM", "cscli");
        let (with_path, bare) = (format!("Error: cscli {stock}"), format!("Error: {stock}"));
        let is_unknown = stock.starts_with("unknown command");
        assert_eq!(world.fails(line), if is_unknown { bare } else { with_path }, "{line}");

        let words: Vec<&str> = line.split_whitespace().collect();
        let run = world.run_as("palisade", &words, "");
        let ours = error.replace("PROGRAM", "palisade");
        let path = if is_unknown { "" } else { "palisade " };
        // The test's own flag.
        let shown =
            run.err.replace(&format!("palisade -c {} ", world.path("config.yaml").display()), "palisade ");
        assert_eq!(shown, format!("Error: {path}{ours}; {advice}\n"), "{line}");
        assert_eq!((run.code, &*run.out), (1, ""), "{line}: one line and no help");
    }
}
