//! Every store of the library behaves as `KeyStore` says, and the suite finds every planted mistake.

use tokio::{runtime::Builder, task::JoinSet};
use tower_api_key::{
    store::MemoryStore,
    test_util::{self, StoreBehaviour},
};

use crate::mistaken::{Mistake, Mistaken};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_conforms() {
    assert!(test_util::store_behaviours().len() >= 60);
    test_util::store_conforms(async || {
        let store = MemoryStore::new();
        (store.clone(), store)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_without_a_mistake_conforms() {
    test_util::store_conforms(async || Mistaken::open(Mistake::None)).await;
}

/// A mistake for each behaviour, which the behaviour must find.
const PLANTED: &[(&str, Mistake)] = &[
    ("ready_comes_at_least_every_ten_seconds", Mistake::NoHeartbeat),
    ("following_begins_with_every_record", Mistake::DeliversAHundred),
    ("following_an_empty_store_is_ready", Mistake::NoReadyIfEmpty),
    ("records_in_every_state_are_delivered", Mistake::HidesDead),
    ("a_new_record_is_delivered", Mistake::DeliversNoInsertion),
    ("a_changed_record_is_delivered", Mistake::DeliversNoUpdate),
    ("a_change_of_the_same_handle_is_delivered", Mistake::SkipsOwnChanges),
    ("a_removal_is_delivered", Mistake::DeliversNoRemoval),
    ("both_records_of_a_rotation_are_delivered", Mistake::OneRecordOfAChange),
    ("a_removed_record_that_comes_back_is_delivered", Mistake::RemovalOfAReturnedKey),
    ("a_removal_is_delivered_before_the_reuse_of_its_id", Mistake::RemovalsLast),
    ("a_change_of_many_records_is_delivered", Mistake::DeliversAHundred),
    ("versions_grow_with_each_change_of_a_key", Mistake::ConstantVersion),
    ("a_change_has_at_most_the_version_that_is_delivered", Mistake::VersionTooHigh),
    ("an_empty_store_finds_nothing", Mistake::FindInvents),
    ("a_record_is_found_by_its_digest", Mistake::FindsTheFirst),
    ("another_digest_is_not_found", Mistake::ComparesTheSlot),
    ("another_handle_finds_a_record_at_once", Mistake::LagsBehind),
    ("every_field_survives", Mistake::LosesRevokedReason),
    ("an_absent_field_stays_absent", Mistake::InventsAFormat),
    ("texts_of_any_script_survive", Mistake::OnlyAscii),
    ("long_texts_survive", Mistake::CutsTexts),
    ("scopes_keep_their_order", Mistake::SortsScopes),
    ("metadata_survives", Mistake::LosesEmptyMetadata),
    ("times_survive_to_the_microsecond", Mistake::WholeSeconds),
    ("times_from_1970_to_2554_survive", Mistake::Until2038),
    ("a_rotation_without_overlap_survives", Mistake::LosesRotatedWithoutOverlap),
    ("revoked_and_expired_records_are_found", Mistake::HidesDead),
    ("ids_and_clients_keep_their_case", Mistake::IgnoresCase),
    ("a_name_for_logs_is_one_line", Mistake::NameOfTwoLines),
    ("a_list_is_in_the_order_of_ids", Mistake::Unordered),
    ("a_list_has_at_most_100_records_by_default", Mistake::NoLimit),
    ("pages_leave_no_gap_and_repeat_nothing", Mistake::AfterIsInclusive),
    ("a_page_begins_after_an_id_that_no_record_has", Mistake::AfterNeedsARecord),
    ("a_page_of_no_records_is_empty", Mistake::ZeroIsAll),
    ("a_list_can_have_one_client", Mistake::ClientByPattern),
    ("a_list_can_have_one_id", Mistake::IgnoresCase),
    ("a_list_can_have_the_keys_that_end_soon", Mistake::ForgetsRetires),
    ("all_filters_of_a_page_count", Mistake::OneFilterOnly),
    ("a_list_has_records_in_every_state", Mistake::HidesDead),
    ("a_list_follows_changes", Mistake::ClientOfTheInsertion),
    ("an_issued_key_is_found_by_its_text", Mistake::LosesIssuedBy),
    ("a_change_returns_its_writes", Mistake::AppliesTwice),
    ("a_known_digest_is_refused", Mistake::ReadsNothing),
    ("a_revoked_digest_is_refused", Mistake::HidesDead),
    ("a_taken_id_is_a_conflict", Mistake::IdsAreNotUnique),
    ("an_id_in_another_case_is_free", Mistake::IgnoresCase),
    ("a_change_is_made_whole_or_not_at_all", Mistake::NotAtomic),
    ("a_derived_id_that_is_taken_is_replaced", Mistake::ConflictIsUnavailable),
    ("a_record_gets_an_id_and_a_time_of_creation", Mistake::LosesCreated),
    ("records_that_are_there_stay_as_they_are", Mistake::ReadsNothing),
    ("a_client_that_is_not_valid_is_refused", Mistake::WrapsErrors),
    ("an_update_changes_all_fields_but_id_and_digest", Mistake::UpdateForgetsTheClient),
    ("an_update_of_the_digest_is_refused", Mistake::WrapsErrors),
    ("an_update_of_an_unknown_id_is_refused", Mistake::WrapsErrors),
    ("an_update_receives_the_newest_record", Mistake::StaleSelection),
    ("an_update_without_a_difference_writes_nothing", Mistake::ReadsNothing),
    ("a_key_can_go_to_another_client", Mistake::ClientOfTheInsertion),
    ("many_records_are_inserted_in_one_change", Mistake::WritesAThousand),
    ("errors_do_not_show_a_digest", Mistake::ErrorShowsTheDigest),
    ("a_rotation_writes_both_records", Mistake::WritesTheFirstOnly),
    (
        "a_rotation_without_overlap_rejects_the_old_key_whatever_the_clock_says",
        Mistake::LosesRotatedWithoutOverlap,
    ),
    ("a_rotation_keeps_the_length_of_life", Mistake::LosesExpires),
    ("a_rotation_of_a_dead_key_is_refused", Mistake::WrapsErrors),
    ("a_rotation_of_an_unknown_id_is_refused", Mistake::WrapsErrors),
    ("a_revocation_notes_when_by_whom_and_why", Mistake::LosesRevokedReason),
    ("a_second_revocation_changes_nothing", Mistake::RevokesAgain),
    ("a_revocation_of_an_unknown_key_is_no_error", Mistake::NoRowIsAnError),
    ("all_keys_of_a_client_are_revoked_and_no_others", Mistake::ClientByPattern),
    ("a_revocation_cannot_be_taken_back", Mistake::HidesDead),
    ("a_pause_lasts_until_the_key_is_resumed", Mistake::LosesPaused),
    ("only_keys_that_are_long_dead_are_pruned", Mistake::PruneForgetsExpired),
    ("a_pruned_key_and_its_id_are_free", Mistake::KeepsRemovedIds),
    ("concurrent_updates_lose_nothing", Mistake::CopiesTheTable),
    ("concurrent_issues_all_take_effect", Mistake::CopiesTheTable),
    ("of_concurrent_insertions_of_one_key_one_succeeds", Mistake::CopiesTheTable),
    ("of_concurrent_imports_of_one_key_one_inserts", Mistake::CopiesTheTable),
    ("of_concurrent_revocations_one_takes_effect", Mistake::CopiesTheTable),
    ("concurrent_rotations_of_one_key_leave_a_successor", Mistake::CopiesTheTable),
    ("a_revocation_wins_over_concurrent_changes", Mistake::CopiesTheTable),
    ("concurrent_changes_of_several_keys_end", Mistake::BusyIsAnError),
    ("readers_see_a_change_whole", Mistake::NotIsolated),
    ("a_change_that_is_dropped_leaves_the_store_usable", Mistake::KeepsTheLockIfDropped),
    ("a_panic_in_a_change_leaves_the_store_usable", Mistake::KeepsTheLockAfterAPanic),
    ("no_change_falls_between_reading_and_following", Mistake::GapAfterReading),
    ("changes_of_concurrent_writers_arrive", Mistake::LosesWhileDelivering),
    ("a_slow_listener_misses_nothing", Mistake::LosesWhileDelivering),
    ("a_slow_listener_does_not_hold_up_changes", Mistake::LocksWhileDelivering),
    ("several_followers_receive_every_change", Mistake::SharedPosition),
    ("a_follower_that_ends_does_not_disturb_the_others", Mistake::OneFollower),
    ("a_cache_begins_without_records", Mistake::NowIsEverything),
    ("a_cache_receives_changes", Mistake::NowIsNever),
    ("a_follower_resumes_after_its_cursor", Mistake::ResumesAtNow),
    ("an_unknown_cursor_begins_with_everything", Mistake::ResumesAtNow),
    ("a_store_can_be_used_while_a_load_is_slow", Mistake::LocksWhileDelivering),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn each_behaviour_finds_a_planted_mistake() {
    let behaviours = test_util::store_behaviours();
    let names: Vec<_> = behaviours.iter().map(|behaviour| behaviour.name()).collect();
    let planted: Vec<_> = PLANTED.iter().map(|(name, _)| *name).collect();
    assert_eq!(planted, names, "a mistake is planted for each behaviour");
    let mut checks = JoinSet::new();
    for (behaviour, (_, mistake)) in behaviours.into_iter().zip(PLANTED) {
        let check = finds(behaviour, *mistake);
        if behaviour.name() == WAITING {
            // Only a runtime of one thread can skip the time.
            let mut runtime = Builder::new_current_thread();
            let runtime = runtime.enable_time().start_paused(true).build().unwrap();
            checks.spawn_blocking(move || runtime.block_on(check));
        } else {
            checks.spawn(check);
        }
    }
    let mut missed = Vec::new();
    while let Some(done) = checks.join_next().await {
        match done.unwrap() {
            (name, mistake, Ok(())) => missed.push(format!("{name} misses {mistake:?}")),
            (name, mistake, Err(text)) => println!("{name} finds {mistake:?}: {text}"),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// A behaviour that waits for twenty seconds if the store has the mistake.
const WAITING: &str = "ready_comes_at_least_every_ten_seconds";

async fn finds(
    behaviour: StoreBehaviour,
    mistake: Mistake,
) -> (&'static str, Mistake, Result<(), String>) {
    let mut result = Ok(());
    // A mistake in the order of two tasks does not show in every run.
    for _ in 0..20 {
        let (one, two) = Mistaken::open(mistake);
        result = behaviour.check(one, two).await;
        if result.is_err() {
            break;
        }
    }
    (behaviour.name(), mistake, result)
}
