/// An extension of a request that needs no key.
///
/// The layer inserts this if a request bypasses it, by [`exempt_path`](crate::ApiKeyLayer::exempt_path),
/// [`exempt_if`](crate::ApiKeyLayer::exempt_if) or [`pass_preflight`](crate::ApiKeyLayer::pass_preflight). So
/// a guard further in can distinguish an exempt request from a missing layer. A guard that only restricts
/// clients, such as a limit, passes an exempt request. A guard that needs a client, such as
/// [`RequireScopeLayer`](crate::RequireScopeLayer), reports the mistake with
/// [`server_error`](crate::respond::server_error).
///
/// # Example: pass an exempt request
///
/// ```
/// use http::Request;
/// use tower::{Layer, Service, service_fn};
/// use tower_api_key::{ApiKeyLayer, Client, Exempt, Keyring, extract::header};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = ApiKeyLayer::new(header("x-api-key"), Keyring::single("12345abcde")?)
///     .exempt_path("/health");
/// let mut service = layer.layer(service_fn(|request: Request<()>| async move {
///     assert!(Exempt::of::<Client>(request.extensions()).is_some());
///     Ok::<_, std::convert::Infallible>(http::Response::new(()))
/// }));
/// service.call(Request::get("/health").body(())?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Exempt(());

impl Exempt {
    pub(super) const NEW: Self = Self(());
}
