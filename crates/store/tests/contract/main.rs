//! The contract of `stepgate_core::ports::Store`, one test per sentence, on every
//! database. The list below is the only one: what stands in it runs on all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

mod accounts;
mod approvals;
mod challenges;
mod codes;
mod enrolment;
mod evidence;
mod hardware;
mod house;
mod keys;
mod logins;
mod nodes;
mod people;
mod profiles;
mod races;
mod sealing;
mod sent_codes;
mod sessions;
mod signals;
mod sinks;
mod tokens;
mod tries;
mod unknown;

use house::{Backend, House};

macro_rules! contract {
    ($($module:ident: $($name:ident)*;)*) => {
        contract! { @on sqlite Backend::Sqlite; $($module: $($name)*;)* }
        contract! { @on postgres Backend::Postgres; $($module: $($name)*;)* }
    };
    (@on $backend:ident $which:expr; $($module:ident: $($name:ident)*;)*) => {
        mod $backend {
            use super::Backend;
            $(mod $module {
                use super::Backend;
                $(#[test]
                fn $name() {
                    crate::run($which, crate::$module::$name);
                })*
            })*
        }
    };
}

contract! {
    sinks:
        of_two_nodes_one_has_the_turn_at_a_sink
        a_turn_that_a_wrong_clock_took_is_over
        the_cursor_of_a_sink_moves_once_and_with_its_entries
        since_when_a_sink_waits_is_kept_until_it_takes_something
        a_sink_that_is_forgotten_begins_anew;
    people:
        a_person_reads_back_as_it_was_added
        a_login_that_exists_is_a_conflict_and_writes_no_entry
        a_change_of_a_person_replaces_name_email_and_groups
        changing_or_removing_nobody_is_a_conflict
        a_removed_person_takes_factors_links_and_sessions_along
        people_come_by_login_in_pages
        factors_come_oldest_first_and_read_back
        a_credential_id_that_is_taken_was_used_before
        a_new_password_and_new_recovery_codes_replace_the_old
        an_enrolment_needs_what_was_begun_on_the_ticket
        a_ticket_for_one_factor_ends_with_it
        a_removal_is_judged_by_what_is_left_then
        a_short_password_is_not_enrolled_alone
        removing_somebody_elses_factor_is_a_conflict;
    hardware:
        an_import_is_whole_or_nothing
        a_token_reads_back_as_a_factor_and_is_sealed
        b152_a_token_is_activated_by_whom_it_was_handed_to_and_nobody_else
        b150_a_counter_never_goes_back
        a_revoked_token_is_gone_for_good
        a_token_stays_when_its_factor_goes;
    logins:
        a_person_is_found_by_issuer_and_subject_and_nothing_else
        an_identity_belongs_to_one_person
        an_identity_goes_with_its_person
        a_login_on_its_way_is_taken_once_by_its_browser
        a_login_that_took_too_long_is_gone
        one_network_pushes_out_its_own_logins_and_nobody_elses
        of_two_nodes_that_take_one_login_one_has_it
        the_login_that_a_session_rests_on_reads_back_sealed
        a_session_tells_what_its_login_counts_as
        a_logout_there_finds_its_sessions_here
        a_logout_there_is_carried_out_once_and_whole
        b116_a_logout_there_ends_what_was_stepped_up_there
        b116_a_step_up_on_its_way_that_was_logged_out_there_proves_nothing
        a_login_on_its_way_that_was_logged_out_there_starts_no_session
        a_renewal_is_due_once_and_keeps_what_it_brought
        a_login_that_cannot_be_read_keeps_no_other_from_being_renewed;
    tokens:
        what_a_token_asks_is_answered_by_its_person_from_a_session
        what_one_token_asked_no_other_and_no_session_finds
        a_token_asks_for_confirmations_that_hold_nothing_and_of_who_is_active
        b115_a_programs_many_tokens_open_no_more_challenges_than_one
        who_has_left_confirms_and_spends_nothing_that_a_token_asked
        a_person_is_known_by_an_identity_while_they_are_active
        who_left_on_one_node_is_nobody_on_the_other_within_a_second;
    accounts:
        an_account_reads_back_as_it_was_added
        a_link_of_provisioning_follows_it_and_ends_what_rested_on_it
        a_login_is_taken_whoever_governs_it
        who_was_added_by_hand_is_no_account_until_handed_over
        accounts_are_found_and_come_in_parts
        a_change_of_an_account_needs_the_version_that_was_read
        who_becomes_inactive_loses_all_in_one_transaction
        nothing_begins_for_who_is_inactive
        who_comes_back_begins_without_factors
        a_deactivation_reaches_the_other_node_and_what_is_open_there
        b103_no_directory_lifts_what_was_blocked_by_hand
        b104_who_is_deleted_leaves_as_who_is_deactivated_does
        a_removed_account_takes_its_sessions_along_with_entries
        a_group_reads_back_and_its_name_is_its_own
        members_of_a_group_are_in_it_at_once_and_no_longer_than_that
        a_provisioned_name_is_not_kept_when_somebody_writes_the_person_back
        a_large_group_changes_for_everybody_at_once
        everybody_whose_groups_change_is_named_and_found
        of_a_large_change_nobody_stays_unnamed
        nobody_is_in_more_groups_than_the_limit
        a_machine_is_known_by_its_token_until_it_is_revoked;
    approvals:
        a_device_reads_back_and_is_found_by_its_cookie_while_it_is_there
        a_link_is_followed_once_and_by_the_device_alone
        how_a_device_is_woken_goes_with_it_and_is_sealed
        a_device_changes_so_often_an_hour_how_it_is_woken
        b74_one_question_is_open_at_a_time_and_so_many_an_hour
        b74_two_nodes_count_together
        a_question_closes_with_its_challenge_and_by_time
        b119_no_session_uses_up_the_persons_hour
        b119_what_an_ended_session_asked_is_open_no_more
        b120_what_was_withdrawn_or_failed_is_known_as_asked
        b121_an_approval_on_its_way_lifts_no_lock
        b160_what_is_locked_stays_locked_until_somebody_resets_it
        a_devices_passkey_counts_as_any_other;
    profiles:
        a_profile_reads_back_sealed
        of_two_nodes_one_writes_and_the_other_reads_again
        b131_nothing_is_kept_of_who_left
        a_profile_that_nobody_added_to_for_long_is_purged;
    signals:
        an_event_is_taken_once_by_whichever_node
        an_event_ends_sessions_and_what_waits_in_them_with_entries
        an_event_drops_what_was_proved
        a_risk_shows_in_sessions_on_every_node_until_its_time
        what_happened_earlier_replaces_nothing
        a_risk_of_a_session_is_that_sessions_alone
        b94_no_number_of_risks_undoes_what_ends_sessions
        an_event_about_somebody_who_is_gone_meanwhile_is_not_taken
        b95_what_is_taken_back_is_what_it_was_told_of
        b95_many_things_at_low_risk_push_none_at_high_risk_out
        risks_go_with_their_session_and_with_their_time
        what_is_open_ends_when_a_risk_is_told
        an_address_finds_whoever_has_it
        b109_who_is_out_of_service_hides_nobody_with_the_same_address
        a_stream_reads_back_and_each_machine_has_one
        a_stream_is_filled_once_by_whichever_node_and_in_order
        a_stream_that_is_full_waits_and_loses_nothing
        one_node_at_a_time_posts_for_a_stream
        b102_a_turn_that_is_over_settles_nothing
        b102_what_a_receiver_settles_is_bounded_and_a_refusal_is_recorded_once
        a_verification_is_asked_for_once_in_a_while
        a_stream_goes_with_its_machine
        b110_who_was_deleted_is_known_until_every_stream_has_told_of_it
        somebody_may_be_left_out_of_a_stream
        the_key_of_signals_is_made_once_and_sealed
        a_former_key_of_signals_is_published_for_a_week_unless_it_is_compromised;
    tries:
        a_try_is_counted_before_it_is_verified
        b62_a_count_outlives_what_fails_after_it
        b64_each_kind_of_factor_is_counted_and_locks_alone
        a_lock_is_set_before_the_last_try_is_verified_and_ends_by_time
        a_right_answer_lifts_the_lock
        b63_b66_tries_count_per_person_across_sessions_and_nodes
        b63_a_device_is_known_by_the_kind_that_was_proved_with_it
        b67_strangers_lock_only_strangers
        b67_one_address_locks_nobody_but_itself_and_longer_each_time
        b67_strangers_have_half_of_the_tries_in_a_row
        b67_in_a_row_no_more_than_the_last_limit_wherever_they_come_from
        a_try_that_was_none_is_taken_back_with_its_lock;
    sessions:
        a_session_is_found_by_its_token_at_its_audience_only
        a_totp_step_counts_once_and_only_upwards
        a_passkey_counter_rises_or_stays_zero
        b155_a_passkey_that_is_synced_by_now_is_of_another_sort
        a_recovery_code_is_gone_after_its_use
        a_factor_of_somebody_else_starts_no_session
        b61_a_prompt_starts_one_session
        b140_a_device_that_no_session_left_for_a_service_stays_new
        a_device_is_known_from_the_second_sign_in_on
        a_device_is_told_with_when_it_was_seen_first_and_last_before
        a_device_is_named_and_forgotten_by_its_person_alone
        a_forgotten_device_tries_as_a_stranger
        b134_a_retired_token_that_is_seen_again_marks_its_session_once_and_opens_nothing
        b134_what_is_no_retired_token_of_that_host_marks_nothing
        a_session_ends_at_its_end_and_when_it_is_not_used
        use_keeps_a_session_alive_and_is_written_down
        a_lapsed_session_tells_whose_it_was_for_a_while
        an_ended_session_is_gone_at_once_and_did_not_lapse
        ending_a_session_twice_or_anothers_is_a_conflict
        a_sign_in_replaces_the_session_of_the_same_browser
        the_list_of_sessions_has_the_live_ones
        a_change_of_the_person_shows_in_cached_sessions
        waiting_for_the_end_completes_at_the_end
        waiting_for_the_end_completes_when_it_ends_by_time
        waiting_for_the_end_outlasts_a_new_token;
    codes:
        a_code_gives_a_token_once
        a_code_is_bound_to_host_browser_and_time
        a_code_of_an_ended_session_gives_nothing
        a_resume_code_gives_no_token
        b46_a_code_of_another_purpose_is_not_found
        the_first_look_at_a_new_token_ends_its_predecessors
        b58_a_hand_off_ends_no_token_of_another_browser
        a_passed_challenge_ends_the_tokens_of_every_browser_within_the_grace
        of_too_many_browsers_the_oldest_goes
        an_old_token_lives_for_the_grace_and_no_longer
        tokens_of_other_hosts_live_on
        rotating_needs_a_live_token;
    challenges:
        a_challenge_reads_back_as_it_was_opened
        too_many_pending_challenges_are_a_limit
        other_services_and_other_origins_pages_use_up_their_own_share
        a_held_request_reads_back_and_is_not_readable_in_the_database
        an_ended_session_opens_nothing
        the_newest_open_challenge_for_an_operation_is_found
        b58_an_older_token_finds_nothing_that_a_newer_one_asked
        b58_another_browsers_token_finds_nothing_that_this_one_asked
        a_partial_answer_keeps_it_pending_and_uses_the_factor
        freshness_raises_the_session_that_asked_in_its_next_generation
        b45_a_confirmation_raises_no_session
        b58_a_code_of_an_older_token_gives_nothing_that_was_proved_since
        another_session_answers_and_only_its_own_token_rotates
        b57_a_token_of_another_session_does_not_rotate
        an_old_version_is_a_conflict_and_changes_nothing
        an_answer_that_was_used_before_changes_nothing
        b118_what_was_proved_elsewhere_leaves_less_in_the_session_that_asked
        b65_a_challenge_that_is_over_cannot_be_answered
        closing_counts_wrong_answers_and_ends_once
        a_successor_carries_the_held_request_on_once
        a_lapsed_sessions_request_is_adopted
        a_revoked_sessions_request_is_not_adopted
        spending_is_once_and_only_while_it_may_be_spent
        spending_uses_up_the_resume_code
        nothing_is_spent_for_an_ended_session
        the_outcome_is_noted_once_and_the_request_forgotten
        overdue_challenges_are_those_that_wait_too_long
        waiting_for_a_challenge_completes_when_it_changes;
    enrolment:
        b71_a_link_is_used_once
        a_link_is_gone_when_its_time_is_over
        a_ticket_belongs_to_its_browser
        what_is_begun_on_a_ticket_is_sealed_and_replaced
        a_kind_that_the_ticket_does_not_allow_is_not_begun
        an_ended_ticket_is_gone
        b98_a_ticket_ends_with_the_session_that_it_rests_on
        b98_a_session_that_does_not_live_is_given_no_ticket;
    evidence:
        the_first_entry_opens_the_log
        entries_are_found_by_person_challenge_and_kind
        what_belongs_to_a_challenge_is_found_by_whom_and_for_what_it_was_opened
        entries_are_found_by_request_service_action_and_time
        entries_are_found_by_who_did_something_with_the_evidence
        entries_come_in_pages_from_either_end
        entries_of_one_and_of_several_come_in_pages_together
        a_refused_change_leaves_no_entry
        the_checkpoint_covers_what_was_acknowledged
        an_export_is_verified_offline
        b85_no_secret_stands_in_an_entry
        erased_details_are_gone_and_the_tree_stays
        an_entry_that_an_export_could_not_hold_is_refused
        full_tiles_are_kept
        waiting_for_entries_completes_when_they_come
        b84_a_cut_log_is_not_continued
        b84_a_log_that_is_set_back_under_a_running_node_is_not_continued
        what_is_over_is_purged;
    sealing:
        another_master_key_opens_nothing
        a_sealed_value_that_was_moved_does_not_open
        everything_is_sealed_anew_under_a_new_key
        a_newer_schema_is_refused
        a_schema_of_another_build_is_refused_as_that
        an_older_schema_is_refused_where_migrating_was_not_asked_for;
    keys:
        signing_keys_outlive_a_restart
        an_assertion_key_is_published_before_it_signs_and_the_former_stays_for_a_while
        a_compromised_assertion_key_is_gone_at_once
        the_next_checkpoint_key_is_announced_under_the_former_and_signs_from_there_on
        another_node_signs_with_the_next_checkpoint_key_without_being_told
        a_change_of_the_checkpoint_key_that_fails_changes_nothing
        of_two_changes_of_the_checkpoint_key_one_fails
        a_kept_checkpoint_key_stays_sealed_and_a_destroyed_one_is_gone
        a_crash_before_the_next_key_has_signed_leaves_a_log_that_opens;
    sent_codes:
        one_address_is_sent_so_many_codes_whoever_asks_for_them
        the_newest_code_of_a_factor_reads_back_and_no_other
        a_code_to_an_address_is_gone_after_its_use
        so_many_codes_are_sent_within_an_hour_whatever_became_of_them
        what_became_of_a_code_is_kept_and_written_even_if_it_is_gone;
    nodes:
        a_restart_finds_everything
        a_revocation_reaches_the_other_node
        a_changed_person_reaches_the_other_node
        a_challenge_answered_on_one_node_wakes_the_other
        entries_of_one_node_wake_the_other
        what_a_dead_node_was_sending_is_found_and_what_this_one_sends_is_not
        a_node_that_sends_lives_even_if_it_never_said_so
        a_node_starts_while_another_writes;
    races:
        b61_one_of_fifty_gets_through_with_a_totp_step
        b61_one_of_fifty_gets_through_with_a_hardware_code
        b61_one_of_fifty_gets_through_with_a_recovery_code
        b61_one_of_fifty_gets_through_with_a_code_that_was_sent
        no_more_codes_are_sent_at_once_than_may_be
        one_of_fifty_redeems_a_code
        one_of_fifty_spends_across_two_nodes
        b71_one_of_fifty_uses_a_link
        b64_fifty_tries_at_once_are_all_counted
        pending_challenges_are_limited_under_load
        b57_parallel_sign_ins_of_two_people_do_not_mix
        indexes_have_no_gap_under_load_from_two_nodes
        sessions_look_right_while_they_change;
}

// `Unknown` needs a connection that can break. SQLite has none: it is a file.
contract! { @on severed_postgres Backend::SeveredPostgres;
    unknown:
        an_entry_is_there_once_or_not_at_all
        a_spending_is_read_again_and_spends_once
        an_answer_with_a_totp_step_is_read_again_and_counts_once
        an_answer_with_a_recovery_code_is_read_again_and_counts_once
        what_is_read_again_is_what_stands
        everything_of_the_batch_shares_its_fate;
}

fn run<F: Future<Output = ()>>(backend: Backend, test: impl FnOnce(House) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let house = House::new(backend).await;
        test(house).await;
    });
}
