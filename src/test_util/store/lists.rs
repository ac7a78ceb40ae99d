//! Pages of a list.

use super::stores::{behaviours, days, ensure_eq, record, record_of, with_id};
use crate::store::{Change, Page};

behaviours! {
    async fn a_list_is_in_the_order_of_ids(stores) {
        // Upper case comes before lower case, byte by byte.
        let ids = ["00000000", "0000000Z", "0000000a", "00000010", "Zzzzzzzz", "aAAAAAAA"];
        for (number, id) in (1..).zip([3, 0, 5, 1, 4, 2]) {
            let id = ids.get(id).copied().unwrap_or_default();
            stores.insert([with_id(record(number)?, id)?]).await?;
        }
        ensure_eq!(stores.ids(&Page::new()).await?, ids, "the order");
    }

    async fn a_list_has_at_most_100_records_by_default(stores) {
        let records = (1..=101).map(record).collect::<Result<Vec<_>, _>>()?;
        stores.insert(records).await?;
        ensure_eq!(stores.ids(&Page::new()).await?.len(), 100, "the number of records");
    }

    async fn pages_leave_no_gap_and_repeat_nothing(stores) {
        stores.insert((1..=10).map(record).collect::<Result<Vec<_>, _>>()?).await?;
        let (mut all, mut page) = (Vec::new(), Page::new().with_limit(3));
        loop {
            let ids = stores.ids(&page).await?;
            let Some(last) = ids.last() else { break };
            page = page.with_after(last.clone());
            all.push(ids.len());
            ensure_eq!(all.len() <= 4, true, "the pages {all:?}");
        }
        ensure_eq!(all, [3, 3, 3, 1], "the sizes of the pages");
        let rest = stores.ids(&Page::new().with_after("00000008")).await?;
        ensure_eq!(rest, ["00000009", "00000010"], "the records after an id");
    }

    async fn a_page_begins_after_an_id_that_no_record_has(stores) {
        stores.insert([record(1)?, record(3)?]).await?;
        let page = Page::new().with_after("00000002");
        ensure_eq!(stores.ids(&page).await?, ["00000003"], "the records after an unknown id");
    }

    async fn a_page_of_no_records_is_empty(stores) {
        stores.insert([record(1)?]).await?;
        ensure_eq!(stores.ids(&Page::new().with_limit(0)).await?.len(), 0, "the limit 0");
        let nobody = Page::new().with_client("nobody");
        ensure_eq!(stores.ids(&nobody).await?.len(), 0, "an unknown client");
    }

    async fn a_list_can_have_one_client(stores) {
        let clients = ["ci", "CI", "ci2", "c_", "c%", "c"];
        for (number, client) in (1..).zip(clients) {
            stores.insert([record_of(number, client)?]).await?;
        }
        stores.insert([record_of(9, "ci")?]).await?;
        let ids = stores.ids(&Page::new().with_client("ci")).await?;
        ensure_eq!(ids, ["00000001", "00000009"], "the keys of `ci`");
        ensure_eq!(stores.ids(&Page::new().with_client("c%")).await?, ["00000005"], "of `c%`");
        ensure_eq!(stores.ids(&Page::new().with_client("c_")).await?, ["00000004"], "of `c_`");
    }

    async fn a_list_can_have_one_id(stores) {
        for (number, id) in [(1, "abcdefgh"), (2, "ABCDEFGH"), (3, "abcdefgi")] {
            stores.insert([with_id(record(number)?, id)?]).await?;
        }
        let page = Page::new().with_key_id("ABCDEFGH");
        ensure_eq!(stores.ids(&page).await?, ["ABCDEFGH"], "the record of the id");
    }

    async fn a_list_can_have_the_keys_that_end_soon(stores) {
        stores.insert([
            record(1)?.with_expires(days(10)),
            record(2)?.with_expires(days(30)),
            record(3)?,
            record(4)?.with_rotated(days(-1)).with_retires(days(5)).with_expires(days(90)),
            record(5)?.with_expires(days(-5)),
            record(6)?.with_revoked(days(-1)),
        ]).await?;
        let ids = stores.ids(&Page::new().with_ends_before(days(30))).await?;
        ensure_eq!(ids, ["00000001", "00000004", "00000005"], "the keys that end soon");
    }

    async fn all_filters_of_a_page_count(stores) {
        for number in 1..=6 {
            let client = if number % 2 == 0 { "even" } else { "odd" };
            let record = record_of(number, client)?.with_expires(days(i64::from(number)));
            stores.insert([record]).await?;
        }
        let page = Page::new().with_client("even").with_ends_before(days(5)).with_after("00000002");
        ensure_eq!(stores.ids(&page).await?, ["00000004"], "the records");
        let page = Page::new().with_key_id("00000002").with_client("odd");
        ensure_eq!(stores.ids(&page).await?.len(), 0, "an id of another client");
    }

    async fn a_list_has_records_in_every_state(stores) {
        stores.insert([
            record(1)?.with_revoked(days(-1)),
            record(2)?.with_paused(days(-1)),
            record(3)?.with_expires(days(-1)),
            record(4)?.with_not_before(days(1)),
        ]).await?;
        ensure_eq!(stores.ids(&Page::new()).await?.len(), 4, "the number of records");
        ensure_eq!(stores.ids(&Page::new().with_client("ci")).await?.len(), 4, "of the client");
    }

    async fn a_list_follows_changes(stores) {
        stores.insert([record(1)?, record(2)?.with_revoked(days(-10))]).await?;
        let moved = Change::update("00000001", |record| {
            record.with_client(crate::Client::new("another")).with_expires(days(1))
        });
        stores.commit(moved).await?;
        stores.commit(Change::prune(days(-1))).await?;
        ensure_eq!(stores.ids(&Page::new()).await?, ["00000001"], "the records");
        ensure_eq!(stores.ids(&Page::new().with_client("ci")).await?.len(), 0, "of the old client");
        let page = Page::new().with_client("another").with_ends_before(days(2));
        ensure_eq!(stores.ids(&page).await?, ["00000001"], "of the new client");
    }
}
