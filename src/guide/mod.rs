#![doc = include_str!("00-contents.md")]

#[doc = include_str!("01-start.md")]
pub mod _01_start {}

#[doc = include_str!("02-places.md")]
pub mod _02_places {}

#[doc = include_str!("03-clients-and-scopes.md")]
pub mod _03_clients_and_scopes {}

#[doc = include_str!("04-keys.md")]
pub mod _04_keys {}

#[doc = include_str!("05-refusals.md")]
pub mod _05_refusals {}

#[doc = include_str!("06-layer-order.md")]
pub mod _06_layer_order {}

#[doc = include_str!("07-proxies.md")]
pub mod _07_proxies {}

#[doc = include_str!("08-grpc.md")]
pub mod _08_grpc {}

#[doc = include_str!("09-tenants.md")]
pub mod _09_tenants {}

#[doc = include_str!("10-database.md")]
pub mod _10_database {}

#[doc = include_str!("11-throttling.md")]
pub mod _11_throttling {}

#[doc = include_str!("12-coming-from.md")]
pub mod _12_coming_from {}

#[doc = include_str!("13-development.md")]
pub mod _13_development {}

#[doc = include_str!("14-testing.md")]
pub mod _14_testing {}

#[doc = include_str!("15-promises.md")]
pub mod _15_promises {}

#[doc = include_str!("16-in-production.md")]
pub mod _16_in_production {}
