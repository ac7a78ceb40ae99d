use http::Response;

use super::config::Config;
use crate::{
    body::ResponseBody,
    observe::{Decision, Observe},
    respond::GuardMark,
    verify::Verify,
};

/// Reports the rejection of a guard further in, and writes it in the style of this layer.
#[cold]
#[inline(never)]
pub(super) fn finish_guarded<B, E, V: Verify, O: Observe<V::Client>>(
    config: &Config<E, V, O>,
    response: &mut Response<ResponseBody<B>>,
) {
    let Some((mark, rejection)) = GuardMark::take::<V::Client>(response.extensions_mut()) else {
        return;
    };
    let decision = Decision::by_guard(&rejection, mark.client());
    config.observe.on_guard(&decision.with_method(mark.method()).with_path(mark.path()));
    let (status, writer) = (response.status(), &config.settings.writer);
    if let Some(written) = mark.rewrite(status, response.headers_mut(), rejection, writer) {
        *response.status_mut() = written.status();
        let (head, body) = written.into_parts();
        response.extensions_mut().extend(head.extensions);
        *response.body_mut() = ResponseBody::rejection(body);
    }
}
