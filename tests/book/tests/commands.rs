//! Every block of commands in the book and in README.md is run by a test, or stands below with the reason why not.

use palisade_book::page::{blocks, pages};
use palisade_book::{read, root};

/// What becomes of a block.
enum How {
    /// This test runs it: the file, and the function, which takes the block from the page.
    Run(&'static str, &'static str),
    /// It cannot be run, for this reason.
    NotRun(&'static str),
}

use How::{NotRun, Run};

const PACKAGES: &str = "tests/tests/packages/pages.rs";
const FLEET: &str = "tests/tests/fleet/documented_commands.rs";
const GUIDE: &str = "tests/tests/fleet/guide.rs";
const GUIDE_TLS: &str = "tests/tests/fleet/guide_tls.rs";
const BACKUP: &str = "tests/tests/fleet/backup.rs";
const MIXED: &str = "tests/tests/fleet/mixed.rs";
const PROXY: &str = "tests/tests/proxy/commands.rs";
const WEBHOOK: &str = "tests/tests/webhook/guide.rs";

const FIRST_STEPS: How = Run(PACKAGES, "first_steps_and_daily_commands");
const BY_HAND: How = Run(PACKAGES, "installation_by_hand");
const FOLLOWS_THE_GUIDE: How = Run(GUIDE, "a_newcomer_follows_the_multi_server_guide");
const CERTIFICATES: How = Run(GUIDE_TLS, "a_newcomer_follows_the_section_on_certificates");
const FIVE_HOSTS: How =
    Run("tests/tests/packages/guide.rs", "the_multi_server_guide_leads_to_what_it_promises");
const SEVERAL: How = Run(FLEET, "commands_of_the_page_on_several_lapis_run");
const PUSH: How = Run(FLEET, "commands_of_the_push_page_print_what_it_says");
const ADOPT_LAPI: How =
    Run("tests/tests/packages/adopt/lapi.rs", "the_local_api_of_crowdsec_is_taken_over_and_given_back");
const ENGINE: How = NotRun(
    "needs a container engine or a cluster, of which there is none in the tests; containers.rs \
                            checks the files and variables, and the page says what was tried by hand",
);
const TAKEOVER: How = NotRun(
    "starts and stops the services of CrowdSec's own package; tests/tests/lapi/takeover.rs takes \
                              the same steps with the programs themselves",
);

/// The page, a text of the block, and what becomes of it.
const COMMANDS: &[(&str, &str, How)] = &[
    (
        "README.md",
        "make run",
        NotRun("builds everything; tests/tests/fleet/demonstration.rs runs the program of `make run`"),
    ),
    ("docs/backup.md", ".backup", Run(BACKUP, "a_restored_sqlite_database_is_what_bouncers_enforce")),
    ("docs/backup.md", "db-wal", Run(BACKUP, "a_restored_sqlite_database_is_what_bouncers_enforce")),
    ("docs/backup.md", "pg_dump", Run(BACKUP, "a_restored_postgres_database_is_served")),
    ("docs/backup.md", "pg_restore", Run(BACKUP, "a_restored_postgres_database_is_served")),
    ("docs/containers.md", "docker", ENGINE),
    ("docs/containers.md", "kubectl", ENGINE),
    ("docs/firewall.md", "cargo build", BY_HAND),
    ("docs/firewall.md", "palisade-firewall explain", FIRST_STEPS),
    ("docs/first-steps.md", "dpkg -i", FIRST_STEPS),
    ("docs/first-steps.md", "palisade-firewall check", FIRST_STEPS),
    ("docs/first-steps.md", "decisions add", FIRST_STEPS),
    ("docs/first-steps.md", "decisions delete", FIRST_STEPS),
    ("docs/install.md", "dpkg -i", FIRST_STEPS),
    ("docs/mixed.md", "sudo palisade", Run(MIXED, "a_stock_bouncer_follows_our_lapi")),
    ("docs/mixed.md", "sudo cscli", Run(MIXED, "our_bouncer_follows_a_stock_lapi")),
    ("docs/moving-over.md", "cscli decisions list", Run(MIXED, "decisions_are_taken_along")),
    ("docs/moving-over.md", "palisade-lapi adopt", ADOPT_LAPI),
    ("docs/moving-over.md", "systemctl", TAKEOVER),
    ("docs/multi-server.md", "cargo build", BY_HAND),
    ("docs/multi-server.md", "palisade-lapi.sysusers", BY_HAND),
    ("docs/multi-server.md", "--token TOKEN", FOLLOWS_THE_GUIDE),
    ("docs/multi-server.md", "machines validate", FOLLOWS_THE_GUIDE),
    ("docs/multi-server.md", "bouncers add gate", FOLLOWS_THE_GUIDE),
    ("docs/multi-server.md", "decisions delete", FOLLOWS_THE_GUIDE),
    ("docs/multi-server.md", "pki init", CERTIFICATES),
    ("docs/multi-server.md", "lapi-key.pem", CERTIFICATES),
    ("docs/multi-server.md", "machines add --auto --force", FIVE_HOSTS),
    ("docs/multi-server.md", "systemctl restart", CERTIFICATES),
    ("docs/multi-server.md", "pki revoke", CERTIFICATES),
    ("docs/multi-server.md", "bouncers delete gate", FIVE_HOSTS),
    ("docs/multi-server.md", "CREATE ROLE", FIVE_HOSTS),
    ("docs/operations.md", "palisade lapi status", FIRST_STEPS),
    ("docs/operations.md", "palisade-firewall status", FIRST_STEPS),
    ("docs/proxy-decisions.md", "palisade-proxy explain", Run(PROXY, "the_commands_of_the_pages_run")),
    ("docs/proxy-tls.md", "openssl ocsp", Run(PROXY, "the_command_for_ocsp_fetches_a_response")),
    ("docs/proxy.md", "# serves", Run(PROXY, "the_commands_of_the_pages_run")),
    ("docs/proxy.md", "palisade-proxy.sysusers", BY_HAND),
    ("docs/proxy.md", "palisade-proxy explain", Run(PROXY, "the_commands_of_the_pages_run")),
    ("docs/push.md", "bouncers add fleet", PUSH),
    ("docs/push.md", "palisade-firewall status", PUSH),
    ("docs/push.md", "/metrics", PUSH),
    ("docs/several-lapis.md", "CREATE ROLE", SEVERAL),
    ("docs/several-lapis.md", "palisade-lapi -c", SEVERAL),
    ("docs/several-lapis.md", "bouncers add fleet", SEVERAL),
    ("docs/several-lapis.md", "http://proxy:8080", SEVERAL),
    ("docs/several-lapis.md", "pg_stat_activity", SEVERAL),
    ("docs/troubleshooting.md", "palisade-firewall check", FIRST_STEPS),
    ("docs/upgrade.md", "dpkg -i", FIRST_STEPS),
    ("docs/webhook-programs.md", "case $1 in", Run(WEBHOOK, "the_script_of_the_page_on_programs_runs")),
    ("docs/webhook-templates.md", "render NAME", Run(WEBHOOK, "the_commands_of_the_guide_run")),
    ("docs/webhook.md", "receiver.py", Run(WEBHOOK, "the_commands_of_the_guide_run")),
    ("docs/webhook.md", "palisade-webhook resume", Run(WEBHOOK, "the_commands_of_the_guide_run")),
    ("docs/webhook.md", "whsk_", Run(WEBHOOK, "the_public_key_of_a_secret_is_printed")),
];

#[test]
fn every_block_of_commands_is_run_or_excused() {
    let mut missing = Vec::new();
    let mut used = vec![false; COMMANDS.len()];
    for page in pages().into_iter().chain(["README.md".to_owned()]) {
        for block in blocks(&read(&page)).into_iter().filter(|block| block.language == "sh") {
            let row = COMMANDS.iter().position(|(of, phrase, _)| *of == page && block.text.contains(phrase));
            match row {
                Some(row) => used[row] = true,
                None => missing.push(format!("{page}:{}", block.line)),
            }
        }
    }
    assert!(missing.is_empty(), "no test runs these blocks, and none is excused here: {missing:#?}");
    for ((page, phrase, _), is_used) in COMMANDS.iter().zip(used) {
        assert!(is_used, "{page} has no block of commands with {phrase} (of its own)");
    }
}

#[test]
fn the_tests_that_run_blocks_are_there() {
    for (page, phrase, how) in COMMANDS {
        match how {
            Run(file, name) => {
                assert!(root().join(file).exists(), "{file}");
                let text = read(file);
                assert!(text.contains(&format!("fn {name}(")), "{file} has no test {name}");
                assert!(text.contains(page), "{file} does not read {page} ({phrase})");
            }
            NotRun(reason) => assert!(reason.len() > 20, "{page}: {phrase}"),
        }
    }
}
