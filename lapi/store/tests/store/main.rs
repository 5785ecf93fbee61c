//! One suite of behaviours, run on SQLite and on PostgreSQL, and what is peculiar to each.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "all of this is tests")]

mod alerts;
mod allowlists;
mod clients;
mod commits;
mod crash;
mod crowdsec;
mod db;
mod imports;
mod postgres;
mod postgres_only;
mod queries;
mod retention;
mod speed;
mod sqlite_only;
mod syncing;
mod together;

/// Writes each behaviour out as a test of either engine.
macro_rules! on_both {
    ($($file:ident: $($name:ident),+;)+) => {
        mod on_sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() { super::$file::$name(super::db::Db::sqlite()).await }
            )+)+
        }
        mod on_postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() { super::$file::$name(super::db::Db::postgres()).await }
            )+)+
        }
    };
}

on_both! {
    alerts: stored_alerts_are_returned, events_and_context_are_kept, an_unknown_machine_owns_nothing,
        values_of_other_scopes_are_stored, odd_texts_survive, a_repeat_is_recognised,
        a_repeat_of_what_was_lifted_is_stored, a_repeat_of_what_has_ended_is_stored, deletion_counts_all_and_is_announced, one_alert_is_deleted,
        alerts_are_counted_by_scenario;
    queries: every_filter_finds_what_it_names, order_and_limit, decisions_come_with_their_alerts;
    commits: a_new_database_has_no_commits, every_write_takes_the_next_commit, an_end_is_announced_once,
        ending_one_repeats, replaying_gives_what_loading_gives, many_writers_leave_no_gap,
        a_failed_write_fails_no_other, two_stores_share_one_database, history_is_loaded,
        addresses_are_counted;
    imports: a_large_alert_comes_in_steps, other_writes_go_on_meanwhile, a_large_alert_is_deleted_in_steps;
    clients: machines_are_added_changed_and_deleted, what_machines_did_is_noted, idle_machines_are_found, bouncers_are_added_changed_and_deleted,
        addresses_that_share_a_key_get_one_row_each, deleting_a_bouncer_takes_its_children,
        what_bouncers_did_is_noted, older_reports_do_not_replace_newer_ones, a_fresh_row_is_adopted_once,
        machines_that_share_a_key_are_listed_one_by_one, idle_bouncers_are_found, requests_count_as_use,
        every_key_can_be_revoked_whatever_rows_are_gone, settings_are_set_once, usage_is_kept;
    allowlists: lists_and_items, one_prefix_is_one_item_however_it_is_spelled, expired_items_may_be_added_again, decisions_under_an_item_end;
    retention: old_alerts_are_deleted_but_never_active_ones, idle_clients_are_deleted, old_records_are_deleted;
    syncing: a_writer_waits_for_every_lapi_that_runs;
    crash: a_killed_import_leaves_all_or_nothing, two_processes_write_at_once;
}
