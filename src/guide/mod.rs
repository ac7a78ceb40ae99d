#![doc = include_str!("labels.txt")]
#![doc = include_str!("00-contents.md")]

/// Makes a module of each page. The labels come first, because the first definition of a label wins in Markdown. In
/// rustdoc a link then leads to an item. On GitHub a page has only its own definitions, which lead to files.
///
/// A page `if not(doctest)` uses the package of a store, which compiles the code of the page.
///
/// If a doctest fails, rustdoc names `labels.txt` and counts its lines as well. The module tells the page.
macro_rules! pages {
    ($($module:ident = $page:literal $(if $when:meta)?;)*) => {$(
        #[doc = include_str!("labels.txt")]
        #[cfg_attr(feature = "file", doc = "[`KeyFile`]: crate::key_file::KeyFile")]
        #[cfg_attr(feature = "tracing", doc = "[`Tracing`]: crate::observe::Tracing")]
        #[cfg_attr(feature = "metrics", doc = "[`Metrics`]: crate::observe::Metrics")]
        #[cfg_attr(feature = "limit", doc = "[`ClientLimitLayer`]: crate::limit::ClientLimitLayer")]
        #[cfg_attr(feature = "limit", doc = "[`FailureLimitLayer`]: crate::limit::FailureLimitLayer")]
        #[cfg_attr(feature = "limit", doc = "[`LimitStore`]: crate::limit::LimitStore")]
        #[cfg_attr(feature = "limit", doc = "[`Limiter::in_process`]: crate::limit::Limiter::in_process")]
        #[cfg_attr(feature = "limit", doc = "[`anonymous_by`]: crate::limit::ClientLimitLayer::anonymous_by")]
        #[cfg_attr(feature = "limit", doc = "[`fail_open`]: crate::limit::ClientLimitLayer::fail_open")]
        #[cfg_attr(feature = "limit", doc = "[`per_key`]: crate::limit::ClientLimitLayer::per_key")]
        #[cfg_attr(feature = "usage", doc = "[`Usage`]: crate::usage::Usage")]
        #[cfg_attr(
            feature = "usage",
            doc = "[`last_error`]: crate::usage::UsageWriter::last_error"
        )]
        #[cfg_attr(feature = "usage", doc = "[usage]: crate::usage")]
        #[cfg_attr(feature = "store", doc = "[`Cached`]: crate::store::Cached")]
        #[cfg_attr(feature = "store", doc = "[`Change::apply`]: crate::store::Change::apply")]
        #[cfg_attr(feature = "store", doc = "[`KeyStore`]: crate::store::KeyStore")]
        #[cfg_attr(feature = "store", doc = "[`Mirrored`]: crate::store::Mirrored")]
        #[cfg_attr(feature = "store", doc = "[store]: crate::store")]
        #[cfg_attr(all($($when)?), doc = include_str!($page))]
        pub mod $module {}
    )*};
}

pages! {
    _01_start = "01-start.md";
    _02_locations = "02-locations.md";
    _03_clients_and_scopes = "03-clients-and-scopes.md";
    _04_keys = "04-keys.md";
    _05_rejections = "05-rejections.md";
    _06_layer_order = "06-layer-order.md";
    _07_proxies = "07-proxies.md";
    _08_grpc = "08-grpc.md";
    _09_tenants = "09-tenants.md";
    _10_database = "10-database.md" if not(doctest);
    _11_limits_and_usage = "11-limits-and-usage.md";
    _12_coming_from = "12-coming-from.md";
    _13_development = "13-development.md";
    _14_testing = "14-testing.md";
    _15_promises = "15-promises.md";
    _16_in_production = "16-in-production.md";
    _17_guards = "17-guards.md";
    _18_lookups = "18-lookups.md";
    _19_replicas = "19-replicas.md" if not(doctest);
}
