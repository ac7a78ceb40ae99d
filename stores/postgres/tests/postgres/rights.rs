//! The least rights of services and operators.

use tower_api_key::{
    Client,
    key::KeyFormat,
    store::{Change, KeyStore as _, Mirrored, Page, StoreErrorKind as Kind},
};
use tower_api_key_postgres::Postgres;

use crate::support::{Database, SERVER, eventually, issue};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_follows_and_counts_but_cannot_change_and_an_operator_can() {
    let database = Database::migrated();
    let [service, operator] =
        ["service", "operator"].map(|kind| format!("{kind} of \"{}", database.name));
    for (role, rights) in [
        (&service, Postgres::service_rights(&service)),
        (&operator, Postgres::operator_rights(&operator)),
    ] {
        database.sql(&format!("CREATE ROLE \"{}\" LOGIN; {rights}", role.replace('"', "\"\"")));
    }
    let open = |role: &str| {
        let user = role.replace(' ', "%20").replace('"', "%22");
        Postgres::open(&SERVER.url_of(&user, &database.name)).unwrap()
    };
    let (service, operator) = (open(&service), open(&operator));

    let keys = Mirrored::open(service.clone()).await.unwrap();
    let operators = Mirrored::open(operator.clone()).await.unwrap();
    let (id, _) = issue(&operators, "ci").await;
    eventually(async || keys.status().keys() == 1).await;
    let format = KeyFormat::default();
    let all = || {
        [
            Change::issue(&format, Client::new("new")),
            Change::update(&id, |record| record.with_note("a")),
            Change::revoke_key(&id),
            Change::prune(std::time::SystemTime::now() + std::time::Duration::from_secs(60)),
        ]
    };
    for change in all() {
        let error = service.change(change).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(
            error.to_string().contains("`Postgres::service_rights` or `operator_rights`"),
            "{error}"
        );
    }
    assert_eq!(operator.list(&Page::new()).await.unwrap().len(), 1);
    for change in all() {
        assert_eq!(operator.change(change).await.unwrap().count(), 1);
    }
    eventually(async || keys.records().count() == 1).await;
    for (store, sql) in [(&service, "DELETE FROM api_keys_gone"), (&service, "TRUNCATE api_keys")] {
        let role = if std::ptr::eq(store, &service) { "service" } else { "operator" };
        let role = format!("\"{role} of \"\"{}\"", database.name);
        let error = SERVER.try_sql(&database.name, &format!("SET ROLE {role}; {sql}")).unwrap_err();
        assert!(error.contains("permission denied"), "{sql}: {error}");
    }
    #[cfg(feature = "usage")]
    {
        use tower_api_key::usage::{UsageBatch, UsageSink as _};

        let batch = UsageBatch::new("one", 1, Vec::new());
        service.usage().write(&batch).await.unwrap();
        assert!(
            service.usage().read(None).await.is_ok() && operator.usage().read(None).await.is_ok()
        );
        assert!(operator.usage().write(&batch).await.is_err());
    }
}
